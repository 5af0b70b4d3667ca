/**
 * A state of a feed on its way: rows in a generation of their own, which no view counts and no peer is shown, until what they
 * lead to is the signed root. It outlives the process: what arrived before a kill is not asked for again.
 *
 * Nothing of it is believed but by its root: rows are checked one by one as they come, and all of them are read again for
 * the nodes, so what a crash or a failed batch left out only shows as a difference to the signed state.
 */

import type { FeedId } from '../catalog/charter.ts'
import { decodeRow, MAX_ROW_BYTES, placeOf, type Row, rowDigest } from '../catalog/row.ts'
import type { Stamp } from '../catalog/stamp.ts'
import { EMPTY_ROOT, leafHash, type NodeRef, packPath, type TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { type BatchOptions, BoundedBatches, writeInBatches } from './bounded-batches.ts'
import type { FeedState } from './feed-state.ts'
import { encodeInnerNode } from './node-codec.ts'
import { findInner, RecordTrie } from './record-trie.ts'
import { StreamedTrie } from './streamed-trie.ts'

export interface Shadow extends AsyncDisposable {
  readonly feedId: FeedId
  readonly generation: number
  readonly salt: Uint8Array
  /** Rows as of the last `settle`. */
  readonly count: number
  /** Latest stamp of its rows as of the last `settle`. */
  readonly latestStamp: Stamp
  /** What is under `slot` as of the last `settle`; undefined when nothing is. */
  findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined>
  /** Entries under `path` that are stored: some of those put since the last `settle` may be among them. */
  entries(path: string): Promise<TrieEntry[]>
  /** The name of the row at a place that `entries` gave. */
  getName(place: Buffer): Promise<{ readonly unit: string; readonly key: string }>
  /**
   * Rows as received, in any order; each replaces the one at its place. Resolves when they are accepted, not yet stored.
   * @throws PEER_INVALID for bytes that are no row: those before it are taken; STORAGE_FULL, STORAGE_IO also for earlier ones
   */
  put(encoded: readonly Uint8Array[]): Promise<void>
  /** In the order of the calls: a place that is dropped and then put is there. */
  drop(places: readonly Buffer[]): Promise<void>
  /** Stores what was put, and builds the inner nodes anew in one pass over all rows. */
  settle(): Promise<NodeRef>
  /** Stored rows in order of place, after a place if one is given. */
  rows(after?: Uint8Array): AsyncIterable<Row>
  /** Removes it, rows and all. */
  discard(): Promise<void>
}

/** A shadow in the store. */
export interface ShadowRef {
  /** Local number of the feed. */
  readonly number: number
  readonly generation: number
}

/** Removes rows, nodes and then the record that names them. */
export async function removeShadow(records: Records, { number, generation }: ShadowRef): Promise<void> {
  await records.clear(keys.rows(number, generation))
  await records.clear(keys.nodes(number, generation))
  await records.write([shadowUnmark(number)])
}

export function shadowUnmark(number: number): Write {
  return { type: 'del', key: keys.shadow(number) }
}

export interface ShadowParts extends BatchOptions {
  readonly reach: ReachFaultPoint
  readonly signal: AbortSignal | undefined
  /** Called once, when nobody uses it any more. */
  readonly onOver: () => void
}

export class StoredShadow implements Shadow {
  readonly feedId: FeedId
  readonly generation: number
  readonly number: number
  readonly salt: Uint8Array
  readonly #parts: ShadowParts
  readonly #trie: RecordTrie
  readonly #batches: BoundedBatches
  #root: NodeRef = EMPTY_ROOT
  #latestStamp: Stamp = 0n
  #isSettled: boolean
  #isOver = false

  /** `isEmpty`: it is known to have no rows. */
  constructor(base: FeedState, generation: number, options: ShadowParts & { readonly isEmpty: boolean }) {
    this.feedId = base.feedId
    this.number = base.number
    this.generation = generation
    this.salt = base.charter.value.salt
    this.#parts = options
    this.#trie = RecordTrie.ofState(options.records, base.number, generation)
    this.#batches = new BoundedBatches(options)
    this.#isSettled = options.isEmpty
  }

  get count(): number {
    return this.#root.count
  }

  get latestStamp(): Stamp {
    return this.#latestStamp
  }

  async findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined> {
    const inner = await findInner(this.#trie, this.#root, slot)
    if (inner !== undefined) return inner
    const entries = await this.#trie.entries(slot)
    return entries.length === 0 ? undefined : { count: entries.length, hash: leafHash(entries) }
  }

  entries(path: string): Promise<TrieEntry[]> {
    return this.#trie.entries(path)
  }

  async getName(place: Buffer): Promise<{ readonly unit: string; readonly key: string }> {
    const stored = await this.#parts.records.find(this.#rowKey(place))
    if (stored === undefined) throw new FeedmeshError('CONFLICT', 'the feed changed while it was compared')
    return decodeRow(stored)
  }

  async put(encoded: readonly Uint8Array[]): Promise<void> {
    for (const value of encoded) {
      if (value.length > MAX_ROW_BYTES) throw new FeedmeshError('PEER_INVALID', `a row of ${value.length} bytes`)
      const { unit, key } = decodeRow(value)
      await this.#write({ type: 'put', key: this.#rowKey(placeOf(this.salt, unit, key)), value })
    }
  }

  async drop(places: readonly Buffer[]): Promise<void> {
    for (const place of places) await this.#write({ type: 'del', key: this.#rowKey(place) })
  }

  async settle(): Promise<NodeRef> {
    this.#verifyOpen()
    if (this.#isSettled) return this.#root
    await this.#stored(() => this.#batches.flush())
    this.#isSettled = true
    try {
      await this.#build()
    } catch (error) {
      this.#isSettled = false
      throw error
    }
    this.#parts.reach('shadow.settled')
    return this.#root
  }

  async *rows(after?: Uint8Array): AsyncGenerator<Row> {
    for await (const [, value] of this.#trie.values('', after)) yield decodeRow(value)
  }

  async discard(): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    const { records, onOver } = this.#parts
    try {
      await this.#batches.abandon()
      await removeShadow(records, this)
    } finally {
      onOver()
    }
  }

  /** It has become the feed's state: whoever still holds it can change nothing. */
  spend(): void {
    this.#isOver = true
    this.#parts.onOver()
  }

  /** Whether its rows are known to lead to `root`. */
  leadsTo(root: NodeRef): boolean {
    return !this.#isOver && this.#isSettled && this.#root === root
  }

  /** Keeps what was put, for the next attempt. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isOver) return
    this.#isOver = true
    try {
      await this.#stored(() => this.#batches.flush())
    } finally {
      this.#parts.onOver()
    }
  }

  #rowKey(place: Uint8Array): Uint8Array {
    return keys.row(this.number, this.generation, place)
  }

  #verifyOpen(): void {
    this.#parts.signal?.throwIfAborted()
    if (this.#isOver) throw new FeedmeshError('ABORTED', `the state of feed ${this.feedId} on its way was put away`)
  }

  async #write(write: Write): Promise<void> {
    this.#verifyOpen()
    this.#isSettled = false
    this.#batches.add(write)
    if (this.#batches.isFull) await this.#stored(() => this.#batches.writeOut())
  }

  /** After a failure later calls go on: what is missing then shows in the root. */
  async #stored(work: () => Promise<void>): Promise<void> {
    try {
      await work()
    } catch (error) {
      await this.#batches.abandon()
      throw error
    }
  }

  async #build(): Promise<void> {
    const { records, signal } = this.#parts
    await records.clear(keys.nodes(this.number, this.generation))
    let latest: Stamp = 0n
    this.#root = await writeInBatches(this.#parts, async (batches) => {
      const trie = new StreamedTrie((node) =>
        batches.add({
          type: 'put',
          key: keys.node(this.number, this.generation, packPath(node.path)),
          value: encodeInnerNode(node),
        }),
      )
      for await (const [place, value] of this.#trie.values('')) {
        trie.add({ place: Buffer.from(place), digest: rowDigest(value) })
        const stamp = stampOf(value)
        if (stamp > latest) latest = stamp
        if (!batches.isFull) continue
        signal?.throwIfAborted()
        await batches.writeOut()
      }
      return trie.end()
    })
    this.#latestStamp = latest
  }
}

/** Of an encoded row, without reading the rest of it. A row that was cut off on the disk shows in the root. */
function stampOf(encoded: Uint8Array): Stamp {
  if (encoded.length < 10) return 0n
  return Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength).readBigUInt64BE(2)
}
