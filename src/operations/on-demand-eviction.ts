/**
 * Removes files that were fetched on demand: those that every row naming them would have fetched again when asked.
 *
 * While it looks and removes nothing is published or adopted, so that nothing can come to name what goes.
 */

import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { isReceiving } from '../catalog/policy.ts'
import { META_ROLE, type Row } from '../catalog/row.ts'
import { isFeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { brings, type ExpectedFilesParts, isFileExpected } from '../replication/expected-files.ts'
import type { Eviction } from '../replication/on-demand-space.ts'
import type { BlobStore } from '../store/blobs.ts'
import { type FileReference, listReferences, listShadows } from './file-references.ts'
import { keptUploads } from './kept-uploads.ts'

export interface EvictionParts extends ExpectedFilesParts {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  /** Unix time, ms. */
  readonly now: () => number
  /** Blobs that running pulls hold for rows that are not adopted yet. */
  readonly pinned: () => Iterable<Digest>
}

/** Whether a file that a row of the feed names comes when a client asks for it, over a link that stands. */
export function isHadOnDemand(
  parts: ExpectedFilesParts,
  file: { readonly feedId: FeedId; readonly row: Row; readonly role: string },
): boolean {
  const { book, registry } = parts
  if (file.role === META_ROLE || isFileExpected(parts, file)) return false
  return book.replications
    .all()
    .filter(({ mode, availability, paused }) => isReceiving(mode) && availability === 'on-demand' && !paused)
    .filter(({ id }) => book.linksOf(id).some(({ revokedAt }) => revokedAt === null))
    .some((replication) => brings({ book, registry }, replication, file.feedId))
}

export async function evictOnDemand(parts: EvictionParts, digests: readonly Digest[]): Promise<Eviction> {
  const { ledger, blobs } = parts
  return await ledger.exclusively(async () => {
    const candidates = new Set(digests)
    const lists = await findChunkLists(blobs, candidates)
    const needed = await findNeeded(parts, candidates, lists)
    const removed: Digest[] = []
    for (const digest of candidates) {
      if (needed.has(digest)) continue
      if (!(await remove(blobs, digest))) continue
      removed.push(digest)
      const list = lists.get(digest)
      if (list !== undefined && !needed.has(list)) await remove(blobs, list)
    }
    return { removed, spared: digests.filter((digest) => needed.has(digest)) }
  })
}

/** Chunk lists of the candidates that have one. */
async function findChunkLists(blobs: BlobStore, candidates: ReadonlySet<Digest>): Promise<Map<Digest, Digest>> {
  const lists = new Map<Digest, Digest>()
  for (const digest of candidates) {
    const list = (await blobs.find(digest))?.chunkRoot
    if (list !== undefined) lists.set(digest, list)
  }
  return lists
}

/** Those that somebody needs here, and chunk lists of what stays. */
async function findNeeded(
  parts: EvictionParts,
  candidates: ReadonlySet<Digest>,
  lists: ReadonlyMap<Digest, Digest>,
): Promise<Set<Digest>> {
  const { ledger, blobs, now, pinned } = parts
  const needed = new Set<Digest>()
  const listed = new Set(lists.values())
  for (const digest of pinned()) needed.add(digest)
  const uploads = { records: ledger.registry.records, blobs, nowMs: now(), forget: false }
  for await (const digest of keptUploads(uploads)) needed.add(digest)
  const isNeeded = ({ feedId, row, file }: FileReference) =>
    candidates.has(file.digest) && !isHadOnDemand(parts, { feedId, row, role: file.role })
  for await (const reference of listReferences(ledger.registry, 'refuse', await listShadows(ledger))) {
    const { digest, chunkRoot } = reference.file
    if (isNeeded(reference)) needed.add(digest)
    if (chunkRoot !== undefined && listed.has(chunkRoot) && !candidates.has(digest)) needed.add(chunkRoot)
  }
  return needed
}

/** false for a blob that is being stored anew. */
async function remove(blobs: BlobStore, digest: Digest): Promise<boolean> {
  try {
    await blobs.remove(digest)
    return true
  } catch (error) {
    if (isFeedmeshError(error, 'BUSY')) return false
    throw error
  }
}
