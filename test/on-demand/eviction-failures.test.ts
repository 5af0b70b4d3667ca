/** A process that ends, or a disk that fails, at any write while one file makes room for another. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { KeptBlobs } from '../../src/store/kept-blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records, Write } from '../../src/store/records.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { openQuotaWorld, startOnDemand } from './quota-world.ts'

const SIZE = 100_000

/** Records whose n-th write from `arm` on fails, before it is done or after; from then on nothing is written. */
function breakableRecords(inner: Records) {
  let left = Number.POSITIVE_INFINITY
  let isAfter = false
  const write = async (writes: readonly Write[]) => {
    left -= 1
    if (left < 0) throw new Error('the process is gone')
    if (left > 0) return await inner.write(writes)
    if (isAfter) await inner.write(writes)
    throw new Error('the process is gone')
  }
  const records: Records = {
    find: (key) => inner.find(key),
    findMany: (many) => inner.findMany(many),
    scan: (options) => inner.scan(options),
    scanKeys: (options) => inner.scanKeys(options),
    write,
    clear: (range) => inner.clear(range),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
  }
  const arm = (n: number, after: boolean) => {
    left = n
    isAfter = after
  }
  return { records, arm, mend: () => arm(Number.POSITIVE_INFINITY, false), hasFailed: () => left <= 0 }
}

test('at whatever write it ends: what counts is here, what is here is whole, and everything can be had', {
  timeout: 60_000,
}, async () => {
  let writes = 0
  for (let n = 1; ; n += 1) {
    let hasFailed = false
    for (const after of [false, true]) {
      await using stack = new AsyncDisposableStack()
      const breakable = breakableRecords(createMemoryRecords())
      const blobs = createMemoryBlobs({ records: breakable.records })
      const stores = { records: breakable.records, blobs }
      const world = await openQuotaWorld(stack, { quotaBytes: 2.5 * SIZE }, { stores })
      for (const unit of ['a', 'b']) await world.get(unit)
      breakable.arm(n, after)
      await world.get('c').catch(() => undefined)
      await world.started.space.whenIdle()
      hasFailed ||= breakable.hasFailed()
      breakable.mend()
      const timers = new ManualTimers()
      const again = await startOnDemand(world.spoke, timers)
      stack.defer(() => again.stop())
      const now = () => 0
      await using kept = await KeptBlobs.open({
        records: breakable.records,
        now,
        setTimer: timers.setTimer,
        onFailure: (error: unknown) => assert.fail(String(error)),
      })
      const here = await blobs.has(kept.digests)
      assert.ok(here.every(Boolean), `write ${n}: something counts that is not here`)
      for (const digest of world.digests.values())
        assert.notEqual(await blobs.verifyBlob(digest), 'corrupt', `write ${n}`)
      const counted = kept.digests.length
      assert.equal((await world.here()).length, counted, `write ${n}: something is here that does not count`)
      for (const unit of ['a', 'b', 'c']) await world.get(unit, again.feed)
      await again.space.whenIdle()
      assert.ok((await world.here()).length <= 2, `write ${n}`)
    }
    if (!hasFailed) break
    writes = n
  }
  assert.ok(writes >= 3, `only ${writes} writes were met`)
})
