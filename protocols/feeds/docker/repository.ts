/**
 * Which blobs a repository has, and which manifests refer to which: looked up in the rows, kept by repository. A manifest
 * more costs what it names, not what all manifests of the repository name.
 */

import type { Digest } from '../../../src/catalog/digest.ts'
import type { Feed, FeedFile, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { decodeManifestMeta, findRowKey, isBlobRole, type ManifestMeta } from './format.ts'

const MAX_CACHE_BYTES = 64 * 1024 ** 2
/** What an entry of the index takes, about. */
const ENTRY_BYTES = 250

export interface StoredFile {
  readonly row: FeedRow
  readonly file: FeedFile
}

interface RepositoryIndex {
  readonly unit: FeedUnit
  readonly blobs: Map<Digest, StoredFile>
  /** By the subject they refer to; of `referrersOf` only. */
  readonly referrers: Map<Digest, FeedRow[]> | undefined
}

export class Repositories {
  readonly #indexes = new ByteCache<RepositoryIndex>(MAX_CACHE_BYTES)

  findBlob(feed: Feed, unit: FeedUnit | undefined, digest: Digest): StoredFile | undefined {
    return unit === undefined ? undefined : this.#index(feed, unit).blobs.get(digest)
  }

  /** Rows of the manifests whose subject is `digest`, in order of their digests. */
  async listReferrers(feed: Feed, unit: FeedUnit, digest: Digest): Promise<readonly FeedRow[]> {
    const index = this.#index(feed, unit)
    if (index.referrers !== undefined) return index.referrers.get(digest) ?? []
    const referrers = new Map<Digest, FeedRow[]>()
    for (const row of unit.rows) {
      if (findRowKey(row.key)?.kind !== 'manifest') continue
      const { subject } = await readManifestMeta(feed, row)
      if (subject !== undefined) referrers.set(subject, [...(referrers.get(subject) ?? []), row])
    }
    this.#keep(feed, { ...index, unit, referrers })
    return referrers.get(digest) ?? []
  }

  #index(feed: Feed, unit: FeedUnit): RepositoryIndex {
    const known = this.#indexes.find(cacheKey(feed, unit.unit))
    if (known !== undefined && (known.unit === unit || known.unit.digest === unit.digest)) return known
    const added = known === undefined ? undefined : findAdded(known.unit.rows, unit.rows)
    const blobs = added === undefined || known === undefined ? new Map<Digest, StoredFile>() : known.blobs
    for (const row of added ?? unit.rows) addBlobs(blobs, row)
    const index = { unit, blobs, referrers: undefined }
    this.#keep(feed, index)
    return index
  }

  #keep(feed: Feed, index: RepositoryIndex): void {
    const entries = index.blobs.size + index.unit.rows.length
    this.#indexes.set(cacheKey(feed, index.unit.unit), index, entries * ENTRY_BYTES)
  }
}

export async function readManifestMeta(feed: Feed, row: FeedRow): Promise<ManifestMeta> {
  return decodeManifestMeta(await feed.readMeta(row))
}

function cacheKey(feed: Feed, unit: string): string {
  return `${feed.name} ${unit}`
}

function addBlobs(blobs: Map<Digest, StoredFile>, row: FeedRow): void {
  const kind = findRowKey(row.key)?.kind
  if (kind !== 'manifest' && kind !== 'foreign') return
  for (const file of row.files) if (isBlobRole(file.role)) blobs.set(file.digest, { row, file })
}

/** Rows of `next` that `before` lacks; undefined when one of `before` with files is gone. Both in order of their keys. */
function findAdded(before: readonly FeedRow[], next: readonly FeedRow[]): FeedRow[] | undefined {
  const added: FeedRow[] = []
  let at = 0
  for (const row of next) {
    const old = before[at]
    if (old === row || (old?.key === row.key && old.digest === row.digest)) {
      at += 1
      continue
    }
    added.push(row)
    // A tag that moved: its old row names no files.
    if (old?.key === row.key && old.files.length === 0) at += 1
  }
  return at === before.length ? added : undefined
}
