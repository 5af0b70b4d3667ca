/** Uploads of blobs: whole, in chunks, streamed, mounted. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#push */

import type { FastifyRequest } from 'fastify'
import type { Digest } from '../../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { SealedBlob, StagedBlob } from '../../../src/store/blobs.ts'
import { readBody } from '../request-body.ts'
import { listQuery, type RegistryCall, repositoryPath } from './call.ts'
import { isRepositoryName, parseBlobDigest, parseRepositoryName } from './names.ts'
import { RegistryError } from './registry-error.ts'
import type { HeldSession } from './upload-sessions.ts'

interface Upload {
  readonly feed: Feed
  readonly unit: string
  readonly id: string
}

/** end-4a, 4b, 4c and 11: POST …/blobs/uploads/ */
export async function beginUpload(call: RegistryCall): Promise<unknown> {
  const { request, host, sessions } = call
  const feed = await host.getFeed(request, 'publish')
  const unit = parseRepositoryName(call.name)
  const [digest] = listQuery(request, 'digest')
  if (digest !== undefined) return await receiveWhole(call, { feed, unit, digest: parseBlobDigest(digest) })
  const [wanted] = listQuery(request, 'mount')
  if (wanted !== undefined && (await mountBlob(call, { feed, unit, digest: parseBlobDigest(wanted) })))
    return sendCreated(call, { feed, unit }, parseBlobDigest(wanted))
  const id = await sessions.begin(feed, unit, parseAlgorithm(request))
  return describeUpload(call, { feed, unit, id }, 0).code(202).send()
}

/** end-5: PATCH …/blobs/uploads/ID */
export async function appendToUpload(call: RegistryCall): Promise<unknown> {
  const upload = await getUpload(call, 'publish')
  return await call.sessions.use(upload, async (held) => {
    const start = held.staged.size
    if (!isNext(call.request, start)) return describeUpload(call, upload, start).code(416).send()
    await append(call.request, upload, held)
    return describeUpload(call, upload, held.staged.size).code(202).send()
  })
}

/** end-6: PUT …/blobs/uploads/ID?digest= */
export async function finishUpload(call: RegistryCall): Promise<unknown> {
  const upload = await getUpload(call, 'publish')
  const { feed, unit, id } = upload
  const digest = parseBlobDigest(listQuery(call.request, 'digest').at(-1))
  return await call.sessions.use(upload, async (held) => {
    const start = held.staged.size
    if (!isNext(call.request, start)) return describeUpload(call, upload, start).code(416).send()
    await append(call.request, upload, held)
    held.close()
    await feed.uploads.keep(unit, await seal(held.staged, digest, () => feed.uploads.end(id)), id)
    return sendCreated(call, upload, digest)
  })
}

/** end-13: GET …/blobs/uploads/ID */
export async function answerUploadStatus(call: RegistryCall): Promise<unknown> {
  const upload = await getUpload(call, 'publish')
  return await call.sessions.use(upload, async ({ staged }) =>
    describeUpload(call, upload, staged.size).code(204).send(),
  )
}

/** end-14: DELETE …/blobs/uploads/ID */
export async function cancelUpload(call: RegistryCall): Promise<unknown> {
  await call.sessions.cancel(await getUpload(call, 'publish'))
  return call.reply.code(204).send()
}

async function getUpload(call: RegistryCall, permission: 'publish'): Promise<Upload> {
  const feed = await call.host.getFeed(call.request, permission)
  return { feed, unit: parseRepositoryName(call.name), id: call.reference }
}

/** Of no bytes so far the range is `0-0`, too: that is what clients know. */
function describeUpload({ reply }: RegistryCall, { feed, unit, id }: Upload, size: number) {
  return reply.headers({
    location: `${repositoryPath(feed.name, unit)}/blobs/uploads/${id}`,
    range: `0-${Math.max(0, size - 1)}`,
    'docker-upload-uuid': id,
    'cache-control': 'no-store',
    'content-length': '0',
  })
}

function sendCreated({ reply }: RegistryCall, { feed, unit }: Pick<Upload, 'feed' | 'unit'>, digest: Digest) {
  reply.headers({
    location: `${repositoryPath(feed.name, unit)}/blobs/${digest}`,
    'docker-content-digest': digest,
    'content-length': '0',
  })
  return reply.code(201).send()
}

interface WantedBlob {
  readonly feed: Feed
  readonly unit: string
  readonly digest: Digest
}

async function receiveWhole(call: RegistryCall, { feed, unit, digest }: WantedBlob): Promise<unknown> {
  const hashes = digest.startsWith('sha512:') ? { hashes: ['sha512'] as const } : {}
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes, ...hashes })
  for await (const chunk of readBody(call.request, { maxBytes: feed.maxFileBytes })) await staged.write(chunk)
  await feed.uploads.keep(unit, await seal(staged, digest))
  return sendCreated(call, { feed, unit }, digest)
}

/** @throws DIGEST_INVALID; `onRefused` is done first */
async function seal(staged: StagedBlob, digest: Digest, onRefused?: () => Promise<void>): Promise<SealedBlob> {
  try {
    return await staged.seal(digest)
  } catch (cause) {
    await onRefused?.()
    if (!isFeedmeshError(cause, 'PEER_INVALID')) throw cause
    throw new RegistryError('DIGEST_INVALID', `the blob is not ${digest}; all of it has to be sent again`, { cause })
  }
}

/**
 * A blob of another repository that the caller may read. Without `from` only this repository is looked through: a digest
 * alone must not tell what others have.
 */
async function mountBlob(call: RegistryCall, { feed, unit, digest }: WantedBlob): Promise<boolean> {
  const { request, host, repositories } = call
  const [source] = listQuery(request, 'from')
  const [feedName = '', ...name] = source?.split('/') ?? [feed.name, unit]
  const repository = name.join('/')
  if (!isRepositoryName(repository)) return false
  const from = feedName === feed.name ? feed : await host.findFeed(request, feedName, 'read')
  if (from === undefined) return false
  const isThere =
    repositories.findBlob(from, await from.findUnit(repository), digest) !== undefined ||
    (await from.uploads.findFile(repository, digest)) !== undefined
  return isThere && (await feed.uploads.adopt(unit, digest))
}

/** end-4c: how the blob will be named, so that it need not be read again for it. @throws DIGEST_INVALID */
function parseAlgorithm(request: FastifyRequest): 'sha256' | 'sha512' {
  const [algorithm = 'sha256'] = listQuery(request, 'digest-algorithm')
  if (algorithm === 'sha256' || algorithm === 'sha512') return algorithm
  throw new RegistryError(
    'DIGEST_INVALID',
    `digest-algorithm ${algorithm.slice(0, 40)} is not known here; use sha256 or sha512`,
  )
}

/** `Content-Range: START-END`, without unit and total. @throws BLOB_UPLOAD_INVALID */
function parseChunkRange(request: FastifyRequest): { readonly start: number; readonly length: number } | undefined {
  const header = request.headers['content-range']
  if (header === undefined) return undefined
  const [, first = '', last = ''] = /^(?:bytes )?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/.exec(header) ?? []
  const length = Number(last) - Number(first) + 1
  const declared = request.headers['content-length']
  if (first !== '' && length > 0 && (declared === undefined || Number(declared) === length))
    return { start: Number(first), length }
  throw new RegistryError(
    'BLOB_UPLOAD_INVALID',
    `Content-Range ${JSON.stringify(header.slice(0, 60))} does not fit a chunk of ${declared ?? 'unknown'} bytes; it is START-END`,
  )
}

/** Whether the chunk begins where the bytes end that are here. */
function isNext(request: FastifyRequest, size: number): boolean {
  const range = parseChunkRange(request)
  return range === undefined || range.start === size
}

/** What came before the client left stays: it may ask how far it got and go on. */
async function append(request: FastifyRequest, { feed, id }: Upload, held: HeldSession): Promise<void> {
  const range = parseChunkRange(request)
  const { staged } = held
  const maxBytes = feed.maxFileBytes - staged.size
  const end = range === undefined ? undefined : range.start + range.length
  for await (const chunk of readBody(request, { maxBytes })) {
    if (end !== undefined && staged.size + chunk.length > end)
      throw new RegistryError('BLOB_UPLOAD_INVALID', `the chunk has more than the ${range?.length} bytes of its range`)
    try {
      await staged.write(chunk)
    } catch (error) {
      held.close()
      await feed.uploads.end(id)
      throw error
    }
  }
  if (end !== undefined && staged.size !== end)
    throw new RegistryError(
      'BLOB_UPLOAD_INVALID',
      `the chunk ended ${end - staged.size} bytes before its range does; go on from there`,
    )
}
