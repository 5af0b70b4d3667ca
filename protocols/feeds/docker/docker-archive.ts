/**
 * Docker's older form of an archive, as `podman save`, `skopeo copy … docker-archive:`, `crane pull` and `docker save` before
 * version 25 make it: `manifest.json` names configurations and layers by their members. It has no manifests of its own, so one
 * is made: the same from the same archive, wherever it is published.
 * https://github.com/moby/docker-image-spec/blob/main/v1.2.md (combined image JSON + filesystem changeset format)
 */

import { posix } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { type Digest, sha256Digest } from '../../../src/catalog/digest.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import { isObject, parseJson } from '../request-body.ts'
import { type ArchiveFile, badArchive, type ReceivedArchive } from './archive-blobs.ts'
import type { ArchiveImage } from './image-archive.ts'
import { parseImageName } from './image-name.ts'
import { CONFIG_TYPE, IMAGE_TYPE, MAX_MANIFEST_BYTES, parseManifest } from './manifest.ts'

const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar'
const MAX_IMAGES = 256
const MAX_LINKS = 4

type DockerArchive = Pick<ReceivedArchive, 'files' | 'links'> & { readonly manifest: Buffer; readonly place: string }

interface NamedMembers {
  readonly config: string
  readonly layers: readonly string[]
  readonly tags: readonly string[]
}

/** @throws BAD_PACKAGE, BAD_INPUT */
export async function readDockerImages(feed: Feed, fileName: string, archive: DockerArchive): Promise<ArchiveImage[]> {
  const images: ArchiveImage[] = []
  for (const { config, layers, tags } of parseList(archive.manifest, fileName)) {
    const configFile = getFile(archive, config, fileName)
    const layerFiles = layers.map((layer) => getFile(archive, layer, fileName))
    verifyLayers(await readConfig(feed, archive.place, { file: configFile, fileName }), layerFiles, fileName)
    const bytes = renderManifest(configFile, layerFiles)
    const digest = sha256Digest(bytes)
    const tree = [{ digest, bytes, manifest: parseManifest(bytes, undefined) }]
    const names = tags.length === 0 ? [parseImageName({}, fileName)] : tags.map((tag) => parseTag(tag, fileName))
    for (const name of names) images.push({ name, digest, tree })
  }
  return images
}

function parseTag(tag: string, fileName: string) {
  return parseImageName({ 'org.opencontainers.image.ref.name': tag }, fileName)
}

function parseList(bytes: Buffer, fileName: string): NamedMembers[] {
  const list = parseJson(bytes, 'manifest.json of the archive')
  if (!Array.isArray(list) || list.length > MAX_IMAGES) throw badArchive(fileName, 'its manifest.json lists no images')
  return list.map((entry: unknown) => {
    const { Config: config, Layers: layers, RepoTags: tags } = isObject(entry) ? entry : {}
    const isList = isTexts(layers) && (tags === null || tags === undefined || isTexts(tags))
    if (typeof config !== 'string' || !isList)
      throw badArchive(fileName, 'its manifest.json has an entry that is no image')
    return { config, layers, tags: isTexts(tags) ? tags : [] }
  })
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

/** A layer that two images share may be a link to the one of the other. */
function getFile({ files, links }: DockerArchive, name: string, fileName: string): ArchiveFile {
  let member = posix.normalize(name)
  for (let step = 0; step < MAX_LINKS; step += 1) {
    const file = files.get(member)
    if (file !== undefined) return file
    const target = links.get(member)
    if (target === undefined) break
    const inside = files.has(target) || links.has(target)
    member = inside ? target : posix.join(posix.dirname(member), target)
  }
  throw badArchive(fileName, `it names ${JSON.stringify(name.slice(0, 120))}, which is not in it`)
}

async function readConfig(
  feed: Feed,
  place: string,
  { file, fileName }: { readonly file: ArchiveFile; readonly fileName: string },
): Promise<unknown> {
  if (file.size > MAX_MANIFEST_BYTES) throw badArchive(fileName, `its configuration has ${file.size} bytes`)
  return parseJson(await buffer(await feed.uploads.open(place, file.digest)), 'configuration of the image')
}

/** The configuration has the digest of each layer as it is unpacked. */
function verifyLayers(config: unknown, layers: readonly ArchiveFile[], fileName: string): void {
  const rootfs = isObject(config) ? config['rootfs'] : undefined
  const ids: unknown = isObject(rootfs) ? rootfs['diff_ids'] : undefined
  if (!isTexts(ids) || ids.length !== layers.length)
    throw badArchive(fileName, `its configuration does not name its ${layers.length} layers`)
  const wrong = layers.findIndex(({ digest, isGzip }, at) => !isGzip && digest !== ids[at])
  if (wrong !== -1) throw badArchive(fileName, `its layer ${wrong} has other bytes than its configuration says`)
}

function renderManifest(config: ArchiveFile, layers: readonly ArchiveFile[]): Buffer {
  const descriptor = (mediaType: string, digest: Digest, size: number) => ({ mediaType, digest, size })
  return Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: IMAGE_TYPE,
      config: descriptor(CONFIG_TYPE, config.digest, config.size),
      layers: layers.map(({ digest, size, isGzip }) =>
        descriptor(isGzip ? `${LAYER_TYPE}+gzip` : LAYER_TYPE, digest, size),
      ),
    }),
  )
}
