/**
 * The asking end of one stream of `/feedmesh/nearby/1`: requests that are answered in their order, and what the other end tells
 * in between.
 */

import type { Channel } from '../../protocols/mesh/channel.ts'
import { parseError } from '../../protocols/mesh/exchange.ts'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  NEARBY_PROTOCOL,
  type NearbyReply,
  type NearbyRequest,
  nearbyReply,
  nearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { decodeCbor, encodeCbor } from '../catalog/cbor.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { MeshHost } from '../network/host.ts'

/** A stream without a message is ended after this long. */
export const NEARBY_IDLE_MS = 10 * 60_000
/** Largest frame, bytes. */
export const MAX_NEARBY_FRAME_BYTES = 256 * 1024
/** Messages in WINDOW_MS that the other end may send. */
const MAX_IN_WINDOW = 1000
const WINDOW_MS = 10_000
const ANSWER_TIMEOUT_MS = 15_000

export type Push = Extract<NearbyReply, { kind: 'newcomers' | 'news' | 'gone' }>
type Answer = Exclude<NearbyReply, Push>
type AnswerTo<R extends NearbyRequest> = Extract<
  NearbyReply,
  { kind: { introduce: 'introduced'; show: 'shown'; follow: 'followed' }[R['kind']] }
>

const ANSWER_KINDS = { introduce: 'introduced', show: 'shown', follow: 'followed' } as const

interface Asked {
  readonly request: NearbyRequest
  readonly answered: PromiseWithResolvers<Answer>
}

export interface NearbyStreamOptions {
  readonly host: MeshHost
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  readonly signal: AbortSignal
  /** What it throws breaks the stream. */
  readonly onPush: (push: Push) => void
}

export class NearbyStream implements AsyncDisposable {
  /** Why the stream is over; never rejects. */
  readonly closed: Promise<FeedmeshError>
  readonly #channel: Channel
  readonly #options: NearbyStreamOptions
  readonly #asked: Asked[] = []
  readonly #unlisten: () => void
  #broken: FeedmeshError | undefined

  private constructor(channel: Channel, options: NearbyStreamOptions) {
    this.#channel = channel
    this.#options = options
    const { signal } = options
    const onAbort = () => this.#break(asFeedmeshError(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    this.#unlisten = () => signal.removeEventListener('abort', onAbort)
    this.closed = this.#receive()
  }

  /** @throws as `MeshHost.open` does */
  static async open(peer: string, options: NearbyStreamOptions): Promise<NearbyStream> {
    const channel = await options.host.open(peer, NEARBY_PROTOCOL, options.signal, NEARBY_IDLE_MS)
    return new NearbyStream(channel, options)
  }

  /** @throws NOT_FOUND, BUSY and what else the other end answers; why the stream broke */
  async ask<R extends NearbyRequest>(request: R): Promise<AnswerTo<R>> {
    if (this.#broken !== undefined) throw this.#broken
    const answered = Promise.withResolvers<Answer>()
    this.#asked.push({ request, answered })
    const cancel = this.#options.setTimer(() => {
      this.#break(new FeedmeshError('TIMEOUT', `${NEARBY_PROTOCOL}: no answer after ${ANSWER_TIMEOUT_MS / 1000} s`))
    }, ANSWER_TIMEOUT_MS)
    try {
      // What fails to be sent breaks the stream, and so the answer.
      this.#send(request)
      const answer = await answered.promise
      if (answer.kind === 'error') throw parseError(answer)
      return answer as AnswerTo<R>
    } finally {
      cancel()
    }
  }

  #send(request: NearbyRequest): void {
    this.#channel
      .send(encodeFrame(encodeCbor(nearbyRequest, request)))
      .catch((error: unknown) => this.#break(asFeedmeshError(error)))
  }

  async #receive(): Promise<FeedmeshError> {
    try {
      const frames = new FrameReader(this.#channel.receive())
      let window = { endsAt: 0, count: 0 }
      for (;;) {
        const frame = await frames.read(MAX_NEARBY_FRAME_BYTES)
        if (frame === undefined)
          throw new FeedmeshError('PEER_UNREACHABLE', `${NEARBY_PROTOCOL}: the other end hung up`)
        const now = this.#options.elapsedMs()
        window = now >= window.endsAt ? { endsAt: now + WINDOW_MS, count: 1 } : { ...window, count: window.count + 1 }
        if (window.count > MAX_IN_WINDOW)
          throw new FeedmeshError('PEER_INVALID', `more than ${MAX_IN_WINDOW} messages in ${WINDOW_MS / 1000} s`)
        this.#take(decodeCbor(nearbyReply, frame, NEARBY_PROTOCOL))
      }
    } catch (error) {
      this.#break(asFeedmeshError(error))
      return this.#broken ?? asFeedmeshError(error)
    }
  }

  #take(reply: NearbyReply): void {
    if (reply.kind === 'newcomers' || reply.kind === 'news' || reply.kind === 'gone') {
      this.#options.onPush(reply)
      return
    }
    const asked = this.#asked.shift()
    if (asked === undefined || !isAnswer(asked.request, reply)) {
      if (asked !== undefined) this.#asked.unshift(asked)
      throw new FeedmeshError('PEER_INVALID', `${NEARBY_PROTOCOL}: ${reply.kind} is no answer to what was asked`)
    }
    asked.answered.resolve(reply)
  }

  #break(error: FeedmeshError): void {
    if (this.#broken !== undefined) return
    this.#broken = error
    this.#unlisten()
    this.#channel.abort(error)
    for (const { answered } of this.#asked.splice(0)) answered.reject(error)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#break(new FeedmeshError('ABORTED', `${NEARBY_PROTOCOL}: done`))
    await this.closed
  }
}

function isAnswer(request: NearbyRequest, reply: Answer): boolean {
  if (reply.kind === 'error') return true
  return reply.kind === ANSWER_KINDS[request.kind] && Buffer.compare(reply.feedId, request.feedId) === 0
}
