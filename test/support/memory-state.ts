/** The state of a feed in memory: served to peers, compared with theirs, and changed by what comes of it. */

import { answerSync, type ServedState, type SyncSource } from '../../protocols/mesh/sync/answerer.ts'
import {
  type Ask,
  type Asking,
  type DifferenceSink,
  type LocalState,
  type ReceivedRow,
  refOfEntries,
  type Target,
} from '../../protocols/mesh/sync/asker.ts'
import { type SyncReply, type SyncRequest, syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { decodeOperation, encodeOperation, type Operation } from '../../src/catalog/operation.ts'
import { encodeRow, placeOf, type Row, rowDigest } from '../../src/catalog/row.ts'
import type { NodeRef, TrieChange, TrieEntry } from '../../src/catalog/trie.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { MemoryTrie } from './memory-trie.ts'

export const FEED_ID = sha256('feed')
const SALT = sha256('salt').subarray(0, 16)

export interface Difference {
  readonly puts: readonly Row[]
  readonly drops: readonly { readonly unit: string; readonly key: string }[]
}

/** What one way of asking finds, as names. */
export async function learn(
  way: (asking: Asking) => Promise<void>,
  state: { readonly ask: Ask; readonly local: MemoryState; readonly target: Target; readonly more?: readonly Ask[] },
): Promise<Difference> {
  const { ask, local, target, more = [] } = state
  const changes = new Map<string, Row | undefined>()
  const sink: DifferenceSink = {
    put: async (rows: readonly ReceivedRow[]) => {
      for (const { place, row } of rows) changes.set(place.toString('hex'), row)
    },
    drop: async (places) => {
      for (const place of places) changes.set(place.toString('hex'), undefined)
    },
  }
  await way({ main: ask, local, target, sink, openMore: async (count) => more.slice(0, count) })
  const dropped = [...changes].filter(([, row]) => row === undefined).map(([place]) => local.rowsByPlace.get(place))
  return { puts: [...changes.values()].flatMap((row) => row ?? []), drops: dropped.flatMap((row) => row ?? []) }
}

export class MemoryState implements ServedState, LocalState, SyncSource {
  readonly salt = SALT
  readonly trie = new MemoryTrie()
  readonly rowsByPlace = new Map<string, Row>()
  readonly log: Uint8Array[] = []
  /** Entries by place, made when they are asked for. */
  #sorted: readonly (readonly [place: string, entry: TrieEntry])[] | undefined

  static async of(rows: readonly Row[]): Promise<MemoryState> {
    const state = new MemoryState()
    await state.change({ puts: rows, drops: [] })
    return state
  }

  async change({ puts, drops }: { readonly puts: readonly Row[]; readonly drops: Difference['drops'] }): Promise<void> {
    const changes = new Map<string, TrieChange>()
    for (const { unit, key } of drops) {
      const place = placeOf(SALT, unit, key)
      changes.set(place.toString('hex'), { place, digest: undefined })
      this.rowsByPlace.delete(place.toString('hex'))
    }
    for (const row of puts) {
      const place = placeOf(SALT, row.unit, row.key)
      changes.set(place.toString('hex'), { place, digest: rowDigest(encodeRow(row)) })
      this.rowsByPlace.set(place.toString('hex'), row)
    }
    await this.trie.apply([...changes.values()])
    this.#sorted = undefined
  }

  async write(operations: readonly Operation[]): Promise<void> {
    for (const operation of operations) {
      this.log.push(encodeOperation(operation))
      await this.change(
        operation.kind === 'put' ? { puts: [operation.row], drops: [] } : { puts: [], drops: [operation] },
      )
    }
  }

  get stateRoot(): Buffer {
    return this.trie.root.hash
  }

  get count(): number {
    return this.trie.root.count
  }

  async #findInner(slot: string): Promise<NodeRef | undefined> {
    let ref: NodeRef | undefined = this.trie.root
    while (ref !== undefined && !ref.leaf) {
      const path: string = ref.path
      if (path.startsWith(slot)) return ref
      if (!slot.startsWith(path)) return undefined
      const node = await this.trie.getNode(path)
      ref = node.children.find((child) => child.path[path.length] === slot[path.length])
    }
    return undefined
  }

  async findNode(slot: string) {
    const ref = await this.#findInner(slot)
    return ref === undefined ? undefined : await this.trie.getNode(ref.path)
  }

  async findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined> {
    return (await this.#findInner(slot)) ?? refOfEntries(await this.entries(slot))
  }

  async entries(path: string): Promise<TrieEntry[]> {
    this.#sorted ??= [...this.trie.rows].sort(([a], [b]) => (a < b ? -1 : 1))
    let [low, high] = [0, this.#sorted.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#sorted[middle]![0] < path) low = middle + 1
      else high = middle
    }
    const found: TrieEntry[] = []
    for (let at = low; this.#sorted[at]?.[0].startsWith(path) === true; at += 1) found.push(this.#sorted[at]![1])
    return found
  }

  async *rows(path: string, after: Uint8Array | null): AsyncGenerator<readonly [Uint8Array, Uint8Array]> {
    for (const entry of await this.entries(path)) {
      if (after === null || entry.place.compare(after) > 0)
        yield [entry.place, encodeRow(this.rowsByPlace.get(entry.place.toString('hex'))!)]
    }
  }

  async *operations(_epoch: number, from: number, to: number): AsyncGenerator<Uint8Array> {
    if (to > this.log.length) throw new FeedmeshError('NOT_FOUND', `the log ends at ${this.log.length}`)
    yield* this.log.slice(from, to)
  }

  async head(): Promise<never> {
    throw new FeedmeshError('NOT_FOUND', 'a state in memory has no head')
  }

  getServed(): ServedState {
    return this
  }

  /** The rows as text, for comparison. */
  get contents(): Map<string, string> {
    const rows = [...this.rowsByPlace].map(
      ([place, row]) => [place, Buffer.from(encodeRow(row)).toString('hex')] as const,
    )
    return new Map(rows.sort(([a], [b]) => (a < b ? -1 : 1)))
  }
}

export interface Traffic {
  requests: SyncRequest[]
  /** Of requests and replies, frames included. */
  bytes: number
}

/** Asks `remote` as if over the wire: everything is encoded and decoded, and counted. */
export function askOf(remote: MemoryState, traffic: Traffic = { requests: [], bytes: 0 }, change = honest): Ask {
  return async function* ask(request) {
    const sent = encodeCbor(syncRequest, request)
    traffic.requests.push(request)
    traffic.bytes += sent.length + 4
    for await (const reply of change(answerSync(remote, decodeCbor(syncRequest, sent, 'request')))) {
      const received = encodeCbor(syncReply, reply)
      traffic.bytes += received.length + 4
      const decoded = decodeCbor(syncReply, received, 'reply')
      if (decoded.kind === 'error') throw new FeedmeshError('PEER_INVALID', decoded.message)
      yield decoded
    }
  }
}

export type ChangeReplies = (replies: AsyncIterable<SyncReply>) => AsyncIterable<SyncReply>

const honest: ChangeReplies = (replies) => replies

export function readLog(state: MemoryState): Operation[] {
  return state.log.map(decodeOperation)
}
