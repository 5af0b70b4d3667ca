/** Limits of links, feeds and nodes, over whole nodes in memory and in simulated time. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { RateLimits, type Traffic } from '../../src/replication/rate-limits.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'

const RATE = 1_000_000
const PIECE = 32 * 1024
const ACTOR = { name: 'test', from: 'test' }

/** A hub with two spokes, of which the link of the first has a limit. */
async function openWorld(stack: AsyncDisposableStack, nodeRate = 0) {
  const network = createMemoryNetwork()
  const hub = stack.use(await openMeshNode(network))
  const feed = await hub.createFeed('packages')
  await publishVersion(feed, 'unit', 'v/1', randomBytes(1000))
  const spokes: MeshNode[] = []
  for (const maxRate of [RATE, null]) {
    const spoke = stack.use(await openMeshNode(network))
    await spoke.createFeed('packages')
    const { token } = await hub.accept({ feed: 'packages', mode: 'push', maxRate })
    const replication = await spoke.link(hub, token, { feed: 'packages', mode: 'pull' })
    assert.equal((await spoke.pull(replication)).state, 'succeeded')
    spokes.push(spoke)
  }
  const timers = new ManualTimers()
  const { book, ledger } = hub.parts
  const { now, setTimer } = timers
  const limits = new RateLimits({ book, registry: ledger.registry, nodeRate, now, setTimer })
  const { id: feedId } = ledger.registry.getLocal('packages')
  const [slow, fast] = spokes.map(({ peerId }): Traffic => ({ peer: peerId, feedId })) as [Traffic, Traffic]
  return { hub, timers, limits, slow, fast, feedId }
}

/** Counts what goes to a peer for as long as the test runs. */
function pump(limits: RateLimits, traffic: Traffic): { bytes: number } {
  const sent = { bytes: 0 }
  const pieces = async function* () {
    for (;;) yield Buffer.alloc(PIECE)
  }
  const run = async () => {
    for await (const piece of limits.pace(pieces(), traffic)) {
      sent.bytes += piece.length
      if (sent.bytes > 1e9) return
    }
  }
  void run()
  return sent
}

async function pass(timers: ManualTimers, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    timers.advance(10)
    for (let turn = 0; turn < 200; turn += 1) await Promise.resolve()
  }
}

test('a limit is the total of all streams of a link, and a link with a limit slows no other', async () => {
  await using stack = new AsyncDisposableStack()
  const { timers, limits, slow, fast } = await openWorld(stack, 10 * RATE)
  const slowStreams = [1, 2, 3, 4].map(() => pump(limits, slow))
  const fastStreams = [1, 2].map(() => pump(limits, fast))
  await pass(timers, 5000)
  const sum = (streams: readonly { bytes: number }[]) => streams.reduce((total, { bytes }) => total + bytes, 0)
  assert.ok(sum(slowStreams) <= 5 * RATE + RATE / 4 + 4 * PIECE, String(sum(slowStreams)))
  assert.ok(sum(slowStreams) >= 4.5 * RATE, String(sum(slowStreams)))
  assert.ok(sum(fastStreams) >= 40 * RATE, String(sum(fastStreams)))
  assert.ok(sum([...slowStreams, ...fastStreams]) <= 53 * RATE, 'the node has its own total')
})

test('both ways are counted apart, and what a client waits for goes first', async () => {
  await using stack = new AsyncDisposableStack()
  const { timers, limits, slow } = await openWorld(stack)
  const background = pump(limits, slow)
  await pass(timers, 1000)
  let received = 0
  const source = async function* () {
    for (let count = 0; count < 1000; count += 1) yield Buffer.alloc(PIECE)
  }
  const read = async () => {
    for await (const piece of limits.receive(source(), slow)) received += piece.length
  }
  void read()
  const before = background.bytes
  const waited = pump(limits, { ...slow, isWaited: true })
  await pass(timers, 5000)
  assert.ok(waited.bytes >= 4.5 * RATE, String(waited.bytes))
  assert.ok(background.bytes - before <= 4 * PIECE, String(background.bytes - before))
  assert.ok(received >= 4.5 * RATE && received <= 5.5 * RATE, String(received))
})

test('a limit of a feed counts for all its links, and one that is taken away is gone', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, timers, limits, fast, slow } = await openWorld(stack)
  const { ledger } = hub.parts
  assert.equal(limits.send(PIECE, fast), undefined)
  await ledger.exclusively(() => ledger.registry.editLocal('packages', { maxRate: RATE }))
  timers.advance(1000)
  const streams = [pump(limits, fast), pump(limits, slow)]
  await pass(timers, 5000)
  const total = streams.reduce((sum, { bytes }) => sum + bytes, 0)
  assert.ok(total <= 5.3 * RATE && total >= 4.5 * RATE, String(total))
  await ledger.exclusively(() => ledger.registry.editLocal('packages', { maxRate: 0 }))
  timers.advance(1000)
  assert.equal(limits.send(PIECE, fast), undefined)
  await hub.replication.operations.edit(hub.book.replications.all()[0]?.id ?? '', { maxRate: null }, ACTOR)
  timers.advance(1000)
  assert.equal(limits.send(PIECE, slow), undefined)
})
