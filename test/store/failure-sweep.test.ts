import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'
import { failNth as failNthBlobs } from '../support/faulty-blobs.ts'
import { type FailureMode, failNth as failNthRecords } from '../support/faulty-records.ts'
import { content, digestOf } from './contents.ts'

const INJECTED = new FeedmeshError('STORAGE_IO', 'injected')
const ROW = Buffer.from('row')
const SIZES = [1_000, 200_000]

/** Two blobs and a row that names them, then the removal of an older blob. */
async function publish(blobs: BlobStore, records: Records): Promise<void> {
  const writes = []
  for (const size of SIZES) {
    await using staged = await blobs.stage({ maxBytes: 1_000_000, resume: digestOf(content(size)) })
    await staged.write(content(size).subarray(0, size / 2))
    await staged.write(content(size).subarray(size / 2))
    writes.push(...(await staged.seal()).writes)
  }
  await records.write([...writes, { type: 'put', key: ROW, value: Buffer.from('named') }])
  await blobs.remove(digestOf(content(10)))
  for await (const { digest } of blobs.list()) assert.equal(await blobs.verifyBlob(digest), 'ok')
}

/** Whether the publish happened, after checking that it did so wholly or not at all. */
async function checkState(blobs: BlobStore, records: Records): Promise<boolean> {
  const named = (await records.find(ROW)) !== undefined
  for (const size of SIZES) {
    assert.equal(await blobs.verifyBlob(digestOf(content(size))), named ? 'ok' : 'missing', `${size} bytes`)
  }
  for await (const { digest } of blobs.list()) assert.equal(await blobs.verifyBlob(digest), 'ok')
  return named
}

/** Runs the journey with each of its operations failing once; gives how many operations there are. */
async function sweep(target: 'records' | 'blobs', mode: FailureMode): Promise<number> {
  for (let n = 1; ; n += 1) {
    await using plainRecords = createMemoryRecords()
    const records = failNthRecords(plainRecords, target === 'records' ? n : 0, INJECTED, mode)
    const plainBlobs = createMemoryBlobs({ records })
    const blobs = failNthBlobs(plainBlobs, target === 'blobs' ? n : 0, INJECTED, mode)
    const outcome = await publish(blobs, records).then(
      () => 'done',
      (error: unknown) => error,
    )
    records.heal()
    blobs.heal()
    const named = await checkState(plainBlobs, plainRecords)
    if (outcome === 'done') {
      assert.ok(named)
      return n - 1
    }
    assert.equal(outcome, INJECTED, `operation ${n}`)
    await publish(blobs, records)
    assert.ok(await checkState(plainBlobs, plainRecords))
  }
}

describe('every operation failing in turn', () => {
  for (const mode of ['once', 'latched'] as const) {
    for (const target of ['records', 'blobs'] as const) {
      it(`of the ${target} (${mode}) leaves all of a publish or nothing, and lets it succeed afterwards`, async () => {
        const operations = await sweep(target, mode)
        assert.ok(operations >= 8, `${operations} operations`)
      })
    }
  }
})
