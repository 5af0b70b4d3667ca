/** Any error of a request as one of ours. */

import { asFeedmeshError, FeedmeshError } from '../../src/errors.ts'

/** Fastify's own refusals (a malformed content type, a bad URL) are the client's mistakes, not defects. */
export function asRequestError(error: unknown): FeedmeshError {
  const status = error instanceof Error && 'statusCode' in error ? error.statusCode : undefined
  const isRefusal = typeof status === 'number' && status >= 400 && status <= 499
  return isRefusal && error instanceof Error ? new FeedmeshError('BAD_INPUT', error.message) : asFeedmeshError(error)
}
