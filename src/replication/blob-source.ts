/** The blob protocol on the answering side: the bytes of files that rows of a readable feed name. */

import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { type Digest, isDigest } from '../catalog/digest.ts'
import { decodeRow, placeOf, type Row, type RowFile } from '../catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import { type BlobPieces, type BlobStore, type ByteRange, MAX_INLINE_BYTES } from '../store/blobs.ts'
import { keys } from '../store/keys.ts'
import { chunkListBytes } from '../store/staged-chunks.ts'
import type { WantedBlob } from './blob-fetcher.ts'
import type { ComingFiles } from './coming-files.ts'
import type { FetchThrough } from './fetch-through.ts'
import { NOT_HERE, type Policy, type Replies, serveGuarded } from './guard.ts'
import type { RateLimits, Traffic } from './rate-limits.ts'

/** One blob may take this long; slower peers resume. */
const MAX_STREAM_MS = 6 * 3_600_000

/** A digest is not a capability: the named row of the named feed must name it. The size is what the row says. */
function findSize(files: readonly RowFile[], digest: string): number | undefined {
  for (const file of files) {
    if (file.digest === digest) return file.size
    if (file.chunkRoot === digest) return chunkListBytes(file.size)
  }
  return undefined
}

export async function findRow(
  registry: Registry,
  feedId: FeedId,
  { unit, key }: { readonly unit: string; readonly key: string },
): Promise<Row | undefined> {
  const state = registry.states.get(feedId)
  if (state === undefined) return undefined
  const stored = await registry.records.find(rowKey(state, { unit, key }))
  return stored && decodeRow(stored)
}

function rowKey(
  { charter, number, generation }: FeedState,
  { unit, key }: { readonly unit: string; readonly key: string },
): Uint8Array {
  return keys.row(number, generation, placeOf(charter.value.salt, unit, key))
}

export interface BlobSourceStores {
  readonly registry: Registry
  readonly blobs: BlobStore
  /** What this node fetches for rows that are not adopted yet. */
  readonly coming?: Pick<ComingFiles, 'find'>
  /** On what is sent. */
  readonly limits?: RateLimits
  /** Gets what is not here. */
  readonly through?: Pick<FetchThrough, 'openPieces'>
}

interface Asked {
  readonly request: BlobRequest
  readonly replies: Replies<BlobReply>
}

/** What was found for requests that came together. */
type FoundAhead = ReadonlyMap<BlobRequest, { readonly row: Row | undefined; readonly bytes: Uint8Array | undefined }>

/** Rows in one look, then small blobs in one. */
async function readAhead({ registry, blobs }: BlobSourceStores, requests: readonly BlobRequest[]): Promise<FoundAhead> {
  const known = requests.flatMap((request) => {
    const state = registry.states.get(feedIdText(request.feedId))
    return state === undefined ? [] : [{ request, key: rowKey(state, request) }]
  })
  const rows = await registry.records.findMany(known.map(({ key }) => key))
  const digests = known.flatMap(({ request: { digest } }) => (isDigest(digest) ? [digest] : []))
  const small = new Map((await blobs.findSmall(digests)).map((bytes, at) => [digests[at]!, bytes]))
  return new Map(
    known.map(({ request }, at) => {
      const row = rows[at] && decodeRow(rows[at])
      return [request, { row, bytes: isDigest(request.digest) ? small.get(request.digest) : undefined }]
    }),
  )
}

/** A digest that the named row names. */
interface NamedBlob {
  readonly digest: Digest
  readonly size: number
  /** undefined for a chunk list. */
  readonly file: RowFile | undefined
}

/** By a row that is adopted or on its way. @throws NOT_FOUND */
function getNamed(row: Row | undefined, request: BlobRequest, coming: BlobSourceStores['coming']): NamedBlob {
  const { feedId, unit, key, digest } = request
  const adopted = row?.files ?? []
  const comes =
    findSize(adopted, digest) === undefined
      ? coming?.find({ feedId: feedIdText(feedId), unit, key, digest })
      : undefined
  const files = comes === undefined ? adopted : [asRowFile(comes)]
  const size = findSize(files, digest)
  if (size === undefined || !isDigest(digest)) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
  return { digest, size, file: files.find((one) => one.digest === digest) }
}

/** Its role is of no account here. */
function asRowFile({ digest, size, chunkRoot }: WantedBlob): RowFile {
  return { role: '', digest, size, ...(chunkRoot === undefined ? {} : { chunkRoot }) }
}

async function answerBlob(stores: BlobSourceStores, exchange: Asked, ahead?: FoundAhead): Promise<void> {
  const { request } = exchange
  const { feedId, unit, key } = request
  const found = ahead?.get(request)
  const row = found === undefined ? await findRow(stores.registry, feedIdText(feedId), { unit, key }) : found.row
  const named = getNamed(row, request, stores.coming)
  if (isSmall(request, named) && (await answerSmall(stores, exchange, { ...named, bytes: found?.bytes }))) return
  await answerRange(stores, exchange, named)
}

/** Most blobs are small and asked for whole. */
function isSmall({ offset, length }: BlobRequest, { size }: NamedBlob): boolean {
  return offset === 0 && size <= MAX_INLINE_BYTES && (length ?? size) === size
}

async function answerRange(stores: BlobSourceStores, exchange: Asked, named: NamedBlob): Promise<void> {
  const { blobs, limits } = stores
  const { request, replies } = exchange
  const facts = await blobs.find(named.digest)
  const { start, end } = rangeOf(request, facts?.size ?? named.size)
  const reply: BlobReply = { kind: 'bytes', length: end - start }
  if (start === end && (facts !== undefined || named.size === 0)) return await replies.send(reply)
  await using pieces = await openRange(stores, exchange, { ...named, start, end, isKnown: facts !== undefined })
  await replies.sendWithBytes(reply, limits?.pace(pieces, trafficOf(exchange)) ?? pieces)
}

function trafficOf({ request, replies }: Asked): Traffic {
  const { peer, signal } = replies
  return { peer, feedId: feedIdText(request.feedId), signal }
}

/** @throws RANGE */
function rangeOf({ offset, length }: BlobRequest, size: number): { readonly start: number; readonly end: number } {
  const end = length === null ? size : offset + length
  if (offset <= size && end <= size) return { start: offset, end }
  const asked = length === null ? `offset ${offset}` : `${length} bytes from ${offset} on`
  throw new FeedmeshError('RANGE', `${asked} lies beyond the blob's ${size} bytes`)
}

interface WantedRange extends NamedBlob, ByteRange {
  readonly isKnown: boolean
}

/** Of a blob that is on its way what is verified; what is not here at all may be had. */
async function openRange(
  { blobs, through }: BlobSourceStores,
  { request, replies }: Asked,
  { digest, file, start, end, isKnown }: WantedRange,
): Promise<BlobPieces> {
  if (isKnown) return await blobs.openPieces(digest, { start, end })
  const pieces = start < end ? await blobs.openVerified(digest, { start, end }) : undefined
  if (pieces !== undefined) return pieces
  // It may have become known since it was looked for.
  if (start < end && (await blobs.find(digest)) !== undefined) return await blobs.openPieces(digest, { start, end })
  if (start === end || through === undefined || file === undefined) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
  const { unit, key } = request
  const wanted = { feedId: feedIdText(request.feedId), unit, key, file }
  return await through.openPieces(replies.peer, wanted, { start, end })
}

/** One look, or none, and one write. @returns false for a blob that is not here */
async function answerSmall(
  { blobs, limits }: BlobSourceStores,
  exchange: Asked,
  { digest, size, bytes: ahead }: NamedBlob & { readonly bytes: Uint8Array | undefined },
): Promise<boolean> {
  const bytes = ahead?.length === size ? ahead : await findBytes(blobs, digest)
  if (bytes === undefined) return false
  await limits?.send(size, trafficOf(exchange))
  await exchange.replies.sendWith({ kind: 'bytes', length: bytes.length }, bytes)
  return true
}

async function findBytes(blobs: BlobStore, digest: Digest): Promise<Uint8Array | undefined> {
  try {
    return await blobs.read(digest, MAX_INLINE_BYTES)
  } catch (error) {
    if (isFeedmeshError(error, 'NOT_FOUND')) return undefined
    throw error
  }
}

export async function serveBlobs(host: MeshHost, policy: Policy, stores: BlobSourceStores): Promise<void> {
  await serveGuarded<BlobRequest, BlobReply, FoundAhead>(host, policy, {
    protocol: BLOB_PROTOCOL,
    verb: 'blobs',
    limits: { maxInboundStreams: 16, maxDurationMs: MAX_STREAM_MS, bulk: true },
    shapes: { request: blobRequest, reply: blobReply },
    readAhead: (requests) => readAhead(stores, requests),
    answer: (request, replies, ahead) => answerBlob(stores, { request, replies }, ahead),
  })
}
