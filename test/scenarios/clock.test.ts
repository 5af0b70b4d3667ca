/** A node whose own clock is wrong signs nothing and says so, until the clock is right. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Hello } from '../../protocols/mesh/link/messages.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { Presence } from '../../src/replication/presence.ts'
import { openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { createFeed, linkFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'

const START = Date.parse('2026-01-01T00:00:00Z')
const MINUTE = 60_000

function openPresence() {
  const time = { now: START, elapsed: 0 }
  const presence = new Presence(() => time.now, {
    buildTimeMs: START - 60 * MINUTE,
    elapsedMs: () => time.elapsed,
    isLinked: (peer) => !peer.startsWith('stranger'),
  })
  const hear = (peer: string, clock: number) => {
    const hello = { software: 'test', site: '', region: '', clock, instance: Buffer.alloc(16) }
    presence.note(peer, hello as unknown as Hello)
  }
  const pass = (ms: number) => {
    time.now += ms
    time.elapsed += ms
  }
  return { presence, time, hear, pass }
}

const mayNotSign = (error: unknown) => isFeedmeshError(error, 'MAY_NOT_SIGN') && /set the clock/.test(error.message)

test('a clock before the build of the software is wrong for certain', () => {
  const { presence, time } = openPresence()
  assert.equal(presence.findClockFault(), undefined)
  time.now = START - 60 * MINUTE - 1
  assert.match(presence.findClockFault() ?? '', /before this software was made/)
  assert.throws(() => presence.verifyMaySign(), mayNotSign)
  time.now = START
  presence.verifyMaySign()
})

test('a clock is wrong that is more than five minutes ahead of every linked peer', () => {
  const { presence, time, hear, pass } = openPresence()
  hear('one', START - 5 * MINUTE)
  presence.verifyMaySign()
  hear('one', START - 5 * MINUTE - 1)
  assert.throws(() => presence.verifyMaySign(), mayNotSign)
  hear('stranger', START)
  assert.throws(() => presence.verifyMaySign(), mayNotSign, 'a stranger’s clock says nothing')
  hear('two', START - 4 * MINUTE)
  presence.verifyMaySign()
  hear('two', START - 9 * MINUTE)
  assert.match(presence.findClockFault() ?? '', /5 minutes ahead of every peer/)
  time.now -= 6 * MINUTE
  presence.verifyMaySign()
  time.now += 6 * MINUTE
  assert.throws(() => presence.verifyMaySign(), mayNotSign)
  pass(61 * MINUTE)
  presence.verifyMaySign()
})

test('a clock that is behind all peers, or that nobody can be compared with, keeps nobody from signing', () => {
  const { presence, hear } = openPresence()
  presence.verifyMaySign()
  hear('one', START + 60 * MINUTE)
  presence.verifyMaySign()
})

test('a node of the mesh that is ahead of its peer signs nothing before its clock is set', async () => {
  await using stack = new AsyncDisposableStack()
  const network = createMemoryNetwork()
  const clock = { now: START }
  const hub = stack.use(await openMeshNode(network, { clock }))
  const spoke = stack.use(await openMeshNode(network, { clock: { now: START } }))
  const hubFeed = await hub.createFeed('packages')
  await spoke.createFeed('packages')
  clock.now += 10 * MINUTE
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const replication = await spoke.link(hub, token, { feed: 'packages', mode: 'pull' })
  const publish = () => publishVersion(hubFeed, 'left', 'v/1', Buffer.from('one'))
  await assert.rejects(publish(), mayNotSign)
  assert.equal(await hubFeed.findUnit('left'), undefined)
  await assert.rejects(hub.createFeed('another'), mayNotSign)
  clock.now -= 10 * MINUTE
  // What passes there is told by the same clock, so only a new hello says that it is right.
  hub.parts.presence.note(spoke.peerId, { ...spoke.replication.hello, clock: clock.now } as unknown as Hello)
  await publish()
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
})

test('a running node says that its clock is wrong, is not fit, and goes on once it is right', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const [hub, spoke] = [stack.use(await startNode()), stack.use(await startNode())]
  for (const node of [hub, spoke]) await createFeed(node, 'packages')
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
  const publish = (unit: string) => publishRow(hub, 'packages', { unit, version: '1.0.0', content: Buffer.from(unit) })
  const isWrong = async (node: TestNode) => (await node.operations.doctor()).some(({ code }) => code === 'CLOCK_WRONG')
  const health = async (node: TestNode) => (await fetch(`${node.url}/health`)).status
  await publish('before')
  hub.advance(10 * MINUTE)
  await assert.rejects(publish('ahead'), mayNotSign)
  assert.deepEqual([await isWrong(hub), await health(hub)], [true, 503])
  assert.deepEqual([await isWrong(spoke), await health(spoke)], [false, 200])
  hub.advance(-10 * MINUTE)
  await publish('after')
  assert.deepEqual([await isWrong(hub), await health(hub)], [false, 200])
  hub.advance(-50 * 365 * 24 * 60 * MINUTE)
  await assert.rejects(publish('behind'), mayNotSign)
  assert.ok(await isWrong(hub))
  hub.advance(50 * 365 * 24 * 60 * MINUTE)
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  const unit = (name: string) => spoke.operations.openFeed('packages').findUnit(name)
  assert.deepEqual(
    (await Promise.all(['before', 'ahead', 'after', 'behind'].map(unit))).map((found) => found !== undefined),
    [true, false, true, false],
  )
})
