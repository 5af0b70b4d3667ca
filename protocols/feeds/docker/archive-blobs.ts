/** What an image archive holds, taken as it streams by: its blobs as uploads, and the documents that say what they are. */

import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import { type TarMember, TarScanner } from '../tar-scanner.ts'
import { MAX_MANIFEST_BYTES } from './manifest.ts'

const MAX_MEMBERS = 20_000
/** Files of Docker's older form; an image has up to some hundred layers. */
const MAX_FILES = 2048
/** At the root, and no content. */
const DOCUMENTS = ['index.json', 'manifest.json', 'repositories', 'oci-layout', 'VERSION']

export interface ArchivePlace {
  /** A name that no repository can have: the blobs are its uploads. */
  readonly place: string
  readonly blobs: Set<Digest>
}

/** A file of Docker's older form. */
export interface ArchiveFile {
  readonly digest: Digest
  readonly size: number
  readonly isGzip: boolean
}

export interface ReceivedArchive {
  /** `index.json` of an OCI layout. */
  readonly index: Buffer | undefined
  /** `manifest.json` of Docker's older form. */
  readonly manifest: Buffer | undefined
  /** By the names of their members. */
  readonly files: ReadonlyMap<string, ArchiveFile>
  /** Members that are links: what they lead to, as it is written. */
  readonly links: ReadonlyMap<string, string>
}

/** A member that begins. Without `digest` it is what its bytes are. */
interface Beginning {
  readonly name: string
  readonly size: number
  readonly digest: Digest | undefined
}

export async function receiveArchive(feed: Feed, file: NativeFile, archive: ArchivePlace): Promise<ReceivedArchive> {
  const documents = new Map<string, Buffer>()
  const links = new Map<string, string>()
  const events: (Beginning | Buffer)[] = []
  const scanner = new TarScanner({
    maxMembers: MAX_MEMBERS,
    onMember(member) {
      const name = verifyMemberName(member, file.name)
      if (member.type === 'symlink' || member.type === 'link') links.set(name, member.linkName)
      if (member.type !== 'file') return 0
      if (isBlob(name)) events.push({ name, size: member.size, digest: findDigest(name) })
      return name === 'index.json' || name === 'manifest.json' ? MAX_MANIFEST_BYTES : 0
    },
    onContent(member, content) {
      documents.set(plainName(member), Buffer.from(content))
    },
    onPiece(member, piece) {
      if (isBlob(plainName(member))) events.push(piece)
    },
  })
  await using writer = new BlobWriter(feed, file.name, archive)
  for await (const chunk of file.open()) {
    scanner.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
    for (const event of events) await writer.take(event)
    events.length = 0
  }
  scanner.end()
  const [index, manifest] = [documents.get('index.json'), documents.get('manifest.json')]
  return { index, manifest, files: writer.files, links }
}

export function badArchive(fileName: string, what: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `${fileName.slice(0, 200)} is no image archive that can be taken: ${what}`)
}

/** Stages the blobs one after the other. */
class BlobWriter implements AsyncDisposable {
  readonly files = new Map<string, ArchiveFile>()
  readonly #feed: Feed
  readonly #fileName: string
  readonly #archive: ArchivePlace
  #current: (Beginning & { readonly staged: StagedBlob; magic: Buffer }) | undefined

  constructor(feed: Feed, fileName: string, archive: ArchivePlace) {
    this.#feed = feed
    this.#fileName = fileName
    this.#archive = archive
  }

  async take(event: Beginning | Buffer): Promise<void> {
    if (!Buffer.isBuffer(event)) await this.#begin(event)
    else if (this.#current !== undefined) {
      const { magic } = this.#current
      if (magic.length < 2) this.#current.magic = Buffer.concat([magic, event.subarray(0, 2 - magic.length)])
      await this.#current.staged.write(event)
    }
    if (this.#current !== undefined && this.#current.staged.size >= this.#current.size) await this.#finish()
  }

  async #begin(beginning: Beginning): Promise<void> {
    const { name, size, digest } = beginning
    if (size > this.#feed.maxFileBytes)
      throw new FeedmeshError(
        'TOO_LARGE',
        `${name.slice(0, 200)} has ${size} bytes, feed ${this.#feed.name} takes up to ${this.#feed.maxFileBytes}`,
      )
    if (digest === undefined && this.files.size >= MAX_FILES)
      throw badArchive(this.#fileName, `it has more than ${MAX_FILES} files beside the blobs of a layout`)
    const hashes = digest?.startsWith('sha512:') === true ? { hashes: ['sha512'] as const } : {}
    const staged = await this.#feed.stage({ maxBytes: size, ...hashes })
    this.#current = { ...beginning, staged, magic: Buffer.alloc(0) }
  }

  async #finish(): Promise<void> {
    const current = this.#current
    this.#current = undefined
    if (current === undefined) return
    try {
      const blob = await current.staged.seal(current.digest)
      this.#archive.blobs.add(blob.digest)
      await this.#feed.uploads.keep(this.#archive.place, blob)
      const { digest, size } = blob
      this.files.set(current.name, { digest, size, isGzip: isGzip(current.magic) })
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
      throw badArchive(this.#fileName, `its blob ${current.digest} has other bytes than its name says`)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#current?.staged[Symbol.asyncDispose]()
  }
}

function isGzip(magic: Buffer): boolean {
  return magic[0] === 0x1f && magic[1] === 0x8b
}

function plainName({ name }: TarMember): string {
  return name.replace(/^(?:\.\/)+/, '')
}

/** Nothing is ever written under such a name, but an archive that has one is not to be trusted. */
function verifyMemberName(member: TarMember, fileName: string): string {
  const name = plainName(member)
  if (name.startsWith('/') || name.split('/').includes('..'))
    throw badArchive(fileName, `its member ${JSON.stringify(member.name.slice(0, 80))} leads out of it`)
  return name
}

function findDigest(name: string): Digest | undefined {
  const [folder, algorithm, hex, ...rest] = name.split('/')
  const digest = `${algorithm}:${hex}`
  return folder === 'blobs' && rest.length === 0 && isDigest(digest) ? digest : undefined
}

/** A blob of a layout, or in Docker's older form a configuration or a layer: `HEX.json`, `HEX.tar`, `ID/layer.tar`. */
function isBlob(name: string): boolean {
  if (findDigest(name) !== undefined) return true
  return name.includes('/') ? /^[^/]+\/layer\.tar$/.test(name) : name !== '' && !DOCUMENTS.includes(name)
}
