/** All hashes of a content that is seen once, in pieces of any size. */

import { createHash, type Hash } from 'node:crypto'
import { CHUNKED_FROM_BYTES } from '../catalog/row.ts'
import { CHUNK_BYTES } from './blobs.ts'

export type HashAlgorithm = 'sha1' | 'sha256' | 'sha512' | 'md5'

export interface FinishedHashes {
  /** Lower-case hex by algorithm. */
  readonly hashes: Readonly<Partial<Record<HashAlgorithm, string>>>
  /** The sha256 of each chunk, concatenated; undefined for a content under CHUNKED_FROM_BYTES. */
  readonly chunkList: Buffer | undefined
}

export class ContentHashes {
  readonly #sha256 = createHash('sha256')
  readonly #others = new Map<HashAlgorithm, Hash>()
  readonly #chunkDigests: Buffer[] = []
  #chunk: Hash | undefined
  #inChunk = 0
  #size = 0

  /** sha256 is always computed. */
  constructor(algorithms: Iterable<HashAlgorithm>) {
    for (const algorithm of algorithms) {
      if (algorithm !== 'sha256') this.#others.set(algorithm, createHash(algorithm))
    }
  }

  update(bytes: Uint8Array): void {
    for (const hasher of this.#others.values()) hasher.update(bytes)
    this.#size += bytes.length
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + CHUNK_BYTES - this.#inChunk)
      this.#sha256.update(piece)
      this.#chunk?.update(piece)
      this.#inChunk += piece.length
      at += piece.length
      if (this.#inChunk === CHUNK_BYTES) this.#endChunk()
    }
  }

  /** The first chunk needs no hasher of its own: its digest is that of the whole content so far. */
  #endChunk(): void {
    this.#chunkDigests.push((this.#chunk ?? this.#sha256.copy()).digest())
    this.#chunk = createHash('sha256')
    this.#inChunk = 0
  }

  /** To be called once, after the last `update`. */
  finish(): FinishedHashes {
    const hashes: Partial<Record<HashAlgorithm, string>> = { sha256: this.#sha256.digest('hex') }
    for (const [algorithm, hasher] of this.#others) hashes[algorithm] = hasher.digest('hex')
    if (this.#size < CHUNKED_FROM_BYTES) return { hashes, chunkList: undefined }
    if (this.#inChunk > 0) this.#endChunk()
    return { hashes, chunkList: Buffer.concat(this.#chunkDigests) }
  }
}
