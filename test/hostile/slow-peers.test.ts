/** Peers that answer a byte at a time: whoever asks them is through with them in seconds, and they hold up nobody else. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOB_PROTOCOL } from '../../protocols/mesh/blob/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { SYNC_PROTOCOL, type SyncReply, syncReply } from '../../protocols/mesh/sync/messages.ts'
import { encodeCbor } from '../../src/catalog/cbor.ts'
import { sha256, sha256Digest } from '../../src/catalog/digest.ts'
import { asFeedmeshError, type FeedmeshError } from '../../src/errors.ts'
import { noFaults } from '../../src/fault-points.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { BlobFetcher, type BlobOutcome } from '../../src/replication/blob-fetcher.ts'
import { SyncStreams } from '../../src/replication/sync-streams.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { ManualTimers } from '../network/manual-timers.ts'

const SLOW_PEERS = 100
const LIMITS = { maxInboundStreams: 16, maxDurationMs: 3_600_000 }
const HEAD_REQUEST = {
  kind: 'head',
  feedId: sha256('feed'),
  charterVersion: 0,
  charter: null,
  epoch: 0,
  seq: 0,
  refresh: 0,
  manifest: null,
  logSize: null,
} as const

/** Says that a frame of `length` bytes comes, and then sends a byte a second. */
function drip(timers: ManualTimers, length: number): (channel: Channel) => Promise<void> {
  return async (channel) => {
    const frame = encodeFrame(new Uint8Array(length))
    for (let at = 0; at < frame.length; at += 1) {
      await channel.send(frame.subarray(at, at + 1))
      await new Promise<void>((resolve) => timers.setTimer(resolve, 1000))
    }
  }
}

async function openWorld(stack: AsyncDisposableStack, protocol: string, timers: ManualTimers) {
  const network = createMemoryNetwork({ now: timers.now })
  const asker = stack.use(network.openHost(generateIdentity()))
  const slow: string[] = []
  const open = async (handler: (channel: Channel) => Promise<void>) => {
    const host: MeshHost = stack.use(network.openHost(generateIdentity()))
    await host.handle(protocol, LIMITS, handler)
    await asker.connect(host.peerId, host.addresses(), AbortSignal.timeout(5000))
    return host.peerId
  }
  for (let at = 0; at < SLOW_PEERS; at += 1) slow.push(await open(drip(timers, 100_000)))
  return { asker, slow, open, progress: { now: timers.now, setTimer: timers.setTimer } }
}

/** Lets the clock run until all of `work` is done. @returns the ms that it took */
async function runClock(timers: ManualTimers, work: readonly Promise<unknown>[]): Promise<number> {
  const startedAt = timers.now()
  const running = new Set(work)
  for (const one of work) void one.finally(() => running.delete(one))
  for (let second = 0; second < 120 && running.size > 0; second += 1) {
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
    timers.advance(1000)
  }
  assert.equal(running.size, 0, 'some work does not end')
  return timers.now() - startedAt
}

test(`${SLOW_PEERS} peers that answer a question of state with a byte a second are given up within 20 s`, async () => {
  await using stack = new AsyncDisposableStack()
  const timers = new ManualTimers()
  const { asker, slow, open, progress } = await openWorld(stack, SYNC_PROTOCOL, timers)
  const reply: SyncReply = { kind: 'error', code: 'NOT_FOUND', message: 'nothing here' }
  const quick = await open(async (channel) => channel.send(encodeFrame(encodeCbor(syncReply, reply))))
  const streams = stack.use(new SyncStreams({ host: asker, progress }))
  const ask = async (peer: string): Promise<FeedmeshError | undefined> => {
    await using lent = streams.lend(peer, new AbortController().signal)
    try {
      await Array.fromAsync(lent.ask(HEAD_REQUEST))
      return undefined
    } catch (error) {
      return asFeedmeshError(error)
    }
  }
  const asked = slow.map(ask)
  assert.equal((await ask(quick))?.code, 'NOT_FOUND')
  const tookMs = await runClock(timers, asked)
  assert.ok(tookMs <= 20_000, `${tookMs}`)
  for (const error of await Promise.all(asked)) assert.equal(error?.code, 'TIMEOUT')
})

test('blobs that come a byte a second are given up, and what arrived is no blob', async () => {
  await using stack = new AsyncDisposableStack()
  const timers = new ManualTimers()
  const { asker, slow, progress } = await openWorld(stack, BLOB_PROTOCOL, timers)
  const records = createMemoryRecords()
  const blobs = createMemoryBlobs({ records })
  const fetcher = new BlobFetcher({ host: asker, records, blobs, reach: noFaults, progress })
  const digest = sha256Digest(Buffer.from('a blob'))
  const wanted = { feedId: 'ab'.repeat(32), unit: 'left-pad', key: 'v/1.0.0', digest, size: 50_000 }
  const outcomes: BlobOutcome[] = []
  const work = slow.map((peer) =>
    fetcher.fetchAll([peer], [wanted], {
      signal: new AbortController().signal,
      onOutcome: (outcome) => outcomes.push(outcome),
    }),
  )
  const tookMs = await runClock(timers, work)
  assert.ok(tookMs <= 60_000, `${tookMs}`)
  assert.equal(outcomes.length, SLOW_PEERS)
  for (const { error } of outcomes) assert.equal(error?.code, 'TIMEOUT')
  assert.equal(await blobs.find(digest), undefined)
})
