/**
 * Clients ask for `repomd.xml` and then for its signature. Whoever was given the one is given the other of the same generation,
 * although a newer one may have been signed in between: else busy feeds would now and then be taken for forged.
 */

import type { FastifyRequest } from 'fastify'
import type { ServedIndex } from '../../../src/feeds/signed-index.ts'

/** Between the two requests of one client. */
const KEPT_MS = 30_000
const MAX_CLIENTS = 1000

interface Given {
  readonly index: ServedIndex
  readonly atMs: number
}

export class GivenTops {
  readonly #given = new Map<string, Given>()
  readonly #elapsedMs: () => number

  /** @param elapsedMs monotonic */
  constructor(elapsedMs: () => number) {
    this.#elapsedMs = elapsedMs
  }

  /** Remembers what a client has got, and forgets what is old. */
  note(request: FastifyRequest, feed: string, index: ServedIndex): void {
    const client = nameClient(request, feed)
    this.#given.delete(client)
    this.#given.set(client, { index, atMs: this.#elapsedMs() })
    for (const [oldest, { atMs }] of this.#given) {
      if (this.#given.size <= MAX_CLIENTS && this.#elapsedMs() - atMs < KEPT_MS) return
      this.#given.delete(oldest)
    }
  }

  /** The generation that the client has the top document of, when it is told by its document only. */
  find(request: FastifyRequest, feed: string): ServedIndex | undefined {
    const given = this.#given.get(nameClient(request, feed))
    return given !== undefined && this.#elapsedMs() - given.atMs < KEPT_MS ? given.index : undefined
  }
}

function nameClient(request: FastifyRequest, feed: string): string {
  const { authorization = '', 'x-apikey': key = '', 'user-agent': agent = '' } = request.headers
  return JSON.stringify([feed, request.ip, authorization, key, agent])
}
