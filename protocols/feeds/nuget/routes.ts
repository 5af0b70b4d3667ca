/**
 * The NuGet protocols, versions 3 and 2, at one address. Who calls: dotnet, nuget.exe, Debian's nuget, choco, IDEs.
 * https://learn.microsoft.com/nuget/api/overview and what the clients were seen to send (README.md).
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { acceptRawBodies } from '../request-body.ts'
import { asRequestError } from '../request-error.ts'
import { parseRequestPath } from '../request-path.ts'
import type { NugetCall, NugetHandler } from './call.ts'
import { PackageCatalog } from './package-catalog.ts'
import { PublishedVersions } from './published-package.ts'
import { findPushHandler } from './push-routes.ts'
import { answerSymbolFile } from './symbol-routes.ts'
import { findV2Handler } from './v2-routes.ts'
import { createSendPackage, findV3Handler, type SendPackage } from './v3-routes.ts'
import { escapeXml } from './xml.ts'

export function registerNugetRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  scope.setErrorHandler((error, request, reply) => sendError(error, request, reply))
  const published = new PublishedVersions()
  const catalog = new PackageCatalog()
  const sendPackage = createSendPackage()
  const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const segments = parseRequestPath(request)
    const call: NugetCall = { request, reply, host, published, catalog, segments }
    const handler = findHandler(request.method, segments, sendPackage)
    if (handler !== undefined) return handler(call)
    await host.getFeed(request, 'read')
    throw new FeedmeshError('NOT_FOUND', `${request.method} is not answered at this path of a NuGet feed`)
  }
  for (const url of ['/', '/*']) scope.route({ method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'], url, handler: handle })
}

function findHandler(method: string, segments: readonly string[], sendPackage: SendPackage): NugetHandler | undefined {
  if (method !== 'GET' && method !== 'HEAD') return findPushHandler(method, segments)
  if (segments[0] === 'v3') return findV3Handler(segments.slice(1), sendPackage)
  const [area, id, version, ...more] = stripAlias(segments)
  if (area === 'package' && id !== undefined && version !== undefined && more.every((part) => part === ''))
    return (call) => sendPackage(call, id, version)
  if (area === 'symbols' && id !== undefined && version !== undefined && more.length === 1)
    return (call) => answerSymbolFile(call, id, version)
  return findV2Handler(stripAlias(segments))
}

/** Sources are also known by the path that nuget.org's has. */
function stripAlias(segments: readonly string[]): readonly string[] {
  if (segments[0] === 'api' && segments[1] === 'v2') return segments.slice(2)
  return segments[0] === 'v2' ? segments.slice(1) : segments
}

/** Clients print the reason phrase of the status line, if anything. */
function sendError(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const failure = asRequestError(error)
  if (failure.code === 'INTERNAL') request.log.error({ err: error }, 'nuget request failed')
  if (failure.code === 'UNAUTHENTICATED') reply.header('www-authenticate', 'Basic realm="NuGet feed", charset="UTF-8"')
  reply.raw.statusMessage = failure.message.replace(/[^\x20-\x7e]/g, '?').slice(0, 300)
  reply.code(failure.httpStatus).header('x-content-type-options', 'nosniff')
  const isV3 = /^\/[^/]+\/[^/]+\/v3\//.test(request.raw.url ?? '')
  if (isV3)
    return reply
      .header('content-type', 'application/json')
      .send(Buffer.from(JSON.stringify({ error: failure.message })))
  return reply.header('content-type', 'application/xml; charset=utf-8').send(renderODataError(failure))
}

/** https://www.odata.org/documentation/odata-version-2-0/operations (section 2.8) */
function renderODataError({ code, message }: FeedmeshError): string {
  return `<?xml version="1.0" encoding="utf-8"?>
<m:error xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata"><m:code>${code}</m:code><m:message xml:lang="en-US">${escapeXml(message)}</m:message></m:error>`
}
