/**
 * A draft in a file of the staging folder, written in pieces of 512 KiB while the next piece is being filled. The disk is told
 * to begin early, so that little is left to sync at the end.
 */

import { constants, type FileHandle, open, rename, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Digest } from '../catalog/digest.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { type Draft, READ_BYTES } from './blob-medium.ts'
import { syncFolder } from './folders.ts'

const PIECE_BYTES = 512 * 1024
/** Chunks of at least this size are written as they come, without being copied. */
const DIRECT_BYTES = 128 * 1024
/** The disk begins to sync whenever so much is new. */
const SYNC_EVERY_BYTES = 32 * 1024 * 1024

export interface FileDraftPlace {
  readonly file: string
  /** Where the content of `digest` belongs; the folder is there once this resolves. */
  readonly finalPath: (digest: Digest) => Promise<string>
  readonly reach: ReachFaultPoint
}

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await handle.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

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
  /** The early sync under way. What it fails with is told once only, so it is kept for the last one. */
  #syncing: Promise<void> | undefined
  #syncFailure: unknown
  #unsynced = 0

  private constructor(place: FileDraftPlace, handle: FileHandle, size: number) {
    this.#place = place
    this.#handle = handle
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
      this.#syncEarly(bytes.length)
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

  async commit(digest: Digest): Promise<void> {
    await this.#sync()
    this.#place.reach('blob.synced')
    await this.#close()
    const target = await this.#place.finalPath(digest)
    await rename(this.#place.file, target)
    await syncFolder(path.dirname(target))
    this.#place.reach('blob.renamed')
  }

  async keep(): Promise<void> {
    await this.#sync()
    await this.#close()
    await syncFolder(path.dirname(this.#place.file))
  }

  async discard(): Promise<void> {
    await this.#syncing
    await this.#writing.catch(() => undefined) // The bytes go away, so it does not matter that some are missing.
    await this.#close()
    await rm(this.#place.file, { force: true })
  }

  #opened(): FileHandle {
    if (this.#handle === undefined) throw new Error(`the draft ${this.#place.file} is closed`)
    return this.#handle
  }

  /** Starts to write the filled piece; waits only for the piece before it. */
  async #writeBehind(): Promise<void> {
    await this.#writing
    const full = this.#filling
    if (full === undefined || this.#filled === 0) return
    this.#writing = writeAll(this.#opened(), full.subarray(0, this.#filled), this.#position)
    this.#writing.catch(() => undefined) // Thrown by the next step, which waits for it.
    this.#position += this.#filled
    this.#syncEarly(this.#filled)
    this.#filled = 0
    this.#filling = this.#spare
    this.#spare = full
  }

  async #flush(): Promise<void> {
    await this.#writeBehind()
    await this.#writing
  }

  #syncEarly(written: number): void {
    this.#unsynced += written
    if (this.#unsynced < SYNC_EVERY_BYTES || this.#syncing !== undefined) return
    this.#unsynced = 0
    this.#syncing = this.#opened()
      .datasync()
      .catch((error: unknown) => {
        this.#syncFailure ??= error
      })
      .finally(() => {
        this.#syncing = undefined
      })
  }

  async #sync(): Promise<void> {
    await this.#flush()
    await this.#syncing
    if (this.#syncFailure !== undefined) throw this.#syncFailure
    await this.#opened().datasync()
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }
}
