/** What is on the disk of a simulated node: what a restart finds. */

import type { FeedId } from '../../src/catalog/charter.ts'
import type { Digest } from '../../src/catalog/digest.ts'
import type { FloorOrder } from '../../src/ledger/floor.ts'
import type { KeyRange, ScanOptions, Write } from '../../src/store/records.ts'

function textOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}

export type Entry = readonly [key: Uint8Array, value: Uint8Array]

/** A sorted map from bytes to bytes; values are never changed, so copies are shallow. */
export class SortedBytes {
  readonly #values: Map<string, Entry>
  #keys: string[] | undefined

  constructor(values = new Map<string, Entry>()) {
    this.#values = values
  }

  get size(): number {
    return this.#values.size
  }

  copy(): SortedBytes {
    return new SortedBytes(new Map(this.#values))
  }

  find(key: Uint8Array): Uint8Array | undefined {
    return this.#values.get(textOf(key))?.[1]
  }

  /** @returns what undoes it */
  apply(writes: readonly Write[]): () => void {
    const before = new Map<string, Entry | undefined>()
    for (const write of writes) {
      const key = textOf(write.key)
      const old = this.#values.get(key)
      if (!before.has(key)) before.set(key, old)
      if (write.type === 'put') this.#values.set(key, [Buffer.from(write.key), Buffer.from(write.value)])
      else this.#values.delete(key)
      if ((old === undefined) === (write.type === 'put')) this.#change(key, write.type === 'put')
    }
    return () => {
      for (const [key, old] of before) {
        if (old === undefined) this.#values.delete(key)
        else this.#values.set(key, old)
      }
      this.#keys = undefined
    }
  }

  #change(key: string, isAdded: boolean): void {
    if (this.#keys === undefined) return
    const at = this.#lowerBound(this.#keys, key)
    if (isAdded) this.#keys.splice(at, 0, key)
    else this.#keys.splice(at, 1)
  }

  #lowerBound(sorted: readonly string[], key: string): number {
    let [low, high] = [0, sorted.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (sorted[middle]! < key) low = middle + 1
      else high = middle
    }
    return low
  }

  /** As of now. */
  range({ gte, lt, reverse = false, limit }: ScanOptions): Entry[] {
    this.#keys ??= [...this.#values.keys()].sort()
    const from = this.#lowerBound(this.#keys, textOf(gte))
    const to = Math.max(from, this.#lowerBound(this.#keys, textOf(lt)))
    const count = Math.min(to - from, limit ?? Number.POSITIVE_INFINITY)
    const keys = reverse ? this.#keys.slice(to - count, to).reverse() : this.#keys.slice(from, from + count)
    return keys.map((key) => this.#values.get(key)!)
  }

  clear(range: KeyRange): void {
    this.apply(this.range(range).map(([key]) => ({ type: 'del', key })))
  }
}

/** A file that is being fetched and can be taken up again; bytes after `synced` may be lost in a power cut. */
export interface Partial {
  bytes: Buffer
  synced: number
}

function copyDrafts(from: ReadonlyMap<Digest, Partial> = new Map()): Map<Digest, Partial> {
  return new Map([...from].map(([digest, partial]) => [digest, { ...partial }]))
}

export class DiskImage {
  records: SortedBytes
  readonly files: Map<Digest, Buffer>
  readonly partials: Map<Digest, Partial>
  /** The same, written in any order. */
  readonly sparse: Map<Digest, Partial>
  floor: ReadonlyMap<FeedId, FloorOrder>

  constructor(from?: DiskImage) {
    this.records = from?.records.copy() ?? new SortedBytes()
    this.files = new Map(from?.files)
    this.partials = copyDrafts(from?.partials)
    this.sparse = copyDrafts(from?.sparse)
    this.floor = from?.floor ?? new Map()
  }

  copy(): DiskImage {
    return new DiskImage(this)
  }
}
