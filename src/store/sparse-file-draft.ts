/** A draft in a file of the staging folder whose bytes come in any order: what was not written yet reads as zeros. */

import { constants, type FileHandle, open, rm } from 'node:fs/promises'
import path from 'node:path'
import type { Digest } from '../catalog/digest.ts'
import { READ_BYTES, type SparseDraft } from './blob-medium.ts'
import type { ByteRange } from './blobs.ts'
import { EarlySync, type FileDraftPlace, putInPlace, writeAll } from './draft-file.ts'
import { syncFolder } from './folders.ts'

export class SparseFileDraft implements SparseDraft {
  readonly initialSize: number
  readonly #place: FileDraftPlace
  readonly #syncing: EarlySync
  #handle: FileHandle | undefined

  private constructor(place: FileDraftPlace, handle: FileHandle, size: number) {
    this.#place = place
    this.#handle = handle
    this.#syncing = new EarlySync(handle)
    this.initialSize = size
  }

  /** Of a file that may be there already. */
  static async open(place: FileDraftPlace): Promise<SparseFileDraft> {
    const handle = await open(place.file, constants.O_RDWR | constants.O_CREAT, 0o600)
    try {
      return new SparseFileDraft(place, handle, (await handle.stat()).size)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    await writeAll(this.#opened(), bytes, position)
    this.#syncing.note(bytes.length)
  }

  async *read({ start, end }: ByteRange): AsyncGenerator<Uint8Array> {
    const piece = Buffer.allocUnsafe(Math.min(READ_BYTES, end - start))
    for (let position = start; position < end; ) {
      const length = Math.min(piece.length, end - position)
      const { bytesRead } = await this.#opened().read(piece, 0, length, position)
      if (bytesRead === 0) return
      position += bytesRead
      yield piece.subarray(0, bytesRead)
    }
  }

  async commit(digest: Digest): Promise<void> {
    await this.#syncing.finish()
    this.#place.reach('blob.synced')
    await this.#close()
    await putInPlace(this.#place, digest)
  }

  async keep(): Promise<void> {
    await this.#syncing.finish()
    await this.#close()
    await syncFolder(path.dirname(this.#place.file))
  }

  async discard(): Promise<void> {
    await this.#syncing.settle()
    await this.#close()
    await rm(this.#place.file, { force: true })
  }

  #opened(): FileHandle {
    if (this.#handle === undefined) throw new Error(`the draft ${this.#place.file} is closed`)
    return this.#handle
  }

  async #close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }
}
