/**
 * The asking side of `/feedmesh/sync/1`: learns how the state of a feed differs from what is here. Pure: the wire and the
 * local trie are handed in; nothing is stored, and nothing received is trusted before the caller has recomputed the root.
 *
 * 1 tail: replay the log from where this node stands, one round trip
 * 2 diff: compare the two tries a level a round trip, ask for rows of leaves that differ
 * 3 subtree: what is new or mostly different is asked for whole
 */

import { decodeOperation } from '../../../src/catalog/operation.ts'
import { decodeRow, MAX_ROW_BYTES, placeOf, type Row, rowDigest } from '../../../src/catalog/row.ts'
import { leafHash, type NodeRef, type TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { HINT_BYTES, MAX_PATHS, MAX_WANTED_ROWS, type SyncReply, type SyncRequest } from './messages.ts'
import { decodeNode, hintOf, type RemoteChild, type RemoteNode } from './node-form.ts'
import { decodeSegment } from './segments.ts'

/** Sends a request and gives its replies; throws what an error reply says. */
export type Ask = (request: SyncRequest) => AsyncIterable<Exclude<SyncReply, { kind: 'error' }>>

/** The state of the feed as it is here. */
export interface LocalState {
  readonly salt: Uint8Array
  readonly count: number
  /** What is under `slot`, as one node; undefined when nothing is. */
  findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined>
  entries(path: string): Promise<TrieEntry[]>
  /** The name of the row at a place that `entries` gave. */
  getName(place: Buffer): Promise<{ readonly unit: string; readonly key: string }>
}

export interface Target {
  readonly feedId: Uint8Array
  readonly stateRoot: Uint8Array
  /** Entries of the signed state: nothing larger is received. */
  readonly entries: number
}

export interface Difference {
  readonly puts: Row[]
  readonly drops: { readonly unit: string; readonly key: string }[]
}

/** From this many entries on, and with less than half of them here, a subtree is asked for whole. */
const MIN_SUBTREE_ENTRIES = 64
/** Deeper tries than this cannot come from honest places; see `placeOf`. */
const MAX_DEPTH_REQUESTS = 64

/** A place in the peer's trie that is to be looked at, and how many entries its parent (or the manifest) said are under it. */
interface Slot {
  readonly path: string
  readonly count: number
}

interface WantedRows {
  readonly path: string
  readonly hints: Buffer[]
}

/** Rows or operations, encoded, of all segments of a reply. Every segment but an only one holds some: none goes on for ever. */
async function* itemsOf(replies: ReturnType<Ask>): AsyncGenerator<Uint8Array> {
  for await (const reply of replies) {
    if (reply.kind !== 'segment')
      throw new FeedmeshError('PEER_INVALID', 'sync: not the rows or operations that were asked for')
    const items = decodeSegment(reply)
    if (items.length === 0 && reply.more === 1)
      throw new FeedmeshError('PEER_INVALID', 'sync: an empty segment in the middle of a reply')
    yield* items
  }
}

class Comparison {
  readonly #ask: Ask
  readonly #local: LocalState
  readonly #target: Target
  readonly puts: Row[] = []
  readonly #drops: Buffer[] = []

  constructor(ask: Ask, local: LocalState, target: Target) {
    this.#ask = ask
    this.#local = local
    this.#target = target
  }

  async run(): Promise<Difference> {
    const root: Slot = { path: '', count: this.#target.entries }
    if (this.#local.count === 0) await this.#fetchSubtree(root)
    else await this.#compareFrom(root)
    return await this.#difference()
  }

  /** Everything there instead of everything here, without comparing. */
  async runWhole(): Promise<Difference> {
    for (const entry of await this.#local.entries('')) this.#drops.push(entry.place)
    await this.#fetchSubtree({ path: '', count: this.#target.entries })
    return await this.#difference()
  }

  async #difference(): Promise<Difference> {
    const drops: Difference['drops'] = []
    for (const place of this.#drops) drops.push(await this.#local.getName(place))
    return { puts: this.puts, drops }
  }

  async #compareFrom(root: Slot): Promise<void> {
    let slots = [root]
    const wanted: WantedRows[] = []
    for (let depth = 0; slots.length > 0; depth += 1) {
      if (depth > MAX_DEPTH_REQUESTS) throw new FeedmeshError('PEER_INVALID', 'sync: the peer’s trie does not end')
      const next: Slot[] = []
      for (let at = 0; at < slots.length; at += MAX_PATHS) {
        const group = slots.slice(at, at + MAX_PATHS)
        const nodes = await this.#askNodes(group.map(({ path }) => path))
        for (const [index, slot] of group.entries()) await this.#compareNode(slot, nodes[index]!, { next, wanted })
      }
      slots = next
    }
    await this.#fetchRows(wanted)
  }

  async #askNodes(paths: string[]): Promise<RemoteNode[]> {
    const { feedId, stateRoot } = this.#target
    for await (const reply of this.#ask({ kind: 'nodes', feedId, stateRoot, paths })) {
      if (reply.kind === 'nodes' && reply.nodes.length === paths.length) return reply.nodes.map(decodeNode)
    }
    throw new FeedmeshError('PEER_INVALID', 'sync: the peer did not answer with the nodes that were asked for')
  }

  async #compareNode(slot: Slot, node: RemoteNode, out: { next: Slot[]; wanted: WantedRows[] }): Promise<void> {
    // Counts add up to what was signed, so a peer cannot send for ever.
    if (countOf(node) !== slot.count)
      throw new FeedmeshError(
        'PEER_INVALID',
        `sync: ${countOf(node)} entries under ${slot.path || 'the root'}, not ${slot.count}`,
      )
    if (node.kind === 'inner') return this.#compareInner(slot.path, node, out.next)
    const missing = new Set(node.kind === 'leaf' ? node.hints.map((hint) => hint.toString('hex')) : [])
    for (const entry of await this.#local.entries(slot.path)) {
      const hint = hintOf(entry).toString('hex')
      if (!missing.delete(hint)) this.#drops.push(entry.place)
    }
    if (missing.size > 0)
      out.wanted.push({ path: slot.path, hints: [...missing].map((hint) => Buffer.from(hint, 'hex')) })
  }

  async #compareInner(slot: string, node: Extract<RemoteNode, { kind: 'inner' }>, next: Slot[]): Promise<void> {
    if (!node.path.startsWith(slot))
      throw new FeedmeshError('PEER_INVALID', `sync: trie node ${node.path} sent for ${slot}`)
    await this.#dropOutside(slot, node)
    for (const child of node.children) {
      const childSlot = node.path + child.nibble.toString(16)
      const local = await this.#local.findRef(childSlot)
      if (local !== undefined && local.count === child.count && local.hash.subarray(0, HINT_BYTES).equals(child.hash))
        continue
      if (isMostlyNew(child, local?.count ?? 0)) {
        for (const entry of await this.#local.entries(childSlot)) this.#drops.push(entry.place)
        await this.#fetchSubtree({ path: childSlot, count: child.count })
      } else {
        next.push({ path: childSlot, count: child.count })
      }
    }
  }

  /** Local entries in the slot that the remote node leaves no room for. */
  async #dropOutside(slot: string, node: Extract<RemoteNode, { kind: 'inner' }>): Promise<void> {
    const outside: string[] = []
    for (let depth = slot.length; depth < node.path.length; depth += 1) {
      const kept = Number.parseInt(node.path[depth]!, 16)
      for (let nibble = 0; nibble < 16; nibble += 1)
        if (nibble !== kept) outside.push(node.path.slice(0, depth) + nibble.toString(16))
    }
    const present = new Set(node.children.map((child) => child.nibble))
    for (let nibble = 0; nibble < 16; nibble += 1)
      if (!present.has(nibble)) outside.push(node.path + nibble.toString(16))
    for (const path of outside) for (const entry of await this.#local.entries(path)) this.#drops.push(entry.place)
  }

  #take(encoded: Uint8Array): Row {
    if (encoded.length > MAX_ROW_BYTES)
      throw new FeedmeshError('PEER_INVALID', `sync: a row of ${encoded.length} bytes`)
    if (this.puts.length >= this.#target.entries)
      throw new FeedmeshError('PEER_INVALID', 'sync: the peer sends more rows than the signed state has')
    const row = decodeRow(encoded)
    this.puts.push(row)
    return row
  }

  async #fetchSubtree({ path, count }: Slot): Promise<void> {
    const { feedId, stateRoot } = this.#target
    let received = 0
    for await (const encoded of itemsOf(this.#ask({ kind: 'subtree', feedId, stateRoot, path, after: null }))) {
      received += 1
      if (received > count)
        throw new FeedmeshError('PEER_INVALID', `sync: more than the ${count} rows under ${path || 'the root'}`)
      this.#take(encoded)
    }
  }

  async #fetchRows(wanted: readonly WantedRows[]): Promise<void> {
    let group: { path: string; hints: Buffer }[] = []
    let count = 0
    for (const { path, hints } of wanted) {
      if (count + hints.length > MAX_WANTED_ROWS && count > 0) {
        await this.#fetchRowGroup(group, count)
        group = []
        count = 0
      }
      group.push({ path, hints: Buffer.concat(hints) })
      count += hints.length
    }
    if (count > 0) await this.#fetchRowGroup(group, count)
  }

  async #fetchRowGroup(wants: { path: string; hints: Buffer }[], count: number): Promise<void> {
    const { feedId, stateRoot } = this.#target
    const hints = new Set(
      wants.flatMap(({ hints }) =>
        Array.from({ length: hints.length / HINT_BYTES }, (_, i) =>
          hints.toString('hex', i * HINT_BYTES, (i + 1) * HINT_BYTES),
        ),
      ),
    )
    let received = 0
    for await (const encoded of itemsOf(this.#ask({ kind: 'rows', feedId, stateRoot, wants }))) {
      const row = this.#take(encoded)
      received += 1
      const hint = hintOf({ place: placeOf(this.#local.salt, row.unit, row.key), digest: rowDigest(encoded) })
      if (!hints.has(hint.toString('hex')))
        throw new FeedmeshError('PEER_INVALID', `sync: row ${row.key} of ${row.unit} was not asked for`)
    }
    if (received !== count) throw new FeedmeshError('PEER_INVALID', `sync: ${received} rows instead of ${count}`)
  }
}

function countOf(node: RemoteNode): number {
  if (node.kind === 'inner') return node.children.reduce((sum, child) => sum + child.count, 0)
  return node.kind === 'leaf' ? node.hints.length : 0
}

function isMostlyNew(child: RemoteChild, localCount: number): boolean {
  return child.count >= MIN_SUBTREE_ENTRIES && localCount * 2 < child.count
}

/** By comparing tries. The result leads to the target's root if the peer was honest. */
export function compareState(ask: Ask, local: LocalState, target: Target): Promise<Difference> {
  return new Comparison(ask, local, target).run()
}

/** All of it, for the case that two different entries share a hint and comparing did not lead to the target's root. */
export function fetchWhole(ask: Ask, local: LocalState, target: Target): Promise<Difference> {
  return new Comparison(ask, local, target).runWhole()
}

/** By replaying the log. @throws NOT_FOUND when the peer's log does not reach back that far */
export async function replayTail(
  ask: Ask,
  target: Target,
  log: { readonly epoch: number; readonly from: number; readonly to: number },
): Promise<Difference> {
  const puts = new Map<string, Row>()
  const drops = new Map<string, { unit: string; key: string }>()
  let operations = 0
  const { feedId, stateRoot } = target
  for await (const encoded of itemsOf(ask({ kind: 'tail', feedId, stateRoot, ...log }))) {
    operations += 1
    if (operations > log.to - log.from)
      throw new FeedmeshError('PEER_INVALID', 'sync: more operations than were asked for')
    const operation = decodeOperation(encoded)
    const { unit, key } = operation.kind === 'put' ? operation.row : operation
    const name = JSON.stringify([unit, key])
    if (operation.kind === 'put') puts.set(name, operation.row)
    else puts.delete(name)
    drops.set(name, { unit, key })
  }
  if (operations !== log.to - log.from)
    throw new FeedmeshError('PEER_INVALID', `sync: ${operations} operations instead of ${log.to - log.from}`)
  return { puts: [...puts.values()], drops: [...drops.values()] }
}

/** Hash and count of a leaf over `entries`, for local tries that keep them in a wider leaf. */
export function refOfEntries(entries: readonly TrieEntry[]): Pick<NodeRef, 'count' | 'hash'> | undefined {
  return entries.length === 0 ? undefined : { count: entries.length, hash: leafHash(entries) }
}
