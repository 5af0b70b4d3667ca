/**
 * Push, unlist and relist, the same for all versions of the protocol:
 * https://learn.microsoft.com/nuget/api/package-publish-resource and …/symbol-package-publish-resource
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { readBody } from '../request-body.ts'
import type { NugetCall, NugetHandler } from './call.ts'
import { readFirstPart } from './multipart.ts'
import { parsePackageVersion } from './package-version.ts'
import { pushPackage, pushSymbols, setListed } from './push.ts'

/** Boundaries and heads of the form around a package. */
const MAX_FORM_BYTES = 64 * 1024

/** Old clients add `api/v2/package` to a source without a path, and nothing to one with a path. */
export function findPushHandler(method: string, segments: readonly string[]): NugetHandler | undefined {
  const path = segments.join('/').replace(/\/$/, '')
  if (method === 'PUT' || (method === 'POST' && path !== '')) {
    if (['', 'package', 'api/v2/package', 'api/v2', 'v3/package'].includes(path))
      return (call) => answerPush(call, false)
    if (['v3/symbolpackage', 'symbolpackage', 'api/v2/symbolpackage'].includes(path))
      return (call) => answerPush(call, true)
  }
  const [, id, version] = /^(?:(?:api\/v2\/|v3\/)?package\/|api\/v2\/)?([^/]+)\/([^/]+)$/.exec(path) ?? []
  if (id === undefined || version === undefined) return undefined
  if (method === 'DELETE') return (call) => answerListing(call, { id, version, isListed: false })
  return method === 'POST' ? (call) => answerListing(call, { id, version, isListed: true }) : undefined
}

async function answerPush({ request, reply, host }: NugetCall, isSymbols: boolean): Promise<unknown> {
  const feed = await host.getFeed(request, 'publish')
  const body = readBody(request, { maxBytes: feed.maxFileBytes + MAX_FORM_BYTES })
  const file = readFirstPart(request.headers['content-type'], body)
  await (isSymbols ? pushSymbols(feed, file) : pushPackage(feed, file))
  return reply.code(201).send()
}

/** `nuget delete` hides a version: what names it exactly still finds it. */
async function answerListing(
  { request, reply, host }: NugetCall,
  { id, version, isListed }: { readonly id: string; readonly version: string; readonly isListed: boolean },
): Promise<unknown> {
  const feed = await host.getFeed(request, 'delete')
  if (id.length > 100) throw new FeedmeshError('NOT_FOUND', 'no package has an id that long')
  await setListed(feed, id, parsePackageVersion(version), isListed)
  return reply.code(isListed ? 200 : 204).send()
}
