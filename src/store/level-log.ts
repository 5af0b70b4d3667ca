/**
 * Takes a refused batch out of LevelDB's write-ahead log.
 *
 * A batch that failed (disk full, failed sync) may nevertheless stand in the log, whole: what the C library still had in
 * its buffer is written when the file is closed. The next open would replay it, and a write that was answered with an
 * error would come to light. While the database is closed, the log can be cut off in front of that batch; this needs no
 * space. Format: https://github.com/google/leveldb/blob/main/doc/log_format.md
 */

import { open, readdir } from 'node:fs/promises'
import path from 'node:path'

/** The log is a row of blocks of this size; no record header crosses the end of a block. */
const BLOCK_BYTES = 32_768
/** Checksum (4), length (2, little-endian), type (1). */
const HEADER_BYTES = 7
/** Sequence number (8) and count (4) precede the operations of a batch. */
const BATCH_HEADER_BYTES = 12

const FULL = 1
const FIRST = 2
const LAST = 4

/** The operation that opens every batch, as it stands in the log: a put of `value` under `key`, both under 128 bytes. */
function encodePut(key: Uint8Array, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([1, key.length]), key, Buffer.from([value.length]), value])
}

/** Finds the batch that starts with given bytes in the blocks of one log, fed in order. */
class BatchFinder {
  readonly #wanted: Buffer
  #start: number | undefined
  #head = Buffer.alloc(0)

  constructor(wanted: Buffer) {
    this.#wanted = wanted
  }

  /** Offset of the wanted batch in the log, once its beginning has been seen. */
  find(block: Buffer, blockOffset: number): number | undefined {
    let at = 0
    while (at + HEADER_BYTES <= block.length) {
      const length = block.readUInt16LE(at + 4)
      const type = block.readUInt8(at + 6)
      if (type < FULL || type > LAST || at + HEADER_BYTES + length > BLOCK_BYTES) {
        this.#start = undefined
        return undefined
      }
      if (type === FULL || type === FIRST) {
        this.#start = blockOffset + at
        this.#head = Buffer.alloc(0)
      }
      const payload = block.subarray(at + HEADER_BYTES, at + HEADER_BYTES + length)
      if (this.#start !== undefined && this.#take(payload)) return this.#start
      at += HEADER_BYTES + length
    }
    return undefined
  }

  #take(payload: Buffer): boolean {
    const missing = BATCH_HEADER_BYTES + this.#wanted.length - this.#head.length
    if (missing <= 0) return false
    this.#head = Buffer.concat([this.#head, payload.subarray(0, missing)])
    return this.#head.subarray(BATCH_HEADER_BYTES).equals(this.#wanted)
  }
}

async function cutLog(file: string, wanted: Buffer): Promise<boolean> {
  await using handle = await open(file, 'r+')
  const { size } = await handle.stat()
  const finder = new BatchFinder(wanted)
  const block = Buffer.alloc(BLOCK_BYTES)
  for (let offset = 0; offset < size; offset += BLOCK_BYTES) {
    const { bytesRead } = await handle.read(block, 0, BLOCK_BYTES, offset)
    const start = finder.find(block.subarray(0, bytesRead), offset)
    if (start !== undefined) {
      await handle.truncate(start)
      await handle.sync()
      return true
    }
  }
  return false
}

/**
 * Cuts the batch whose first operation puts `value` under `key`, and all that follows it, off the log it stands in.
 * The database in `directory` must be closed. Resolves to whether the batch was found; a batch of which less than its
 * first operation was written is not found, and not replayed either.
 */
export async function cutBatchFromLog(directory: string, key: Uint8Array, value: Uint8Array): Promise<boolean> {
  const wanted = encodePut(key, value)
  const logs = (await readdir(directory)).filter((name) => /^\d+\.log$/.test(name))
  for (const name of logs) {
    if (await cutLog(path.join(directory, name), wanted)) return true
  }
  return false
}
