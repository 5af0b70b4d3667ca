/** Tags of a repository and what refers to a manifest. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#content-discovery */

import { buffer } from 'node:stream/consumers'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Feed, FeedRow } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { listQuery, type RegistryCall, repositoryPath } from './call.ts'
import { findRowKey, MANIFEST_ROLE } from './format.ts'
import { INDEX_TYPE, MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts'
import { parseBlobDigest, parseRepositoryName } from './names.ts'
import { RegistryError, sendJson } from './registry-error.ts'
import { readManifestMeta } from './repository.ts'

const MAX_DESCRIPTOR_CACHE_BYTES = 8 * 1024 ** 2

export interface Page {
  /** Undefined = all. */
  readonly limit: number | undefined
  /** Goes on behind this one. */
  readonly last: string | undefined
}

/** @throws PAGINATION_NUMBER_INVALID */
export function parsePage(request: FastifyRequest): Page {
  const [limit] = listQuery(request, 'n')
  const [last] = listQuery(request, 'last')
  if (limit !== undefined && !/^\d{1,9}$/.test(limit))
    throw new RegistryError('PAGINATION_NUMBER_INVALID', `n=${limit.slice(0, 40)} is not a number of entries`)
  return { limit: limit === undefined ? undefined : Number(limit), last }
}

/** RFC 8288: where the list goes on. */
export function linkNext(
  reply: FastifyReply,
  path: string,
  page: { readonly limit: number; readonly last: string },
): void {
  const query = new URLSearchParams({ n: String(page.limit), last: page.last })
  reply.header('link', `<${path}?${query.toString()}>; rel="next"`)
}

/** end-8a, 8b. Rows are in byte order of their keys, and so are the tags. */
export async function answerTags(call: RegistryCall): Promise<unknown> {
  const { request, reply, host } = call
  const feed = await host.getFeed(request, 'read')
  const name = parseRepositoryName(call.name)
  const { limit, last } = parsePage(request)
  const unit = await feed.findUnit(name)
  if (unit === undefined) throw new RegistryError('NAME_UNKNOWN', `feed ${feed.name} has no image ${name}`)
  const all = unit.rows.flatMap(({ key }) => {
    const about = findRowKey(key)
    return about?.kind === 'tag' ? [about.tag] : []
  })
  const rest = last === undefined ? all : all.filter((tag) => tag > last)
  const tags = limit === undefined ? rest : rest.slice(0, limit)
  const lastSent = tags.at(-1)
  if (limit !== undefined && lastSent !== undefined && tags.length < rest.length)
    linkNext(reply, `${repositoryPath(feed.name, name)}/tags/list`, { limit, last: lastSent })
  return sendJson(reply, { name: `${feed.name}/${name}`, tags })
}

/** end-12a, 12b */
export function createReferrersRoute() {
  const descriptors = new ByteCache<object>(MAX_DESCRIPTOR_CACHE_BYTES)
  return async (call: RegistryCall): Promise<unknown> => {
    const { request, reply, host, repositories } = call
    const feed = await host.getFeed(request, 'read')
    const name = parseRepositoryName(call.name)
    const digest = parseBlobDigest(call.reference)
    const unit = await feed.findUnit(name)
    const rows = unit === undefined ? [] : await repositories.listReferrers(feed, unit, digest)
    const [wanted] = listQuery(request, 'artifactType')
    const manifests: object[] = []
    for (const row of rows) {
      const { artifactType } = await readManifestMeta(feed, row)
      if (wanted !== undefined && artifactType !== wanted) continue
      const known = descriptors.find(row.digest)
      const descriptor = known ?? (await describeReferrer(feed, row))
      if (known === undefined) descriptors.set(row.digest, descriptor, JSON.stringify(descriptor).length)
      manifests.push(descriptor)
    }
    if (wanted !== undefined) reply.header('oci-filters-applied', 'artifactType')
    return sendJson(reply, { schemaVersion: 2, mediaType: INDEX_TYPE, manifests }, INDEX_TYPE)
  }
}

async function describeReferrer(feed: Feed, row: FeedRow): Promise<object> {
  const file = row.files.find(({ role }) => role === MANIFEST_ROLE)
  const { mediaType, artifactType } = await readManifestMeta(feed, row)
  if (file === undefined) return { mediaType, artifactType, digest: row.key.slice(2), size: 0 }
  const { digest, size } = file
  if (size > MAX_MANIFEST_BYTES) return { mediaType, artifactType, digest, size }
  const { annotations } = parseManifest(await buffer(await feed.open(row, file)), mediaType)
  return { mediaType, digest, size, artifactType, annotations }
}
