/**
 * Writes that need not become visible together, put into batches of bounded size. While one batch is on its way to the disk
 * the next is filled: what waits is at most two batches.
 */

import type { KeyRange, Records, Write } from '../store/records.ts'

/** A batch is full at so many bytes, or so many writes. */
const MAX_BYTES = 1024 * 1024
const MAX_WRITES = 2000

export interface BatchOptions {
  readonly records: Records
  /** 2,000 unless told. */
  readonly batchWrites?: number
  /** Called after each batch. */
  readonly onStored: () => void
}

export class BoundedBatches {
  readonly #options: BatchOptions
  #pending: Write[] = []
  #bytes = 0
  #writing: Promise<void> = Promise.resolve()

  constructor(options: BatchOptions) {
    this.#options = options
  }

  add(write: Write): void {
    this.#pending.push(write)
    this.#bytes += write.key.length + (write.type === 'put' ? write.value.length : 0)
  }

  /** Ask for `writeOut` then. */
  get isFull(): boolean {
    return this.#bytes >= MAX_BYTES || this.#pending.length >= (this.#options.batchWrites ?? MAX_WRITES)
  }

  /** Resolves when the batch before this one is stored. @throws why that one was not */
  async writeOut(): Promise<void> {
    const batch = this.#pending
    this.#pending = []
    this.#bytes = 0
    await this.#writing
    const { records, onStored } = this.#options
    this.#writing = records.write(batch).then(onStored)
    // Thrown by the next call, which waits for it.
    this.#writing.catch(() => {})
  }

  /** Resolves when everything is stored. */
  async flush(): Promise<void> {
    await this.writeOut()
    await this.#writing
  }

  /** Drops what waits and lets what is on its way end, however it ends: the owner knows that something is missing. */
  async abandon(): Promise<void> {
    this.#pending = []
    this.#bytes = 0
    await this.#writing.catch(() => {})
    this.#writing = Promise.resolve()
  }
}

/** Gives `work` batches to fill. All of them are stored when this resolves, and none is on its way when it rejects. */
export async function writeInBatches<T>(
  options: BatchOptions,
  work: (batches: BoundedBatches) => Promise<T>,
): Promise<T> {
  const batches = new BoundedBatches(options)
  try {
    const result = await work(batches)
    await batches.flush()
    return result
  } catch (error) {
    await batches.abandon()
    throw error
  }
}

/** Deletes every key of the range, as `Records.clear`; can be stopped between batches. */
export async function clearRange(records: Records, range: KeyRange, signal: AbortSignal | undefined): Promise<void> {
  await writeInBatches({ records, onStored: () => {} }, async (batches) => {
    for await (const key of records.scanKeys(range)) {
      batches.add({ type: 'del', key })
      if (!batches.isFull) continue
      signal?.throwIfAborted()
      await batches.writeOut()
    }
  })
}
