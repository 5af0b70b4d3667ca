/**
 * Publishing of an image from a file: a tar of an OCI image layout, as `skopeo copy … oci-archive:`, `buildah push
 * oci-archive:` and `docker save` make it. https://github.com/opencontainers/image-spec/blob/main/image-layout.md
 *
 * The blobs are taken as they stream by, in whatever order, and kept as uploads of a name that no repository can have; only
 * when everything that the index names has been found does the image come to be.
 */

import { randomUUID } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import { isObject, parseJson } from '../request-body.ts'
import { type TarMember, TarScanner } from '../tar-scanner.ts'
import { manifestKey, tagKey } from './format.ts'
import { type ImageName, parseImageName } from './image-name.ts'
import { MAX_MANIFEST_BYTES, MAX_NAMED, type Manifest, parseManifest } from './manifest.ts'
import { pushManifest } from './push-manifest.ts'
import { Repositories } from './repository.ts'

const MAX_MEMBERS = 20_000
/** An index of indexes of manifests. */
const MAX_DEPTH = 3

interface ArchiveImage {
  readonly name: ImageName
  readonly digest: Digest
}

interface ReadManifest {
  readonly digest: Digest
  readonly bytes: Buffer
  readonly manifest: Manifest
}

/** @throws BAD_PACKAGE, MANIFEST_INVALID, MANIFEST_BLOB_UNKNOWN, TOO_LARGE */
export async function publishImageArchive(feed: Feed, file: NativeFile): Promise<{ unit: string; key: string }> {
  const place = `_archive/${randomUUID()}`
  const blobs = new Set<Digest>()
  try {
    const images = parseIndex(await receiveArchive(feed, file, { place, blobs }), file.name)
    const repositories = new Repositories()
    let last: { unit: string; key: string } | undefined
    for (const { name, digest } of images) {
      const tree = await readTree(feed, place, digest)
      await verifyComplete(feed, tree, { place, unit: name.repository })
      for (const one of tree) {
        const tags = one.digest === digest ? [name.tag] : []
        await pushManifest(feed, repositories, { ...one, unit: name.repository, tags, uploadedTo: place })
      }
      last ??= { unit: name.repository, key: tagKey(name.tag) }
    }
    if (last === undefined) throw bad(file.name, 'its index names no image')
    return last
  } finally {
    await feed.uploads.forget(place, [...blobs])
  }
}

interface ArchivePlace {
  readonly place: string
  readonly blobs: Set<Digest>
}

/** @returns the bytes of `index.json` */
async function receiveArchive(feed: Feed, file: NativeFile, archive: ArchivePlace): Promise<Buffer> {
  let index: Buffer | undefined
  const events: BlobEvent[] = []
  const scanner = new TarScanner({
    maxMembers: MAX_MEMBERS,
    onMember(member) {
      const name = verifyMemberName(member, file.name)
      const digest = blobDigest(name)
      if (digest !== undefined && member.type === 'file') events.push({ digest, size: member.size })
      return name === 'index.json' && member.type === 'file' ? MAX_MANIFEST_BYTES : 0
    },
    onContent(_member, content) {
      index = Buffer.from(content)
    },
    onPiece(member, piece) {
      if (blobDigest(plainName(member)) !== undefined) events.push(piece)
    },
  })
  await using writer = new BlobWriter(feed, file.name, archive)
  for await (const chunk of file.open()) {
    scanner.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    for (const event of events) await writer.take(event)
    events.length = 0
  }
  scanner.end()
  if (index !== undefined) return index
  throw bad(
    file.name,
    'there is no index.json in it; of a docker-archive make an OCI one: skopeo copy docker-archive:FILE oci-archive:NEW.tar:IMAGE:TAG',
  )
}

type BlobEvent = { readonly digest: Digest; readonly size: number } | Buffer

/** Stages the blobs one after the other. */
class BlobWriter implements AsyncDisposable {
  readonly #feed: Feed
  readonly #fileName: string
  readonly #archive: ArchivePlace
  #current: { readonly digest: Digest; readonly size: number; readonly staged: StagedBlob } | undefined

  constructor(feed: Feed, fileName: string, archive: ArchivePlace) {
    this.#feed = feed
    this.#fileName = fileName
    this.#archive = archive
  }

  async take(event: BlobEvent): Promise<void> {
    if (Buffer.isBuffer(event)) await this.#current?.staged.write(event)
    else await this.#begin(event)
    if (this.#current !== undefined && this.#current.staged.size >= this.#current.size) await this.#finish()
  }

  async #begin({ digest, size }: { readonly digest: Digest; readonly size: number }): Promise<void> {
    if (size > this.#feed.maxFileBytes)
      throw new FeedmeshError(
        'TOO_LARGE',
        `${digest} has ${size} bytes, feed ${this.#feed.name} takes up to ${this.#feed.maxFileBytes}`,
      )
    const hashes = digest.startsWith('sha512:') ? { hashes: ['sha512'] as const } : {}
    const staged = await this.#feed.stage({ maxBytes: size, ...hashes })
    this.#current = { digest, size, staged }
  }

  async #finish(): Promise<void> {
    const current = this.#current
    this.#current = undefined
    if (current === undefined) return
    try {
      const blob = await current.staged.seal(current.digest)
      this.#archive.blobs.add(current.digest)
      await this.#feed.uploads.keep(this.#archive.place, blob)
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
      throw bad(this.#fileName, `its blob ${current.digest} has other bytes than its name says`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#current?.staged[Symbol.asyncDispose]()
  }
}

function plainName({ name }: TarMember): string {
  return name.replace(/^(?:\.\/)+/, '')
}

/** Nothing is ever written under such a name, but an archive that has one is not to be trusted. */
function verifyMemberName(member: TarMember, fileName: string): string {
  const name = plainName(member)
  if (name.startsWith('/') || name.split('/').includes('..'))
    throw bad(fileName, `its member ${JSON.stringify(member.name.slice(0, 80))} leads out of it`)
  return name
}

function blobDigest(name: string): Digest | undefined {
  const [folder, algorithm, hex, ...rest] = name.split('/')
  const digest = `${algorithm}:${hex}`
  return folder === 'blobs' && rest.length === 0 && isDigest(digest) ? digest : undefined
}

function parseIndex(bytes: Buffer, fileName: string): ArchiveImage[] {
  const index = parseJson(bytes, 'index.json of the archive')
  const manifests = isObject(index) ? index['manifests'] : undefined
  if (!Array.isArray(manifests)) throw bad(fileName, 'its index.json lists no manifests')
  return manifests.map((entry: unknown) => {
    const digest = isObject(entry) ? entry['digest'] : undefined
    if (!isObject(entry) || !isDigest(digest)) throw bad(fileName, 'its index.json has an entry without a digest')
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

function bad(fileName: string, what: string): FeedmeshError {
  return new FeedmeshError(
    'BAD_PACKAGE',
    `${fileName.slice(0, 200)} is no OCI image archive that can be taken: ${what}`,
  )
}
