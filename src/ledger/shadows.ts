/** The states that are on their way, one a feed at most: which are in the store, and which somebody works on. */

import { bool, decodeCbor, encodeCbor, record, type Shaped, uint } from '../catalog/cbor.ts'
import type { FeedId } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import { type BatchOptions, writeInBatches } from './bounded-batches.ts'
import type { FeedState } from './feed-state.ts'
import { RecordTrie } from './record-trie.ts'
import { removeShadow, type Shadow, type ShadowRef, StoredShadow } from './shadow.ts'

const storedShadow = record({
  generation: [1, uint()],
  /** Whether the rows that it begins with have all been copied: without that it is begun anew. */
  isCopied: [2, bool],
  openedAtMs: [3, uint()],
})
type ShadowRecord = Shaped<typeof storedShadow>

/** One that nobody took up for so long is given up. */
const MAX_IDLE_MS = 7 * 24 * 3_600_000

export interface ShadowsOptions {
  readonly records: Records
  readonly reach: ReachFaultPoint
  /** Unix time, ms. */
  readonly now: () => number
  /** Writes of a batch at most; 2,000 unless told. */
  readonly batchWrites?: number
}

export class Shadows {
  readonly #options: ShadowsOptions
  /** Numbers of the feeds whose shadow somebody has open. */
  readonly #open = new Map<number, FeedId>()

  constructor(options: ShadowsOptions) {
    this.#options = options
  }

  isOpen(feedId: FeedId): boolean {
    return [...this.#open.values()].includes(feedId)
  }

  /** Whether an earlier attempt left rows of the feed's next state. */
  async has(base: FeedState): Promise<boolean> {
    return (await this.#find(base.number)) !== undefined
  }

  /**
   * The shadow that an earlier attempt left, else a new one that begins with the rows of `base`. Dispose of it to keep it for
   * the next attempt.
   * @throws BUSY while another one of the feed is open
   */
  async open(base: FeedState, options: { readonly signal?: AbortSignal } = {}): Promise<Shadow> {
    const { number, feedId } = base
    if (this.#open.has(number))
      throw new FeedmeshError('BUSY', `the next state of feed ${feedId} is being fetched already; try again later`)
    this.#open.set(number, feedId)
    try {
      return await this.#takeUp(base, options.signal)
    } catch (error) {
      this.#open.delete(number)
      throw error
    }
  }

  /** Those in the store. */
  async list(): Promise<ShadowRef[]> {
    const found: ShadowRef[] = []
    for await (const [key, value] of this.#options.records.scan(keys.shadows()))
      found.push({ number: Buffer.from(key).readUInt32BE(1), generation: decodeRecord(value).generation })
    return found
  }

  /** Removes those that nobody has taken up for a week. */
  async clearIdle(): Promise<void> {
    for (const { number } of await this.list()) {
      const found = await this.#find(number)
      if (found === undefined || this.#open.has(number)) continue
      if (found.openedAtMs + MAX_IDLE_MS > this.#options.now()) continue
      await removeShadow(this.#options.records, { number, generation: found.generation })
    }
  }

  async #takeUp(base: FeedState, signal: AbortSignal | undefined): Promise<Shadow> {
    const found = await this.#find(base.number)
    if (found?.isCopied === true && found.generation > base.generation) {
      await this.#mark(base, found.generation, true)
      return await this.#settled(this.#create(base, { generation: found.generation, isEmpty: false, signal }))
    }
    if (found !== undefined && found.generation > base.generation)
      await removeShadow(this.#options.records, { number: base.number, generation: found.generation })
    const generation = base.generation + 1
    const isEmpty = base.root.count === 0
    await this.#mark(base, generation, isEmpty)
    if (isEmpty) return this.#create(base, { generation, isEmpty, signal })
    await this.#copy(base, generation, signal)
    await this.#mark(base, generation, true)
    return await this.#settled(this.#create(base, { generation, isEmpty, signal }))
  }

  #create(
    base: FeedState,
    state: { readonly generation: number; readonly isEmpty: boolean; readonly signal: AbortSignal | undefined },
  ): StoredShadow {
    return new StoredShadow(base, state.generation, {
      ...this.#batching(),
      reach: this.#options.reach,
      signal: state.signal,
      isEmpty: state.isEmpty,
      onOver: () => this.#open.delete(base.number),
    })
  }

  async #settled(shadow: StoredShadow): Promise<StoredShadow> {
    await shadow.settle()
    return shadow
  }

  async #copy(base: FeedState, generation: number, signal: AbortSignal | undefined): Promise<void> {
    const rows = RecordTrie.ofState(this.#options.records, base.number, base.generation).values('')
    await writeInBatches(this.#batching(), async (batches) => {
      for await (const [place, value] of rows) {
        batches.add({ type: 'put', key: keys.row(base.number, generation, place), value })
        if (!batches.isFull) continue
        signal?.throwIfAborted()
        await batches.writeOut()
      }
    })
  }

  #batching(): BatchOptions {
    const { reach, ...options } = this.#options
    return { ...options, onStored: () => reach('shadow.stored') }
  }

  async #find(number: number): Promise<ShadowRecord | undefined> {
    const stored = await this.#options.records.find(keys.shadow(number))
    return stored === undefined ? undefined : decodeRecord(stored)
  }

  async #mark({ number }: FeedState, generation: number, isCopied: boolean): Promise<void> {
    const { records, now, reach } = this.#options
    const value = encodeCbor(storedShadow, { generation, isCopied, openedAtMs: now() })
    await records.write([{ type: 'put', key: keys.shadow(number), value }])
    reach('shadow.begun')
  }
}

function decodeRecord(stored: Uint8Array): ShadowRecord {
  return decodeCbor(storedShadow, stored, 'stored state on its way')
}
