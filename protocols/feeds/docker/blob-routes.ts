/** Blobs: read and deleted by digest. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-blobs */

import type { Readable } from 'node:stream'
import type { Digest } from '../../../src/catalog/digest.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { ByteRange } from '../../../src/store/blobs.ts'
import { type ServedFile, serveFile } from '../serve-file.ts'
import type { RegistryCall } from './call.ts'
import { foreignKey } from './format.ts'
import { parseBlobDigest, parseRepositoryName } from './names.ts'
import { RegistryError } from './registry-error.ts'

interface FoundBlob {
  readonly size: number
  readonly modifiedAtMs: number
  open(range?: ByteRange): Promise<Readable>
}

/** end-2 */
export async function answerBlob(call: RegistryCall): Promise<unknown> {
  const { request, host, hotFiles } = call
  const feed = await host.getFeed(request, 'read')
  const unit = parseRepositoryName(call.name)
  const digest = parseBlobDigest(call.reference)
  const blob = await findBlob(call, feed, { unit, digest })
  if (blob === undefined) throw new RegistryError('BLOB_UNKNOWN', `${unit} has no blob ${digest}`)
  return await serveContent(call, {
    ...blob,
    digest,
    contentType: 'application/octet-stream',
    findContent: () => hotFiles.find({ digest, size: blob.size, open: () => blob.open() }),
  })
}

async function findBlob(
  { repositories }: RegistryCall,
  feed: Feed,
  { unit, digest }: { readonly unit: string; readonly digest: Digest },
): Promise<FoundBlob | undefined> {
  const stored = repositories.findBlob(feed, await feed.findUnit(unit), digest)
  if (stored !== undefined) {
    const { row, file } = stored
    return { size: file.size, modifiedAtMs: row.writtenAtMs, open: (range) => feed.open(row, file, range) }
  }
  const uploaded = await feed.uploads.findFile(unit, digest)
  if (uploaded === undefined) return undefined
  const { size, uploadedAtMs } = uploaded
  return { size, modifiedAtMs: uploadedAtMs, open: (range) => feed.uploads.open(unit, digest, range) }
}

export interface ServedContent extends Omit<ServedFile, 'etag' | 'headers'> {
  readonly digest: Digest
  /** Default: for ever, since the URL names the digest. */
  readonly cacheControl?: string
}

/** A range that ends before it begins is refused here, where others would answer with the whole file: the specification has it so. */
export async function serveContent({ request, reply }: RegistryCall, content: ServedContent): Promise<unknown> {
  const { digest, cacheControl = 'private, max-age=31536000, immutable', ...file } = content
  const headers = { 'docker-content-digest': digest, 'cache-control': cacheControl }
  const [, first = '0', last = '0'] = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(request.headers.range ?? '') ?? []
  if (Number(last) < Number(first)) {
    reply.headers({ ...headers, 'content-range': `bytes */${file.size}`, 'x-content-type-options': 'nosniff' })
    return reply.code(416).send()
  }
  return await serveFile(request, reply, { ...file, etag: `"${digest}"`, headers })
}

/** end-10: what a manifest names goes with the manifest; the rest at once. */
export async function deleteBlob(call: RegistryCall): Promise<unknown> {
  const { request, reply, host, repositories } = call
  const feed = await host.getFeed(request, 'delete')
  const unit = parseRepositoryName(call.name)
  const digest = parseBlobDigest(call.reference)
  const current = await feed.findUnit(unit)
  const stored = repositories.findBlob(feed, current, digest)
  const foreign = current?.rows.find(({ key }) => key === foreignKey(digest))
  if (stored !== undefined && stored.row.key !== foreign?.key)
    throw new RegistryError(
      'UNSUPPORTED',
      `${digest} belongs to ${stored.row.key.slice(2)} of ${unit}; it goes when every manifest that names it is deleted`,
    )
  if (foreign === undefined && (await feed.uploads.findFile(unit, digest)) === undefined)
    throw new RegistryError('BLOB_UNKNOWN', `${unit} has no blob ${digest}`)
  if (foreign !== undefined) await feed.change(unit, () => ({ drop: [foreign.key] }))
  await feed.uploads.forget(unit, [digest])
  return reply.code(202).send()
}
