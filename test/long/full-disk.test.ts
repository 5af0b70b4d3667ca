/**
 * A disk with a little space left, at many levels of little: whatever a node is doing then either works, or is refused as
 * STORAGE_FULL and works once there is space, without a restart. Whatever happened, nothing half is left.
 */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { open, rm, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { initDataFolder } from '../../src/data-folder.ts'
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
import { mountSmallDisk } from '../support/small-disk.ts'

const MIB = 1024 ** 2
/** Above what a node wants to have free before it says that the disk is full. */
const DISK_MIB = 192
const LEVELS = Number(process.env['DISK_LEVELS'] ?? 40)
/** Between the levels; the highest is far above what any of the operations needs. */
const STEP_BYTES = 256 * 1024
const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }

const probe = mountSmallDisk(1)
const skip = 'skip' in probe ? probe.skip : false
if (!('skip' in probe)) probe.unmount()

interface Bench {
  readonly node: TestNode
  readonly hub: TestNode
  readonly replication: string
}

type Operation = (bench: Bench, round: number) => Promise<unknown>

const publish = (node: TestNode, feed: string, item: { readonly version: string; readonly bytes: number }) =>
  publishRow(node, feed, { unit: 'left', version: item.version, content: randomBytes(item.bytes) })

async function pull({ node, replication }: Bench): Promise<void> {
  const run = await node.operations.runReplication(replication, {})
  const [failure] = run.failed
  if (failure !== undefined) throw Object.assign(new Error(failure.message), { code: failure.code })
  assert.equal(run.state, 'succeeded', JSON.stringify(run))
}

async function prune({ node }: Bench, round: number): Promise<void> {
  const burn = { key: `v/1.${round}.0`, rowClass: 'burn', meta: new Uint8Array(0), files: [] } as const
  await node.operations.openFeed('own').change('left', () => ({ put: [burn] }))
}

const OPERATIONS: Readonly<Record<string, Operation>> = {
  'publish a small package': ({ node }, round) => publish(node, 'own', { version: `1.${round}.0`, bytes: 2000 }),
  'publish a large package': ({ node }, round) => publish(node, 'own', { version: `2.${round}.0`, bytes: 3 * MIB }),
  'take what a hub published': async (bench, round) => {
    if (!(await hasVersion(bench.hub, `3.${round}.0`)))
      await publish(bench.hub, 'source', { version: `3.${round}.0`, bytes: MIB })
    await pull(bench)
  },
  'delete a version': prune,
  'reclaim space': ({ node }) => node.operations.reclaim({ isDryRun: false }, ACTOR),
  'create a feed': async ({ node }, round) => {
    await createFeed(node, `feed-${round}`)
    await node.operations.deleteFeed(`feed-${round}`, ACTOR)
  },
}

async function hasVersion(node: TestNode, version: string): Promise<boolean> {
  const unit = await node.operations.openFeed('source').findUnit('left')
  return unit?.rows.some(({ key }) => key === `v/${version}`) ?? false
}

/** Leaves `freeBytes` of the disk, or what the node meanwhile leaves. */
async function fill(disk: string, freeBytes: number): Promise<() => Promise<void>> {
  const path = join(disk, 'ballast')
  await using ballast = await open(path, 'w')
  for (;;) {
    const { bavail, bsize } = await statfs(disk)
    const piece = Math.min(bavail * bsize - freeBytes, 4 * MIB)
    if (piece <= 0) return () => rm(path)
    await ballast.write(Buffer.alloc(piece))
  }
}

/** @returns whether the operation worked with so little space */
async function isDone(work: () => Promise<unknown>): Promise<boolean> {
  try {
    await work()
    return true
  } catch (error) {
    const code = (error as { readonly code?: unknown }).code
    assert.ok(isFeedmeshError(error, 'STORAGE_FULL') || code === 'STORAGE_FULL', String(error))
    return false
  }
}

/** Every operation with `freeBytes` left, and those that were refused once more with space. @returns their names */
async function operateOn(
  disk: string,
  { hub, level }: { readonly hub: TestNode; readonly level: number },
): Promise<string[]> {
  const directory = join(disk, 'data')
  const { adminKey } = await initDataFolder(directory, LOOPBACK)
  const refused: string[] = []
  {
    await using node = await openTestNode(directory, adminKey)
    for (const name of ['own', 'copy']) await createFeed(node, name)
    const { token = '' } = await offerFeed(hub, 'source')
    const { id } = await linkFeed(node, 'copy', { url: hub.url, token, everyMs: 3_600_000 })
    for (const [name, operation] of Object.entries(OPERATIONS)) {
      const free = await fill(disk, level * STEP_BYTES)
      const work = () => operation({ node, hub, replication: id }, level)
      const done = await isDone(work)
      await free()
      if (done) continue
      refused.push(name)
      await work()
    }
    const problems = await node.operations.doctor()
    assert.ok(
      !problems.some(({ code }) => code === 'STORAGE_FULL'),
      `level ${level}: ${JSON.stringify([problems, await statfs(disk)])}`,
    )
  }
  await auditDataFolder(directory)
  return refused
}

test(`${LEVELS} levels of a full disk, ${Object.keys(OPERATIONS).length} operations at each`, {
  skip,
  timeout: 1_800_000,
}, async (t) => {
  await using hub = await startNode()
  await createFeed(hub, 'source')
  const refused = new Map<string, number>()
  for (let level = 0; level < LEVELS; level += 1) {
    const disk = mountSmallDisk(DISK_MIB)
    if ('skip' in disk) throw new Error(disk.skip)
    try {
      for (const name of await operateOn(disk.path, { hub, level })) refused.set(name, (refused.get(name) ?? 0) + 1)
    } finally {
      disk.unmount()
    }
  }
  for (const [name, count] of refused) t.diagnostic(`${name}: refused at ${count} levels`)
  assert.ok(refused.size >= 3)
})
