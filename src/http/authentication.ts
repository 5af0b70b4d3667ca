/** From the keys of a request to its caller. Nothing of the body is read here. */

import type { FastifyInstance, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../errors.ts'
import type { Caller, Permission } from '../feeds/feed-type.ts'
import { parseKeys } from './credentials.ts'
import type { NodeOperations } from './operations.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Name of the caller's key, for the log; `anonymous` without one. */
    callerName: string
  }
}

type FindCaller = Pick<NodeOperations, 'findCaller'>

export function decorateRequests(app: FastifyInstance): void {
  app.decorateRequest('callerName', 'anonymous')
}

export interface CallerQuestion {
  readonly feed: string | null
  readonly permission?: Permission
  /** Those of the request, where they have been parsed already. */
  readonly keys?: readonly string[]
}

/**
 * The caller of a request on one feed, or (null) on the administration. Of several keys the first counts that allows
 * `permission`, else the first that is known.
 * @throws UNAUTHENTICATED no key, or none that is known
 */
export async function getCaller(
  operations: FindCaller,
  request: FastifyRequest,
  { feed, permission, keys = parseKeys(request.headers) }: CallerQuestion,
): Promise<Caller> {
  let caller: Caller | undefined
  for (const key of keys) {
    const found = await operations.findCaller(key, feed)
    if (found === undefined) continue
    caller ??= found
    if (permission === undefined || !found.permissions.has(permission)) continue
    caller = found
    break
  }
  if (caller === undefined) throw unauthenticated(keys.length > 0, feed)
  request.callerName = caller.name
  return caller
}

export function hasKey(request: FastifyRequest): boolean {
  return parseKeys(request.headers).length > 0
}

export function unauthenticated(hasKey: boolean, feed: string | null): FeedmeshError {
  const command =
    feed === null ? 'feedmesh key create --can admin' : 'feedmesh key create --feed NAME --can read,publish'
  const why = hasKey ? 'the API key is unknown or was revoked' : 'an API key is needed'
  return new FeedmeshError(
    'UNAUTHENTICATED',
    `${why}; send one as bearer token, as password of Basic authentication or as X-ApiKey. An operator makes one with ${command}`,
  )
}

/** @throws FORBIDDEN */
export function verifyPermission(caller: Caller, permission: Permission, where: string): void {
  if (caller.permissions.has(permission)) return
  throw new FeedmeshError('FORBIDDEN', `key ${JSON.stringify(caller.name)} may not ${permission} ${where}`)
}
