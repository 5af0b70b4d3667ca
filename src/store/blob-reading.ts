/** Reads blobs: the index record first, then the bytes from the records or from the medium. */

import { createHash } from 'node:crypto'
import { addAbortSignal, Readable } from 'node:stream'
import { algorithmOf, type Digest } from '../catalog/digest.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import { decodeBlobFacts, type StoredBlob } from './blob-facts.ts'
import { type BlobMedium, READ_BYTES } from './blob-medium.ts'
import type { BlobPieces, ByteRange } from './blobs.ts'
import { keys } from './keys.ts'
import type { Records } from './records.ts'
import { asStorageError } from './storage-errors.ts'

function bytesStream(bytes: Uint8Array): Readable {
  let at = 0
  return new Readable({
    highWaterMark: READ_BYTES,
    read() {
      const piece = bytes.subarray(at, at + READ_BYTES)
      at += piece.length
      this.push(piece.length > 0 ? piece : null)
    },
  })
}

function checkRange(digest: Digest, size: number, range: ByteRange): void {
  const { start, end } = range
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && start >= 0 && start < end && end <= size) return
  throw new FeedmeshError('RANGE', `bytes ${start} to ${end} lie outside ${digest}, which has ${size} bytes`)
}

class StreamPieces implements BlobPieces {
  readonly #stream: Readable

  constructor(stream: Readable) {
    this.#stream = stream
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return this.#stream[Symbol.asyncIterator]()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stream.destroy()
  }
}

/** Disposing of the pieces destroys the stream. */
export function streamPieces(stream: Readable): BlobPieces {
  return new StreamPieces(stream)
}

export class BlobReading {
  readonly #records: Records
  readonly #medium: BlobMedium

  constructor(records: Records, medium: BlobMedium) {
    this.#records = records
    this.#medium = medium
  }

  async find(digest: Digest): Promise<StoredBlob | undefined> {
    const record = await this.#records.find(keys.blob(digest))
    return record && decodeBlobFacts(digest, record)
  }

  async open(digest: Digest, range?: ByteRange): Promise<Readable> {
    const stored = await this.#get(digest)
    if (range) checkRange(digest, stored.size, range)
    const { start, end } = range ?? { start: 0, end: stored.size }
    if (stored.place === 'file') return this.#openFile(digest, { start, end })
    return bytesStream((await this.#readInline(digest, stored.size)).subarray(start, end))
  }

  async openPieces(digest: Digest, range?: ByteRange): Promise<BlobPieces> {
    const stored = this.#medium.openPieces === undefined ? undefined : await this.find(digest)
    if (stored?.place !== 'file' || this.#medium.openPieces === undefined) {
      return streamPieces(await this.open(digest, range))
    }
    if (range) checkRange(digest, stored.size, range)
    try {
      const pieces = await this.#medium.openPieces(digest, range ?? { start: 0, end: stored.size })
      if (pieces) return pieces
    } catch (error) {
      throw asStorageError(error, `cannot open the file of ${digest}`)
    }
    throw await this.#lost(digest, 'all bytes')
  }

  async read(digest: Digest, maxBytes: number): Promise<Uint8Array> {
    const stored = await this.#get(digest)
    if (stored.size > maxBytes) {
      throw new FeedmeshError('TOO_LARGE', `${digest} has ${stored.size} bytes, the limit here is ${maxBytes}`)
    }
    if (stored.place === 'inline') return this.#readInline(digest, stored.size)
    const pieces: Buffer[] = []
    for await (const piece of await this.#openFile(digest, { start: 0, end: stored.size })) pieces.push(piece as Buffer)
    return Buffer.concat(pieces)
  }

  async findSmall(digests: readonly Digest[]): Promise<(Uint8Array | undefined)[]> {
    return await this.#records.findMany(digests.map((digest) => keys.blobBytes(digest)))
  }

  async verify(digest: Digest, signal?: AbortSignal): Promise<'ok' | 'missing' | 'corrupt'> {
    const stored = await this.find(digest)
    if (stored === undefined) return 'missing'
    if (stored.place === 'file' && (await this.findFileSize(digest)) === undefined) return 'missing'
    const hasher = createHash(algorithmOf(digest))
    try {
      const stream = await this.open(digest)
      if (signal) addAbortSignal(signal, stream)
      for await (const piece of stream) hasher.update(piece as Buffer)
    } catch (error) {
      if (isFeedmeshError(error, 'CORRUPT')) return 'corrupt'
      if (isFeedmeshError(error, 'NOT_FOUND')) return 'missing'
      throw asFeedmeshError(error)
    }
    return `${algorithmOf(digest)}:${hasher.digest('hex')}` === digest ? 'ok' : 'corrupt'
  }

  async findFileSize(digest: Digest): Promise<number | undefined> {
    try {
      return await this.#medium.findSize(digest)
    } catch (error) {
      throw asStorageError(error, `cannot look for the file of ${digest}`)
    }
  }

  async #get(digest: Digest): Promise<StoredBlob> {
    const stored = await this.find(digest)
    if (stored === undefined) throw new FeedmeshError('NOT_FOUND', `there is no blob ${digest} here`)
    return stored
  }

  /** A blob may be removed between two steps of reading it: then it is not found, and not corrupt. */
  async #lost(digest: Digest, what: string): Promise<FeedmeshError> {
    if ((await this.find(digest)) === undefined)
      return new FeedmeshError('NOT_FOUND', `there is no blob ${digest} here`)
    return new FeedmeshError('CORRUPT', `${what} of ${digest} are missing; fetch the blob again from a peer`)
  }

  async #readInline(digest: Digest, size: number): Promise<Uint8Array> {
    const bytes = await this.#records.find(keys.blobBytes(digest))
    if (bytes?.length === size) return bytes
    throw await this.#lost(digest, 'bytes')
  }

  async #openFile(digest: Digest, range: ByteRange): Promise<Readable> {
    try {
      const stream = await this.#medium.open(digest, range)
      if (stream) return stream
    } catch (error) {
      throw asStorageError(error, `cannot open the file of ${digest}`)
    }
    throw await this.#lost(digest, 'all bytes')
  }
}
