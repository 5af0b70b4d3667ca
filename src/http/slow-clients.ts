/**
 * Ends requests whose body does not arrive: Node's own request timeout would also end an upload that takes hours and
 * progresses. Only time that the server spends waiting for the client counts.
 */

import type { IncomingMessage, ServerResponse } from 'node:http'
import type { ContinueWhenRead } from './expect-continue.ts'

export interface SlowClientLimits {
  readonly tickMs: number
  /** A body must bring `minBytes` in every `windowMs`. */
  readonly windowMs: number
  readonly minBytes: number
  /** How long the rest of a body is taken off the wire after the answer, so that the client sees it. */
  readonly lingerMs: number
}

export const SLOW_CLIENT_LIMITS: SlowClientLimits = {
  tickMs: 5_000,
  windowMs: 60_000,
  minBytes: 60 * 1024,
  lingerMs: 15_000,
}

interface Watched {
  readonly response: ServerResponse
  bytesRead: number
  waitedMs: number
  answeredMs: number
}

/** RFC 9112 6.3: without one of these a request has none. */
function hasBody({ headers }: IncomingMessage): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

export class SlowClientWatch implements Disposable {
  readonly #limits: SlowClientLimits
  readonly #continues: ContinueWhenRead
  readonly #watched = new Map<IncomingMessage, Watched>()
  readonly #timer: NodeJS.Timeout

  constructor(limits: SlowClientLimits, continues: ContinueWhenRead) {
    this.#limits = limits
    this.#continues = continues
    this.#timer = setInterval(() => this.#tick(), limits.tickMs).unref()
  }

  add(request: IncomingMessage, response: ServerResponse): void {
    if (request.complete || !hasBody(request)) return
    this.#watched.set(request, { response, bytesRead: request.socket.bytesRead, waitedMs: 0, answeredMs: 0 })
    request.once('close', () => this.#watched.delete(request))
  }

  #tick(): void {
    for (const [request, watched] of this.#watched) {
      if (request.complete || request.socket.destroyed) this.#watched.delete(request)
      else if (this.#isTooSlow(request, watched)) request.socket.destroy()
    }
  }

  #isTooSlow(request: IncomingMessage, watched: Watched): boolean {
    const { tickMs, windowMs, minBytes, lingerMs } = this.#limits
    if (watched.response.writableFinished) {
      watched.answeredMs += tickMs
      return watched.answeredMs > lingerMs
    }
    const isServerBusy = request.readableLength > 0 || this.#continues.isAwaited(watched.response)
    watched.waitedMs = isServerBusy ? 0 : watched.waitedMs + tickMs
    if (watched.waitedMs > 0 && watched.waitedMs < windowMs) return false
    const received = request.socket.bytesRead - watched.bytesRead
    const isTooSlow = watched.waitedMs >= windowMs && received < minBytes
    watched.bytesRead = request.socket.bytesRead
    watched.waitedMs = 0
    return isTooSlow
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }
}
