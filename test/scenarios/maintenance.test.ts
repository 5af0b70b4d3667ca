/** Bit rot, waste and copies: found, mended from peers, reclaimed, restored. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { restoreDataFolder } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { auditDataFolder } from '../support/audit-data.ts'
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

const BIG = 200_000
const HOUR_MS = 3_600_000
const verifyOptions = (repair: boolean) => ({ repair, signal: AbortSignal.timeout(30_000) })

async function openPair(): Promise<{ hub: TestNode; spoke: TestNode; replication: string } & AsyncDisposable> {
  const hub = await startNode()
  const spoke = await startNode()
  await createFeed(hub, 'packages')
  await createFeed(spoke, 'packages')
  for (const version of ['1.0.0', '1.1.0'])
    await publishRow(hub, 'packages', { unit: 'left', version, content: randomBytes(BIG) })
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  const dispose = async () => {
    await spoke[Symbol.asyncDispose]()
    await hub[Symbol.asyncDispose]()
  }
  return { hub, spoke, replication: id, [Symbol.asyncDispose]: dispose }
}

async function blobFiles(node: TestNode): Promise<string[]> {
  const entries = await readdir(join(node.directory, 'blobs'), { recursive: true, withFileTypes: true })
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
}

async function flipBit(node: TestNode): Promise<void> {
  const [file = ''] = await blobFiles(node)
  const bytes = await readFile(file)
  bytes[1000] = (bytes[1000] ?? 0) ^ 1
  await rm(file)
  await writeFile(file, bytes)
}

test('a flipped bit is found, and mended from the hub on a spoke, from a spoke on the hub', async () => {
  await using pair = await openPair()
  for (const node of [pair.spoke, pair.hub]) {
    node.advance(HOUR_MS)
    await flipBit(node)
    const found = await node.operations.verify(verifyOptions(false), ACTOR)
    assert.deepEqual(
      found.damaged.map(({ kind, repaired }) => ({ kind, repaired })),
      [{ kind: 'corrupt', repaired: false }],
    )
    const mended = await node.operations.verify(verifyOptions(true), ACTOR)
    assert.deepEqual(
      mended.damaged.map(({ kind, repaired, message }) => ({ kind, repaired, message })),
      [{ kind: 'corrupt', repaired: true, message: '' }],
    )
    assert.deepEqual((await node.operations.verify(verifyOptions(false), ACTOR)).damaged, [])
  }
})

test('a damaged blob is not passed on as if it were whole: the spoke refuses it and stays without the new version', async () => {
  await using pair = await openPair()
  await publishRow(pair.hub, 'packages', { unit: 'right', version: '1.0.0', content: randomBytes(BIG) })
  await using fresh = await startNode()
  await createFeed(fresh, 'packages')
  for (const file of await blobFiles(pair.hub)) {
    const bytes = await readFile(file)
    bytes[5] = (bytes[5] ?? 0) ^ 1
    await writeFile(file, bytes)
  }
  const { token = '' } = await offerFeed(pair.hub, 'packages')
  const { id } = await linkFeed(fresh, 'packages', { url: pair.hub.url, token })
  const result = await fresh.operations.runReplication(id, {})
  assert.equal(result.state, 'partial')
  assert.ok(
    result.failed.every((failure) => failure.code === 'PEER_INVALID'),
    JSON.stringify(result.failed),
  )
  assert.equal(await fresh.operations.openFeed('packages').findUnit('left'), undefined)
})

test('gc reclaims what nothing names, counts the same in a dry run, and leaves the rest', async () => {
  await using pair = await openPair()
  const { hub } = pair
  const feed = hub.operations.openFeed('packages')
  await feed.change('left', () => ({ put: [{ key: 'v/1.0.0', rowClass: 'burn', meta: new Uint8Array(0), files: [] }] }))
  assert.equal(
    (await hub.operations.reclaim({ isDryRun: false }, ACTOR)).blobs,
    0,
    'what was stored a moment ago may be on its way',
  )
  hub.advance(HOUR_MS)
  const dry = await hub.operations.reclaim({ isDryRun: true }, ACTOR)
  assert.equal(dry.blobs, 1)
  assert.ok(dry.bytes >= BIG)
  assert.deepEqual(await hub.operations.reclaim({ isDryRun: false }, ACTOR), dry)
  assert.equal((await hub.operations.reclaim({ isDryRun: true }, ACTOR)).blobs, 0)
  assert.deepEqual((await hub.operations.verify(verifyOptions(false), ACTOR)).damaged, [])
  await hub.stop()
  await auditDataFolder(hub.directory)
})

test('a backup made while the node runs is whole', async (t) => {
  await using pair = await openPair()
  const target = `${pair.hub.directory}-backup`
  t.after(() => rm(target, { recursive: true, force: true }))
  const report = await pair.hub.operations.backup(target, ACTOR)
  assert.ok(report.records > 0 && report.blobs >= 2)
  const { feeds } = await auditDataFolder(target)
  assert.deepEqual(feeds.get('packages')?.get('left'), ['v/1.0.0', 'v/1.1.0'])
  await assert.rejects(pair.hub.operations.backup(target, ACTOR), /is there already/)
})

test('a hub restored from yesterday’s backup signs nothing until it has its own past back from a spoke, and forks nothing', async (t) => {
  await using pair = await openPair()
  const { hub, spoke, replication } = pair
  const backup = `${hub.directory}-backup`
  const restored = `${hub.directory}-restored`
  t.after(() => Promise.all([backup, restored].map((folder) => rm(folder, { recursive: true, force: true }))))
  await hub.operations.backup(backup, ACTOR)
  await publishRow(hub, 'packages', { unit: 'late', version: '1.0.0', content: randomBytes(BIG) })
  assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
  const before = await spoke.operations.showFeed('packages')
  const listen = hub.running.listen.map((address) => address.replace(/\/p2p\/.*$/, ''))
  await spoke.operations.pauseReplication(replication, true, ACTOR)
  await hub.stop()
  await restoreDataFolder(backup, restored)
  await using again = await openTestNode(restored, hub.adminKey, { listen })
  const publish = () =>
    publishRow(again, 'packages', { unit: 'after', version: '1.0.0', content: Buffer.from('after') })
  await assert.rejects(
    publish(),
    (error) => isFeedmeshError(error, 'MAY_NOT_SIGN') && /has yet to ask/.test(error.message),
  )
  assert.ok((await again.operations.doctor()).some((problem) => problem.code === 'FEED_RESTORED'))
  await spoke.operations.pauseReplication(replication, false, ACTOR)
  assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
  const isOpen = async () => (await again.operations.doctor()).some((problem) => problem.code === 'FEED_RESTORED')
  for (const deadline = Date.now() + 20_000; (await isOpen()) && Date.now() < deadline; )
    await new Promise((resolve) => setImmediate(resolve))
  assert.ok(await again.operations.openFeed('packages').findUnit('late'))
  assert.equal((await again.operations.showFeed('packages')).digest, before.digest)
  await publish()
  assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
  assert.equal(
    (await spoke.operations.showFeed('packages')).digest,
    (await again.operations.showFeed('packages')).digest,
  )
  assert.ok(!(await again.operations.doctor()).some((problem) => problem.code === 'FEED_RESTORED'))
})
