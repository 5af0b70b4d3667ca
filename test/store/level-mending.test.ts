import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Records, Write } from '../../src/store/records.ts'
import {
  createFaultyLevel,
  DISK_BROKEN,
  DISK_FULL,
  type Faults,
  openLevelIn,
  openTemporaryFolder,
} from './level-folder.ts'

const key = (text: string) => Buffer.from(text)
const put = (name: string, value = 'v'): Write => ({ type: 'put', key: key(name), value: Buffer.from(value) })

interface Setting extends AsyncDisposable {
  readonly records: Records
  readonly faults: Faults
  /** Another open of the same folder, by a database without faults. */
  restart(): Promise<Records>
}

async function openSetting(): Promise<Setting> {
  const folder = await openTemporaryFolder()
  const faults: Faults = { batches: [], openings: [] }
  const records = await openLevelIn(folder.path, { createDatabase: createFaultyLevel(faults) })
  let current = records
  return {
    records,
    faults,
    restart: async () => {
      await current[Symbol.asyncDispose]()
      current = await openLevelIn(folder.path)
      return current
    },
    [Symbol.asyncDispose]: async () => {
      await current[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

describe('a database that mends itself', () => {
  for (const at of ['before', 'logged'] as const) {
    for (const [error, code] of [
      [DISK_BROKEN, 'STORAGE_IO'],
      [DISK_FULL, 'STORAGE_FULL'],
    ] as const) {
      it(`leaves nothing of a batch that fails with ${code} (${at}), then or after a restart`, async () => {
        await using setting = await openSetting()
        const { records, faults } = setting
        await records.write([put('kept')])
        faults.batches.push({ at, error }, { at, error })
        await assert.rejects(records.write([put('refused', 'x'.repeat(100_000)), put('kept', 'changed')]), { code })
        assert.equal(await records.find(key('refused')), undefined)
        assert.equal(String(await records.find(key('kept'))), 'v')
        await records.write([put('later')])
        const restarted = await setting.restart()
        const found = await restarted.findMany([key('refused'), key('kept'), key('later')])
        assert.deepEqual(
          found.map((value) => value && String(value)),
          [undefined, 'v', 'v'],
        )
      })
    }
  }

  it('tries a batch once more when the reason is gone after reopening', async () => {
    await using setting = await openSetting()
    setting.faults.batches.push({ at: 'logged', error: DISK_BROKEN })
    await setting.records.write([put('a')])
    const restarted = await setting.restart()
    assert.ok(await restarted.find(key('a')))
  })

  it('reports a batch as done when the reopened database holds it all the same', async () => {
    await using setting = await openSetting()
    setting.faults.batches.push({ at: 'table', error: DISK_BROKEN })
    await setting.records.write([put('a')])
    assert.equal(setting.faults.batches.length, 0)
    const restarted = await setting.restart()
    assert.ok(await restarted.find(key('a')))
  })

  it('fails exactly the writes of the merged batch', async () => {
    await using setting = await openSetting()
    const { records, faults } = setting
    const failed = { at: 'logged', error: DISK_BROKEN } as const
    faults.batches.push(undefined, failed, failed)
    const first = records.write([put('first')])
    await new Promise(setImmediate)
    const merged = [records.write([put('m1')]), records.write([put('m2')])]
    await first
    const outcomes = await Promise.allSettled(merged)
    assert.deepEqual(
      outcomes.map(({ status }) => status),
      ['rejected', 'rejected'],
    )
    await records.write([put('last')])
    const found = await records.findMany([key('first'), key('m1'), key('m2'), key('last')])
    assert.deepEqual(
      found.map((value) => value !== undefined),
      [true, false, false, true],
    )
  })

  it('lets reads wait and scans go on while it reopens', async () => {
    await using setting = await openSetting()
    const { records, faults } = setting
    const names = Array.from({ length: 3_000 }, (_, i) => `k${String(i).padStart(4, '0')}`)
    await records.write(names.map((name) => put(name, 'x'.repeat(200))))
    const range = { gte: key('k'), lt: key('l') }
    for (const reverse of [false, true]) {
      const seen: string[] = []
      for await (const found of records.scanKeys({ ...range, reverse, limit: 2_900 })) {
        seen.push(String(found))
        if (seen.length !== 700) continue
        faults.batches.push({ at: 'logged', error: DISK_BROKEN })
        const write = records.write([put('other')])
        const reads = await Promise.all(names.slice(0, 100).map((name) => records.find(key(name))))
        assert.ok(reads.every((value) => value?.length === 200))
        await write
      }
      assert.deepEqual(seen, (reverse ? names.toReversed() : names).slice(0, 2_900))
    }
  })

  it('keeps trying to reopen, with a clear error each time, and what failed stays away', async () => {
    await using setting = await openSetting()
    const { records, faults } = setting
    await records.write([put('kept')])
    faults.batches.push({ at: 'logged', error: DISK_BROKEN })
    faults.openings.push(DISK_BROKEN, DISK_BROKEN, DISK_BROKEN)
    await assert.rejects(records.write([put('refused')]), { code: 'STORAGE_IO' })
    await assert.rejects(records.find(key('kept')), { code: 'STORAGE_IO' })
    await assert.rejects(records.write([put('refused too')]), { code: 'STORAGE_IO' })
    assert.ok(await records.find(key('kept')))
    await records.write([put('later')])
    const restarted = await setting.restart()
    const found = await restarted.findMany([key('refused'), key('refused too'), key('later')])
    assert.deepEqual(
      found.map((value) => value !== undefined),
      [false, false, true],
    )
  })

  it('opens with the help of its reserve when there is no space left', async () => {
    await using setting = await openSetting()
    const { records, faults } = setting
    await records.write([put('kept')])
    faults.batches.push({ at: 'logged', error: DISK_FULL }, { at: 'logged', error: DISK_FULL })
    faults.openings.push(DISK_FULL)
    await assert.rejects(records.write([put('refused')]), { code: 'STORAGE_FULL' })
    assert.ok(await records.find(key('kept')))
    assert.equal(await records.find(key('refused')), undefined)
  })
})
