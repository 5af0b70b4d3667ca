import assert from 'node:assert/strict'
import { readdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, it } from 'node:test'
import { keys, u32 } from '../../src/store/keys.ts'
import { MAX_BATCH_BYTES, SCHEMA_VERSION } from '../../src/store/level-records.ts'
import type { Write } from '../../src/store/records.ts'
import { testRecords } from '../conformance/records.ts'
import { openLevelIn, openTemporaryFolder, openTemporaryLevel } from './level-folder.ts'

testRecords('LevelDB', openTemporaryLevel)

const put = (key: string, value: string | Buffer): Write => ({
  type: 'put',
  key: Buffer.from(key),
  value: Buffer.from(value),
})

describe('group commit', () => {
  it('merges writes that wait for the batch in flight into one batch', async () => {
    await using folder = await openTemporaryFolder()
    let batches = 0
    const reach = (point: string) => {
      if (point === 'records.writing') batches += 1
    }
    await using records = await openLevelIn(folder.path, { reach })
    batches = 0
    const first = records.write([put('first', '')])
    await new Promise(setImmediate)
    await Promise.all([first, ...Array.from({ length: 1_000 }, (_, i) => records.write([put(`k${i}`, 'v')]))])
    assert.equal(batches, 2)
  })

  it('keeps a merged batch under its limit, and still writes what is larger than that', async () => {
    await using folder = await openTemporaryFolder()
    let batches = 0
    const reach = (point: string) => {
      if (point === 'records.writing') batches += 1
    }
    await using records = await openLevelIn(folder.path, { reach })
    batches = 0
    const large = Buffer.alloc(MAX_BATCH_BYTES / 4 - 1_000, 1)
    const sizes = [...Array.from({ length: 9 }, () => large), Buffer.alloc(MAX_BATCH_BYTES + 1, 2)]
    await Promise.all(sizes.map((value, i) => records.write([put(`k${i}`, value)])))
    assert.equal(batches, 4)
    assert.equal((await records.find(Buffer.from('k9')))?.length, MAX_BATCH_BYTES + 1)
  })

  it('finishes the writes that were called before it was closed', async () => {
    await using folder = await openTemporaryFolder()
    const records = await openLevelIn(folder.path)
    const writes = Array.from({ length: 50 }, (_, i) => records.write([put(`k${i}`, 'v')]))
    await records[Symbol.asyncDispose]()
    await Promise.all(writes)
    await using reopened = await openLevelIn(folder.path)
    assert.ok(await reopened.find(Buffer.from('k49')))
  })

  it('refuses the callers of a batch whose fault point fails, and nobody else', async () => {
    await using folder = await openTemporaryFolder()
    let fail = false
    const reach = (point: string) => {
      if (fail && point === 'records.writing') throw new Error('injected')
    }
    await using records = await openLevelIn(folder.path, { reach })
    fail = true
    await assert.rejects(records.write([put('a', '1')]), /injected/)
    fail = false
    await records.write([put('b', '1')])
    assert.equal(await records.find(Buffer.from('a')), undefined)
  })
})

describe('opening a data folder', () => {
  it('finds again what was written before', async () => {
    await using folder = await openTemporaryFolder()
    const records = await openLevelIn(folder.path)
    await records.write([put('a', '1')])
    await records[Symbol.asyncDispose]()
    await using reopened = await openLevelIn(folder.path)
    assert.equal(String(await reopened.find(Buffer.from('a'))), '1')
    assert.deepEqual(Buffer.from((await reopened.find(keys.fact('schema'))) ?? []), u32(SCHEMA_VERSION))
  })

  it('says which folder is in use when another has it open', async () => {
    await using folder = await openTemporaryFolder()
    await using records = await openLevelIn(folder.path)
    await assert.rejects(openLevelIn(folder.path), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'DATA_IN_USE')
      assert.ok(error.message.includes(folder.path), error.message)
      return true
    })
    await records.write([put('a', '1')])
  })

  it('refuses a folder that a newer version has written, and lets go of it', async () => {
    await using folder = await openTemporaryFolder()
    const records = await openLevelIn(folder.path)
    await records.write([{ type: 'put', key: keys.fact('schema'), value: u32(SCHEMA_VERSION + 1) }])
    await records[Symbol.asyncDispose]()
    await assert.rejects(openLevelIn(folder.path), { code: 'DATA_NEWER' })
    await assert.rejects(openLevelIn(folder.path), { code: 'DATA_NEWER' })
  })

  it('reports CORRUPT with a cure when the database is damaged', async () => {
    await using folder = await openTemporaryFolder()
    const records = await openLevelIn(folder.path)
    await records[Symbol.asyncDispose]()
    const directory = path.join(folder.path, 'records')
    for (const name of await readdir(directory)) {
      if (name.startsWith('MANIFEST')) await writeFile(path.join(directory, name), Buffer.alloc(64, 7))
    }
    await assert.rejects(openLevelIn(folder.path), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'CORRUPT')
      assert.match(error.message, /backup/)
      return true
    })
  })

  it('reports STORAGE_IO when the folder cannot be created', async () => {
    await using folder = await openTemporaryFolder()
    await writeFile(path.join(folder.path, 'records'), 'a file')
    await assert.rejects(openLevelIn(folder.path), { code: 'STORAGE_IO' })
  })
})
