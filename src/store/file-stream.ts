/** A stream over a byte range of a file, with back-pressure, that notices a file that is too short. */

import { close, open, read } from 'node:fs'
import { Readable } from 'node:stream'
import { promisify } from 'node:util'
import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import { READ_BYTES } from './blob-medium.ts'
import type { ByteRange } from './blobs.ts'
import { asStorageError } from './storage-errors.ts'

const openFile = promisify(open)

class FileStream extends Readable {
  readonly #fd: number
  readonly #digest: Digest
  readonly #end: number
  #position: number
  #reading = false
  /** Closes the file once the read under way is over. */
  #closeLater: (() => void) | undefined

  constructor(fd: number, digest: Digest, range: ByteRange) {
    super({ highWaterMark: READ_BYTES })
    this.#fd = fd
    this.#digest = digest
    this.#position = range.start
    this.#end = range.end
  }

  override _read(): void {
    const length = Math.min(READ_BYTES, this.#end - this.#position)
    if (length === 0) {
      this.push(null)
      return
    }
    const piece = Buffer.allocUnsafeSlow(length)
    this.#reading = true
    read(this.#fd, piece, 0, length, this.#position, (error, bytesRead) => {
      this.#reading = false
      if (this.#closeLater) this.#closeLater()
      else if (error) this.destroy(asStorageError(error, `cannot read the file of ${this.#digest}`))
      else this.#take(piece.subarray(0, bytesRead))
    })
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const closeNow = () => {
      close(this.#fd, (reason) => {
        callback(error ?? (reason && asStorageError(reason, `cannot close the file of ${this.#digest}`)))
      })
    }
    if (this.#reading) this.#closeLater = closeNow
    else closeNow()
  }

  #take(piece: Buffer): void {
    if (piece.length === 0) {
      const message = `the file of ${this.#digest} ends at byte ${this.#position}, before ${this.#end}; fetch the blob again from a peer`
      this.destroy(new FeedmeshError('CORRUPT', message))
      return
    }
    this.#position += piece.length
    this.push(piece)
  }
}

/** The file is closed when the stream ends, fails or is destroyed. */
export async function openFileStream(file: string, digest: Digest, range: ByteRange): Promise<Readable> {
  return new FileStream(await openFile(file, 'r'), digest, range)
}
