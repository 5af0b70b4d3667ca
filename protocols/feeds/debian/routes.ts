/**
 * What apt, dput and curl ask for. https://wiki.debian.org/DebianRepository/Format
 *
 *   GET    dists/SUITE/{InRelease,Release,Release.gpg}, dists/SUITE/COMPONENT/binary-ARCH/{Packages…,by-hash/SHA256/…}
 *   GET    pool/**, keys/FEED.asc
 *   PUT    pool/SUITE/COMPONENT/FILE.deb, or FILE.deb[?suite=…&component=…]; then, for dput, FILE.changes beside it
 *   DELETE pool/…/FILE.deb
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { INDEX_ENCODINGS, type IndexEncoding } from '../../../src/feeds/signed-index.ts'
import { GrowingBuffer } from '../growing-buffer.ts'
import { sendPlainError } from '../plain-errors.ts'
import { acceptRawBodies, readBody } from '../request-body.ts'
import { findQuery, parseRequestPath, pathNotFound } from '../request-path.ts'
import { INDEX_CHANGING, INDEX_FOR_EVER, serveIndexFile, serveIndexKeys } from '../serve-index.ts'
import { servePackage } from '../serve-package.ts'
import { MAX_CHANGES_BYTES, parseChanges, verifyChanges } from './changes.ts'
import { listPackages, type Placement, parsePlacement, poolPath, type StoredPackage } from './format.ts'
import { publishDeb } from './publish.ts'

/** How a package was built is read and not kept. */
const MAX_BUILDINFO_BYTES = 16 * 1024 ** 2

interface Call {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly host: FeedHost
  /** The path below the feed. */
  readonly segments: readonly string[]
}

type Handler = (call: Call) => Promise<unknown>

const READERS: Readonly<Record<string, Handler>> = { dists: answerDists, pool: answerPool, keys: answerKeys }

export function registerDebianRoutes(scope: FastifyInstance, host: FeedHost): void {
  acceptRawBodies(scope)
  scope.setErrorHandler((error, request, reply) => sendPlainError(error, { request, reply, type: 'debian' }))
  const handler = async (request: FastifyRequest, reply: FastifyReply): Promise<unknown> => {
    const segments = parseRequestPath(request)
    const call = { request, reply, host, segments }
    if (request.method === 'PUT') return answerUpload(call)
    if (request.method === 'DELETE') return answerDelete(call)
    const area = segments[0] ?? ''
    const read = Object.hasOwn(READERS, area) ? READERS[area] : undefined
    if (read !== undefined && request.method !== 'POST') return read(call)
    await host.getFeed(request, 'read')
    throw pathNotFound(call.segments, 'a debian feed answers at dists/, pool/ and keys/')
  }
  for (const url of ['/', '/*']) scope.route({ method: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'], url, handler })
}

const CONTENT_TYPES: Readonly<Record<IndexEncoding, string>> = {
  '': 'text/plain; charset=utf-8',
  gz: 'application/gzip',
  zst: 'application/zstd',
}

async function answerDists(call: Call): Promise<unknown> {
  const { request, reply, host, segments } = call
  const indexes = host.getIndexes(await host.getFeed(request, 'read'))
  const [, suite = '', ...path] = segments
  const hash = findHash(path)
  if (hash !== undefined) {
    const found = await indexes.findByHash(suite, hash.sha256)
    if (found === undefined || !found.document.startsWith(`${hash.folder}/`))
      throw pathNotFound(call.segments, 'no generation of the index that is kept has it; run apt update again')
    return serveIndexFile(request, reply, {
      file: found,
      contentType: 'application/octet-stream',
      cacheControl: INDEX_FOR_EVER,
    })
  }
  const index = await indexes.find(suite)
  if (index === undefined)
    throw pathNotFound(call.segments, `the feed has no suite ${JSON.stringify(suite.slice(0, 64))} yet`)
  const name = path.join('/')
  const top = index.findTop(name)
  if (top !== undefined)
    return serveIndexFile(request, reply, { file: top, contentType: CONTENT_TYPES[''], cacheControl: INDEX_CHANGING })
  for (const encoding of INDEX_ENCODINGS) {
    const suffix = encoding === '' ? '' : `.${encoding}`
    const file = name.endsWith(suffix)
      ? index.findDocument(name.slice(0, name.length - suffix.length), encoding)
      : undefined
    if (file !== undefined)
      return serveIndexFile(request, reply, {
        file,
        contentType: CONTENT_TYPES[encoding],
        cacheControl: INDEX_CHANGING,
      })
  }
  throw pathNotFound(call.segments, 'the suite has no such file')
}

function findHash(path: readonly string[]): { readonly folder: string; readonly sha256: string } | undefined {
  const [byHash, algorithm, sha256 = ''] = path.slice(-3)
  if (byHash !== 'by-hash' || algorithm !== 'SHA256' || !/^[0-9a-f]{64}$/.test(sha256)) return undefined
  return { folder: path.slice(0, -3).join('/'), sha256 }
}

async function answerKeys(call: Call): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'read')
  if (segments.length !== 2 || segments[1] !== `${feed.name}.asc`)
    throw pathNotFound(call.segments, `the key of the feed is at keys/${feed.name}.asc`)
  return serveIndexKeys(reply, host.getIndexes(feed))
}

/** `pool/SUITE/COMPONENT/…/NAME_VERSION_ARCH.deb`, as the index names it. */
async function findPackage(feed: Feed, segments: readonly string[]): Promise<StoredPackage | undefined> {
  const name = segments.at(-1)?.split('_', 1)[0] ?? ''
  if (segments.length < 4 || name === '') return undefined
  const path = segments.join('/')
  return listPackages(await feed.findUnit(name)).find(({ key }) => poolPath(name, key) === path)
}

async function answerPool(call: Call): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'read')
  const found = await findPackage(feed, segments)
  if (found === undefined) throw pathNotFound(call.segments, 'the feed has no such package')
  const { row, file } = found
  return servePackage(request, reply, { feed, row, file, contentType: 'application/vnd.debian.binary-package' })
}

/** Where an upload is to go, and what its file is called. */
function parseUploadPath({ request, segments }: Call): { readonly place: Placement; readonly fileName: string } {
  const fileName = segments.at(-1) ?? ''
  const [area, suite, component] = segments
  if (area === 'pool' && segments.length >= 4) return { place: parsePlacement(suite, component), fileName }
  if (segments.length === 1 && fileName !== '')
    return { place: parsePlacement(findQuery(request, 'suite'), findQuery(request, 'component')), fileName }
  throw new FeedmeshError(
    'BAD_INPUT',
    'upload to pool/SUITE/COMPONENT/FILE.deb, or to FILE.deb for suite stable and component main',
  )
}

async function answerUpload(call: Call): Promise<unknown> {
  const { request, reply, host } = call
  const feed = await host.getFeed(request, 'publish')
  const { place, fileName } = parseUploadPath(call)
  if (fileName.endsWith('.deb')) {
    const body = readBody(request, { maxBytes: feed.maxFileBytes })
    const { isNew } = await publishDeb(feed, { place, fileName, body })
    return reply.code(isNew ? 201 : 200).send()
  }
  if (fileName.endsWith('.changes')) {
    await verifyChanges(feed, place, parseChanges(await readWhole(request, MAX_CHANGES_BYTES)))
    return reply.code(201).send()
  }
  if (fileName.endsWith('.buildinfo')) {
    await readWhole(request, MAX_BUILDINFO_BYTES)
    return reply.code(200).send()
  }
  throw new FeedmeshError(
    'BAD_INPUT',
    `${JSON.stringify(fileName.slice(0, 100))} is not taken; this feed takes binary packages (.deb) and the .changes that name them`,
  )
}

async function readWhole(request: FastifyRequest, maxBytes: number): Promise<Buffer> {
  const body = new GrowingBuffer()
  for await (const piece of readBody(request, { maxBytes })) body.append(piece)
  return body.bytes()
}

async function answerDelete(call: Call): Promise<unknown> {
  const { request, reply, host, segments } = call
  const feed = await host.getFeed(request, 'delete')
  const found = segments[0] === 'pool' ? await findPackage(feed, segments) : undefined
  if (found === undefined) throw pathNotFound(call.segments, 'the feed has no such package')
  await feed.change(found.row.unit, () => ({ drop: [found.row.key] }))
  return reply.code(204).send()
}
