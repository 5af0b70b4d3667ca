/**
 * Publishing: the document is taken apart while it arrives, the tarball goes to a staged file and past the reader that
 * checks what is in it, and only the last step makes rows of it. A refusal or a crash before that leaves nothing.
 */

import semver from 'semver'
import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit, RowDraft, UnitChange } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { SealedBlob, StagedBlob } from '../../../src/store/blobs.ts'
import { AttachmentScanner, type ScanEvent } from './attachment-scanner.ts'
import {
  createVersionRecord,
  deprecatedKey,
  encodeVersionRecord,
  type PublishDocument,
  parseDeprecation,
  parsePublishDocument,
  tagKey,
  type VersionRecord,
  verifyDist,
  versionKey,
} from './format.ts'
import { parseTag, parseVersion, verifyNewName } from './names.ts'
import { type PackageView, readTags } from './package-view.ts'
import { createTarballReader, type PackageJson, type TarballReader } from './tarball.ts'
import { compareVersions, findVersionOrder, isPrerelease } from './version-order.ts'

/** The publish document without its attachments. */
export const MAX_DOCUMENT_BYTES = 8 * 1024 ** 2
const MAX_PROVENANCE_BYTES = 4 * 1024 ** 2
const MAX_ATTACHMENTS = 2

/** A file on its way in. */
interface Incoming {
  readonly role: 'tarball' | 'provenance'
  readonly staged: StagedBlob
  readonly reader: TarballReader | undefined
  packageJson?: PackageJson
}

type Tags = PackageView['tags']

/** What is to become of one publish. */
interface Publication {
  readonly name: string
  readonly version: string
  readonly record: VersionRecord
  readonly files: RowDraft['files']
  readonly deprecated: string | undefined
  /** The tags to point at the version, given those that the package has. */
  readonly tags: (current: Tags) => readonly string[]
}

/**
 * Reads a `PUT /:package` body. Publishes when it brings a tarball, else returns the document for an edit.
 * @throws BAD_INPUT, BAD_PACKAGE, EXISTS, CONFLICT, TOO_LARGE and what the feed throws
 */
export async function receiveDocument(
  feed: Feed,
  name: string,
  body: AsyncIterable<Uint8Array>,
): Promise<PublishDocument | 'published'> {
  await using files = new AsyncDisposableStack()
  const scanner = new AttachmentScanner({ maxDocumentBytes: MAX_DOCUMENT_BYTES, maxAttachments: MAX_ATTACHMENTS })
  const incoming: Incoming[] = []
  for await (const chunk of body) {
    for (const event of scanner.push(chunk)) await receive(feed, incoming, files, event)
  }
  const document = parsePublishDocument(scanner.end(), name)
  if (incoming.length === 0) return document
  await publish(feed, await createPublication(feed, name, document, incoming))
  return 'published'
}

/** Publishes a tarball from disk; its package.json is the manifest. */
export async function publishTarball(feed: Feed, file: NativeFile): Promise<{ unit: string; key: string }> {
  if (file.size > feed.maxFileBytes) {
    throw new FeedmeshError(
      'TOO_LARGE',
      `${file.name} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`,
    )
  }
  await using files = new AsyncDisposableStack()
  const tarball = await openIncoming(feed, files, 'tarball')
  for await (const chunk of file.open()) await write(tarball, chunk)
  const packageJson = await finish(tarball)
  const { name } = packageJson
  const version = semver.clean(packageJson.version, { loose: true }) ?? parseVersion(packageJson.version)
  await verifyPublishable(feed, name, version)
  const { blob, hashes } = await sealTarball(tarball)
  const record = createVersionRecord({ ...packageJson, version }, {}, hashes)
  const tags = (current: Tags) => (isNewHighest(current.get('latest'), version) ? ['latest'] : [])
  const stored = [{ role: 'tarball', blob }]
  await publish(feed, { name, version, record, files: stored, deprecated: undefined, tags })
  return { unit: name, key: versionKey(version) }
}

async function receive(feed: Feed, incoming: Incoming[], files: AsyncDisposableStack, event: ScanEvent): Promise<void> {
  if (event.type === 'begin') {
    const role = event.name.endsWith('.sigstore') ? 'provenance' : 'tarball'
    if (incoming.some((file) => file.role === role)) {
      throw new FeedmeshError('BAD_INPUT', `the publish document brings more than one ${role}`)
    }
    incoming.push(await openIncoming(feed, files, role))
    return
  }
  const current = incoming.at(-1)
  if (current === undefined) throw new FeedmeshError('INTERNAL', 'attachment data without an attachment')
  if (event.type === 'data') await write(current, event.bytes)
  else if (current.reader !== undefined) current.packageJson = await finish(current)
}

async function openIncoming(feed: Feed, files: AsyncDisposableStack, role: Incoming['role']): Promise<Incoming> {
  const isTarball = role === 'tarball'
  const maxBytes = isTarball ? feed.maxFileBytes : MAX_PROVENANCE_BYTES
  const staged = files.use(await feed.stage({ maxBytes, hashes: isTarball ? ['sha1', 'sha512'] : [] }))
  return { role, staged, reader: isTarball ? files.use(createTarballReader()) : undefined }
}

async function write(file: Incoming, chunk: Uint8Array): Promise<void> {
  await file.staged.write(chunk)
  await file.reader?.write(chunk)
}

async function finish({ reader }: Incoming): Promise<PackageJson> {
  if (reader === undefined) throw new FeedmeshError('INTERNAL', 'only a tarball has a package.json')
  return reader.end()
}

async function sealTarball({ staged }: Incoming) {
  const blob = await staged.seal()
  const { sha1, sha512 } = blob.hashes
  if (sha1 === undefined || sha512 === undefined)
    throw new FeedmeshError('INTERNAL', 'the store computed no sha1 and sha512')
  return { blob, hashes: { sha1, sha512 } }
}

async function createPublication(
  feed: Feed,
  name: string,
  document: PublishDocument,
  incoming: readonly Incoming[],
): Promise<Publication> {
  const [only, ...others] = document.versions ?? []
  if (only === undefined || others.length > 0) {
    throw new FeedmeshError('BAD_INPUT', 'a publish document with a tarball names exactly one version')
  }
  const [version, manifest] = only
  const tarball = incoming.find((file) => file.role === 'tarball')
  if (tarball === undefined)
    throw new FeedmeshError('BAD_INPUT', `the publish document brings no tarball for ${name}@${version}`)
  verifyPackageJson(tarball.packageJson, name, version)
  await verifyPublishable(feed, name, version)
  const tags = [...document.distTags].map(([tag, target]) => {
    if (target !== version)
      throw new FeedmeshError('BAD_INPUT', `dist-tag ${tag} names ${target}, but ${version} is published`)
    return parseTag(tag)
  })
  const { blob, hashes } = await sealTarball(tarball)
  verifyDist(manifest.dist, hashes)
  const files: { role: string; blob: SealedBlob }[] = [{ role: 'tarball', blob }]
  for (const file of incoming) {
    if (file.role === 'provenance') files.push({ role: file.role, blob: await file.staged.seal() })
  }
  return {
    name,
    version,
    record: createVersionRecord(manifest, document.root, hashes),
    files,
    deprecated: parseDeprecation(manifest.deprecated),
    // A package always has a latest version; the first one is it whatever its tag.
    tags: (current) => [
      ...new Set([...(tags.length > 0 ? tags : ['latest']), ...(current.has('latest') ? [] : ['latest'])]),
    ],
  }
}

function verifyPackageJson(packageJson: PackageJson | undefined, name: string, version: string): void {
  const actual = `${packageJson?.name}@${semver.clean(packageJson?.version ?? '', { loose: true })}`
  if (actual !== `${name}@${version}`) {
    throw new FeedmeshError(
      'BAD_PACKAGE',
      `the tarball holds ${actual.slice(0, 300)}, the document says ${name}@${version}`,
    )
  }
}

/** Refuses before the files are sealed, since what is sealed and then refused lies on the disk until it is collected. */
async function verifyPublishable(feed: Feed, name: string, version: string): Promise<void> {
  verifyUnpublished(await feed.findUnit(name), name, version)
}

async function publish(feed: Feed, publication: Publication): Promise<void> {
  const { name, version } = publication
  await feed.change(name, async (current) => {
    verifyUnpublished(current, name, version)
    return planPublish(publication, current === undefined ? new Map() : await readTags(feed, current))
  })
}

/** The refusal in npm's own words, which its client and scripts around it look for. */
function verifyUnpublished(unit: FeedUnit | undefined, name: string, version: string): void {
  if (unit === undefined) return verifyNewName(name)
  const key = versionKey(version)
  if (unit.rows.some((row) => row.key === key)) {
    throw new FeedmeshError('EXISTS', `You cannot publish over the previously published versions: ${version}.`)
  }
  if (unit.blocked.includes(key)) {
    throw new FeedmeshError('CONFLICT', `${name}@${version} is blocked: two sources hold different bytes of it`)
  }
}

function planPublish(publication: Publication, current: Tags): UnitChange {
  const { version, record, files, deprecated } = publication
  return {
    put: [
      { key: versionKey(version), rowClass: 'immutable', meta: encodeVersionRecord(record), files },
      ...publication.tags(current).map((tag) => textDraft(tagKey(tag), 'register', version)),
      ...(deprecated === undefined ? [] : [textDraft(deprecatedKey(version), 'flag', deprecated)]),
    ],
  }
}

/** A release is above every prerelease. */
function isNewHighest(latest: string | undefined, version: string): boolean {
  if (latest === undefined || latest === version) return latest === undefined
  if (isPrerelease(version) !== isPrerelease(latest)) return isPrerelease(latest)
  const [known, next] = [findVersionOrder(latest), findVersionOrder(version)]
  return known === undefined || (next !== undefined && compareVersions(next, known) > 0)
}

function textDraft(key: string, rowClass: 'register' | 'flag', text: string): RowDraft {
  return { key, rowClass, meta: Buffer.from(text), files: [] }
}
