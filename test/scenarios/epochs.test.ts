/** A feed whose past is forked, lost or stolen goes on: in a new epoch, or with its recovery key. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { restoreDataFolder } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import {
  ACTOR,
  createFeed,
  linkFeed,
  offerFeed,
  openTestNode,
  publishRow,
  startNode,
  type TestNode,
} from '../support/running-node.ts'

/** A folder that is gone with the test. */
async function makeFolder(stack: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-epochs-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const publish = (node: TestNode, feed: string, unit: string) =>
  publishRow(node, feed, { unit, version: '1.0.0', content: randomBytes(100) })

async function codes(node: TestNode): Promise<string[]> {
  return (await node.operations.doctor()).map(({ code }) => code).sort()
}

async function digests(spoke: TestNode, hub: TestNode): Promise<(string | undefined)[]> {
  const { sources } = await spoke.operations.showFeed('packages')
  return [sources[0]?.digest, (await hub.operations.showFeed('packages')).digest]
}

async function sees(node: TestNode, unit: string, feed = 'packages'): Promise<boolean> {
  return (await node.operations.openFeed(feed).findUnit(unit)) !== undefined
}

/** A hub with one version, and a spoke that has it and is paused: it asks only when the test says so. */
async function openPair(stack: AsyncDisposableStack) {
  const [hub, spoke] = [stack.use(await startNode()), stack.use(await startNode())]
  for (const node of [hub, spoke]) await createFeed(node, 'packages')
  await publish(hub, 'packages', 'first')
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token, everyMs: 3_600_000 })
  const run = async () => await spoke.operations.runReplication(id, {}).catch((error: unknown) => error)
  const pull = async () => {
    await spoke.operations.pauseReplication(id, false, ACTOR)
    const outcome = await run()
    await spoke.operations.pauseReplication(id, true, ACTOR)
    return outcome as { readonly state?: string; readonly failed?: readonly { readonly code: string }[] }
  }
  assert.equal((await pull()).state, 'succeeded')
  return { hub, spoke, pull }
}

/** The hub as it was when `folder` was copied, on its old ports. */
async function startOver(stack: AsyncDisposableStack, hub: TestNode, folder: string): Promise<TestNode> {
  const listen = hub.running.listen.map((address) => address.replace(/\/p2p\/.*$/, ''))
  const http = new URL(hub.url).host
  await hub.stop()
  return stack.use(await openTestNode(folder, hub.adminKey, { listen, http }))
}

test('a forked feed is followed again once its operator raises the epoch', { timeout: 60_000 }, async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, pull } = await openPair(stack)
  const folder = await makeFolder(stack)
  await hub.stop()
  await cp(hub.directory, folder, { recursive: true })
  await hub.restart()
  await publish(hub, 'packages', 'one-side')
  assert.equal((await pull()).state, 'succeeded')
  // The copy does not know that it is one, and neither asks nor is told.
  const again = await startOver(stack, hub, folder)
  await publish(again, 'packages', 'other-side')
  assert.equal((await pull()).failed?.[0]?.code, 'FORKED')
  assert.ok((await codes(spoke)).includes('FEED_FORKED'))
  assert.ok((await codes(again)).includes('FEED_FORKED'), 'the owner is told')
  const plan = await again.operations.planEpoch('packages')
  assert.deepEqual([plan.epoch, plan.nextEpoch, plan.peers], [1, 2, 1])
  await again.operations.raiseEpoch('packages', ACTOR)
  assert.equal((await pull()).state, 'succeeded')
  const [theirs, ours] = await digests(spoke, again)
  assert.equal(theirs, ours)
  assert.deepEqual([await sees(spoke, 'one-side'), await sees(spoke, 'other-side')], [false, true])
  assert.ok(!(await codes(spoke)).includes('FEED_FORKED'))
  assert.ok(!(await codes(again)).includes('FEED_FORKED'))
  const { rows } = await spoke.operations.listReturned('packages')
  assert.deepEqual(
    rows.map(({ unit, kind, hidden }) => [unit, kind, hidden]),
    [['one-side', 'lost', false]],
  )
  await publish(again, 'packages', 'later')
  assert.equal((await pull()).state, 'succeeded')
  assert.ok(await sees(spoke, 'later'))
})

test('a restored hub that goes on without its peers: what came back is hidden at them, over a restart, until they answer', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, pull } = await openPair(stack)
  const [backup, folder] = [join(await makeFolder(stack), 'backup'), await makeFolder(stack)]
  await publish(hub, 'packages', 'withdrawn')
  await hub.operations.backup(backup, ACTOR)
  const feed = hub.operations.openFeed('packages')
  await feed.change('withdrawn', () => ({ drop: ['v/1.0.0'] }))
  await publish(hub, 'packages', 'late')
  assert.equal((await pull()).state, 'succeeded')
  await restoreDataFolder(backup, folder)
  const again = await startOver(stack, hub, folder)
  const refused = (error: unknown) => isFeedmeshError(error, 'MAY_NOT_SIGN')
  await assert.rejects(publish(again, 'packages', 'too-early'), refused)
  const plan = await again.operations.planEpoch('packages')
  assert.equal(plan.unaskedPeers.length, 1)
  await again.operations.raiseEpoch('packages', ACTOR)
  await publish(again, 'packages', 'fresh')
  assert.ok(!(await codes(again)).includes('FEED_RESTORED'))
  assert.equal((await pull()).state, 'succeeded')
  const [theirs, ours] = await digests(spoke, again)
  assert.equal(theirs, ours, 'hiding is outside the digest')
  const visible = async () => Promise.all(['first', 'fresh', 'late', 'withdrawn'].map((unit) => sees(spoke, unit)))
  assert.deepEqual(await visible(), [true, true, false, false])
  assert.deepEqual(
    (await codes(spoke)).filter((code) => code.startsWith('ROWS_')),
    ['ROWS_LOST', 'ROWS_RETURNED'],
  )
  const units = await Array.fromAsync(spoke.operations.openFeed('packages').list({ limit: 10 }))
  assert.deepEqual(
    units.map(({ unit }) => unit),
    ['first', 'fresh'],
  )
  await spoke.restart()
  assert.deepEqual(await visible(), [true, true, false, false])
  assert.deepEqual(await spoke.operations.answerReturned('packages', 'show', ACTOR), { answered: 2 })
  assert.deepEqual(await visible(), [true, true, false, true])
  assert.deepEqual(
    (await codes(spoke)).filter((code) => code.startsWith('ROWS_')),
    [],
  )
  assert.equal((await spoke.operations.listReturned('packages')).total, 0)
})

test('the recovery key overrules a thief of the owner’s key, however many epochs the thief has signed', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, pull } = await openPair(stack)
  const [backup, folder] = [join(await makeFolder(stack), 'backup'), await makeFolder(stack)]
  const { key } = await hub.operations.exportRecoveryKey('packages', ACTOR)
  await hub.operations.backup(backup, ACTOR)
  // Whoever has the node's key can do this.
  await hub.operations.raiseEpoch('packages', ACTOR)
  await hub.operations.raiseEpoch('packages', ACTOR)
  await publish(hub, 'packages', 'evil')
  assert.equal((await pull()).state, 'succeeded')
  assert.ok(await sees(spoke, 'evil'))
  await restoreDataFolder(backup, folder)
  const again = await startOver(stack, hub, folder)
  const wrong = key.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A'))
  await assert.rejects(again.operations.recoverFeed({ key: wrong }, ACTOR), (error) =>
    isFeedmeshError(error, 'TOKEN_MISTYPED'),
  )
  const recovered = await again.operations.recoverFeed({ key }, ACTOR)
  assert.deepEqual([recovered.name, recovered.generation, recovered.epoch], ['packages', 1, 2])
  await publish(again, 'packages', 'good')
  assert.equal((await pull()).state, 'succeeded')
  const [theirs, ours] = await digests(spoke, again)
  assert.equal(theirs, ours)
  assert.deepEqual([await sees(spoke, 'evil'), await sees(spoke, 'good')], [false, true])
  const { manifests } = await spoke.operations.showFeed('packages')
  assert.ok(manifests.some(({ epoch, seq }) => epoch === 2 && seq === 2))
  await spoke.restart()
  await publish(again, 'packages', 'later')
  assert.equal((await pull()).state, 'succeeded')
  assert.ok(await sees(spoke, 'later'))
  // The thief is still there, with the old chain: nobody goes back to it.
  const thief = await startOver(stack, again, hub.directory)
  await publish(thief, 'packages', 'worse')
  const refused = await pull()
  assert.equal(refused.failed?.[0]?.code, 'ROLLED_BACK')
  assert.ok(!(await sees(spoke, 'worse')))
})

test('a spoke takes a feed over whose hub is gone for good, and another one follows', { timeout: 60_000 }, async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, pull } = await openPair(stack)
  const { key, feedId } = await hub.operations.exportRecoveryKey('packages', ACTOR)
  hub.advance(25 * 3_600_000)
  const nags = async () => (await codes(hub)).includes('RECOVERY_KEY_HERE')
  assert.ok(await nags())
  await hub.operations.forgetRecoveryKey('packages', ACTOR)
  assert.ok(!(await nags()))
  hub.advance(-25 * 3_600_000)
  await assert.rejects(hub.operations.exportRecoveryKey('packages', ACTOR), (error) =>
    isFeedmeshError(error, 'NOT_FOUND'),
  )
  const other = stack.use(await startNode())
  await createFeed(other, 'packages')
  const { token = '' } = await offerFeed(spoke, 'packages')
  const { id } = await linkFeed(other, 'packages', { url: spoke.url, token })
  assert.equal((await other.operations.runReplication(id, {})).state, 'succeeded')
  assert.ok(await sees(other, 'first'))
  await pull()
  await hub.stop()
  await assert.rejects(spoke.operations.recoverFeed({ key }, ACTOR), (error) => isFeedmeshError(error, 'BAD_INPUT'))
  const recovered = await spoke.operations.recoverFeed({ key, as: 'rescued' }, ACTOR)
  assert.deepEqual([recovered.feedId, recovered.name, recovered.generation], [feedId, 'rescued', 1])
  await publish(spoke, 'rescued', 'after')
  assert.equal((await other.operations.runReplication(id, {})).state, 'succeeded')
  assert.deepEqual([await sees(spoke, 'after'), await sees(other, 'after')], [true, true])
  await spoke.restart()
  assert.ok(await sees(spoke, 'first', 'rescued'))
  await publish(spoke, 'rescued', 'still')
})
