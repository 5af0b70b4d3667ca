/** The blob protocol on the answering side: the bytes of files that rows of a readable feed name. */

import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import { feedIdText } from '../catalog/charter.ts'
import { type Digest, isDigest } from '../catalog/digest.ts'
import { decodeRow, placeOf, type Row } from '../catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import { type BlobStore, MAX_INLINE_BYTES } from '../store/blobs.ts'
import { keys } from '../store/keys.ts'
import { NOT_HERE, type Policy, type Replies, serveGuarded } from './guard.ts'

/** One blob may take this long; slower peers resume. */
const MAX_STREAM_MS = 6 * 3_600_000

/** A digest is not a capability: the named row of the named feed must name it. */
function findSize(row: Row, digest: string): number | undefined {
  for (const file of row.files) {
    if (file.digest === digest) return file.size
    if (file.chunkRoot === digest) return Number.MAX_SAFE_INTEGER
  }
  return undefined
}

async function answerBlob(
  registry: Registry,
  blobs: BlobStore,
  exchange: { request: BlobRequest; replies: Replies<BlobReply> },
): Promise<void> {
  const { feedId, unit, key, digest, offset } = exchange.request
  const state = registry.states.get(feedIdText(feedId))
  const stored =
    state &&
    (await registry.records.find(
      keys.row(state.number, state.generation, placeOf(state.charter.value.salt, unit, key)),
    ))
  const size = stored === undefined ? undefined : findSize(decodeRow(stored), digest)
  if (size === undefined || !isDigest(digest)) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
  if (offset === 0 && size <= MAX_INLINE_BYTES) return await answerSmall(blobs, digest, exchange.replies)
  const facts = await blobs.find(digest)
  if (facts === undefined) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
  if (offset > facts.size)
    throw new FeedmeshError('RANGE', `offset ${offset} lies beyond the blob's ${facts.size} bytes`)
  const length = facts.size - offset
  const reply: BlobReply = { kind: 'bytes', length }
  if (length === 0) return await exchange.replies.send(reply)
  await using pieces = await blobs.openPieces(digest, { start: offset, end: facts.size })
  await exchange.replies.sendWithBytes(reply, pieces)
}

/** Most blobs are small: one look-up, one write. */
async function answerSmall(blobs: BlobStore, digest: Digest, replies: Replies<BlobReply>): Promise<void> {
  let bytes: Uint8Array
  try {
    bytes = await blobs.read(digest, MAX_INLINE_BYTES)
  } catch (error) {
    if (isFeedmeshError(error, 'NOT_FOUND')) throw new FeedmeshError('NOT_FOUND', NOT_HERE, { cause: error })
    throw error
  }
  await replies.sendWith({ kind: 'bytes', length: bytes.length }, bytes)
}

export async function serveBlobs(
  host: MeshHost,
  policy: Policy,
  stores: { readonly registry: Registry; readonly blobs: BlobStore },
): Promise<void> {
  await serveGuarded<BlobRequest, BlobReply>(host, policy, {
    protocol: BLOB_PROTOCOL,
    verb: 'read',
    limits: { maxInboundStreams: 16, maxDurationMs: MAX_STREAM_MS, bulk: true },
    shapes: { request: blobRequest, reply: blobReply },
    answer: (request, replies) => answerBlob(stores.registry, stores.blobs, { request, replies }),
  })
}
