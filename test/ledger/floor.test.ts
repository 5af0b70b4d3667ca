/** The file outside the database: never lower, never silently another. */

import assert from 'node:assert/strict'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { sha256 } from '../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { type FloorOrder, openFloor } from '../../src/ledger/floor.ts'

const FEED = sha256('feed').toString('hex')

async function makeFolder(stack: AsyncDisposableStack): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-floor-'))
  stack.defer(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const order = (generation: number, epoch: number, seq: number, refresh = 0): FloorOrder => ({
  generation,
  epoch,
  version: epoch + generation,
  seq,
  refresh,
})

test('only goes up by (generation, epoch, seq, refresh), over restarts too', async () => {
  await using stack = new AsyncDisposableStack()
  const path = join(await makeFolder(stack), 'floor.json')
  const rising = [order(0, 1, 9), order(0, 1, 9, 1), order(0, 2, 1), order(0, 7, 30), order(1, 2, 1)]
  for (const [index, next] of rising.entries()) {
    const floor = await openFloor(path)
    assert.deepEqual(floor.find(FEED), rising[index - 1])
    for (const lower of rising.slice(0, index)) floor.raise(FEED, lower)
    assert.deepEqual(floor.find(FEED), rising[index - 1])
    floor.raise(FEED, next)
    await floor.flush()
  }
  const floor = await openFloor(path)
  assert.deepEqual([floor.find(FEED), floor.feeds()], [rising.at(-1), [FEED]])
  assert.equal((await stat(path)).mode & 0o777, 0o600)
})

test('one flipped bit is found, wherever it is', async () => {
  await using stack = new AsyncDisposableStack()
  const path = join(await makeFolder(stack), 'floor.json')
  const floor = await openFloor(path)
  floor.raise(FEED, order(0, 1, 12_345, 3))
  await floor.flush()
  const good = await readFile(path)
  // What follows the document is a line feed, and blanks of any kind there say nothing.
  for (let bit = 0; bit < (good.length - 1) * 8; bit += 1) {
    const bad = Buffer.from(good)
    bad[bit >> 3] = (bad[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    await writeFile(path, bad)
    await assert.rejects(openFloor(path), (error) => isFeedmeshError(error, 'CORRUPT'), `bit ${bit}`)
  }
  await writeFile(path, good)
  assert.deepEqual((await openFloor(path)).find(FEED), order(0, 1, 12_345, 3))
})
