/**
 * The one way to register a protocol handler: with the verb it needs. The guard reads each request, finds out which feed it
 * is about, and asks the policy whether the peer that the connection proved may do that. What is refused never reaches the
 * handler. A feed that is unknown and one that is forbidden get the same answer.
 */

import { type ErrorReply, Exchange, renderError } from '../../protocols/mesh/exchange.ts'
import type { Shape } from '../catalog/cbor.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import type { MeshHost, ProtocolLimits } from '../network/host.ts'

export interface Policy {
  /** @throws NOT_FOUND, always the same, when `peer` may not do `verb` with `feedId` or nothing of the kind is here */
  verifyMay(peer: string, verb: 'read' | 'offer', feedId: FeedId): void
}

export interface GuardedProtocol<Request extends { readonly feedId: Uint8Array }, Reply> {
  readonly protocol: string
  readonly verb: 'read' | 'offer'
  readonly limits: ProtocolLimits
  readonly shapes: { readonly request: Shape<Request>; readonly reply: Shape<Reply | ErrorReply> }
  /** Sends the replies to one allowed request. Thrown errors become error replies. */
  answer(request: Request, reply: Replies<Reply>): Promise<void>
}

export interface Replies<Reply> {
  readonly peer: string
  readonly signal: AbortSignal
  send(reply: Reply): Promise<void>
  /** A reply that announces raw bytes, and the bytes. When `payload` fails the stream is reset: nothing else may follow. */
  sendWithBytes(reply: Reply, payload: AsyncIterable<Uint8Array>): Promise<void>
  /** The same with a payload of few bytes that is at hand. */
  sendWith(reply: Reply, payload: Uint8Array): Promise<void>
}

export const NOT_HERE = 'no such feed or file here, or this peer may not read it'

export async function serveGuarded<Request extends { readonly feedId: Uint8Array }, Reply>(
  host: MeshHost,
  policy: Policy,
  served: GuardedProtocol<Request, Reply>,
): Promise<void> {
  await host.handle(served.protocol, served.limits, async (channel, signal) => {
    const exchange = new Exchange<Reply | ErrorReply, Request>(channel, {
      out: served.shapes.reply,
      in: served.shapes.request,
      what: served.protocol,
    })
    let owesBytes = false
    const replies: Replies<Reply> = {
      peer: exchange.remote,
      signal,
      send: (reply) => exchange.send(reply),
      sendWith: (reply, payload) => exchange.sendWith(reply, payload),
      sendWithBytes: async (reply, payload) => {
        owesBytes = true
        await exchange.send(reply)
        for await (const piece of payload) await exchange.sendBytes(piece)
        owesBytes = false
      },
    }
    let isIdle = true
    // Askers keep streams open for what they may ask later: such a one does not hold up a stop.
    const onStop = () => {
      if (isIdle) channel.abort(new FeedmeshError('ABORTED', `${served.protocol}: this node is stopping`))
    }
    signal.addEventListener('abort', onStop, { once: true })
    for (;;) {
      isIdle = true
      const request = await exchange.find()
      isIdle = false
      if (request === undefined) return
      try {
        policy.verifyMay(exchange.remote, served.verb, feedIdText(request.feedId))
        await served.answer(request, replies)
      } catch (error) {
        if (signal.aborted || owesBytes) throw error
        await exchange.send(renderError(error))
      }
    }
  })
}
