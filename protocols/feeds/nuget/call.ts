/** One request to a NuGet feed, and the answers that are the same in all versions of the protocol. */

import { hash } from 'node:crypto'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { FeedHost } from '../../../src/feeds/feed-type.ts'
import { isListedEtag } from '../serve-file.ts'
import { isPackageId } from './nuspec.ts'
import type { PackageCatalog } from './package-catalog.ts'
import { findPackageVersion, type PackageVersion } from './package-version.ts'
import { listVersionRows, type PublishedVersions, type VersionRow } from './published-package.ts'

const MAX_QUERY_LENGTH = 8 * 1024
/** Smaller documents gain nothing. */
const MIN_GZIP_BYTES = 1024
const compress = promisify(gzip)

export interface NugetCall {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  readonly host: FeedHost
  readonly published: PublishedVersions
  readonly catalog: PackageCatalog
  /** Path below the feed, decoded. */
  readonly segments: readonly string[]
}

export type NugetHandler = (call: NugetCall) => Promise<unknown>

/** Parameters by their names in lower case: clients differ in case. @throws BAD_INPUT */
export function parseParameters(request: FastifyRequest): ReadonlyMap<string, string> {
  const url = request.raw.url ?? ''
  const at = url.indexOf('?')
  const query = at < 0 ? '' : url.slice(at + 1)
  if (query.length > MAX_QUERY_LENGTH)
    throw new FeedmeshError('BAD_INPUT', `the query has more than ${MAX_QUERY_LENGTH} characters`)
  const found = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(query)) {
    if (!found.has(name.toLowerCase())) found.set(name.toLowerCase(), value)
  }
  return found
}

export function parseCount(text: string | undefined, fallback: number, max: number): number {
  if (text === undefined || text === '') return fallback
  if (/^\d{1,9}$/.test(text)) return Math.min(Number(text), max)
  throw new FeedmeshError('BAD_INPUT', `${JSON.stringify(text.slice(0, 40))} is not a number of results`)
}

export function isSemVer2Wanted(parameters: ReadonlyMap<string, string>): boolean {
  const level = findPackageVersion(parameters.get('semverlevel')?.replaceAll("'", '') ?? '')
  return level !== undefined && level.numbers[0] >= 2
}

/** The versions of a package, rising. @throws NOT_FOUND without any */
export async function getVersionRows(feed: Feed, id: string): Promise<VersionRow[]> {
  const unit = isPackageId(id) ? await feed.findUnit(id.toLowerCase()) : undefined
  const rows = unit === undefined ? [] : listVersionRows(unit)
  if (rows.length > 0) return rows
  throw new FeedmeshError('NOT_FOUND', `no package ${JSON.stringify(id.slice(0, 120))} in feed ${feed.name}`)
}

/** @throws NOT_FOUND */
export async function getVersionRow(feed: Feed, id: string, version: string): Promise<VersionRow> {
  const wanted: PackageVersion | undefined = findPackageVersion(version)
  const rows = await getVersionRows(feed, id)
  const found = rows.find((row) => row.version.key === wanted?.key)
  if (found !== undefined) return found
  const name = JSON.stringify(`${id.slice(0, 120)} ${version.slice(0, 140)}`)
  throw new FeedmeshError('NOT_FOUND', `no package ${name} in feed ${feed.name}`)
}

export function sendJson(call: Pick<NugetCall, 'request' | 'reply'>, value: unknown): Promise<unknown> {
  return sendDocument(call, JSON.stringify(value), 'application/json; charset=utf-8')
}

export async function sendDocument(
  { request, reply }: Pick<NugetCall, 'request' | 'reply'>,
  document: string | Buffer,
  contentType: string,
): Promise<unknown> {
  // Weak: the same document goes out compressed and plain.
  const etag = `W/"${hash('sha256', document, 'base64url').slice(0, 27)}"`
  reply.headers({
    etag,
    vary: 'Accept, Accept-Encoding',
    'cache-control': 'private, no-cache',
    'x-content-type-options': 'nosniff',
  })
  if (isListedEtag(request.headers['if-none-match'] ?? '', etag)) return reply.code(304).send()
  reply.header('content-type', contentType)
  const plain = typeof document === 'string' ? Buffer.from(document) : document
  const isCompressed = plain.length >= MIN_GZIP_BYTES && /\bgzip\b/i.test(String(request.headers['accept-encoding']))
  const body = isCompressed ? await compress(plain) : plain
  if (isCompressed) reply.header('content-encoding', 'gzip')
  if (request.method === 'HEAD') return reply.header('content-length', body.length).send()
  return reply.send(body)
}
