/** A disk that fills up while packages arrive: the client is told, nothing half is stored, and it goes on once there is space. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { initDataFolder } from '../../src/data-folder.ts'
import { auditDataFolder } from '../support/audit-data.ts'
import {
  createFeed,
  createKey,
  linkFeed,
  offerFeed,
  openTestNode,
  publishRow,
  startNode,
} from '../support/running-node.ts'
import { mountSmallDisk } from '../support/small-disk.ts'

const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }
const MIB = 1024 ** 2

const disk = mountSmallDisk(128)
const skip = 'skip' in disk ? disk.skip : false

test('an upload to a full disk is refused with 507, and works after space is freed, without a restart', {
  skip,
  timeout: 60_000,
}, async (t) => {
  if ('skip' in disk) return
  t.after(() => disk.unmount())
  const directory = join(disk.path, 'data')
  const { adminKey } = await initDataFolder(directory, LOOPBACK)
  const ballast = join(disk.path, 'ballast')
  {
    await using node = await openTestNode(directory, adminKey)
    await createFeed(node, 'files', 'assets')
    const headers = { 'x-apikey': await createKey(node, 'files') }
    const put = (name: string, bytes: number) =>
      fetch(`${node.url}/endpoints/files/content/${name}`, { method: 'PUT', body: randomBytes(bytes), headers })
    assert.equal((await put('first.bin', MIB)).status, 201)
    await writeFile(ballast, Buffer.alloc(84 * MIB))
    assert.equal((await put('big.bin', 20 * MIB)).status, 507)
    assert.ok((await node.operations.doctor()).some((problem) => problem.code === 'STORAGE_FULL'))
    assert.equal((await fetch(`${node.url}/endpoints/files/content/big.bin`, { headers })).status, 404)
    assert.equal((await fetch(`${node.url}/endpoints/files/content/first.bin`, { headers })).status, 200)
    await rm(ballast)
    assert.equal((await put('big.bin', 20 * MIB)).status, 201)
    assert.deepEqual(await node.operations.doctor(), [])

    await using spoke = await startNode()
    await createFeed(spoke, 'files', 'assets')
    const { token = '' } = await offerFeed(node, 'files')
    const { id } = await linkFeed(spoke, 'files', { url: node.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    await node.stop()
    await auditDataFolder(directory)
  }
})

const spokeDisk = mountSmallDisk(128)

test('a spoke whose disk fills up during a run shows nothing half, says so on both ends, and ends equal once there is space', {
  skip: 'skip' in spokeDisk ? spokeDisk.skip : false,
  timeout: 60_000,
}, async (t) => {
  if ('skip' in spokeDisk) return
  t.after(() => spokeDisk.unmount())
  const directory = join(spokeDisk.path, 'data')
  const { adminKey } = await initDataFolder(directory, LOOPBACK)
  await using hub = await startNode()
  await createFeed(hub, 'packages')
  for (let number = 0; number < 6; number += 1)
    await publishRow(hub, 'packages', { unit: 'big', version: `1.0.${number}`, content: randomBytes(4 * MIB) })
  await using spoke = await openTestNode(directory, adminKey)
  await createFeed(spoke, 'packages')
  const { token = '' } = await offerFeed(hub, 'packages')
  const ballast = join(spokeDisk.path, 'ballast')
  await writeFile(ballast, Buffer.alloc(82 * MIB))
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token })
  const failed = await spoke.operations.runReplication(id, {})
  assert.notEqual(failed.state, 'succeeded')
  assert.ok(
    failed.failed.some((failure) => failure.code === 'STORAGE_FULL'),
    JSON.stringify(failed.failed),
  )
  assert.equal(await spoke.operations.openFeed('packages').findUnit('big'), undefined)
  await rm(ballast)
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  assert.equal((await spoke.operations.showFeed('packages')).digest, (await hub.operations.showFeed('packages')).digest)
  await spoke.stop()
  await auditDataFolder(directory)
})
