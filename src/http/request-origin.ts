/** The node as the client addressed it: `Host`, or behind a trusted proxy the `X-Forwarded-*` headers. */

import type { FastifyRequest } from 'fastify'
import { FeedmeshError } from '../errors.ts'

/** A name or IPv4 address, or a bracketed IPv6 address; optional port. Nothing that could break out of a document. */
const HOST = /^(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?$/

/** `https://host:port`. @throws BAD_INPUT when the header is not a host */
export function requestOrigin(request: FastifyRequest): string {
  const host = request.host === '' ? localHost(request) : request.host
  if (!HOST.test(host))
    throw new FeedmeshError(
      'BAD_INPUT',
      `the Host header ${JSON.stringify(host.slice(0, 80))} is not HOST or HOST:PORT`,
    )
  const protocol = request.protocol === 'https' ? 'https' : 'http'
  return `${protocol}://${host}`
}

/** The host without port and brackets, as addresses are made of it. @throws BAD_INPUT */
export function requestHostName(request: FastifyRequest): string {
  return new URL(requestOrigin(request)).hostname.replace(/^\[|\]$/g, '')
}

/** HTTP/1.0 clients may send no Host. */
function localHost({ raw: { socket } }: FastifyRequest): string {
  const address = socket.localAddress ?? '127.0.0.1'
  return `${address.includes(':') ? `[${address}]` : address}:${socket.localPort ?? 80}`
}
