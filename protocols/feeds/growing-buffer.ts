/** Bytes collected piece by piece; costs at most twice what it holds, however small the pieces are. */

export class GrowingBuffer {
  #bytes = Buffer.alloc(0)
  #size = 0

  get size(): number {
    return this.#size
  }

  append(piece: Uint8Array): void {
    const needed = this.#size + piece.length
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2, 1024))
      this.#bytes.copy(grown, 0, 0, this.#size)
      this.#bytes = grown
    }
    this.#bytes.set(piece, this.#size)
    this.#size = needed
  }

  clear(): void {
    this.#size = 0
  }

  /** What was collected so far; valid until the next `append`. */
  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#size)
  }
}
