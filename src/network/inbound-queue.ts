/** Pieces that have arrived on a stream and wait for the one reader of it. Says how much waits; limits are its owner's. */

import { FeedmeshError } from '../errors.ts'

export class InboundQueue {
  readonly #onTaken: (bytes: number) => void
  #pieces: Uint8Array[] = []
  #at = 0
  #buffered = 0
  #ended = false
  #failure: Error | undefined
  #wake: (() => void) | undefined
  #iterated = false

  /** `onTaken` is called for each piece handed to the reader, after `buffered` went down. It may push more. */
  constructor(onTaken: (bytes: number) => void) {
    this.#onTaken = onTaken
  }

  get buffered(): number {
    return this.#buffered
  }

  push(piece: Uint8Array): void {
    if (this.#ended || this.#failure !== undefined || piece.byteLength === 0) return
    this.#pieces.push(piece)
    this.#buffered += piece.byteLength
    this.#poke()
  }

  /** Nothing more comes; the reader gets what waits, then the end. */
  end(): void {
    if (this.#failure !== undefined) return
    this.#ended = true
    this.#poke()
  }

  /** The reader gets what waits, then `error`. Without effect after `end`. */
  fail(error: Error): void {
    if (this.#ended) return
    this.#failure ??= error
    this.#poke()
  }

  /** As `fail`, but at once and whatever came before: what waits is dropped. */
  abort(error: Error): void {
    this.#drop()
    this.#ended = false
    this.#failure = error
    this.#poke()
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    if (this.#iterated) throw new FeedmeshError('INTERNAL', 'a channel can be received from only once')
    this.#iterated = true
    for (;;) {
      const piece = this.#shift()
      if (piece !== undefined) {
        this.#onTaken(piece.byteLength)
        yield piece
      } else if (this.#failure !== undefined) {
        throw this.#failure
      } else if (this.#ended) {
        return
      } else {
        await new Promise<void>((resolve) => {
          this.#wake = resolve
        })
      }
    }
  }

  #shift(): Uint8Array | undefined {
    const piece = this.#pieces[this.#at]
    if (piece === undefined) return undefined
    this.#at += 1
    this.#buffered -= piece.byteLength
    if (this.#at === this.#pieces.length) this.#drop()
    return piece
  }

  #drop(): void {
    this.#pieces = []
    this.#at = 0
    this.#buffered = 0
  }

  #poke(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
