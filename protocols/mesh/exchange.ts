/**
 * How all protocols of this folder talk: frames of CBOR on a channel, requests answered in order on one stream.
 *
 * asker → answerer: request*      answerer → asker: for each request one or more replies
 * A reply of the kind `error` ends the request it answers, not the stream.
 */

import { decodeCbor, encodeCbor, record, type Shape, text } from '../../src/catalog/cbor.ts'
import { asFeedmeshError, FeedmeshError, isErrorCode } from '../../src/errors.ts'
import type { Channel } from './channel.ts'
import { encodeFrame, FrameReader, writeFrame } from './frames.ts'
import { type ProgressRule, ProgressWatch, withProgress } from './progress.ts'

/** Largest frame of any protocol here, bytes. */
export const MAX_FRAME_BYTES = 1024 * 1024

/** Longest message of an error reply, bytes. */
export const MAX_MESSAGE_BYTES = 2048

/** `message` cut to what a text of at most `maxBytes` takes, at a character. */
export function fitMessage(message: string, maxBytes: number): string {
  const encoded = Buffer.from(message)
  if (encoded.length <= maxBytes) return encoded.toString()
  let end = maxBytes
  while (((encoded[end] ?? 0) & 0xc0) === 0x80) end -= 1
  return encoded.toString('utf8', 0, end)
}

/** The reply that says why a request was refused; part of every protocol's reply shape as `error`. */
export const errorReply = record({ code: [1, text(64)], message: [2, text(MAX_MESSAGE_BYTES)] })

export interface ErrorReply {
  readonly kind: 'error'
  readonly code: string
  readonly message: string
}

/** What an answerer sends for a thrown error: the defects of this node stay in its own log. */
export function renderError(thrown: unknown): ErrorReply {
  const error = asFeedmeshError(thrown)
  const hidden = error.code === 'INTERNAL' || error.code === 'STORAGE_IO' || error.code === 'CORRUPT'
  return {
    kind: 'error',
    code: error.code,
    message: hidden ? 'the other node failed; its log has the details' : fitMessage(error.message, MAX_MESSAGE_BYTES),
  }
}

/** An error reply as the error that the asker throws. Codes of later versions become PEER_INVALID. */
export function parseError(reply: ErrorReply): FeedmeshError {
  const code = isErrorCode(reply.code) ? reply.code : 'PEER_INVALID'
  return new FeedmeshError(code, printableText(reply.message))
}

/** A peer's text, made safe to print: no control characters. */
function printableText(text: string): string {
  // oxlint-disable-next-line no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, ' ')
}

/** One end of a stream that sends values of one shape and receives those of another. */
export class Exchange<Out, In> implements AsyncDisposable {
  readonly #channel: Channel
  readonly #frames: FrameReader
  readonly #outShape: Shape<Out>
  readonly #inShape: Shape<In>
  readonly #what: string
  readonly #watch: ProgressWatch | undefined
  #ended = false

  constructor(
    channel: Channel,
    shapes: {
      readonly out: Shape<Out>
      readonly in: Shape<In>
      readonly what: string
      /** What the other end has to give while it is waited for, from each `expect` on. */
      readonly progress?: ProgressRule | undefined
    },
  ) {
    this.#channel = channel
    const { progress } = shapes
    this.#watch = progress === undefined ? undefined : new ProgressWatch(progress)
    const received = channel.receive()
    this.#frames = new FrameReader(progress === undefined ? received : withProgress(received, progress, this.#watch))
    this.#outShape = shapes.out
    this.#inShape = shapes.in
    this.#what = shapes.what
  }

  get remote(): string {
    return this.#channel.remote
  }

  async send(value: Out): Promise<void> {
    await writeFrame(this.#channel, encodeCbor(this.#outShape, value))
  }

  /** The rule of progress starts anew: what the other end gave so far does not count. */
  expect(): void {
    this.#watch?.restart()
  }

  /** Several values in one piece: one write instead of many. */
  async sendAll(values: readonly Out[]): Promise<void> {
    if (values.length > 0) await this.#channel.send(Buffer.concat(values.map((value) => this.#frame(value))))
  }

  /** Values and the few raw bytes that each announces, in one piece. */
  async sendAllWith(values: readonly { readonly value: Out; readonly bytes: Uint8Array }[]): Promise<void> {
    if (values.length === 0) return
    await this.#channel.send(Buffer.concat(values.flatMap(({ value, bytes }) => [this.#frame(value), bytes])))
  }

  async sendBytes(bytes: Uint8Array): Promise<void> {
    await this.#channel.send(bytes)
  }

  #frame(value: Out): Uint8Array {
    return encodeFrame(encodeCbor(this.#outShape, value))
  }

  /** undefined when the other end has nothing more to say. @throws PEER_INVALID */
  async find(): Promise<In | undefined> {
    const frame = await this.#frames.read(MAX_FRAME_BYTES)
    return frame === undefined ? undefined : decodeCbor(this.#inShape, frame, this.#what)
  }

  /** The next value when all of it has arrived already; undefined otherwise. @throws PEER_INVALID */
  findArrived(): In | undefined {
    const frame = this.#frames.readArrived(MAX_FRAME_BYTES)
    return frame === undefined ? undefined : decodeCbor(this.#inShape, frame, this.#what)
  }

  /** @throws PEER_INVALID, also when the other end has ended */
  async receive(): Promise<In> {
    const value = await this.find()
    if (value === undefined)
      throw new FeedmeshError('PEER_INVALID', `${this.#what}: the other end hung up instead of answering`)
    return value
  }

  /** Raw bytes that follow a frame, in pieces that are valid until the next is asked for. */
  receiveBytes(length: number): AsyncIterable<Uint8Array> {
    return this.#frames.stream(length)
  }

  /** Nothing more is sent; what was asked has been answered. */
  async end(): Promise<void> {
    await this.#channel.end()
    this.#ended = true
  }

  /** Resets the stream unless it was ended. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) this.#channel.abort(new FeedmeshError('ABORTED', `${this.#what}: done`))
  }
}
