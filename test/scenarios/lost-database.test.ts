/** The database of a node is deleted, or moved away because it is damaged: the next start becomes whole again from peers. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { dataPaths } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import { auditDataFolder } from '../support/audit-data.ts'
import { runChild } from '../support/run-child.ts'
import {
  ACTOR,
  createFeed,
  createKey,
  linkFeed,
  offerFeed,
  publishRow,
  startNode,
  type TestNode,
} from '../support/running-node.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'recovery-child.ts')
/** One is a file of its own, the other is inside the database. */
const SIZES = { large: 200_000, small: 5000 }

async function openPair(stack: AsyncDisposableStack, availability: 'full' | 'on-demand' = 'full') {
  const [hub, spoke] = [stack.use(await startNode()), stack.use(await startNode())]
  for (const node of [hub, spoke]) await createFeed(node, 'packages')
  for (const [unit, size] of Object.entries(SIZES))
    await publishRow(hub, 'packages', { unit, version: '1.0.0', content: randomBytes(size) })
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token, everyMs: 3_600_000, availability })
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  return { hub, spoke, replication: id }
}

async function loseDatabase(node: TestNode): Promise<void> {
  await node.stop()
  await rm(dataPaths(node.directory).records, { recursive: true })
}

async function codes(node: TestNode): Promise<string[]> {
  return (await node.operations.doctor()).map(({ code }) => code)
}

async function untilWhole(node: TestNode): Promise<void> {
  const isOpen = async () => (await codes(node)).some((code) => code === 'FEED_RESTORED' || code === 'DATABASE_REBUILT')
  for (const deadline = Date.now() + 20_000; await isOpen(); ) {
    assert.ok(Date.now() < deadline, JSON.stringify(await node.operations.doctor()))
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function blobFiles(node: TestNode): Promise<Map<string, number>> {
  const folder = dataPaths(node.directory).blobs
  const entries = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return new Map(await Promise.all(files.map(async (file) => [file, (await stat(file)).ino] as const)))
}

/** Both show the same, and a publish at the hub reaches the spoke: nothing is forked. */
async function verifyEqual({ hub, spoke, replication }: Awaited<ReturnType<typeof openPair>>): Promise<void> {
  await publishRow(hub, 'packages', { unit: 'after', version: '1.0.0', content: randomBytes(SIZES.large) })
  assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
  const [theirs, ours] = await Promise.all([hub, spoke].map((node) => node.operations.showFeed('packages')))
  assert.equal(ours?.sources[0]?.digest, theirs?.digest)
  assert.equal(ours?.entries, 3)
  for (const node of [hub, spoke]) {
    assert.deepEqual(
      (await codes(node)).filter((code) => code !== 'PEER_UNREACHABLE'),
      [],
    )
    const { damaged } = await node.operations.verify({ repair: false, signal: AbortSignal.timeout(10_000) }, ACTOR)
    assert.deepEqual(damaged, [])
  }
}

test('a spoke without its database knows its feeds, keys and links, and finds the files on its disk again', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const pair = await openPair(stack)
  const { spoke } = pair
  const key = await createKey(spoke, 'packages')
  const before = { files: await blobFiles(spoke), feed: await spoke.operations.showFeed('packages') }
  await loseDatabase(spoke)
  await spoke.restart()
  assert.ok((await codes(spoke)).includes('DATABASE_REBUILT'))
  assert.ok(await spoke.operations.findCaller(key, 'packages'))
  assert.ok(await spoke.operations.findCaller(spoke.adminKey, null))
  await untilWhole(spoke)
  assert.deepEqual(await blobFiles(spoke), before.files, 'files are neither fetched nor written again')
  assert.equal((await spoke.operations.showFeed('packages')).digest, before.feed.digest)
  await publishRow(spoke, 'packages', { unit: 'own', version: '1.0.0', content: Buffer.from('own') })
  await spoke.operations.openFeed('packages').change('own', () => ({ drop: ['v/1.0.0'] }))
  await verifyEqual(pair)
  await spoke.stop()
  await auditDataFolder(spoke.directory)
})

test('a hub without its database signs nothing before a spoke has given its feed back, and forks nothing', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const pair = await openPair(stack)
  const { hub, spoke, replication } = pair
  const before = await hub.operations.showFeed('packages')
  await spoke.operations.pauseReplication(replication, true, ACTOR)
  await loseDatabase(hub)
  await hub.restart()
  const publish = () => publishRow(hub, 'packages', { unit: 'early', version: '1.0.0', content: Buffer.from('early') })
  await assert.rejects(publish(), (error) => isFeedmeshError(error, 'MAY_NOT_SIGN'))
  assert.ok((await codes(hub)).includes('FEED_RESTORED'))
  await spoke.operations.pauseReplication(replication, false, ACTOR)
  await untilWhole(hub)
  assert.equal((await hub.operations.showFeed('packages')).digest, before.digest)
  await verifyEqual(pair)
})

test('a hub without database and files goes on with what an on-demand spoke has: the metadata', {
  timeout: 60_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, replication } = await openPair(stack, 'on-demand')
  const before = await hub.operations.showFeed('packages')
  await loseDatabase(hub)
  await rm(dataPaths(hub.directory).blobs, { recursive: true })
  await hub.restart()
  await untilWhole(hub)
  assert.equal((await hub.operations.showFeed('packages')).digest, before.digest)
  const { damaged } = await hub.operations.verify({ repair: false, signal: AbortSignal.timeout(10_000) }, ACTOR)
  assert.deepEqual(
    damaged.map(({ kind }) => kind),
    ['missing', 'missing'],
    'what nobody has any more is told',
  )
  await publishRow(hub, 'packages', { unit: 'after', version: '1.0.0', content: Buffer.from('after') })
  assert.equal((await spoke.operations.runReplication(replication, {})).state, 'succeeded')
  assert.ok(!(await codes(spoke)).includes('FEED_FORKED'))
})

test('a file that could not be mended is still missed by a spoke that is to have it, and by no other', {
  timeout: 60_000,
}, async () => {
  for (const availability of ['full', 'on-demand'] as const) {
    await using stack = new AsyncDisposableStack()
    const { hub, spoke } = await openPair(stack, availability)
    const check = async (repair: boolean) =>
      (await spoke.operations.verify({ repair, signal: AbortSignal.timeout(30_000) }, ACTOR)).damaged.map(
        ({ kind, repaired }) => `${kind} ${repaired}`,
      )
    spoke.advance(3_600_000)
    for (const file of (await blobFiles(spoke)).keys()) await writeFile(file, 'not what it was')
    await hub.stop()
    const damage = availability === 'full' ? ['corrupt false'] : []
    assert.deepEqual(await check(true), damage)
    assert.deepEqual(await check(false), availability === 'full' ? ['missing false'] : [])
    await hub.restart()
    assert.deepEqual(await check(true), availability === 'full' ? ['missing true'] : [])
    assert.deepEqual(await check(false), [])
  }
})

test('a database that was moved away and put back is not rebuilt', { timeout: 60_000 }, async () => {
  await using stack = new AsyncDisposableStack()
  const pair = await openPair(stack)
  const { spoke } = pair
  const { records } = dataPaths(spoke.directory)
  await spoke.stop()
  await rename(records, `${records}-away`)
  await spoke.restart()
  assert.ok((await codes(spoke)).includes('DATABASE_REBUILT'))
  await spoke.stop()
  await rm(records, { recursive: true })
  await rename(`${records}-away`, records)
  await spoke.restart()
  assert.ok(!(await codes(spoke)).includes('DATABASE_REBUILT'))
  await verifyEqual(pair)
})

test('a damaged essentials file stops a node that needs it, and is written anew by one that does not', async () => {
  await using stack = new AsyncDisposableStack()
  const node = stack.use(await startNode())
  await createFeed(node, 'packages')
  await node.stop()
  const { essentials, records } = dataPaths(node.directory)
  const good = await readFile(essentials)
  for (let at = 0; at < good.length; at += 97) {
    const bad = Buffer.from(good)
    bad[at] = (bad[at] ?? 0) ^ (1 << (at % 8))
    await writeFile(essentials, bad)
    await rename(records, `${records}-away`)
    await assert.rejects(
      node.restart(),
      (error) => isFeedmeshError(error, 'CORRUPT') && error.message.includes(essentials),
    )
    await rm(records, { recursive: true, force: true })
    await rename(`${records}-away`, records)
  }
  await node.restart()
  await node.stop()
  assert.deepEqual(await readFile(essentials), good)
  assert.equal((await stat(essentials)).mode & 0o777, 0o600)
})

const KILLS: readonly (readonly ['spoke' | 'hub', FaultPoint, number])[] = [
  ['spoke', 'records.written', 2],
  ['spoke', 'adopt.blob', 1],
  ['spoke', 'adopt.committed', 1],
  ['hub', 'records.written', 2],
  ['hub', 'adopt.verified', 1],
]

for (const [who, point, occurrence] of KILLS) {
  test(`a ${who} killed at ${point} while it becomes whole again gets there with the next start`, {
    timeout: 60_000,
  }, async () => {
    await using stack = new AsyncDisposableStack()
    const pair = await openPair(stack)
    const node = pair[who]
    const listen = node.running.listen[0]?.replace(/\/p2p\/.*$/, '') ?? ''
    await loseDatabase(node)
    const killed = await runChild(CHILD, [node.directory, point, String(occurrence), listen])
    assert.equal(killed.signal, 'SIGKILL', `${killed.stdout}${killed.stderr}`)
    await node.restart()
    await untilWhole(node)
    await verifyEqual(pair)
  })
}
