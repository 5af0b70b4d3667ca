/** One request to the npm API on its way to its handler. */

import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'

export interface NpmCall {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly host: FeedHost
  parameter(name: string): string
}

export type NpmHandler = (call: NpmCall) => Promise<unknown>

/** A Buffer, because Fastify would add a charset to the type of an object; browsers must not guess another type. */
export const JSON_HEADERS = { 'content-type': 'application/json', 'x-content-type-options': 'nosniff' }

export function sendJson(reply: FastifyReply, value: unknown, status = 200): FastifyReply {
  return reply
    .code(status)
    .headers({ ...JSON_HEADERS, 'cache-control': 'no-store' })
    .send(Buffer.from(JSON.stringify(value)))
}
