/** The blob store of a node: small blobs as records, the others as files. */

import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import type { Log } from '../log.ts'
import type { BlobStore } from './blobs.ts'
import { FileMedium } from './file-medium.ts'
import { MediumBlobs } from './medium-blobs.ts'
import { RecentlySealed } from './recently-sealed.ts'
import type { Records } from './records.ts'
import { asStorageError } from './storage-errors.ts'

/** How long after sealing a blob over 64 KiB cannot be removed: the longest that a batch may be under way. */
export const SEALED_GRACE_MS = 10 * 60 * 1000

export interface FileBlobsOptions {
  /** Holds `blobs/` and `staging/`; one process at a time, which the lock of the record store sees to. */
  readonly directory: string
  readonly records: Records
  readonly reach?: ReachFaultPoint | undefined
  readonly log?: Log | undefined
  /** Wall clock, Unix ms. */
  readonly now?: (() => number) | undefined
  readonly sealedGraceMs?: number | undefined
}

/** Opens or creates the folders, and deletes what a crash left in `staging/`. @throws STORAGE_FULL, STORAGE_IO */
export async function openFileBlobs(options: FileBlobsOptions): Promise<BlobStore> {
  const { directory, records, reach = noFaults, log, now = Date.now, sealedGraceMs = SEALED_GRACE_MS } = options
  const medium = new FileMedium({ directory, reach, log })
  try {
    await medium.recover(now())
  } catch (error) {
    throw asStorageError(error, `cannot open the blob folders in ${directory}`)
  }
  return new MediumBlobs({ records, medium, reach, sealed: new RecentlySealed(sealedGraceMs, now) })
}
