/**
 * One connection of the bulk lane, after the handshake: chunks of one channel after the other, as
 * protocols/mesh/bulk/README.md says. Who reads is told of each piece as it comes, and copies what it keeps.
 */

import type { TLSSocket } from 'node:tls'
import { END_OF_CHANNEL, RESET_OF_CHANNEL } from '../../protocols/mesh/bulk/messages.ts'

const HEADER_BYTES = 4
/** A chunk's length shares a TLS record, of 16 KiB at most, with its first bytes: so only these are copied. */
const RECORD_BYTES = 16 * 1024
/** What is left to say gets this long before the connection is cut. */
const LAST_WORDS_MS = 1000

/** Who takes what arrives. It may hand over to another reader in each of its methods. */
export interface LaneReader {
  readonly maxChunkBytes: number
  /** Part of a chunk: `bytes[from, to)`, valid only during the call. */
  onBytes(bytes: Uint8Array, from: number, to: number): void
  onChunkEnd(): void
  /** The other end's half close. */
  onEnd(): void
  /** Nothing comes any more: the other end gave the channel up, or the connection is gone. */
  onBroken(why: 'reset' | 'closed'): void
}

export class LaneSocket {
  readonly remote: string
  /** Resolves once the connection is gone. */
  readonly closed: Promise<void>
  readonly #tls: TLSSocket
  readonly #head = Buffer.alloc(HEADER_BYTES)
  #headFilled = 0
  /** Bytes of the chunk under way that have not come yet. */
  #left = 0
  #reader: LaneReader | undefined
  #record: Buffer | undefined
  /** Chunks on their way out. */
  #writing = 0
  #isResetting = false
  #isClosed = false

  constructor(tls: TLSSocket, remote: string) {
    this.remote = remote
    this.#tls = tls
    const closed = Promise.withResolvers<void>()
    this.closed = closed.promise
    const onGone = (): void => {
      if (this.#isClosed) return
      this.#isClosed = true
      tls.destroy()
      this.#break('closed')
      closed.resolve()
    }
    tls.on('error', onGone)
    tls.on('end', onGone)
    tls.on('close', onGone)
    tls.setNoDelay(true)
    tls.setKeepAlive(true, 30_000)
    if (tls.destroyed) queueMicrotask(onGone)
  }

  get isOpen(): boolean {
    return !this.#isClosed && !this.#isResetting && !this.#tls.destroyed
  }

  /** Who reads from the next chunk on; without a reader nothing may come. */
  readWith(reader: LaneReader | undefined): void {
    this.#reader = reader
  }

  /** The first `length` of `bytes` have arrived. */
  feed(bytes: Uint8Array, length = bytes.length): void {
    for (let at = 0; at < length && this.isOpen; ) {
      if (this.#left === 0) {
        at = this.#takeHead(bytes, at, length)
        continue
      }
      const end = Math.min(length, at + this.#left)
      this.#left -= end - at
      this.#reader?.onBytes(bytes, at, end)
      at = end
      if (this.#left === 0) this.#reader?.onChunkEnd()
    }
  }

  pause(): void {
    this.#tls.pause()
  }

  resume(): void {
    this.#tls.resume()
  }

  /** One chunk, not more than the other end takes. `bytes` may be changed once this resolves. @throws when the connection is gone */
  async write(bytes: Uint8Array): Promise<void> {
    const head = Math.min(bytes.length, RECORD_BYTES - HEADER_BYTES)
    const isWhole = head === bytes.length
    const first = this.#beginRecord(bytes.length, head, isWhole)
    first.set(isWhole ? bytes : bytes.subarray(0, head), HEADER_BYTES)
    this.#writing += 1
    try {
      if (isWhole) return await this.#write(first)
      // Both are written in order; the second is done only when the first is.
      this.#tls.write(first)
      await this.#write(bytes.subarray(head))
    } finally {
      this.#writing -= 1
    }
  }

  async writeEnd(): Promise<void> {
    await this.#write(encodeLength(END_OF_CHANNEL))
  }

  /** Tells the other end if it can be told, and closes the connection. */
  reset(): void {
    if (!this.isOpen) return
    this.#isResetting = true
    this.#reader = undefined
    // In the middle of a chunk it would be taken for a part of that.
    if (this.#writing > 0) {
      this.#tls.destroy()
      return
    }
    this.#tls.write(encodeLength(RESET_OF_CHANNEL))
    this.#tls.destroySoon()
    setTimeout(() => this.#tls.destroy(), LAST_WORDS_MS).unref()
  }

  close(): void {
    this.#tls.destroy()
  }

  #beginRecord(length: number, head: number, isWhole: boolean): Buffer {
    // A small chunk is written while others may still be on their way; the large one's record is free once it is written.
    const record = isWhole
      ? Buffer.allocUnsafe(HEADER_BYTES + head)
      : (this.#record ??= Buffer.allocUnsafe(RECORD_BYTES))
    record.writeUInt32BE(length)
    return record
  }

  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#tls.write(bytes, (error) => {
        if (error === null || error === undefined) resolve()
        else reject(error)
      })
    })
  }

  /** @returns where the length's bytes end */
  #takeHead(bytes: Uint8Array, at: number, length: number): number {
    let next = at
    while (next < length && this.#headFilled < HEADER_BYTES) {
      this.#head[this.#headFilled] = bytes[next]!
      this.#headFilled += 1
      next += 1
    }
    if (this.#headFilled === HEADER_BYTES) {
      this.#headFilled = 0
      this.#onLength(this.#head.readUInt32BE())
    }
    return next
  }

  #onLength(chunkBytes: number): void {
    const reader = this.#reader
    if (reader !== undefined && chunkBytes === END_OF_CHANNEL) {
      reader.onEnd()
    } else if (reader !== undefined && chunkBytes === RESET_OF_CHANNEL) {
      this.#break('reset')
      this.#tls.destroy()
    } else if (reader !== undefined && chunkBytes <= reader.maxChunkBytes) {
      this.#left = chunkBytes
    } else {
      // Nothing of it is read: neither a chunk beyond the limit nor one that nobody asked for.
      this.#break('closed')
      this.#tls.destroy()
    }
  }

  #break(why: 'reset' | 'closed'): void {
    const reader = this.#reader
    this.#reader = undefined
    reader?.onBroken(why)
  }
}

function encodeLength(length: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header.writeUInt32BE(length)
  return header
}
