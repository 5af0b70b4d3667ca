/** A spoke with a quota, over memory stores. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { NewReplication } from '../../src/http/operations.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type OnDemandOptions, openOnDemand } from '../../src/operations/on-demand.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { findFile } from './faucet.ts'

export const SIZE = 100_000
export const ACTOR = { name: 'test', from: 'test' }

/** On-demand fetching over a node, as after a start. */
export async function startOnDemand(node: MeshNode, timers: ManualTimers, more: Partial<OnDemandOptions> = {}) {
  const { records, ledger, blobs, book, now } = node.parts
  const stopping = new AbortController()
  const failures: unknown[] = []
  const onDemand = await openOnDemand({
    records,
    ledger,
    blobs,
    book,
    now,
    stopping: stopping.signal,
    fetcher: node.replication.fetcher,
    setTimer: timers.setTimer,
    itemName: (_type, unit, key) => `${unit} ${key}`,
    pinned: () => node.replication.puller.pinned(),
    freeBytes: async () => Number.MAX_SAFE_INTEGER,
    onFailure: (error) => failures.push(error),
    ...more,
  })
  const { id } = ledger.registry.getLocal('packages')
  const feed = new LedgerFeed({ name: 'packages', feedId: id, ledger, blobs, fetchBlob: onDemand.fetchBlob })
  const stop = async () => {
    stopping.abort()
    await onDemand[Symbol.asyncDispose]()
  }
  return { ...onDemand, feed, failures, stop }
}

export const UNITS = ['a', 'b', 'c', 'd', 'e', 'f']

function createStores(isLong: boolean) {
  const records = createMemoryRecords()
  return { records, blobs: createMemoryBlobs({ records, ...(isLong ? { sealedGraceMs: 0 } : {}) }) }
}

/** `isLong`: what a run has brought was stored long ago. */
export async function openQuotaWorld(
  stack: AsyncDisposableStack,
  wanted: Partial<NewReplication>,
  more: Partial<OnDemandOptions> & {
    readonly isLong?: boolean
    readonly stores?: { readonly records: Records; readonly blobs: BlobStore }
  } = {},
) {
  const network = createMemoryNetwork()
  const hub = stack.use(await openMeshNode(network))
  const { isLong = false, stores = createStores(isLong), ...settings } = more
  const { records, blobs } = stores
  const spoke = stack.use(await openMeshNode(network, { records, blobs }))
  const hubFeed = await hub.createFeed('packages')
  const own = await spoke.createFeed('packages')
  const contents = new Map(UNITS.map((unit) => [unit, randomBytes(SIZE)]))
  for (const [unit, content] of contents) await publishVersion(hubFeed, unit, 'v/1', content)
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const habits = { feed: 'packages', mode: 'pull', availability: 'on-demand' } as const
  const replication = await spoke.link(hub, token, { ...habits, ...wanted })
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  const timers = new ManualTimers()
  const started = await startOnDemand(spoke, timers, settings)
  stack.defer(() => started.stop())
  const digestOf = async (unit: string) => (await findFile(started.feed, unit)).file.digest
  const digests = new Map(await Promise.all(UNITS.map(async (unit) => [unit, await digestOf(unit)] as const)))
  const here = async () => {
    const found = await spoke.parts.blobs.has([...digests.values()])
    return UNITS.filter((_, index) => found[index]).join('')
  }
  const get = async (unit: string, feed = started.feed) => {
    const { row, file } = await findFile(feed, unit)
    assert.deepEqual(await buffer(await feed.open(row, file)), contents.get(unit))
    await started.space.whenIdle()
  }
  return { network, hub, hubFeed, spoke, own, contents, replication, timers, started, here, get, digests }
}
