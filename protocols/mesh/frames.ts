/**
 * Frames on a channel: a length (u32, big-endian), then that many bytes. Raw bytes, the payload of a blob for example, may
 * follow a frame that announces how many. A reader holds at most one frame or one piece of the channel at a time.
 */

import { FeedmeshError } from '../../src/errors.ts'
import type { Channel } from './channel.ts'

const HEADER_BYTES = 4
const MIN_BUFFER_BYTES = 4096

/** @throws BAD_INPUT when `bytes` is longer than a u32 can say. */
export function encodeFrame(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + bytes.byteLength)
  frame.set(encodeLength(bytes.byteLength))
  frame.set(bytes, HEADER_BYTES)
  return frame
}

/** Sends one frame; a body above 1 KiB is not copied. */
export async function writeFrame(channel: Pick<Channel, 'send'>, bytes: Uint8Array): Promise<void> {
  if (bytes.byteLength <= 1024) return channel.send(encodeFrame(bytes))
  await channel.send(encodeLength(bytes.byteLength))
  await channel.send(bytes)
}

function encodeLength(length: number): Uint8Array {
  if (length > 0xffff_ffff) throw new FeedmeshError('BAD_INPUT', `a frame of ${length} bytes is over 4294967295 bytes`)
  const header = new Uint8Array(HEADER_BYTES)
  new DataView(header.buffer).setUint32(0, length)
  return header
}

/** Reads one source in order; calls must not overlap. */
export class FrameReader {
  readonly #source: AsyncIterator<Uint8Array>
  /** What of the newest piece has not been read. */
  #rest: Uint8Array = new Uint8Array(0)
  #ended = false

  constructor(source: AsyncIterable<Uint8Array>) {
    this.#source = source[Symbol.asyncIterator]()
  }

  /**
   * The next frame's body, undefined when the source ends before a frame starts.
   * @throws PEER_INVALID when the frame says it has more than `maxBytes`, before any of it is read, or is cut off
   */
  async read(maxBytes: number): Promise<Uint8Array | undefined> {
    const header = await this.#readUpTo(HEADER_BYTES)
    if (header.byteLength === 0) return undefined
    if (header.byteLength < HEADER_BYTES) throw cutOff('the length of a frame', header.byteLength, HEADER_BYTES)
    return this.readExactly(readLength(header, maxBytes))
  }

  /** The next frame's body when all of it has arrived already; undefined otherwise. @throws PEER_INVALID as `read` */
  readArrived(maxBytes: number): Uint8Array | undefined {
    const rest = this.#rest
    if (rest.byteLength < HEADER_BYTES) return undefined
    const length = readLength(rest, maxBytes)
    if (rest.byteLength < HEADER_BYTES + length) return undefined
    this.#rest = rest.subarray(HEADER_BYTES + length)
    return new Uint8Array(rest.subarray(HEADER_BYTES, HEADER_BYTES + length))
  }

  /** The next `length` bytes, a copy; the caller bounds `length`. @throws PEER_INVALID when the source ends before */
  async readExactly(length: number): Promise<Uint8Array> {
    const bytes = await this.#readUpTo(length)
    if (bytes.byteLength < length) throw cutOff('a frame', bytes.byteLength, length)
    return bytes
  }

  /** The next `length` bytes in pieces, not copied, each valid until the next is asked for; what of them is not iterated is not skipped. @throws PEER_INVALID when the source ends before */
  async *stream(length: number): AsyncGenerator<Uint8Array, void, void> {
    let missing = length
    while (missing > 0) {
      const piece = await this.#take(missing)
      if (piece === undefined) throw cutOff('a payload', length - missing, length)
      missing -= piece.byteLength
      yield piece
    }
  }

  /** Up to `length` bytes, fewer only at the end of the source. */
  async #readUpTo(length: number): Promise<Uint8Array> {
    if (length === 0) return new Uint8Array(0)
    const first = (await this.#take(length)) ?? new Uint8Array(0)
    if (first.byteLength === length || first.byteLength === 0) return new Uint8Array(first)
    // Grown by doubling: a peer that sends single bytes, or announces much and sends nothing, costs what it sends.
    let bytes = new Uint8Array(Math.min(length, Math.max(MIN_BUFFER_BYTES, first.byteLength * 2)))
    bytes.set(first)
    let filled = first.byteLength
    while (filled < length) {
      const piece = await this.#take(length - filled)
      if (piece === undefined) break
      if (filled + piece.byteLength > bytes.byteLength) {
        const larger = new Uint8Array(Math.min(length, (filled + piece.byteLength) * 2))
        larger.set(bytes.subarray(0, filled))
        bytes = larger
      }
      bytes.set(piece, filled)
      filled += piece.byteLength
    }
    return bytes.subarray(0, filled)
  }

  /** A piece of 1 to `maxBytes` bytes; undefined at the end of the source. */
  async #take(maxBytes: number): Promise<Uint8Array | undefined> {
    while (this.#rest.byteLength === 0) {
      if (this.#ended) return undefined
      const next = await this.#source.next()
      if (next.done === true) {
        this.#ended = true
        return undefined
      }
      this.#rest = next.value
    }
    const piece = this.#rest.subarray(0, maxBytes)
    this.#rest = this.#rest.subarray(piece.byteLength)
    return piece
  }
}

/** @throws PEER_INVALID */
function readLength(header: Uint8Array, maxBytes: number): number {
  const length = new DataView(header.buffer, header.byteOffset).getUint32(0)
  if (length <= maxBytes) return length
  throw new FeedmeshError('PEER_INVALID', `frame of ${length} bytes is over the limit of ${maxBytes} bytes`)
}

function cutOff(what: string, got: number, expected: number): FeedmeshError {
  return new FeedmeshError('PEER_INVALID', `${what} is cut off after ${got} of ${expected} bytes`)
}
