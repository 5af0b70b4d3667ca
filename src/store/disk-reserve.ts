/** Disk space kept back for the moment at which there is none left. */

import { randomFillSync } from 'node:crypto'
import { open, rm, stat, statfs } from 'node:fs/promises'
import path from 'node:path'
import { isAbsent } from './storage-errors.ts'

const PIECE_BYTES = 1024 * 1024

async function sizeOf(file: string): Promise<number> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (isAbsent(error)) return 0
    throw error
  }
}

/** Bytes that an unprivileged process may still write to the file system of `directory`. */
export async function freeBytes(directory: string): Promise<number> {
  const { bavail, bsize } = await statfs(directory)
  return bavail * bsize
}

export class DiskReserve {
  readonly #directory: string
  readonly #file: string
  readonly #bytes: number

  /** A reserve of `bytes` in `directory`; nothing is written before `fill`. */
  constructor(directory: string, bytes: number) {
    this.#directory = directory
    this.#file = path.join(directory, 'reserve')
    this.#bytes = bytes
  }

  /** Takes the space unless it is taken already. Leaves nothing behind when it fails. @throws ENOSPC, EDQUOT and other errors of the file system */
  async fill(): Promise<void> {
    if ((await sizeOf(this.#file)) === this.#bytes) return
    await this.release()
    if ((await freeBytes(this.#directory)) < this.#bytes) {
      throw Object.assign(new Error(`ENOSPC: fewer than ${this.#bytes} bytes are free`), { code: 'ENOSPC' })
    }
    try {
      await this.#write()
    } catch (error) {
      await this.release()
      throw error
    }
  }

  /** Random bytes, because a file system that compresses would reserve nothing for zeros. */
  async #write(): Promise<void> {
    await using handle = await open(this.#file, 'w', 0o600)
    const piece = randomFillSync(Buffer.allocUnsafe(Math.min(PIECE_BYTES, this.#bytes)))
    for (let written = 0; written < this.#bytes; ) {
      const { bytesWritten } = await handle.write(piece.subarray(0, Math.min(piece.length, this.#bytes - written)))
      written += bytesWritten
    }
    await handle.sync()
  }

  /** Gives the space back to the file system. */
  async release(): Promise<void> {
    await rm(this.#file, { force: true })
  }
}
