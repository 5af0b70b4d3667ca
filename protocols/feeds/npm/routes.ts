/**
 * The npm registry API. Who calls: npm, pnpm, yarn, bun, deno.
 * https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md and what the clients were seen to send (README.md).
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { acceptRawBodies } from '../request-body.ts'
import { asRequestError } from '../request-error.ts'
import { parseRequestPath } from '../request-path.ts'
import { createAccountRoutes } from './account-routes.ts'
import { createAuditRoutes } from './audit-routes.ts'
import { JSON_HEADERS, type NpmHandler } from './call.ts'
import { createPackageRoutes } from './package-routes.ts'
import { createPathRouter, type PathRoute } from './path-router.ts'
import { createTagRoutes } from './tag-routes.ts'

export function registerNpmRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  scope.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  const routes: PathRoute<NpmHandler>[] = [
    ...createAccountRoutes(),
    ...createAuditRoutes(),
    ...createTagRoutes(),
    ...createPackageRoutes(),
  ]
  const findRoute = createPathRouter(routes)
  const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const match = findRoute(request.method, parseRequestPath(request))
    if (match === undefined) {
      await host.getFeed(request, 'read')
      throw new FeedmeshError('NOT_FOUND', `${request.method} is not answered at this path of an npm feed`)
    }
    const parameter = (name: string) => match.parameters[name] ?? ''
    return match.handler({ request, reply, host, parameter })
  }
  for (const url of ['/', '/*']) scope.route({ method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'], url, handler: handle })
}

/** `{error, reason}` is what npm and the others print. */
function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const failure = asRequestError(error)
  if (failure.code === 'INTERNAL') request.log.error({ err: error }, 'npm request failed')
  if (failure.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Bearer realm="npm feed"')
  // npm's registry answers 403 to a publish over an existing version, and clients know it as that.
  const status = failure.code === 'EXISTS' ? 403 : failure.httpStatus
  return reply
    .code(status)
    .headers(JSON_HEADERS)
    .send(Buffer.from(JSON.stringify({ error: failure.message, reason: failure.message })))
}
