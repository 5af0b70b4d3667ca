/** Whether what is stored of a feed still says what was signed: once at the start of a node, cheaply, and in full for `verify`. */

import { hashRevocations } from '../catalog/grant.ts'
import { hashDeps } from '../catalog/manifest.ts'
import { decodeRow, placeOf, rowDigest } from '../catalog/row.ts'
import { buildTrie, type InnerNode, packPath, refOf, type TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { KeyRange, Records } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'
import { encodeInnerNode } from './node-codec.ts'
import { RecordTrie } from './record-trie.ts'
import type { View } from './registry.ts'

/** Reads one node of the trie at most. @throws CORRUPT */
export async function verifyStoredState(records: Records, state: FeedState): Promise<void> {
  const manifest = state.manifest?.value
  const { root, deps, revocations, number, generation } = state
  const isSigned =
    manifest === undefined ||
    (root.hash.equals(manifest.stateRoot) &&
      root.count === manifest.entries &&
      hashDeps(deps).equals(manifest.depsRoot) &&
      hashRevocations(revocations).equals(manifest.revocations))
  const top = root.leaf ? undefined : await RecordTrie.ofState(records, number, generation).getNode(root.path)
  if (isSigned && (top === undefined || refOf(top).hash.equals(root.hash))) return
  throw new FeedmeshError(
    'CORRUPT',
    `what is stored of feed ${state.feedId} is not what was signed; stop the node, move its data folder away and restore it from a backup, or start with an empty one and link the feeds again`,
  )
}

/** Whether the stored inner nodes of a trie are exactly those that its entries lead to. */
async function hasNodes(
  records: Records,
  nodes: ReadonlyMap<string, InnerNode>,
  where: { readonly range: KeyRange; keyOf(path: string): Uint8Array },
): Promise<boolean> {
  const stored = new Map<string, Uint8Array>()
  for await (const [key, value] of records.scan(where.range)) stored.set(Buffer.from(key).toString('hex'), value)
  if (stored.size !== nodes.size) return false
  return [...nodes].every(([path, node]) => {
    const found = stored.get(Buffer.from(where.keyOf(path)).toString('hex'))
    return found !== undefined && Buffer.compare(found, encodeInnerNode(node)) === 0
  })
}

async function leadsTo(
  records: Records,
  entries: TrieEntry[],
  trie: { readonly root: Uint8Array; readonly range: KeyRange; keyOf(path: string): Uint8Array },
): Promise<boolean> {
  const nodes = new Map<string, InnerNode>()
  const sorted = entries.sort((a, b) => a.place.compare(b.place))
  const root = buildTrie(sorted, '', (node) => nodes.set(node.path, node))
  return root.hash.equals(trie.root) && (await hasNodes(records, nodes, trie))
}

/** Reads every row and node of a feed: false where they are not what its root says. */
export async function isWholeState(records: Records, state: FeedState): Promise<boolean> {
  const { number, generation, charter, root } = state
  const entries: TrieEntry[] = []
  for await (const [key, value] of records.scan(keys.rows(number, generation))) {
    try {
      const row = decodeRow(value)
      const place = placeOf(charter.value.salt, row.unit, row.key)
      if (Buffer.compare(key, keys.row(number, generation, place)) !== 0) return false
      entries.push({ place, digest: rowDigest(value) })
    } catch (error) {
      if (isFeedmeshError(error, 'PEER_INVALID')) return false
      throw error
    }
  }
  const keyOf = (path: string) => keys.node(number, generation, packPath(path))
  return await leadsTo(records, entries, { root: root.hash, range: keys.nodes(number, generation), keyOf })
}

/** Reads the index of a view: false where it is not what its root says. */
export async function isWholeView(records: Records, view: View): Promise<boolean> {
  const { number, totals } = view
  const offset = keys.viewRow(number, new Uint8Array(0)).length
  const entries: TrieEntry[] = []
  for await (const [key, value] of records.scan(keys.viewRows(number)))
    entries.push({ place: Buffer.from(key.subarray(offset)), digest: Buffer.from(value) })
  const keyOf = (path: string) => keys.viewNode(number, packPath(path))
  return await leadsTo(records, entries, { root: totals.root.hash, range: keys.viewNodes(number), keyOf })
}
