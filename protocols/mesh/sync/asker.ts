/**
 * The asking side of `/feedmesh/sync/1`: learns how the state of a feed differs from what is here. Pure: the wire and the
 * local trie are handed in, and so is what takes the difference; nothing received is trusted as a whole before the caller
 * has recomputed the root.
 *
 * 1 tail (`log-tail.ts`): replay the log from where this node stands, one round trip
 * 2 diff (`comparison.ts`): compare the two tries a level a round trip, ask for rows of leaves that differ
 * 3 subtrees (`subtrees.ts`): what is new or mostly different is asked for whole, from several peers at once
 */

import { decodeRow, MAX_ROW_BYTES, placeOf, type Row, rowDigest } from '../../../src/catalog/row.ts'
import { leafHash, type NodeRef, type TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import type { SyncReply, SyncRequest } from './messages.ts'
import { decodeSegment } from './segments.ts'

/** Sends a request and gives its replies; throws what an error reply says. A stopped iteration ends the stream. */
export type Ask = (request: SyncRequest) => AsyncIterable<Exclude<SyncReply, { kind: 'error' }>>

/** The state of the feed as it is here. */
export interface LocalState {
  readonly salt: Uint8Array
  readonly count: number
  /** What is under `slot`, as one node; undefined when nothing is. */
  findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined>
  entries(path: string): Promise<TrieEntry[]>
}

export interface Target {
  readonly feedId: Uint8Array
  readonly stateRoot: Uint8Array
  /** Entries of the signed state: nothing larger is received. */
  readonly entries: number
}

export interface ReceivedRow extends TrieEntry {
  readonly row: Row
  readonly encoded: Uint8Array
}

/** What takes the difference as it arrives. What comes later at the same place counts. */
export interface DifferenceSink {
  put(rows: readonly ReceivedRow[]): Promise<void>
  /** Nothing is at these places in the target. */
  drop(places: readonly Buffer[]): Promise<void>
}

/** What one way of asking needs. */
export interface Asking {
  readonly target: Target
  readonly local: LocalState
  readonly sink: DifferenceSink
  /** In use by the caller; asked one request at a time. */
  readonly main: Ask
  /** Further streams, to this peer or to others that serve the feed, at most `count`; those that cannot be had are left out. */
  openMore(count: number): Promise<readonly Ask[]>
}

/** @throws PEER_INVALID */
export function receiveRow(encoded: Uint8Array, salt: Uint8Array): ReceivedRow {
  if (encoded.length > MAX_ROW_BYTES) throw new FeedmeshError('PEER_INVALID', `sync: a row of ${encoded.length} bytes`)
  const row = decodeRow(encoded)
  return { row, encoded, place: placeOf(salt, row.unit, row.key), digest: rowDigest(encoded) }
}

/** Rows or operations, encoded, a segment of a reply at a time. Every segment but an only one holds some: none goes on for ever. */
export async function* segmentsOf(replies: ReturnType<Ask>): AsyncGenerator<readonly Uint8Array[]> {
  for await (const reply of replies) {
    if (reply.kind !== 'segment')
      throw new FeedmeshError('PEER_INVALID', 'sync: not the rows or operations that were asked for')
    const items = decodeSegment(reply)
    if (items.length === 0 && reply.more === 1)
      throw new FeedmeshError('PEER_INVALID', 'sync: an empty segment in the middle of a reply')
    yield items
  }
}

/** Hash and count of a leaf over `entries`, for local tries that keep them in a wider leaf. */
export function refOfEntries(entries: readonly TrieEntry[]): Pick<NodeRef, 'count' | 'hash'> | undefined {
  return entries.length === 0 ? undefined : { count: entries.length, hash: leafHash(entries) }
}
