/**
 * What dnf, zypper and curl ask for. https://rpm-software-management.github.io/createrepo_c/
 *
 *   GET    repodata/{repomd.xml,repomd.xml.asc,repomd.xml.key}, repodata/SHA256-{primary,filelists,other}.xml[.gz|.zst]
 *   GET    packages/[epoch-N/]FILE.rpm
 *   PUT    packages/FILE.rpm, or FILE.rpm
 *   DELETE packages/[epoch-N/]FILE.rpm
 */

import { performance } from 'node:perf_hooks'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { sendPlainError } from '../plain-errors.ts'
import { acceptRawBodies, readBody } from '../request-body.ts'
import { parseRequestPath, pathNotFound } from '../request-path.ts'
import { INDEX_CHANGING, INDEX_FOR_EVER, serveIndexFile, serveIndexKeys } from '../serve-index.ts'
import { servePackage } from '../serve-package.ts'
import { findPackageName, listPackages, PACKAGES_FOLDER, packagePath, type StoredPackage } from './format.ts'
import { GivenTops } from './given-tops.ts'
import { publishRpm } from './publish.ts'
import { documentPath, REPOSITORY_INDEX, SIGNATURE, TOP } from './repodata.ts'

interface Call {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly host: FeedHost
  readonly given: GivenTops
  /** The path below the feed. */
  readonly segments: readonly string[]
}

export function registerRpmRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  scope.setErrorHandler((error, request, reply) => sendPlainError(error, { request, reply, type: 'rpm' }))
  const given = new GivenTops(() => performance.now())
  const handler = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const call = { request, reply, host, given, segments: parseRequestPath(request) }
    if (request.method === 'PUT') return answerUpload(call)
    if (request.method === 'DELETE') return answerDelete(call)
    const feed = await host.getFeed(request, 'read')
    if (request.method !== 'POST' && call.segments[0] === REPOSITORY_INDEX) return answerRepodata(call, feed)
    if (request.method !== 'POST' && call.segments[0] === PACKAGES_FOLDER) return answerPackage(call, feed)
    throw pathNotFound(call.segments, 'an rpm feed answers at repodata/ and packages/')
  }
  for (const url of ['/', '/*']) scope.route({ method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'], url, handler })
}

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  xml: 'application/xml',
  gz: 'application/gzip',
  zst: 'application/zstd',
}

async function answerRepodata(call: Call, feed: Feed): Promise<unknown> {
  const { segments } = call
  const [, file = '', ...rest] = segments
  if (rest.length > 0) throw pathNotFound(call.segments, 'there are no folders in repodata/')
  if (file === `${TOP}.key`) return serveIndexKeys(call.reply, call.host.getIndexes(feed))
  return file === TOP || file === SIGNATURE ? answerTop(call, feed, file) : answerList(call, feed, file)
}

async function answerTop(call: Call, feed: Feed, path: string): Promise<unknown> {
  const { request, reply, host, given } = call
  const newest = await host.getIndexes(feed).find(REPOSITORY_INDEX)
  if (newest === undefined)
    throw pathNotFound(call.segments, 'the feed has not signed its index yet; ask again in a moment')
  if (path === TOP && request.method === 'GET') given.note(request, feed.name, newest)
  const index = path === SIGNATURE ? (given.find(request, feed.name) ?? newest) : newest
  const file = index.findTop(path)
  if (file === undefined) throw pathNotFound(call.segments, 'the index has no such file')
  const contentType = path === TOP ? 'application/xml' : 'application/pgp-signature'
  return serveIndexFile(request, reply, { file, contentType, cacheControl: INDEX_CHANGING })
}

/** Lists are asked for as `repomd.xml` names them, of any generation that is kept. */
async function answerList(call: Call, feed: Feed, name: string): Promise<unknown> {
  const { request, reply, host } = call
  const [, sha256 = '', suffix = 'xml'] = /^([0-9a-f]{64})-[a-z]+\.xml(?:\.(gz|zst))?$/.exec(name) ?? []
  const file = sha256 === '' ? undefined : await host.getIndexes(feed).findByHash(REPOSITORY_INDEX, sha256)
  const path = file === undefined ? '' : documentPath(sha256, file.document)
  const isNamed = `${REPOSITORY_INDEX}/${name}` === (suffix === 'xml' ? path : `${path}.${suffix}`)
  if (file === undefined || !isNamed)
    throw pathNotFound(call.segments, 'no generation of the index that is kept has it; read repodata/repomd.xml again')
  const contentType = CONTENT_TYPES[suffix] ?? 'application/octet-stream'
  return serveIndexFile(request, reply, { file, contentType, cacheControl: INDEX_FOR_EVER })
}

/** `packages/[epoch-N/]FILE.rpm`, as the index names it. */
async function findPackage(feed: Feed, segments: readonly string[]): Promise<StoredPackage | undefined> {
  const name = findPackageName(segments.at(-1) ?? '')
  if (name === undefined || segments.length > 3) return undefined
  const path = segments.join('/')
  return listPackages(await feed.findUnit(name)).find(({ identity }) => packagePath(identity) === path)
}

async function answerPackage(call: Call, feed: Feed): Promise<unknown> {
  const { request, reply, segments } = call
  const found = await findPackage(feed, segments)
  if (found === undefined) throw pathNotFound(call.segments, 'the feed has no such package')
  const { row, file } = found
  return servePackage(request, reply, { feed, row, file, contentType: 'application/x-rpm' })
}

async function answerUpload({ request, reply, host, segments }: Call): Promise<unknown> {
  const feed = await host.getFeed(request, 'publish')
  const fileName = segments.at(-1) ?? ''
  const folders = segments.slice(0, -1).join('/')
  const isPlace = folders === '' || folders === PACKAGES_FOLDER || /^packages\/epoch-\d{1,10}$/.test(folders)
  if (!isPlace || !fileName.endsWith('.rpm'))
    throw new FeedmeshError('BAD_INPUT', 'this feed takes .rpm files; upload them to packages/FILE.rpm')
  const { isNew } = await publishRpm(feed, { fileName, body: readBody(request, { maxBytes: feed.maxFileBytes }) })
  return reply.code(isNew ? 201 : 200).send()
}

async function answerDelete(call: Call): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'delete')
  const found = segments[0] === PACKAGES_FOLDER ? await findPackage(feed, segments) : undefined
  if (found === undefined) throw pathNotFound(call.segments, 'the feed has no such package')
  await feed.change(found.row.unit, () => ({ drop: [found.row.key] }))
  return reply.code(204).send()
}
