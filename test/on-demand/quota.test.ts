/** How much of what was fetched on demand is kept, and what goes first. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { ACTOR, openQuotaWorld, SIZE, startOnDemand, UNITS } from './quota-world.ts'

test('the least recently used goes first, stays visible, and comes again when it is asked for', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, started } = await openQuotaWorld(stack, { quotaBytes: 3.5 * SIZE })
  for (const unit of ['a', 'b', 'c', 'a', 'd']) await get(unit)
  assert.equal(await here(), 'acd')
  await get('b')
  assert.equal(await here(), 'abd')
  assert.deepEqual(started.failures, [])
  assert.ok(started.space.bytesOf('nobody') === 0)
})

test('without a quota nothing goes', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here } = await openQuotaWorld(stack, {})
  for (const unit of UNITS) await get(unit)
  assert.equal(await here(), 'abcdef')
})

test('the order of use and what counts survive a restart', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, started, spoke, timers } = await openQuotaWorld(stack, { quotaBytes: 3.5 * SIZE })
  for (const unit of ['a', 'b', 'c', 'a']) await get(unit)
  await started.stop()
  const again = await startOnDemand(spoke, timers)
  stack.defer(() => again.stop())
  await get('d', again.feed)
  await again.space.whenIdle()
  assert.equal(await here(), 'acd')
})

test('a kill leaves a stale order and nothing else', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, spoke, timers, digests, replication, started } = await openQuotaWorld(stack, {
    quotaBytes: 3.5 * SIZE,
  })
  for (const unit of ['a', 'b', 'c', 'a']) await get(unit)
  // Written down, and not fetched; removed, and not crossed out.
  const missing = digests.get('f')
  assert.ok(missing !== undefined)
  await spoke.parts.blobs.remove(digests.get('b') ?? missing)
  const again = await startOnDemand(spoke, timers)
  stack.defer(() => again.stop())
  assert.equal(again.space.bytesOf(replication), 2 * SIZE)
  for (const unit of ['d', 'e']) await get(unit, again.feed)
  await again.space.whenIdle()
  assert.equal(await here(), 'cde')
  assert.deepEqual(started.failures, [])
})

test('uses are written down in one batch now and then', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, spoke, timers, started } = await openQuotaWorld(stack, { quotaBytes: 3.5 * SIZE })
  for (const unit of ['a', 'b', 'c']) await get(unit)
  let batches = 0
  const { records } = spoke.parts
  const write = records.write.bind(records)
  records.write = (writes) => {
    batches += 1
    return write(writes)
  }
  for (const unit of ['a', 'b', 'c', 'a', 'a']) await get(unit)
  assert.equal(batches, 0)
  timers.advance(60_000)
  await started.stop()
  assert.equal(batches, 1)
})

test('a quota that is made smaller takes effect while the node runs', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, spoke, replication, started, timers } = await openQuotaWorld(stack, {})
  for (const unit of UNITS) await get(unit)
  await spoke.replication.operations.edit(replication, { quotaBytes: 2 * SIZE }, ACTOR)
  timers.advance(60_000)
  await started.space.whenIdle()
  assert.equal(await here(), 'ef')
  await spoke.replication.operations.edit(replication, { quotaBytes: null }, ACTOR)
  for (const unit of UNITS) await get(unit)
  assert.equal(await here(), 'abcdef')
})

test('pinned items are brought by the run, do not count and do not go', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, started, replication } = await openQuotaWorld(stack, {
    quotaBytes: 2 * SIZE,
    pins: ['a', 'b v/*'],
  })
  assert.equal(await here(), 'ab')
  assert.equal(started.space.bytesOf(replication), 0)
  for (const unit of ['c', 'd', 'e', 'f']) await get(unit)
  assert.equal(await here(), 'abef')
})

test('what was published here, or belongs to a full replication, stays', async () => {
  await using stack = new AsyncDisposableStack()
  const { network, get, here, spoke, own, contents, replication, started } = await openQuotaWorld(stack, {
    quotaBytes: 2 * SIZE,
  })
  for (const unit of ['a', 'b']) await get(unit)
  // The same bytes under another name here …
  await publishVersion(own, 'mine', 'v/1', contents.get('a') ?? Buffer.alloc(0))
  // … and in a feed that is copied whole.
  const other = stack.use(await openMeshNode(network))
  const theirs = await other.createFeed('others')
  await publishVersion(theirs, 'theirs', 'v/1', contents.get('b') ?? Buffer.alloc(0))
  await spoke.createFeed('others')
  const { token } = await other.accept({ feed: 'others', mode: 'push' })
  assert.equal((await spoke.pull(await spoke.link(other, token, { feed: 'others', mode: 'pull' }))).state, 'succeeded')
  for (const unit of ['c', 'd', 'e']) await get(unit)
  assert.equal(await here(), 'abde')
  assert.equal(started.space.bytesOf(replication), 2 * SIZE)
})

test('what cannot be had again stays', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, spoke, hub, replication, started, timers } = await openQuotaWorld(stack, {})
  for (const unit of ['a', 'b', 'c']) await get(unit)
  await spoke.replication.operations.edit(replication, { quotaBytes: SIZE }, ACTOR)
  await spoke.replication.operations.revokePeer(hub.peerId, ACTOR)
  timers.advance(60_000)
  await started.space.whenIdle()
  assert.equal(await here(), 'abc')
})

test('a file larger than the quota is passed on, kept a little while, and gone', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, started, timers } = await openQuotaWorld(stack, { quotaBytes: SIZE / 2 })
  await get('a')
  assert.equal(await here(), 'a')
  timers.advance(60_000)
  await started.space.whenIdle()
  assert.equal(await here(), '')
  await get('a')
})

test('a disk without room takes what was fetched on demand, and refuses when there is nothing more to take', async () => {
  await using stack = new AsyncDisposableStack()
  const MIN_FREE = 64 * 1024 ** 2
  let held = 0
  const room = 3.5 * SIZE
  const freeBytes = async () => MIN_FREE + room - held
  const { get, here, started, spoke, digests } = await openQuotaWorld(stack, {}, { freeBytes })
  const count = async () => {
    held = SIZE * (await here()).length
  }
  for (const unit of ['a', 'b', 'c', 'd']) {
    await get(unit)
    await count()
  }
  assert.equal(await here(), 'bcd')
  held = 10 * SIZE
  await assert.rejects(get('e'), (error) => isFeedmeshError(error, 'STORAGE_FULL'))
  assert.equal(await here(), '')
  assert.deepEqual(await spoke.parts.blobs.has([digests.get('e') ?? assert.fail()]), [false])
  assert.deepEqual(started.failures, [])
})

test('what is pinned later is brought, and what is pinned no more counts and goes first', async () => {
  await using stack = new AsyncDisposableStack()
  const { get, here, spoke, replication, started } = await openQuotaWorld(
    stack,
    { quotaBytes: 2 * SIZE, pins: ['a'] },
    { isLong: true },
  )
  const edit = (pins: string[]) => spoke.replication.operations.edit(replication, { pins }, ACTOR)
  assert.equal(await started.upkeep.look(), true)
  assert.equal(await here(), 'a')
  await edit(['a', 'b'])
  assert.equal(await started.upkeep.look(), true)
  assert.equal(await here(), 'ab')
  assert.equal(started.space.bytesOf(replication), 0)
  await edit(['b'])
  assert.equal(await started.upkeep.look(), true)
  assert.equal(started.space.bytesOf(replication), SIZE)
  for (const unit of ['c', 'd']) await get(unit)
  assert.equal(await here(), 'bcd')
})

test('a replication that copies no longer all keeps what its quota allows', async () => {
  await using stack = new AsyncDisposableStack()
  const { here, spoke, replication, started } = await openQuotaWorld(stack, { availability: 'full' }, { isLong: true })
  assert.equal(await here(), 'abcdef')
  await spoke.replication.operations.edit(replication, { availability: 'on-demand', quotaBytes: 2.5 * SIZE }, ACTOR)
  await started.upkeep.look()
  await started.space.tidy()
  assert.equal((await here()).length, 2)
  await spoke.replication.operations.edit(replication, { availability: 'full' }, ACTOR)
  assert.equal(await started.upkeep.look(), true)
  assert.equal(await here(), 'abcdef')
  assert.deepEqual(started.failures, [])
})
