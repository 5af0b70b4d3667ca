/** Packuments, tarballs, publish, unpublish and search. */

import { crc32 } from 'node:zlib'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit } from '../../../src/feeds/feed.ts'
import { HotFiles } from '../hot-files.ts'
import { readBody } from '../request-body.ts'
import { findQuery } from '../request-path.ts'
import { isListedEtag, serveFile } from '../serve-file.ts'
import { type NpmCall, type NpmHandler, sendJson } from './call.ts'
import { editPackage, planDeprecations, planReplacement, planUnpublish, planUnpublishAll } from './edit.ts'
import { type DocumentKind, decodeVersionRecord, renderBaseUrl, renderVersion } from './format.ts'
import { findTarballVersion, isPackageName, verifyNewName } from './names.ts'
import { readPackage, resolveTags } from './package-view.ts'
import { Packuments } from './packument.ts'
import type { PathRoute } from './path-router.ts'
import { MAX_DOCUMENT_BYTES, receiveDocument } from './publish.ts'
import { PackageSearch, parseSearchQuery } from './search.ts'

const ABBREVIATED_TYPE = 'application/vnd.npm.install-v1+json'
const GET = ['GET', 'HEAD']

export function createPackageRoutes(): PathRoute<NpmHandler>[] {
  const packuments = new Packuments()
  const search = new PackageSearch()
  const hotFiles = new HotFiles()
  return [
    { methods: GET, pattern: '/-/v1/search', handler: (call) => answerSearch(call, search) },
    { methods: GET, pattern: '/:package', handler: (call) => answerPackument(call, packuments) },
    { methods: GET, pattern: '/:package/:version', handler: answerVersion },
    { methods: GET, pattern: '/:package/-/:file', handler: (call) => answerTarball(call, hotFiles) },
    { methods: ['PUT'], pattern: '/:package', handler: answerPublish },
    { methods: ['PUT'], pattern: '/:package/-rev/:rev', handler: answerReplace },
    { methods: ['DELETE'], pattern: '/:package/-rev/:rev', handler: answerUnpublishAll },
    { methods: ['DELETE'], pattern: '/:package/-/:file/-rev/:rev', handler: answerUnpublish },
  ]
}

async function answerSearch({ request, reply, host }: NpmCall, search: PackageSearch): Promise<unknown> {
  const feed = await host.getFeed(request, 'read')
  const [, parameters = ''] = request.raw.url?.split('?', 2) ?? []
  return sendJson(reply, await search.find(feed, parseSearchQuery(new URLSearchParams(parameters))))
}

async function answerPackument(call: NpmCall, packuments: Packuments): Promise<unknown> {
  const { request, reply, host } = call
  const feed = await host.getFeed(request, 'read')
  const unit = await getUnit(feed, call.parameter('package'))
  const kind = chooseKind(call)
  const baseUrl = host.baseUrl(request)
  // Weak: the same document goes out compressed and plain.
  const etag = `W/"${unit.digest.slice(0, 32)}-${kind}-${crc32(baseUrl).toString(36)}"`
  reply.headers({
    etag,
    vary: 'Accept, Accept-Encoding',
    'cache-control': kind === 'write' ? 'no-store' : 'private, no-cache',
    'x-content-type-options': 'nosniff',
  })
  if (kind !== 'write' && isListedEtag(request.headers['if-none-match'] ?? '', etag)) return reply.code(304).send()
  const document = await packuments.find({ feed, unit, kind, baseUrl }, request.headers['accept-encoding'])
  if (document === undefined) throw notFound(unit.unit)
  if (document.isCompressed) reply.header('content-encoding', 'gzip')
  reply.header('content-type', kind === 'abbreviated' ? ABBREVIATED_TYPE : 'application/json')
  if (request.method === 'HEAD') return reply.header('content-length', document.body.length).send()
  return reply.send(document.body)
}

function chooseKind({ request }: NpmCall): DocumentKind {
  if (findQuery(request, 'write') === 'true') return 'write'
  return request.headers.accept?.includes(ABBREVIATED_TYPE) === true ? 'abbreviated' : 'full'
}

async function answerVersion(call: NpmCall): Promise<unknown> {
  const { request, reply, host } = call
  const feed = await host.getFeed(request, 'read')
  const view = await readPackage(feed, await getUnit(feed, call.parameter('package')))
  const wanted = call.parameter('version')
  const version = view.versions.has(wanted) ? wanted : (resolveTags(view).get(wanted) ?? '')
  const row = view.versions.get(version)
  if (row === undefined)
    throw new FeedmeshError('NOT_FOUND', `version not found: ${view.unit.unit}@${wanted.slice(0, 200)}`)
  const record = decodeVersionRecord(await feed.readMeta(row))
  const { head, tail } = renderVersion(record, view.deprecated.get(version)?.message, 'full')
  const body = Buffer.concat([head, renderBaseUrl(host.baseUrl(request)), tail])
  reply.headers({
    'content-type': 'application/json',
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  })
  return request.method === 'HEAD' ? reply.header('content-length', body.length).send() : reply.send(body)
}

async function answerTarball(call: NpmCall, hotFiles: HotFiles): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'read')
  const unit = await getUnit(feed, call.parameter('package'))
  const version = findTarballVersion(unit.unit, call.parameter('file'))
  const row = version === undefined ? undefined : unit.rows.find(({ key }) => key === `v/${version}`)
  const file = row?.files.find(({ role }) => role === 'tarball')
  if (row === undefined || file === undefined) {
    throw new FeedmeshError('NOT_FOUND', `no such file: ${unit.unit}/-/${call.parameter('file').slice(0, 300)}`)
  }
  const { digest, size } = file
  return serveFile(call.request, call.reply, {
    size,
    etag: `"${digest}"`,
    contentType: 'application/octet-stream',
    modifiedAtMs: row.writtenAtMs,
    // Bytes of a version never change, so neither does its URL's answer.
    headers: { 'cache-control': 'private, max-age=31536000, immutable' },
    open: (range) => feed.open(row, file, range),
    findContent: () => hotFiles.find({ digest, size, open: () => feed.open(row, file) }),
  })
}

async function answerPublish(call: NpmCall): Promise<unknown> {
  const { request, reply, host } = call
  const feed = await host.getFeed(request, 'publish')
  const name = call.parameter('package')
  if (!isPackageName(name)) verifyNewName(name)
  // Base64 takes four bytes for three.
  const maxBytes = MAX_DOCUMENT_BYTES + Math.ceil(feed.maxFileBytes / 3) * 4 * 2
  const document = await receiveDocument(feed, name, readBody(request, { maxBytes }))
  if (document === 'published') return sendJson(reply, { ok: true, success: true, id: name }, 201)
  await editPackage(feed, name, (view) => planDeprecations(view, document))
  return sendJson(reply, { ok: true, id: name })
}

async function answerReplace(call: NpmCall): Promise<unknown> {
  const { request, reply, host } = call
  await host.getFeed(request, 'publish')
  const feed = await host.getFeed(request, 'delete')
  const name = call.parameter('package')
  const document = await receiveDocument(feed, name, readBody(request, { maxBytes: MAX_DOCUMENT_BYTES }))
  if (document === 'published') return sendJson(reply, { ok: true, id: name }, 201)
  await editPackage(feed, name, (view) => planReplacement(view, document, call.parameter('rev')))
  return sendJson(reply, { ok: true, id: name })
}

async function answerUnpublishAll(call: NpmCall): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'delete')
  const name = call.parameter('package')
  await editPackage(feed, name, (view) => planUnpublishAll(view, call.parameter('rev')))
  return sendJson(call.reply, { ok: true, id: name })
}

async function answerUnpublish(call: NpmCall): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'delete')
  const name = call.parameter('package')
  const version = findTarballVersion(name, call.parameter('file'))
  if (version === undefined)
    throw new FeedmeshError('NOT_FOUND', `no such file: ${call.parameter('file').slice(0, 300)}`)
  await editPackage(feed, name, (view) => planUnpublish(view, version, call.parameter('rev')))
  return sendJson(call.reply, { ok: true, id: name })
}

/** @throws NOT_FOUND, also for names that nothing can have been published under. */
async function getUnit(feed: Feed, name: string): Promise<FeedUnit> {
  const unit = isPackageName(name) ? await feed.findUnit(name) : undefined
  if (unit === undefined) throw notFound(name)
  return unit
}

function notFound(name: string): FeedmeshError {
  return new FeedmeshError('NOT_FOUND', `no such package: ${name.slice(0, 300)}`)
}
