/**
 * Publishing of an image from a file: a tar of an OCI image layout, as `skopeo copy … oci-archive:`, `buildah push
 * oci-archive:` and `docker save` make it, or of Docker's older form. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 *
 * The blobs are taken as they stream by, in whatever order, and kept as uploads of a name that no repository can have; only
 * when everything that the index names has been found does the image come to be.
 */

import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import { isObject, parseJson } from '../request-body.ts'
import { badArchive, type ReceivedArchive, receiveArchive } from './archive-blobs.ts'
import { readDockerImages } from './docker-archive.ts'
import { manifestKey, tagKey } from './format.ts'
import { type ImageName, parseImageName } from './image-name.ts'
import { MAX_MANIFEST_BYTES, MAX_NAMED, type Manifest, parseManifest } from './manifest.ts'
import { pushManifest } from './push-manifest.ts'
import { Repositories } from './repository.ts'

/** An index of indexes of manifests. */
const MAX_DEPTH = 3

export interface ReadManifest {
  readonly digest: Digest
  readonly bytes: Buffer
  readonly manifest: Manifest
}

export interface ArchiveImage {
  readonly name: ImageName
  readonly digest: Digest
  /** In the order in which they can be pushed. */
  readonly tree: readonly ReadManifest[]
}

/** @throws BAD_PACKAGE, MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, TOO_LARGE */
export async function publishImageArchive(feed: Feed, file: NativeFile): Promise<{ unit: string; key: string }> {
  const archive = { place: `_archive/${randomUUID()}`, blobs: new Set<Digest>() }
  try {
    const images = await readImages(feed, file.name, { ...archive, ...(await receiveArchive(feed, file, archive)) })
    const repositories = new Repositories()
    let last: { unit: string; key: string } | undefined
    for (const { name, digest, tree } of images) {
      await verifyComplete(feed, tree, { place: archive.place, unit: name.repository })
      for (const one of tree) {
        const tags = one.digest === digest ? [name.tag] : []
        await pushManifest(feed, repositories, { ...one, unit: name.repository, tags, uploadedTo: archive.place })
      }
      last ??= { unit: name.repository, key: tagKey(name.tag) }
    }
    if (last === undefined) throw badArchive(file.name, 'it names no image')
    return last
  } finally {
    await feed.uploads.forget(archive.place, [...archive.blobs])
  }
}

/** Docker's newer archives are of both forms; then the OCI layout counts, whose manifests are as they were pushed. */
async function readImages(
  feed: Feed,
  fileName: string,
  received: ReceivedArchive & { readonly place: string },
): Promise<ArchiveImage[]> {
  const { place, index, manifest } = received
  if (index !== undefined) {
    const images: ArchiveImage[] = []
    for (const { name, digest } of parseIndex(index, fileName))
      images.push({ name, digest, tree: await readTree(feed, place, digest) })
    return images
  }
  if (manifest !== undefined) return await readDockerImages(feed, fileName, { ...received, manifest })
  throw badArchive(fileName, 'there is neither an index.json nor a manifest.json in it')
}

function parseIndex(bytes: Buffer, fileName: string): Omit<ArchiveImage, 'tree'>[] {
  const index = parseJson(bytes, 'index.json of the archive')
  const manifests = isObject(index) ? index['manifests'] : undefined
  if (!Array.isArray(manifests)) throw badArchive(fileName, 'its index.json lists no manifests')
  return manifests.map((entry: unknown) => {
    const digest = isObject(entry) ? entry['digest'] : undefined
    if (!isObject(entry) || !isDigest(digest))
      throw badArchive(fileName, 'its index.json has an entry without a digest')
    const annotations = isObject(entry['annotations']) ? entry['annotations'] : {}
    return { digest, name: parseImageName(annotations, fileName) }
  })
}

/** A manifest after all that it names: the order in which they can be pushed. */
async function readTree(feed: Feed, place: string, top: Digest): Promise<ReadManifest[]> {
  const found = new Map<Digest, ReadManifest>()
  const visit = async (digest: Digest, depth: number): Promise<void> => {
    if (found.has(digest)) return
    const file = await feed.uploads.findFile(place, digest)
    if (file === undefined) return
    if (depth > MAX_DEPTH || found.size > MAX_NAMED || file.size > MAX_MANIFEST_BYTES)
      throw new FeedmeshError('BAD_PACKAGE', `${digest} is no manifest, or one of too many`)
    const bytes = await buffer(await feed.uploads.open(place, digest))
    const manifest = parseManifest(bytes, undefined)
    for (const named of manifest.named) if (manifest.kind === 'index') await visit(named.digest, depth + 1)
    found.set(digest, { digest, bytes, manifest })
  }
  await visit(top, 1)
  if (!found.has(top)) throw new FeedmeshError('BAD_PACKAGE', `the archive names ${top}, which is not in it`)
  return [...found.values()]
}

/** Before anything of the image is stored. @throws BAD_PACKAGE */
async function verifyComplete(
  feed: Feed,
  tree: readonly ReadManifest[],
  { place, unit }: { readonly place: string; readonly unit: string },
): Promise<void> {
  const rows = (await feed.findUnit(unit))?.rows ?? []
  const known = new Set<string>(rows.flatMap(({ files }) => files.map(({ digest }) => digest)))
  const pushed = new Set<string>([...rows.map(({ key }) => key), ...tree.map(({ digest }) => manifestKey(digest))])
  for (const { manifest } of tree)
    for (const { digest, role, isForeign } of manifest.named) {
      const isThere = role.startsWith('manifest/')
        ? pushed.has(manifestKey(digest))
        : known.has(digest) || (await feed.uploads.findFile(place, digest)) !== undefined
      if (!isThere && !isForeign)
        throw new FeedmeshError('BAD_PACKAGE', `the archive names ${digest} (${role}), which is not in it`)
    }
}
