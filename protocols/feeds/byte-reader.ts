/** Reads a stream of bytes step by step: exact parts, or the next so many bytes as a stream of their own. */

import { FeedmeshError } from '../../src/errors.ts'

export class ByteReader implements Disposable {
  readonly #source: AsyncIterator<Uint8Array>
  #piece: Buffer = Buffer.alloc(0)
  #position = 0

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /** Bytes read so far. */
  get position(): number {
    return this.#position
  }

  /** Whether nothing is left. */
  async isAtEnd(): Promise<boolean> {
    return !(await this.#fill())
  }

  /** @throws BAD_PACKAGE when fewer are left */
  async read(size: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    for await (const piece of this.take(size)) pieces.push(piece)
    return Buffer.concat(pieces)
  }

  /** The next `size` bytes. Ending it early leaves the rest to be read. @throws BAD_PACKAGE when fewer are left */
  async *take(size: number): AsyncGenerator<Buffer> {
    for (let missing = size; missing > 0; ) {
      if (!(await this.#fill())) throw new FeedmeshError('BAD_PACKAGE', 'the file is cut off')
      const part = this.#piece.subarray(0, missing)
      this.#piece = this.#piece.subarray(part.length)
      this.#position += part.length
      missing -= part.length
      yield part
    }
  }

  /** All that is left. */
  async *takeRest(): AsyncGenerator<Buffer> {
    while (await this.#fill()) {
      const piece = this.#piece
      this.#piece = Buffer.alloc(0)
      this.#position += piece.length
      yield piece
    }
  }

  /** What is left is not wanted: the source ends as soon as it can. */
  [Symbol.dispose](): void {
    // A source that fails on its way out has nobody left to tell.
    this.#source.return?.().catch(() => undefined)
  }

  async #fill(): Promise<boolean> {
    while (this.#piece.length === 0) {
      const { done, value } = await this.#source.next()
      if (done === true) return false
      this.#piece = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    }
    return true
  }
}
