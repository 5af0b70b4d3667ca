/** Storing of a manifest: everything it names has to be in the repository, and one change makes it and its tags visible. */

import { createHash } from 'node:crypto'
import type { Digest } from '../../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedFile, FeedUnit, RowDraft, UnitChange, UploadedFile } from '../../../src/feeds/feed.ts'
import type { SealedBlob } from '../../../src/store/blobs.ts'
import {
  encodeManifestMeta,
  encodeTag,
  FOREIGN_ROLE,
  findRowKey,
  foreignKey,
  MANIFEST_ROLE,
  manifestKey,
  tagKey,
} from './format.ts'
import type { Manifest, NamedFile } from './manifest.ts'
import { RegistryError } from './registry-error.ts'
import type { Repositories, StoredFile } from './repository.ts'

export interface ManifestPush {
  readonly unit: string
  readonly bytes: Buffer
  readonly manifest: Manifest
  /** Checked against the bytes. */
  readonly digest: Digest
  readonly tags: readonly string[]
  /** Where its blobs were uploaded to, when not to `unit`; they stay there. */
  readonly uploadedTo?: string
}

/** A file of a row with what there is to know of it. */
type KnownFile = Omit<FeedFile, 'role'>

interface Named {
  readonly file: NamedFile
  readonly uploaded: UploadedFile | undefined
}

/** Of the algorithm of `like`, sha256 without one. */
export function digestOf(bytes: Uint8Array, like?: Digest): Digest {
  const algorithm = like?.startsWith('sha512:') === true ? 'sha512' : 'sha256'
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** @throws MANIFEST_BLOB_UNKNOWN, MANIFEST_INVALID, and what `Feed.change` does */
export async function pushManifest(feed: Feed, repositories: Repositories, push: ManifestPush): Promise<void> {
  const { unit, manifest, uploadedTo = unit } = push
  const named = await Promise.all(
    manifest.named.map(async (file): Promise<Named> => {
      const uploaded = file.role.startsWith('manifest/')
        ? undefined
        : await feed.uploads.findFile(uploadedTo, file.digest)
      return { file, uploaded }
    }),
  )
  const blob = await stageBytes(feed, push)
  const plan = (current: FeedUnit | undefined) => planPush(feed, repositories, { push, named, blob, current })
  try {
    await feed.change(unit, plan)
  } catch (error) {
    if (error instanceof RegistryError || !isFeedmeshError(error, 'NOT_FOUND')) throw error
    await bringFiles(feed, repositories, push)
    await feed.change(unit, plan)
  }
  if (uploadedTo !== unit) return
  const taken = named.filter(({ uploaded }) => uploaded !== undefined).map(({ file }) => file.digest)
  await feed.uploads.forget(unit, taken)
}

async function stageBytes(feed: Feed, { bytes, digest }: ManifestPush): Promise<SealedBlob> {
  await using staged = await feed.stage({ maxBytes: bytes.length })
  await staged.write(bytes)
  return await staged.seal(digest)
}

interface PushPlan {
  readonly push: ManifestPush
  readonly named: readonly Named[]
  readonly blob: SealedBlob
  readonly current: FeedUnit | undefined
}

async function planPush(feed: Feed, repositories: Repositories, plan: PushPlan): Promise<UnitChange> {
  const { push, named, blob, current } = plan
  const rows = new Map((current?.rows ?? []).map((row) => [row.key, row]))
  const put: RowDraft[] = []
  const key = manifestKey(push.digest)
  if (!rows.has(key)) {
    const files: RowDraft['files'][number][] = [{ role: MANIFEST_ROLE, blob }]
    for (const one of named) {
      const found = findNamed(feed, repositories, { ...one, current })
      if (found === undefined) verifyForeign(one.file, push)
      else if (!one.file.isForeign) files.push({ ...found, role: one.file.role })
      else if (one.uploaded !== undefined && !rows.has(foreignKey(one.file.digest)))
        put.push(draftForeign(one.file.digest, found))
    }
    put.push({ key, rowClass: 'immutable', meta: encodeManifestMeta(push.manifest), files })
  }
  for (const tag of push.tags) {
    const row = rows.get(tagKey(tag))
    const meta = encodeTag(push.digest)
    if (row === undefined || !Buffer.from(await feed.readMeta(row)).equals(meta))
      put.push({ key: tagKey(tag), rowClass: 'register', meta, files: [] })
  }
  return { put }
}

function draftForeign(digest: Digest, file: KnownFile): RowDraft {
  return {
    key: foreignKey(digest),
    rowClass: 'register',
    meta: new Uint8Array(0),
    files: [{ ...file, role: FOREIGN_ROLE }],
  }
}

/** @throws MANIFEST_INVALID when it is there with another size */
function findNamed(
  feed: Feed,
  repositories: Repositories,
  { file, uploaded, current }: Named & { readonly current: FeedUnit | undefined },
): KnownFile | undefined {
  const stored = findStored(feed, repositories, { file, current })
  const found = stored?.file ?? uploaded
  if (found === undefined) return undefined
  if (found.size !== file.size)
    throw new RegistryError(
      'MANIFEST_INVALID',
      `the manifest cannot be taken: ${file.digest} has ${found.size} bytes, the manifest says ${file.size}`,
    )
  const { digest, size, chunkRoot } = found
  return chunkRoot === undefined ? { digest, size } : { digest, size, chunkRoot }
}

function findStored(
  feed: Feed,
  repositories: Repositories,
  { file, current }: { readonly file: NamedFile; readonly current: FeedUnit | undefined },
): StoredFile | undefined {
  if (!file.role.startsWith('manifest/')) return repositories.findBlob(feed, current, file.digest)
  const row = current?.rows.find(({ key }) => key === manifestKey(file.digest))
  const own = row?.files.find(({ role }) => role === MANIFEST_ROLE)
  return row === undefined || own === undefined ? undefined : { row, file: own }
}

function verifyForeign({ digest, role, isForeign }: NamedFile, { unit }: ManifestPush): void {
  if (isForeign) return
  const what = role.startsWith('manifest/') ? 'manifest' : 'blob'
  throw new RegistryError('MANIFEST_BLOB_UNKNOWN', `${unit} has no ${what} ${digest}; it has to be pushed first`)
}

/** A client leaves out what the repository has; what of it is not on this node yet (on demand) is fetched now. */
async function bringFiles(feed: Feed, repositories: Repositories, { unit, manifest }: ManifestPush): Promise<void> {
  const current = await feed.findUnit(unit)
  for (const file of manifest.named) {
    const stored = findStored(feed, repositories, { file, current })
    if (stored === undefined) continue
    const { row, file: here } = stored
    // The last byte is given once all of it is here.
    const last = here.size === 0 ? undefined : { start: here.size - 1, end: here.size }
    ;(await feed.open(row, here, last)).destroy()
  }
}

/** Removes a tag, or a manifest with the tags that name it. @throws MANIFEST_UNKNOWN, FORBIDDEN */
export async function deleteManifest(
  feed: Feed,
  unit: string,
  wanted: { readonly tag: string } | { readonly digest: Digest },
): Promise<void> {
  await feed.change(unit, async (current) => {
    const key = 'tag' in wanted ? tagKey(wanted.tag) : manifestKey(wanted.digest)
    const rows = current?.rows ?? []
    if (!rows.some((row) => row.key === key) && !current?.blocked.includes(key))
      throw new RegistryError('MANIFEST_UNKNOWN', `${unit} has no manifest ${key.slice(2)}`)
    const drop = [key]
    if ('tag' in wanted) return { drop }
    const meta = encodeTag(wanted.digest)
    for (const row of rows)
      if (findRowKey(row.key)?.kind === 'tag' && Buffer.from(await feed.readMeta(row)).equals(meta)) drop.push(row.key)
    return { drop }
  })
}
