/** The path below `/<mount>/:feed/`, split and decoded exactly once; Fastify's own decoding merges `%2f` with `/`. */

import type { FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../src/errors.ts'

/** @throws BAD_INPUT when a segment is not percent-encoded UTF-8. */
export function parseRequestPath(request: FastifyRequest): string[] {
  const [path = ''] = request.raw.url?.split('?', 1) ?? []
  const mountDepth = (request.routeOptions.url ?? '/').replace(/\/\*?$/, '').split('/').length
  return path.split('/').slice(mountDepth).map(decodeSegment)
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${JSON.stringify(segment)} in the URL is not percent-encoded UTF-8`, {
      cause,
    })
  }
}

/** For paths below a feed that nothing is at. */
export function pathNotFound(segments: readonly string[], why: string): FeedmeshError {
  return new FeedmeshError('NOT_FOUND', `no ${JSON.stringify(segments.join('/').slice(0, 200))} here: ${why}`)
}

/** The first value of a query parameter. */
export function findQuery(request: FastifyRequest, name: string): string | undefined {
  const [, query] = request.raw.url?.split('?', 2) ?? []
  if (query === undefined) return undefined
  return new URLSearchParams(query).get(name) ?? undefined
}
