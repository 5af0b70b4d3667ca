/**
 * A byte range of a file for one reader: two buffers that are used again, one being read into while the other is out, so that
 * a large file costs no more memory than a small one and leaves no garbage behind.
 */

import { type FileHandle, open } from 'node:fs/promises'
import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import { READ_BYTES } from './blob-medium.ts'
import type { BlobPieces, ByteRange } from './blobs.ts'
import { asStorageError } from './storage-errors.ts'

export class FilePieces implements BlobPieces {
  readonly #handle: FileHandle
  readonly #digest: Digest
  readonly #range: ByteRange
  /** The read under way: the file is closed after it. */
  #reading: Promise<Uint8Array> | undefined

  private constructor(handle: FileHandle, digest: Digest, range: ByteRange) {
    this.#handle = handle
    this.#digest = digest
    this.#range = range
  }

  static async open(file: string, digest: Digest, range: ByteRange): Promise<FilePieces> {
    return new FilePieces(await open(file, 'r'), digest, range)
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, void> {
    const { start, end } = this.#range
    const size = Math.min(READ_BYTES, end - start)
    let free = Buffer.allocUnsafeSlow(size)
    let next = Buffer.allocUnsafeSlow(Math.min(size, Math.max(0, end - start - size)))
    let reading = this.#read(free, start)
    for (let position = start; position < end; ) {
      const piece = await reading
      position += piece.length
      ;[free, next] = [next, free]
      if (position < end) reading = this.#read(free, position)
      yield piece
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#reading?.catch(() => undefined) // Nobody waits for it any more.
    await this.#handle.close()
  }

  #read(buffer: Buffer, position: number): Promise<Uint8Array> {
    const read = this.#readSome(buffer, position)
    this.#reading = read
    // Awaited when its turn comes, if it comes.
    read.catch(() => undefined)
    return read
  }

  async #readSome(buffer: Buffer, position: number): Promise<Uint8Array> {
    const length = Math.min(buffer.length, this.#range.end - position)
    try {
      const { bytesRead } = await this.#handle.read(buffer, 0, length, position)
      if (bytesRead > 0) return bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead)
    } catch (error) {
      throw asStorageError(error, `cannot read the file of ${this.#digest}`)
    }
    const message = `the file of ${this.#digest} ends at byte ${position}, before ${this.#range.end}; fetch the blob again from a peer`
    throw new FeedmeshError('CORRUPT', message)
  }
}
