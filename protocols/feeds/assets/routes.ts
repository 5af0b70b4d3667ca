/**
 * The asset directory API of ProGet: `content/PATH`, `dir/PATH`, `metadata/PATH`, `delete/PATH`. Who calls: curl, wget,
 * browsers, scripts. https://docs.inedo.com/docs/proget/api/assets
 */

import { Readable } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { PAGE_HEADERS, UNTRUSTED_HEADERS } from '../html.ts'
import { sendPlainError } from '../plain-errors.ts'
import { acceptRawBodies, readBody, readJsonBody } from '../request-body.ts'
import { findQuery, parseRequestPath } from '../request-path.ts'
import { serveFile } from '../serve-file.ts'
import {
  applyMetadataUpdate,
  CONTENT_KEY,
  CONTENT_ROLE,
  decodeAssetMeta,
  encodeAssetMeta,
  parseAssetPath,
  parseFolder,
} from './format.ts'
import {
  findFileItem,
  findFolder,
  isFolder,
  listFolder,
  renderHtmlListing,
  renderItem,
  renderJsonListing,
} from './listing.ts'
import { deleteAsset, parseUploadedType, storeBody, storeStaged, type WriteCondition } from './store-asset.ts'
import { MultipartUploads, type UploadPart } from './uploads.ts'

const MAX_METADATA_BYTES = 1024 * 1024
const JSON_TYPE = 'application/json'

interface AssetCall {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly host: FeedHost
  readonly uploads: MultipartUploads
  /** Segments behind `content/`, `dir/`…; the last is empty when the URL ends in a slash. */
  readonly segments: readonly string[]
}

type AssetHandler = (call: AssetCall) => Promise<unknown>

const HANDLERS: Readonly<Record<string, AssetHandler>> = {
  'GET content': answerContent,
  'HEAD content': answerContent,
  'PUT content': answerUpload,
  'POST content': answerUpload,
  'PATCH content': answerUpload,
  'DELETE content': answerDelete,
  'GET dir': answerFolder,
  'GET metadata': answerMetadata,
  'POST metadata': answerMetadataUpdate,
  'POST delete': answerDelete,
}

export function registerAssetRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  scope.setErrorHandler((error, request, reply) => sendPlainError(error, { request, reply, type: 'assets' }))
  const uploads = new MultipartUploads()
  scope.addHook('onClose', () => uploads[Symbol.asyncDispose]())
  const handle = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const [area = '', ...segments] = parseRequestPath(request)
    const key = `${request.method} ${area}`
    const handler = Object.hasOwn(HANDLERS, key) ? HANDLERS[key] : undefined
    if (handler !== undefined) return handler({ request, reply, host, uploads, segments })
    await host.getFeed(request, 'read')
    throw new FeedmeshError(
      'NOT_FOUND',
      `${request.method} is not answered at this path of an assets feed; files are at content/PATH`,
    )
  }
  for (const url of ['/', '/*'])
    scope.route({ method: ['GET', 'HEAD', 'PUT', 'POST', 'PATCH', 'DELETE'], url, handler: handle })
}

async function answerContent(call: AssetCall): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'read')
  if (segments.length === 0 || segments.at(-1) === '') return answerBrowsing(call, feed, parseFolder(segments))
  const path = parseAssetPath(segments)
  const row = (await feed.findUnit(path))?.rows.find(({ key }) => key === CONTENT_KEY)
  const file = row?.files.find(({ role }) => role === CONTENT_ROLE)
  if (row === undefined || file === undefined) {
    if (await isFolder(feed, `${path}/`)) return redirectToFolder(call)
    throw new FeedmeshError('NOT_FOUND', `no file ${path} in feed ${feed.name}`)
  }
  const meta = decodeAssetMeta(await feed.readMeta(row))
  const fields = Object.entries(meta.userMetadata).filter(([, field]) => field.includeInResponseHeader)
  return serveFile(request, reply, {
    size: file.size,
    etag: `"${file.digest}"`,
    contentType: meta.contentType,
    modifiedAtMs: row.writtenAtMs,
    headers: {
      ...Object.fromEntries(fields.map(([name, { value }]) => [name.toLowerCase(), value])),
      ...UNTRUSTED_HEADERS,
      'cache-control': 'private, no-cache',
    },
    open: (range) => feed.open(row, file, range),
  })
}

/** Relative links of the listing need the slash. */
function redirectToFolder({ request, reply }: AssetCall): FastifyReply {
  const [path = '', query] = request.raw.url?.split('?', 2) ?? []
  const name = path.slice(path.lastIndexOf('/') + 1)
  return reply.redirect(`./${name}/${query === undefined ? '' : `?${query}`}`, 302)
}

async function answerBrowsing({ request, reply, host }: AssetCall, feed: Feed, folder: string): Promise<unknown> {
  if (!(await isFolder(feed, folder))) throw new FeedmeshError('NOT_FOUND', `no folder /${folder} in feed ${feed.name}`)
  const items = listFolder(feed, folder, false)
  const isPage = request.headers.accept?.includes('text/html') === true
  reply.headers({ vary: 'Accept', 'cache-control': 'private, no-cache', 'x-content-type-options': 'nosniff' })
  if (isPage) reply.headers(PAGE_HEADERS)
  else reply.header('content-type', JSON_TYPE)
  if (request.method === 'HEAD') return reply.send()
  const parts = isPage
    ? renderHtmlListing(items, folder)
    : renderJsonListing(items, `${host.baseUrl(request)}/content/`)
  return reply.send(Readable.from(parts, { objectMode: false }))
}

async function answerFolder({ request, reply, host, segments }: AssetCall): Promise<unknown> {
  const feed = await host.getFeed(request, 'read')
  const folder = parseFolder(segments)
  if (!(await isFolder(feed, folder))) throw new FeedmeshError('NOT_FOUND', `no folder /${folder} in feed ${feed.name}`)
  const items = listFolder(feed, folder, findQuery(request, 'recursive') === 'true')
  reply.headers({
    'content-type': JSON_TYPE,
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  })
  return reply.send(Readable.from(renderJsonListing(items, `${host.baseUrl(request)}/content/`), { objectMode: false }))
}

async function answerUpload(call: AssetCall): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'publish')
  const path = parseAssetPath(segments)
  const step = findQuery(request, 'multipart')
  if (step !== undefined) return answerPart(call, feed, path, step)
  const contentType = parseUploadedType(request.headers['content-type'], path)
  await storeBody(feed, path, {
    contentType,
    condition: conditionOf(request),
    body: readBody(request, { maxBytes: feed.maxFileBytes }),
  })
  return reply.code(201).send()
}

async function answerPart(
  { request, reply, host, uploads }: AssetCall,
  feed: Feed,
  path: string,
  step: string,
): Promise<unknown> {
  const caller = (await host.getCaller(request)).name
  const id = parseUploadId(findQuery(request, 'id'))
  if (step === 'upload') {
    const part = parsePart(request, { caller, path, id })
    await uploads.receive(feed, part, readBody(request, { maxBytes: part.partSize }))
    return reply.code(200).send()
  }
  if (step !== 'complete')
    throw new FeedmeshError('BAD_INPUT', `multipart=${step.slice(0, 40)} is neither upload nor complete`)
  const { staged, contentType } = await uploads.complete(feed, { caller, path, id })
  await using file = staged
  await storeStaged(feed, path, {
    contentType: parseUploadedType(contentType, path),
    condition: conditionOf(request),
    staged: file,
  })
  return reply.code(201).send()
}

function parsePart(request: FastifyRequest, key: Pick<UploadPart, 'caller' | 'path' | 'id'>): UploadPart {
  const number = (name: string) => parseNumber(name, findQuery(request, name))
  return {
    ...key,
    index: number('index'),
    offset: number('offset'),
    partSize: number('partSize'),
    totalSize: number('totalSize'),
    totalParts: number('totalParts'),
    contentType: request.headers['content-type'],
  }
}

function parseNumber(name: string, text: string | undefined): number {
  if (text !== undefined && /^\d{1,15}$/.test(text)) return Number(text)
  throw new FeedmeshError(
    'BAD_INPUT',
    `query parameter ${name} is ${JSON.stringify(text)?.slice(0, 40) ?? 'missing'}, not a number of bytes or parts`,
  )
}

function parseUploadId(id: string | undefined): string {
  if (id !== undefined && /^[A-Za-z0-9_.{}-]{1,100}$/.test(id)) return id
  throw new FeedmeshError('BAD_INPUT', 'query parameter id is missing or not 1 to 100 letters, digits, dots or dashes')
}

/** PATCH replaces only what is there, as ProGet's. */
function conditionOf(request: FastifyRequest): WriteCondition {
  const ifMatch = request.headers['if-match'] ?? (request.method === 'PATCH' ? '*' : undefined)
  return { ifMatch, ifNoneMatch: request.headers['if-none-match'] }
}

async function answerDelete({ request, reply, host, segments }: AssetCall): Promise<unknown> {
  const feed = await host.getFeed(request, 'delete')
  const path = parseAssetPath(segments.at(-1) === '' ? segments.slice(0, -1) : segments)
  if (await deleteAsset(feed, path, conditionOf(request))) return reply.code(200).send()
  const folder = `${path}/`
  if (!(await isFolder(feed, folder)))
    throw new FeedmeshError('NOT_FOUND', `no file or folder ${path} in feed ${feed.name}`)
  if (findQuery(request, 'recursive') !== 'true') {
    throw new FeedmeshError('CONFLICT', `folder ${path} is not empty; add ?recursive=true to delete all of it`)
  }
  for await (const item of listFolder(feed, folder, true)) {
    if (item.type === 'file') await deleteAsset(feed, item.path, {})
  }
  return reply.code(200).send()
}

async function answerMetadata({ request, reply, host, segments }: AssetCall): Promise<unknown> {
  const feed = await host.getFeed(request, 'read')
  const path = parseAssetPath(segments.at(-1) === '' ? segments.slice(0, -1) : segments)
  const item = (await findFileItem(feed, path)) ?? (await findFolder(feed, path))
  if (item === undefined) throw new FeedmeshError('NOT_FOUND', `no file or folder ${path} in feed ${feed.name}`)
  reply.headers({
    'content-type': JSON_TYPE,
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  })
  return reply.send(Buffer.from(JSON.stringify(renderItem(item, `${host.baseUrl(request)}/content/`))))
}

async function answerMetadataUpdate({ request, reply, host, segments }: AssetCall): Promise<unknown> {
  const feed = await host.getFeed(request, 'publish')
  const path = parseAssetPath(segments)
  const update = await readJsonBody(request, { maxBytes: MAX_METADATA_BYTES })
  await feed.change(path, async (current) => {
    const row = current?.rows.find(({ key }) => key === CONTENT_KEY)
    if (row === undefined) throw new FeedmeshError('NOT_FOUND', `no file ${path} in feed ${feed.name}`)
    const meta = applyMetadataUpdate(decodeAssetMeta(await feed.readMeta(row)), update)
    return { put: [{ key: CONTENT_KEY, rowClass: 'register', meta: encodeAssetMeta(meta), files: row.files }] }
  })
  return reply.code(200).send()
}
