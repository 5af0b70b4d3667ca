import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { readdir } from 'node:fs/promises'
import path from 'node:path'
import { describe, it } from 'node:test'
import type { FaultPoint } from '../../src/fault-points.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import type { Records } from '../../src/store/records.ts'
import { digestOf } from './contents.ts'
import { CRASH_ROWS, itemContents, rowKey } from './crash-items.ts'
import { openLevelIn, openTemporaryFolder } from './level-folder.ts'

const CHILD = path.join(import.meta.dirname, 'crash-child.ts')
const LONG_MS = 60 * 60 * 1000

interface Run {
  readonly acknowledged: readonly number[]
  readonly signal: NodeJS.Signals | null
}

/** Runs the child until it kills itself, or with `killAfter` until it has acknowledged so many items. */
async function runChild(folder: string, point: FaultPoint | 'none', skip: number, first: number): Promise<Run> {
  const child: ChildProcess = spawn(process.execPath, [CHILD, folder, point, String(skip), String(first)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const closed = new Promise<NodeJS.Signals | null>((resolve) => {
    child.once('close', (_code, signal) => resolve(signal))
  })
  let output = ''
  assert.ok(child.stdout)
  for await (const piece of child.stdout) {
    output += String(piece)
    if (point === 'none' && output.split('\n').length > skip) child.kill('SIGKILL')
  }
  return { acknowledged: output.split('\n').slice(0, -1).map(Number), signal: await closed }
}

/** Whether item `item` is stored, after checking that all of it is or nothing. */
async function checkItem(records: Records, blobs: BlobStore, item: number): Promise<boolean> {
  const rows = await records.findMany(Array.from({ length: CRASH_ROWS }, (_, row) => rowKey(item, row)))
  const present = rows.filter((row) => row !== undefined)
  assert.ok(present.length === 0 || present.length === CRASH_ROWS, `item ${item} has ${present.length} of its rows`)
  const expected = present.length > 0 ? 'ok' : 'missing'
  for (const bytes of itemContents(item))
    assert.equal(await blobs.verifyBlob(digestOf(bytes)), expected, `item ${item}`)
  return present.length > 0
}

/** Opens the folder as the next start would, and checks the promises of the store. Gives the first item not stored. */
async function checkFolder(folder: string, acknowledged: readonly number[], tried: number): Promise<number> {
  await using records = await openLevelIn(folder)
  let nowMs = Date.now()
  const blobs = await openFileBlobs({ directory: folder, records, now: () => nowMs })
  const stored = new Set<number>()
  for (let item = 0; item <= tried; item += 1) if (await checkItem(records, blobs, item)) stored.add(item)
  for (const item of acknowledged) assert.ok(stored.has(item), `item ${item} was acknowledged and is lost`)
  assert.deepEqual(await readdir(path.join(folder, 'staging')), [])
  nowMs += LONG_MS
  for await (const orphan of blobs.orphans()) await blobs.remove(orphan)
  for await (const { digest } of blobs.list()) assert.equal(await blobs.verifyBlob(digest), 'ok')
  for await (const orphan of blobs.orphans()) assert.fail(`${orphan} is still an orphan`)
  return Math.max(-1, ...stored) + 1
}

describe('kill -9', () => {
  const points: FaultPoint[] = [
    'blob.writing',
    'blob.written',
    'blob.synced',
    'blob.renamed',
    'records.writing',
    'records.written',
  ]
  for (const point of points) {
    it(`at ${point} loses nothing acknowledged, tears no batch, shows no half blob`, async () => {
      await using folder = await openTemporaryFolder()
      const acknowledged: number[] = []
      let next = 0
      for (const skip of [0, 5, 31]) {
        const run = await runChild(folder.path, point, skip, next)
        assert.equal(run.signal, 'SIGKILL')
        acknowledged.push(...run.acknowledged)
        next = await checkFolder(folder.path, acknowledged, next + 110)
      }
      assert.ok(acknowledged.length > 0)
    })
  }

  it('at any moment loses nothing acknowledged, tears no batch, shows no half blob', async () => {
    await using folder = await openTemporaryFolder()
    const acknowledged: number[] = []
    let next = 0
    for (const enough of [1, 7, 20, 41]) {
      const run = await runChild(folder.path, 'none', enough, next)
      assert.equal(run.signal, 'SIGKILL')
      assert.ok(run.acknowledged.length >= enough)
      acknowledged.push(...run.acknowledged)
      next = await checkFolder(folder.path, acknowledged, next + 200)
    }
  })
})
