/**
 * Bytes that have arrived for one reader, in blocks that are used again: what passes through leaves no garbage behind.
 * A piece handed to the reader is valid until it asks for the next one.
 */

import { FeedmeshError } from '../errors.ts'

export const BLOCK_BYTES = 256 * 1024
/** Blocks kept for later, of all channels together. */
const MAX_SPARE = 8

export class Blocks {
  readonly #spare: Buffer[] = []

  take(): Buffer {
    return this.#spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES)
  }

  give(block: Buffer): void {
    if (this.#spare.length < MAX_SPARE) this.#spare.push(block)
  }

  /** Lets go of what nobody needs. */
  clear(): void {
    this.#spare.length = 0
  }
}

interface FilledBlock {
  readonly block: Buffer
  length: number
}

export class BlockQueue {
  readonly #blocks: Blocks
  readonly #onTaken: () => void
  /** Oldest first; the last may have room. */
  #filled: FilledBlock[] = []
  #buffered = 0
  #ended = false
  #failure: Error | undefined
  #wake: (() => void) | undefined
  #iterated = false

  /** `onTaken` is called for each piece handed to the reader, after `buffered` went down. */
  constructor(blocks: Blocks, onTaken: () => void) {
    this.#blocks = blocks
    this.#onTaken = onTaken
  }

  get buffered(): number {
    return this.#buffered
  }

  /** Copies `bytes[from, to)`. */
  push(bytes: Uint8Array, from: number, to: number): void {
    if (this.#ended || this.#failure !== undefined) return
    for (let at = from; at < to; ) {
      const last = this.#lastWithRoom()
      const end = Math.min(to, at + BLOCK_BYTES - last.length)
      last.block.set(at === 0 && end === bytes.length ? bytes : bytes.subarray(at, end), last.length)
      last.length += end - at
      this.#buffered += end - at
      at = end
    }
    this.#wakeLater()
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
    for (const { block } of this.#filled.splice(0)) this.#blocks.give(block)
    this.#buffered = 0
    this.#ended = false
    this.#failure = error
    this.#poke()
  }

  async *read(): AsyncGenerator<Uint8Array, void, void> {
    if (this.#iterated) throw new FeedmeshError('INTERNAL', 'a channel can be received from only once')
    this.#iterated = true
    for (;;) {
      const filled = this.#filled.shift()
      if (filled !== undefined) {
        this.#buffered -= filled.length
        this.#onTaken()
        try {
          yield filled.block.subarray(0, filled.length)
        } finally {
          this.#blocks.give(filled.block)
        }
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

  #lastWithRoom(): FilledBlock {
    const last = this.#filled.at(-1)
    if (last !== undefined && last.length < BLOCK_BYTES) return last
    const next = { block: this.#blocks.take(), length: 0 }
    this.#filled.push(next)
    return next
  }

  /** TLS gives 16 KiB at a time; the reader is woken once everything is here that the socket has now. */
  #wakeLater(): void {
    const wake = this.#wake
    if (wake === undefined) return
    this.#wake = undefined
    setImmediate(wake)
  }

  #poke(): void {
    this.#wake?.()
    this.#wake = undefined
  }
}
