/** A ledger over memory stores with a clock and random numbers that the test controls. */

import { randomBytes } from 'node:crypto'
import type { Signer } from '../../src/catalog/signed.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { noFaults, type ReachFaultPoint } from '../../src/fault-points.ts'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { type Floor, MemoryFloor } from '../../src/ledger/floor.ts'
import { Ledger } from '../../src/ledger/ledger.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'

export interface LedgerNode {
  readonly records: Records
  readonly blobs: BlobStore
  readonly floor: Floor
  readonly ledger: Ledger
  readonly signer: Signer
  readonly clock: { now: number }
  /** Creates a feed and opens it. */
  createFeed(name: string, feedType?: string, maxFileBytes?: number): Promise<LedgerFeed>
  openFeed(name: string): LedgerFeed
}

export interface LedgerNodeOptions {
  readonly records?: Records
  readonly blobs?: BlobStore
  readonly floor?: Floor
  readonly signer?: Signer
  readonly reach?: ReachFaultPoint
  readonly keptOperations?: number
  readonly manyRows?: number
  readonly batchWrites?: number
}

async function fetchBlob(): Promise<never> {
  throw new FeedmeshError('NOT_FOUND', 'not here, and this node has no peers')
}

export async function openLedgerNode(options: LedgerNodeOptions = {}): Promise<LedgerNode> {
  const records = options.records ?? createMemoryRecords()
  const blobs = options.blobs ?? createMemoryBlobs({ records })
  const floor = options.floor ?? new MemoryFloor()
  const signer = options.signer ?? createSeedSigner(randomBytes(32))
  const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  const ledger = await Ledger.open({
    records,
    blobs,
    floor,
    signer,
    now: () => (clock.now += 1),
    randomBytes,
    reach: options.reach ?? noFaults,
    verifyMaySign: () => {},
    ...(options.keptOperations === undefined ? {} : { keptOperations: options.keptOperations }),
    ...(options.manyRows === undefined ? {} : { manyRows: options.manyRows }),
    ...(options.batchWrites === undefined ? {} : { batchWrites: options.batchWrites }),
  })
  const openFeed = (name: string) =>
    new LedgerFeed({ name, feedId: ledger.registry.getLocal(name).id, ledger, blobs, fetchBlob })
  const createFeed = async (name: string, feedType = 'npm', maxFileBytes = 1 << 30) => {
    await ledger.createFeed({
      name,
      feedType,
      publicRead: false,
      maxFileBytes,
      keepRecoverySeed: async () => {},
    })
    return openFeed(name)
  }
  return { records, blobs, floor, ledger, signer, clock, createFeed, openFeed }
}
