/** Whether what is stored of a feed still says what was signed: once at the start of a node, cheaply, and in full for `verify`. */

import { hashRevocations } from '../catalog/grant.ts'
import { hashDeps } from '../catalog/manifest.ts'
import { decodeRow, placeOf, rowDigest } from '../catalog/row.ts'
import { type InnerNode, packPath, refOf, type TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { KeyRange, Records } from '../store/records.ts'
import { HOW_TO_REBUILD } from '../store/stored-bytes.ts'
import type { FeedState } from './feed-state.ts'
import { encodeInnerNode } from './node-codec.ts'
import { RecordTrie } from './record-trie.ts'
import type { View } from './registry.ts'
import { StreamedTrie } from './streamed-trie.ts'

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
  throw new FeedmeshError('CORRUPT', `what is stored of feed ${state.feedId} is not what was signed; ${HOW_TO_REBUILD}`)
}

/** Nodes that are compared with what is stored at a time. */
const NODES_AT_ONCE = 500

interface StoredTrie {
  readonly root: Uint8Array
  /** Where its inner nodes are. */
  readonly range: KeyRange
  keyOf(path: string): Uint8Array
}

async function areStored(records: Records, nodes: readonly InnerNode[], trie: StoredTrie): Promise<boolean> {
  const stored = await records.findMany(nodes.map(({ path }) => trie.keyOf(path)))
  return nodes.every((node, at) => {
    const found = stored[at]
    return found !== undefined && Buffer.compare(found, encodeInnerNode(node)) === 0
  })
}

/** Whether the entries lead to the root, and the stored inner nodes are exactly those on the way. In memory is a part at a time. */
async function leadsTo(records: Records, entries: AsyncIterable<TrieEntry>, trie: StoredTrie): Promise<boolean> {
  let nodes: InnerNode[] = []
  let count = 0
  const streamed = new StreamedTrie((node) => nodes.push(node))
  for await (const entry of entries) {
    streamed.add(entry)
    if (nodes.length < NODES_AT_ONCE) continue
    if (!(await areStored(records, nodes, trie))) return false
    count += nodes.length
    nodes = []
  }
  const root = streamed.end()
  if (!root.hash.equals(trie.root) || !(await areStored(records, nodes, trie))) return false
  count += nodes.length
  for await (const _key of records.scanKeys(trie.range)) count -= 1
  return count === 0
}

/** @throws PEER_INVALID for a row that cannot be read, or that is not at its place */
async function* readEntries(records: Records, { number, generation, charter }: FeedState): AsyncGenerator<TrieEntry> {
  for await (const [key, value] of records.scan(keys.rows(number, generation))) {
    const row = decodeRow(value)
    const place = placeOf(charter.value.salt, row.unit, row.key)
    if (Buffer.compare(key, keys.row(number, generation, place)) !== 0)
      throw new FeedmeshError('PEER_INVALID', `row ${row.key} of ${row.unit} is not at its place`)
    yield { place, digest: rowDigest(value) }
  }
}

/** Reads every row and node of a feed: false where they are not what its root says. */
export async function isWholeState(records: Records, state: FeedState): Promise<boolean> {
  const { number, generation, root } = state
  const keyOf = (path: string) => keys.node(number, generation, packPath(path))
  const trie = { root: root.hash, range: keys.nodes(number, generation), keyOf }
  try {
    return await leadsTo(records, readEntries(records, state), trie)
  } catch (error) {
    if (isFeedmeshError(error, 'PEER_INVALID')) return false
    throw error
  }
}

async function* readVisible(records: Records, { number, generation }: View): AsyncGenerator<TrieEntry> {
  const offset = keys.viewRow(number, generation, new Uint8Array(0)).length
  for await (const [key, value] of records.scan(keys.viewRows(number, generation)))
    yield { place: Buffer.from(key.subarray(offset)), digest: Buffer.from(value) }
}

/** Reads the index of a view: false where it is not what its root says. */
export async function isWholeView(records: Records, view: View): Promise<boolean> {
  const { number, generation, totals } = view
  const keyOf = (path: string) => keys.viewNode(number, generation, packPath(path))
  const trie = { root: totals.root.hash, range: keys.viewNodes(number, generation), keyOf }
  return await leadsTo(records, readVisible(records, view), trie)
}
