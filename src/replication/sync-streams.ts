/**
 * Streams of the sync protocol to peers. One to each peer is kept open between pulls, so that news costs one round trip; the
 * polls keep it alive. A stream that broke, or whose answer was not read to its end, is replaced at the next request.
 */

import { Exchange, parseError } from '../../protocols/mesh/exchange.ts'
import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import type { Ask } from '../../protocols/mesh/sync/asker.ts'
import {
  SYNC_PROTOCOL,
  type SyncReply,
  type SyncRequest,
  syncReply,
  syncRequest,
} from '../../protocols/mesh/sync/messages.ts'
import { isFeedmeshError } from '../errors.ts'
import type { MeshHost } from '../network/host.ts'

/** Longer than a poll interval with its jitter. */
export const SYNC_IDLE_MS = 3 * 60_000

export interface SyncStreamsOptions {
  readonly host: MeshHost
  /** What a peer has to give in answer to a request; unlimited unless told. */
  readonly progress?: ProgressRule
}

type SyncExchange = Exchange<SyncRequest, SyncReply>

export class SyncStreams implements AsyncDisposable {
  readonly #options: SyncStreamsOptions
  readonly #idle = new Map<string, SyncStream>()

  constructor(options: SyncStreamsOptions) {
    this.#options = options
  }

  /** The peer's idle stream, or one that is opened with the first request. Dispose it to give it back. */
  lend(peer: string, signal: AbortSignal): LentStream {
    const stream = this.#idle.get(peer) ?? new SyncStream(this.#options, peer)
    this.#idle.delete(peer)
    return new LentStream(stream, signal, async () => {
      if (stream.isOpen && !this.#idle.has(peer) && !signal.aborted) this.#idle.set(peer, stream)
      else await stream.close()
    })
  }

  /** Ends the idle streams. */
  async [Symbol.asyncDispose](): Promise<void> {
    const streams = [...this.#idle.values()]
    this.#idle.clear()
    for (const stream of streams) await stream.close()
  }
}

export class LentStream implements AsyncDisposable {
  readonly ask: Ask
  readonly #giveBack: () => Promise<void>

  constructor(stream: SyncStream, signal: AbortSignal, giveBack: () => Promise<void>) {
    this.ask = (request) => stream.ask(request, signal)
    this.#giveBack = giveBack
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#giveBack()
  }
}

class SyncStream {
  readonly #options: SyncStreamsOptions
  readonly #peer: string
  #exchange: SyncExchange | undefined

  constructor(options: SyncStreamsOptions, peer: string) {
    this.#options = options
    this.#peer = peer
  }

  get isOpen(): boolean {
    return this.#exchange !== undefined
  }

  async *ask(request: SyncRequest, signal: AbortSignal): ReturnType<Ask> {
    const first = await this.#begin(request, signal)
    const exchange = this.#exchange!
    const onAbort = () => void exchange[Symbol.asyncDispose]()
    signal.addEventListener('abort', onAbort, { once: true })
    let isWhole = false
    try {
      for (let reply = first; ; reply = await exchange.receive()) {
        isWhole = reply.kind !== 'segment' || reply.more === 0
        if (reply.kind === 'error') throw parseError(reply)
        yield reply
        if (isWhole) return
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
      if (!isWhole) await this.close()
    }
  }

  /** The first reply. A stream that was kept may have died unnoticed: then another one is asked. */
  async #begin(request: SyncRequest, signal: AbortSignal): Promise<SyncReply> {
    signal.throwIfAborted()
    if (this.#exchange !== undefined) {
      try {
        return await this.#send(this.#exchange, request)
      } catch (error) {
        await this.close()
        if (!isFeedmeshError(error, 'PEER_UNREACHABLE', 'TIMEOUT', 'PEER_INVALID', 'ABORTED')) throw error
      }
    }
    const { host, progress } = this.#options
    const channel = await host.open(this.#peer, SYNC_PROTOCOL, signal, SYNC_IDLE_MS)
    const shapes = { out: syncRequest, in: syncReply, what: SYNC_PROTOCOL, progress }
    this.#exchange = new Exchange<SyncRequest, SyncReply>(channel, shapes)
    try {
      return await this.#send(this.#exchange, request)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  async #send(exchange: SyncExchange, request: SyncRequest): Promise<SyncReply> {
    exchange.expect()
    await exchange.send(request)
    return await exchange.receive()
  }

  async close(): Promise<void> {
    const exchange = this.#exchange
    this.#exchange = undefined
    await exchange?.[Symbol.asyncDispose]()
  }
}
