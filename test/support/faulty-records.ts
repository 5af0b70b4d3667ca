/** A record store whose n-th operation fails: for sweeps over all operations of a journey. */

import type { KeyRange, Records, ScanOptions, Write } from '../../src/store/records.ts'

/** `once`: only the n-th operation fails. `latched`: from the n-th on every write fails, until `heal`. */
export type FailureMode = 'once' | 'latched'

export interface FaultyRecords extends Records {
  /** Operations so far; a scan counts once at its start and once for each entry. */
  readonly operations: number
  heal(): void
}

/** Counts operations and decides which of them fails. */
export class FailureCounter {
  readonly #failAt: number
  readonly #error: Error
  readonly #mode: FailureMode
  #operations = 0
  #healed = false

  constructor(failAt: number, error: Error, mode: FailureMode) {
    this.#failAt = failAt
    this.#error = error
    this.#mode = mode
  }

  get operations(): number {
    return this.#operations
  }

  heal(): void {
    this.#healed = true
  }

  count(kind: 'read' | 'write'): void {
    this.#operations += 1
    if (this.#healed || this.#failAt === 0) return
    const latched = this.#mode === 'latched' && kind === 'write' && this.#operations > this.#failAt
    if (latched || this.#operations === this.#failAt) throw this.#error
  }
}

/** `n` counts from 1; 0 never fails. Disposing of it disposes of `records`. */
export function failNth(records: Records, n: number, error: Error, mode: FailureMode = 'once'): FaultyRecords {
  const counter = new FailureCounter(n, error, mode)
  async function* counted<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    counter.count('read')
    for await (const item of items) {
      counter.count('read')
      yield item
    }
  }
  return {
    get operations() {
      return counter.operations
    },
    heal: () => counter.heal(),
    async find(key: Uint8Array) {
      counter.count('read')
      return records.find(key)
    },
    async findMany(keys: readonly Uint8Array[]) {
      counter.count('read')
      return records.findMany(keys)
    },
    scan: (options: ScanOptions) => counted(records.scan(options)),
    scanKeys: (options: ScanOptions) => counted(records.scanKeys(options)),
    async write(writes: readonly Write[]) {
      counter.count('write')
      return records.write(writes)
    },
    async clear(range: KeyRange) {
      counter.count('write')
      return records.clear(range)
    },
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
  }
}
