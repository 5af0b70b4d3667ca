/** A draft in memory whose bytes come in any order. */

import type { Digest } from '../catalog/digest.ts'
import { READ_BYTES, type SparseDraft } from './blob-medium.ts'
import type { ByteRange } from './blobs.ts'

/** Bytes that are written at any place; what was not written yet is zeros. */
export class GrowingBytes {
  #room: Buffer
  #size: number

  constructor(initial: Buffer) {
    this.#room = initial
    this.#size = initial.length
  }

  get written(): Buffer {
    return this.#room.subarray(0, this.#size)
  }

  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.length
    if (end > this.#room.length) {
      const room = Buffer.alloc(Math.max(end, this.#room.length * 2))
      this.#room.copy(room, 0, 0, this.#size)
      this.#room = room
    }
    this.#room.set(bytes, position)
    this.#size = Math.max(this.#size, end)
  }
}

/** `kept` is not changed. */
export function openGrowing(kept: Buffer | undefined): GrowingBytes {
  return new GrowingBytes(kept === undefined ? Buffer.alloc(0) : Buffer.from(kept))
}

export interface SparsePlace {
  commit(digest: Digest, content: Buffer): void
  discard(): void
}

export class MemorySparseDraft implements SparseDraft {
  readonly initialSize: number
  readonly #bytes: GrowingBytes
  readonly #place: SparsePlace

  constructor(bytes: GrowingBytes, place: SparsePlace) {
    this.initialSize = bytes.written.length
    this.#bytes = bytes
    this.#place = place
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    this.#bytes.write(position, bytes)
  }

  async *read({ start, end }: ByteRange): AsyncGenerator<Uint8Array> {
    for (let at = start; at < end; at += READ_BYTES) {
      const piece = this.#bytes.written.subarray(at, Math.min(at + READ_BYTES, end))
      if (piece.length === 0) return
      yield piece
    }
  }

  async commit(digest: Digest): Promise<void> {
    this.#place.commit(digest, this.#bytes.written)
  }

  async keep(): Promise<void> {}

  async discard(): Promise<void> {
    this.#place.discard()
  }
}
