/** The key-value store in memory: for tests and simulations, and gone with the process. */

import { MemoryLevel } from 'memory-level'
import { FeedmeshError } from '../errors.ts'
import type { KeyRange, Records, ScanOptions, Write } from './records.ts'

/** Copies, so that neither the writer's nor the reader's buffers are the store's. */
function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes)
}

class MemoryRecords implements Records {
  readonly #level = new MemoryLevel<Uint8Array, Uint8Array>({ keyEncoding: 'view', valueEncoding: 'view' })
  #closed = false

  async find(key: Uint8Array): Promise<Uint8Array | undefined> {
    const value = await this.#open().get(key)
    return value && copy(value)
  }

  async findMany(wanted: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const values = await this.#open().getMany([...wanted])
    return values.map((value) => value && copy(value))
  }

  async *scan(options: ScanOptions): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]> {
    const entries = this.#open().iterator({ ...options })
    for await (const [key, value] of this.#untilClosed(entries)) yield [copy(key), copy(value)]
  }

  async *scanKeys(options: ScanOptions): AsyncIterable<Uint8Array> {
    const found = this.#open().keys({ ...options })
    for await (const key of this.#untilClosed(found)) yield copy(key)
  }

  async write(writes: readonly Write[]): Promise<void> {
    const level = this.#open()
    await level.batch(
      writes.map((write) =>
        write.type === 'put'
          ? { type: 'put' as const, key: copy(write.key), value: copy(write.value) }
          : { type: 'del' as const, key: copy(write.key) },
      ),
    )
  }

  async clear(range: KeyRange): Promise<void> {
    await this.#open().clear({ gte: range.gte, lt: range.lt })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#level.close()
  }

  async *#untilClosed<T>(items: AsyncIterable<T>): AsyncGenerator<T> {
    try {
      yield* items
    } catch (error) {
      this.#open()
      throw error
    }
  }

  #open(): MemoryLevel<Uint8Array, Uint8Array> {
    if (this.#closed) throw new FeedmeshError('ABORTED', 'the store is closed')
    return this.#level
  }
}

export function createMemoryRecords(): Records {
  return new MemoryRecords()
}
