/** Files that are fetched on demand, put together: the fetch, the room for them, what may go. */

import type { Digest } from '../catalog/digest.ts'
import { asFeedmeshError, type FeedmeshError } from '../errors.ts'
import type { BlobWanted } from '../feeds/ledger-feed.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { findRow } from '../replication/blob-source.ts'
import { createDemandFetch, type DemandFetch, type DemandFetchOptions } from '../replication/demand-fetch.ts'
import { type ExpectedFilesParts, isFileExpected } from '../replication/expected-files.ts'
import { OnDemandSpace } from '../replication/on-demand-space.ts'
import type { BlobStore } from '../store/blobs.ts'
import { KeptBlobs } from '../store/kept-blobs.ts'
import type { Records } from '../store/records.ts'
import { type EvictionParts, evictOnDemand } from './on-demand-eviction.ts'
import { OnDemandUpkeep } from './on-demand-upkeep.ts'

export interface OnDemandOptions
  extends Omit<DemandFetchOptions, 'registry' | 'space'>,
    Pick<ExpectedFilesParts, 'itemName'>,
    Pick<EvictionParts, 'ledger' | 'now' | 'pinned'> {
  readonly records: Records
  /** Of the disk that the blobs are on. */
  readonly freeBytes: () => Promise<number>
  /** Of work that concerns nobody who waits. */
  readonly onFailure: (error: FeedmeshError) => void
}

export interface OnDemand extends AsyncDisposable {
  readonly fetchBlob: DemandFetch
  readonly space: OnDemandSpace
  readonly upkeep: OnDemandUpkeep
}

const LOOKUP_COUNT = 1000

/** @throws CORRUPT, STORAGE_IO, STORAGE_FULL */
export async function openOnDemand(options: OnDemandOptions): Promise<OnDemand> {
  const { book, ledger, records, blobs, now, setTimer, itemName, pinned, freeBytes } = options
  const { registry } = ledger
  await using stack = new AsyncDisposableStack()
  const onFailure = (error: unknown) => options.onFailure(asFeedmeshError(error))
  const kept = stack.use(await KeptBlobs.open({ records, now, setTimer, onFailure }))
  await dropMissing(kept, blobs)
  const parts: EvictionParts = { book, registry, itemName, ledger, blobs, now, pinned }
  const isExpected = (wanted: BlobWanted) => isWantedExpected(parts, ledger, wanted)
  const evict = (digests: readonly Digest[]) => evictOnDemand(parts, digests)
  const space = stack.use(
    new OnDemandSpace({ book, registry, blobs, kept, now, setTimer, evict, isExpected, freeBytes, onFailure }),
  )
  const fetchBlob = createDemandFetch({ ...options, registry, space })
  stack.defer(() => fetchBlob.whenIdle())
  const upkeep = stack.use(new OnDemandUpkeep({ ...parts, space, fetchBlob, setTimer, onFailure }))
  space.start()
  upkeep.start()
  const opened = stack.move()
  return { fetchBlob, space, upkeep, [Symbol.asyncDispose]: () => opened.disposeAsync() }
}

/** What a killed process wrote down and did not fetch, or removed and did not cross out. */
async function dropMissing(kept: KeptBlobs, blobs: BlobStore): Promise<void> {
  const { digests } = kept
  for (let at = 0; at < digests.length; at += LOOKUP_COUNT) {
    const batch = digests.slice(at, at + LOOKUP_COUNT)
    const here = await blobs.has(batch)
    await kept.drop(batch.filter((_, index) => here[index] !== true))
  }
}

/** A file that a row names no more is not. */
async function isWantedExpected(
  parts: ExpectedFilesParts,
  { registry }: Pick<Ledger, 'registry'>,
  { feedId, unit, key, file }: BlobWanted,
): Promise<boolean> {
  const row = await findRow(registry, feedId, { unit, key })
  return row !== undefined && isFileExpected(parts, { feedId, row, role: file.role })
}
