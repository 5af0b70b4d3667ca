/** Manifests: read, pushed and deleted by tag or digest. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests */

import type { Digest } from '../../../src/catalog/digest.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit } from '../../../src/feeds/feed.ts'
import { GrowingBuffer } from '../growing-buffer.ts'
import { readBody } from '../request-body.ts'
import { serveContent } from './blob-routes.ts'
import { listQuery, type RegistryCall, repositoryPath } from './call.ts'
import { decodeTag, MANIFEST_ROLE, manifestKey, tagKey } from './format.ts'
import { MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts'
import { parseReference, parseRepositoryName, parseTag, type Reference } from './names.ts'
import { deleteManifest, digestOf, pushManifest } from './push-manifest.ts'
import { RegistryError } from './registry-error.ts'
import { readManifestMeta } from './repository.ts'

/** Of one push. */
const MAX_TAGS = 100

/** end-3 */
export async function answerManifest(call: RegistryCall): Promise<unknown> {
  const { request, host, hotFiles } = call
  const feed = await host.getFeed(request, 'read')
  const name = parseRepositoryName(call.name)
  const reference = parseReference(call.reference)
  const unit = await feed.findUnit(name)
  if (unit === undefined) throw new RegistryError('NAME_UNKNOWN', `feed ${feed.name} has no image ${name}`)
  const digest = await resolveReference(feed, unit, reference)
  const row = unit.rows.find(({ key }) => digest !== undefined && key === manifestKey(digest))
  const file = row?.files.find(({ role }) => role === MANIFEST_ROLE)
  if (digest === undefined || row === undefined || file === undefined)
    throw unknownManifest(unit, call.reference, digest)
  return await serveContent(call, {
    digest,
    size: file.size,
    contentType: (await readManifestMeta(feed, row)).mediaType,
    modifiedAtMs: row.writtenAtMs,
    ...(reference.kind === 'tag' ? { cacheControl: 'private, no-cache' } : {}),
    open: (range) => feed.open(row, file, range),
    findContent: () => hotFiles.find({ digest, size: file.size, open: () => feed.open(row, file) }),
  })
}

function unknownManifest(unit: FeedUnit, reference: string, digest: Digest | undefined): FeedmeshError {
  if (digest !== undefined && unit.blocked.includes(manifestKey(digest)))
    return new FeedmeshError('CONFLICT', `${digest} of ${unit.unit} is blocked: two sources hold it differently`)
  return new RegistryError('MANIFEST_UNKNOWN', `${unit.unit} has no manifest ${reference.slice(0, 160)}`)
}

async function resolveReference(feed: Feed, unit: FeedUnit, reference: Reference): Promise<Digest | undefined> {
  if (reference.kind === 'digest') return reference.digest
  const row = unit.rows.find(({ key }) => key === tagKey(reference.tag))
  return row === undefined ? undefined : decodeTag(await feed.readMeta(row))
}

/** end-7a, 7b */
export async function putManifest(call: RegistryCall): Promise<unknown> {
  const { request, reply, host, repositories } = call
  const feed = await host.getFeed(request, 'publish')
  const unit = parseRepositoryName(call.name)
  const reference = parseReference(call.reference)
  const tags = listTags(call, reference)
  const body = new GrowingBuffer()
  const maxBytes = Math.min(MAX_MANIFEST_BYTES, feed.maxFileBytes)
  for await (const chunk of readBody(request, { maxBytes })) body.append(chunk)
  const bytes = Buffer.from(body.bytes())
  const digest = digestOf(bytes, reference.kind === 'digest' ? reference.digest : undefined)
  if (reference.kind === 'digest' && digest !== reference.digest)
    throw new RegistryError('DIGEST_INVALID', `the manifest is ${digest}, not ${reference.digest}`)
  const manifest = parseManifest(bytes, request.headers['content-type'])
  await pushManifest(feed, repositories, { unit, bytes, manifest, digest, tags })
  reply.headers({
    location: `${repositoryPath(feed.name, unit)}/manifests/${digest}`,
    'docker-content-digest': digest,
    'content-length': '0',
  })
  if (manifest.subject !== undefined) reply.header('oci-subject', manifest.subject.digest)
  if (reference.kind === 'digest' && tags.length > 0) reply.header('oci-tag', tags)
  return reply.code(201).send()
}

function listTags({ request }: RegistryCall, reference: Reference): string[] {
  if (reference.kind === 'tag') return [reference.tag]
  const tags = new Set(listQuery(request, 'tag').map(parseTag))
  if (tags.size > MAX_TAGS) throw new RegistryError('TAG_INVALID', `a push sets at most ${MAX_TAGS} tags`)
  return [...tags]
}

/** end-9 */
export async function removeManifest(call: RegistryCall): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'delete')
  const unit = parseRepositoryName(call.name)
  const reference = parseReference(call.reference)
  await deleteManifest(feed, unit, reference.kind === 'tag' ? { tag: reference.tag } : { digest: reference.digest })
  return call.reply.code(202).send()
}
