/**
 * The one way to register a protocol handler: with the verb it needs. The guard reads each request, finds out which feed it
 * is about, and asks the policy whether the peer that the connection proved may do that. What is refused never reaches the
 * handler. A feed that is unknown and one that is forbidden get the same answer.
 */

import type { Channel } from '../../protocols/mesh/channel.ts'
import { type ErrorReply, Exchange, renderError } from '../../protocols/mesh/exchange.ts'
import type { Shape } from '../catalog/cbor.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { MeshHost, ProtocolLimits } from '../network/host.ts'

/** `blobs`: to read the blobs of a feed and news of them, which a peer may also without a link; see `LinkPolicy`. */
export type Right = 'read' | 'offer' | 'blobs'

export interface Policy {
  /** @throws NOT_FOUND, always the same, when `peer` may not do `verb` with `feedId` or nothing of the kind is here */
  verifyMay(peer: string, verb: Right, feedId: FeedId): void
}

export interface GuardedProtocol<Request extends { readonly feedId: Uint8Array }, Reply, Ahead = undefined> {
  readonly protocol: string
  readonly verb: Right
  readonly limits: ProtocolLimits
  readonly shapes: { readonly request: Shape<Request>; readonly reply: Shape<Reply | ErrorReply> }
  /** Looks up together what several allowed requests that came together need. What it throws `answer` meets again. */
  readAhead?(requests: readonly Request[]): Promise<Ahead>
  /** Sends the replies to one allowed request. Thrown errors become error replies. */
  answer(request: Request, reply: Replies<Reply>, ahead: Ahead | undefined): Promise<void>
}

export interface Replies<Reply> {
  readonly peer: string
  readonly signal: AbortSignal
  send(reply: Reply): Promise<void>
  /** A reply that announces raw bytes, and the bytes. When `payload` fails the stream is reset: nothing else may follow. */
  sendWithBytes(reply: Reply, payload: AsyncIterable<Uint8Array>): Promise<void>
  /** The same with a payload of few bytes that is at hand; it leaves with the next ones, soon. */
  sendWith(reply: Reply, payload: Uint8Array): Promise<void>
}

export const NOT_HERE = 'no such feed or file here, or this peer may not read it'

/** Requests that came together and are looked up together, at most. */
const MAX_TOGETHER = 32
/** Small answers leave together, this many bytes at most. */
const MAX_OUTBOX_BYTES = 256 * 1024

/** One stream of a peer that asks. */
class GuardedStream<Request extends { readonly feedId: Uint8Array }, Reply, Ahead> implements Replies<Reply> {
  readonly signal: AbortSignal
  readonly #exchange: Exchange<Reply | ErrorReply, Request>
  readonly #policy: Policy
  readonly #served: GuardedProtocol<Request, Reply, Ahead>
  #outbox: { readonly value: Reply; readonly bytes: Uint8Array }[] = []
  #outboxBytes = 0
  #owesBytes = false
  #isIdle = true

  constructor(
    channel: Channel,
    signal: AbortSignal,
    about: { policy: Policy; served: GuardedProtocol<Request, Reply, Ahead> },
  ) {
    const { protocol, shapes } = about.served
    this.#exchange = new Exchange(channel, { out: shapes.reply, in: shapes.request, what: protocol })
    this.#policy = about.policy
    this.#served = about.served
    this.signal = signal
    // Askers keep streams open for what they may ask later: such a one does not hold up a stop.
    const onStop = () => {
      if (this.#isIdle) channel.abort(new FeedmeshError('ABORTED', `${protocol}: this node is stopping`))
    }
    signal.addEventListener('abort', onStop, { once: true })
  }

  get peer(): string {
    return this.#exchange.remote
  }

  async serve(): Promise<void> {
    for (;;) {
      this.#isIdle = true
      const first = await this.#exchange.find()
      this.#isIdle = false
      if (first === undefined) return
      await this.#answerAll(this.#served.readAhead === undefined ? [first] : this.#withArrived(first))
    }
  }

  #withArrived(first: Request): Request[] {
    const requests = [first]
    while (requests.length < MAX_TOGETHER) {
      const next = this.#exchange.findArrived()
      if (next === undefined) break
      requests.push(next)
    }
    return requests
  }

  async #answerAll(requests: readonly Request[]): Promise<void> {
    const ahead = await this.#readAhead(requests)
    for (const request of requests) {
      try {
        this.#verifyMay(request)
        await this.#served.answer(request, this, ahead)
      } catch (error) {
        if (this.signal.aborted || this.#owesBytes) throw error
        await this.#flush()
        await this.#exchange.send(renderError(error))
      }
    }
    await this.#flush()
  }

  async #readAhead(requests: readonly Request[]): Promise<Ahead | undefined> {
    if (requests.length === 1) return undefined
    try {
      return await this.#served.readAhead?.(requests.filter((request) => this.#isAllowed(request)))
    } catch (error) {
      // Whoever is answered alone meets it again.
      if (isFeedmeshError(error)) return undefined
      throw error
    }
  }

  #verifyMay(request: Request): void {
    this.#policy.verifyMay(this.peer, this.#served.verb, feedIdText(request.feedId))
  }

  #isAllowed(request: Request): boolean {
    try {
      this.#verifyMay(request)
      return true
    } catch (error) {
      if (isFeedmeshError(error)) return false
      throw error
    }
  }

  async send(reply: Reply): Promise<void> {
    await this.#flush()
    await this.#exchange.send(reply)
  }

  async sendWith(value: Reply, bytes: Uint8Array): Promise<void> {
    this.#outbox.push({ value, bytes })
    this.#outboxBytes += bytes.length
    if (this.#outboxBytes >= MAX_OUTBOX_BYTES) await this.#flush()
  }

  async sendWithBytes(reply: Reply, payload: AsyncIterable<Uint8Array>): Promise<void> {
    await this.#flush()
    this.#owesBytes = true
    await this.#exchange.send(reply)
    for await (const piece of payload) await this.#exchange.sendBytes(piece)
    this.#owesBytes = false
  }

  async #flush(): Promise<void> {
    const values = this.#outbox
    this.#outbox = []
    this.#outboxBytes = 0
    await this.#exchange.sendAllWith(values)
  }
}

export async function serveGuarded<Request extends { readonly feedId: Uint8Array }, Reply, Ahead = undefined>(
  host: MeshHost,
  policy: Policy,
  served: GuardedProtocol<Request, Reply, Ahead>,
): Promise<void> {
  await host.handle(served.protocol, served.limits, async (channel, signal) => {
    await new GuardedStream(channel, signal, { policy, served }).serve()
  })
}
