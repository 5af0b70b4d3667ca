/**
 * A draft in a file of the staging folder, written in pieces of 512 KiB while the next piece is being filled. The disk is told
 * to begin early, so that little is left to sync at the end.
 */

import { constants, type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Digest } from '../catalog/digest.ts'
import { type Draft, READ_BYTES } from './blob-medium.ts'
import type { StagedReader } from './blobs.ts'
import { EarlySync, type FileDraftPlace, putInPlace, writeAll } from './draft-file.ts'
import { syncFolder } from './folders.ts'
import { asStorageError } from './storage-errors.ts'

const PIECE_BYTES = 512 * 1024
/** Chunks of at least this size are written as they come, without being copied. */
const DIRECT_BYTES = 128 * 1024

export class FileDraft implements Draft {
  readonly initialSize: number
  readonly #place: FileDraftPlace
  #handle: FileHandle | undefined
  #position: number
  #filling: Buffer | undefined
  #spare: Buffer | undefined
  #filled = 0
  /** The write under way; it reads from `#spare`. */
  #writing: Promise<void> = Promise.resolve()
  readonly #syncing: EarlySync

  private constructor(place: FileDraftPlace, handle: FileHandle, size: number) {
    this.#place = place
    this.#handle = handle
    this.#syncing = new EarlySync(handle)
    this.initialSize = size
    this.#position = size
  }

  /** A new file, or with `resume` one that may hold a part already. */
  static async open(place: FileDraftPlace, mode: 'new' | 'resume'): Promise<FileDraft> {
    const create = mode === 'new' ? constants.O_CREAT | constants.O_EXCL : constants.O_CREAT
    const handle = await open(place.file, constants.O_RDWR | create, 0o600)
    try {
      return new FileDraft(place, handle, (await handle.stat()).size)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async append(bytes: Uint8Array): Promise<void> {
    if (bytes.length >= DIRECT_BYTES) {
      await this.#flush()
      await writeAll(this.#opened(), bytes, this.#position)
      this.#position += bytes.length
      this.#syncing.note(bytes.length)
      return
    }
    if (this.#filled + bytes.length > PIECE_BYTES) await this.#writeBehind()
    this.#filling ??= Buffer.allocUnsafeSlow(PIECE_BYTES)
    this.#filling.set(bytes, this.#filled)
    this.#filled += bytes.length
  }

  async *read(): AsyncGenerator<Uint8Array> {
    await this.#flush()
    const piece = Buffer.allocUnsafe(READ_BYTES)
    for (let position = 0; ; ) {
      const { bytesRead } = await this.#opened().read(piece, 0, piece.length, position)
      if (bytesRead === 0) return
      position += bytesRead
      yield piece.subarray(0, bytesRead)
    }
  }

  async openReader(): Promise<StagedReader> {
    const handle = await open(this.#place.file, 'r')
    const read = async (position: number, maxBytes: number) => {
      try {
        const buffer = Buffer.allocUnsafe(maxBytes)
        let { bytesRead } = await handle.read(buffer, 0, maxBytes, position)
        if (bytesRead < maxBytes && this.#handle !== undefined) {
          // The rest may be in memory.
          await this.#flush()
          bytesRead = (await handle.read(buffer, 0, maxBytes, position)).bytesRead
        }
        return buffer.subarray(0, bytesRead)
      } catch (error) {
        throw asStorageError(error, 'cannot read a blob that is being written')
      }
    }
    return { read, [Symbol.asyncDispose]: () => handle.close() }
  }

  async commit(digest: Digest): Promise<void> {
    await this.#sync()
    this.#place.reach('blob.synced')
    await this.#close()
    await putInPlace(this.#place, digest)
  }

  async keep(): Promise<void> {
    await this.#sync()
    await this.#close()
    await syncFolder(path.dirname(this.#place.file))
  }

  async discard(): Promise<void> {
    await this.#syncing.settle()
    await this.#writing.catch(() => undefined) // The bytes go away, so it does not matter that some are missing.
    await this.#close()
    await rm(this.#place.file, { force: true })
  }

  #opened(): FileHandle {
    if (this.#handle === undefined) throw new Error(`the draft ${this.#place.file} is closed`)
    return this.#handle
  }

  /** Starts to write the filled piece; waits only for the piece before it. Readers ask for it, too. */
  async #writeBehind(): Promise<void> {
    for (let writing: Promise<void> | undefined; writing !== this.#writing; ) {
      writing = this.#writing
      await writing
    }
    const full = this.#filling
    if (full === undefined || this.#filled === 0) return
    this.#writing = writeAll(this.#opened(), full.subarray(0, this.#filled), this.#position)
    this.#writing.catch(() => undefined) // Thrown by the next step, which waits for it.
    this.#position += this.#filled
    this.#syncing.note(this.#filled)
    this.#filled = 0
    this.#filling = this.#spare
    this.#spare = full
  }

  async #flush(): Promise<void> {
    await this.#writeBehind()
    await this.#writing
  }

  async #sync(): Promise<void> {
    await this.#flush()
    await this.#syncing.finish()
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }
}
