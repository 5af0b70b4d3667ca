/** A replication with a window of time, over whole nodes in memory. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { Faucet } from './faucet.ts'

const HOUR_MS = 3_600_000

async function openWorld(stack: AsyncDisposableStack) {
  const timers = new ManualTimers()
  let nowMs = new Date(2026, 0, 5, 12).getTime()
  const ports = { now: () => nowMs, setTimer: timers.setTimer }
  const network = createMemoryNetwork()
  const hub = stack.use(await openMeshNode(network, { ports }))
  const spoke = stack.use(await openMeshNode(network, { ports, isAutomatic: true }))
  const hubFeed = await hub.createFeed('packages')
  const spokeFeed = await spoke.createFeed('packages')
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const habits = { feed: 'packages', mode: 'pull', everyMs: 60_000, window: '22:00-06:00' } as const
  const replication = await spoke.link(hub, token, habits)
  await spoke.pull(replication)
  /** Polls come, and what they begin goes as far as it can. */
  const pass = async (ms: number) => {
    for (const until = nowMs + ms; nowMs < until; ) {
      nowMs += Math.min(30_000, until - nowMs)
      timers.advance(1000)
      await settle(spoke)
    }
  }
  const jump = (ms: number) => {
    nowMs += ms
  }
  return { hub, spoke, hubFeed, spokeFeed, replication, pass, jump }
}

async function settle(node: MeshNode): Promise<void> {
  for (let turn = 0; turn < 300; turn += 1) await node.parts.records.find(Buffer.from('nothing'))
}

test('polls bring nothing outside the window, a manual run does, and the window brings the rest', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, hubFeed, spokeFeed, replication, pass, jump } = await openWorld(stack)
  const isHere = async (unit: string) => (await spokeFeed.findUnit(unit)) !== undefined
  await publishVersion(hubFeed, 'noon', 'v/1', randomBytes(1000))
  await pass(10 * 60_000)
  assert.equal(await isHere('noon'), false)
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  assert.equal(await isHere('noon'), true)
  await publishVersion(hubFeed, 'later', 'v/1', randomBytes(1000))
  jump(9 * HOUR_MS)
  await pass(10 * 60_000)
  assert.equal(await isHere('later'), false)
  jump(HOUR_MS)
  await pass(10 * 60_000)
  assert.equal(await isHere('later'), true)
})

test('a run that the window ends keeps what arrived, and the next window ends it', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, hubFeed, spokeFeed, pass, jump } = await openWorld(stack)
  const content = randomBytes(1_000_000)
  jump(17 * HOUR_MS)
  const faucet = new Faucet(content)
  hub.answerBlobs = faucet.answer
  await publishVersion(hubFeed, 'unit', 'v/1', content)
  faucet.letOut(400_000)
  await pass(10 * 60_000)
  assert.deepEqual(faucet.asked, [0])
  jump(HOUR_MS)
  await pass(2000)
  const ended = spoke.parts.runs.list(1)[0]
  assert.equal(ended?.state, 'failed')
  assert.match(ended?.message ?? '', /22:00-06:00 has closed/)
  faucet.letOut(content.length)
  await pass(10 * 60_000)
  assert.equal(await spokeFeed.findUnit('unit'), undefined)
  jump(16 * HOUR_MS)
  await pass(10 * 60_000)
  assert.ok((await spokeFeed.findUnit('unit')) !== undefined)
  assert.ok((faucet.asked[1] ?? 0) >= 300_000, String(faucet.asked))
})
