import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { u64 } from '../../src/store/keys.ts'
import { createLevel } from '../../src/store/level-database.ts'
import { cutBatchFromLog } from '../../src/store/level-log.ts'
import { openTemporaryFolder } from './level-folder.ts'

const MARKER = Buffer.from('!batch')

/** Writes one batch per size, numbered from 1. */
async function writeBatches(folder: string, sizes: readonly number[]): Promise<void> {
  const level = createLevel(folder)
  await level.open()
  for (const [i, size] of sizes.entries()) {
    await level.batch([
      { type: 'put', key: MARKER, value: u64(i + 1) },
      { type: 'put', key: Buffer.from(`k${i + 1}`), value: Buffer.alloc(size, i) },
    ])
  }
  await level.close()
}

async function readAll(folder: string): Promise<string[]> {
  const level = createLevel(folder)
  await level.open()
  const found: string[] = []
  for await (const key of level.keys()) found.push(String(key))
  await level.close()
  return found
}

describe('cutting a batch off the log', () => {
  it('removes exactly the last batch, wherever it lies in the blocks of the log', async () => {
    const sizes = [0, 4_000, 32_600, 32_700, 70_000, 300_000]
    for (const before of sizes) {
      for (const last of sizes) {
        await using folder = await openTemporaryFolder()
        await writeBatches(folder.path, [before, before, last])
        assert.equal(await cutBatchFromLog(folder.path, MARKER, u64(3)), true)
        assert.deepEqual(await readAll(folder.path), ['!batch', 'k1', 'k2'], `${before}, ${last}`)
      }
    }
  })

  it('finds batches that start within the last bytes of a block', async () => {
    for (let left = 0; left <= 48; left += 1) {
      await using folder = await openTemporaryFolder()
      // Of the first batch: record header 7, batch header 12, marker 17, then tag, key (3), length (3) and value.
      await writeBatches(folder.path, [32_768 - 7 - 12 - 17 - 7 - left, 500])
      assert.equal(await cutBatchFromLog(folder.path, MARKER, u64(2)), true, `${left} bytes left`)
      assert.deepEqual(await readAll(folder.path), ['!batch', 'k1'], `${left} bytes left`)
    }
  })

  it('leaves a log alone that does not hold the batch', async () => {
    await using folder = await openTemporaryFolder()
    await writeBatches(folder.path, [10, 40_000])
    assert.equal(await cutBatchFromLog(folder.path, MARKER, u64(3)), false)
    assert.deepEqual(await readAll(folder.path), ['!batch', 'k1', 'k2'])
  })
})
