import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, it } from 'node:test'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import type { Records } from '../../src/store/records.ts'
import { content, readAll } from './contents.ts'
import { openLevelIn, openTemporaryFolder, type TemporaryFolder } from './level-folder.ts'

const MIB = 1024 * 1024
/** Holds the two logs that a database may have to turn into tables when it is opened. */
const RESERVE_MIB = 12
const options = { reserveBytes: RESERVE_MIB * MIB }

/** A small file system of its own. @throws when it cannot be mounted */
async function mountSmallDisk(bytes: number): Promise<TemporaryFolder> {
  const folder = await openTemporaryFolder()
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes},mode=0700`, 'feedmesh-test', folder.path], {
    stdio: 'pipe',
  })
  return {
    path: folder.path,
    [Symbol.asyncDispose]: async () => {
      execFileSync('umount', [folder.path])
      await folder[Symbol.asyncDispose]()
    },
  }
}

async function whyNoMount(): Promise<string | false> {
  if (process.platform !== 'linux') return 'needs tmpfs, which only Linux has'
  if (process.getuid?.() !== 0) return 'needs root to mount a small tmpfs'
  try {
    await using disk = await mountSmallDisk(MIB)
    return disk.path === '' && 'unreachable'
  } catch (error) {
    return `a tmpfs cannot be mounted here: ${String(error)}`
  }
}

const key = (i: number) => Buffer.from(`k${String(i).padStart(6, '0')}`)

/** Writes records until one fails; gives the number of those acknowledged. */
async function fill(records: Records, bytes: number): Promise<{ stored: number; error: { code?: string } }> {
  for (let i = 0; ; i += 1) {
    try {
      await records.write([{ type: 'put', key: key(i), value: content(bytes, i) }])
    } catch (error) {
      return { stored: i, error: error as { code?: string } }
    }
  }
}

async function countPresent(records: Records, bytes: number): Promise<number> {
  let present = 0
  for await (const [found, value] of records.scan({ gte: key(0), lt: Buffer.from('l') })) {
    assert.deepEqual(Buffer.from(found), key(present))
    assert.ok(Buffer.from(value).equals(content(bytes, present)))
    present += 1
  }
  return present
}

const skip = await whyNoMount()

describe('a full disk', { skip }, () => {
  for (const [bytes, freeMib] of [
    [300, 2],
    [20_000, 5],
    [200_000, 8],
    [1_500_000, 8],
  ] as const) {
    it(`is reported as STORAGE_FULL; records of ${bytes} bytes can be read, and written again once there is space`, async () => {
      await using disk = await mountSmallDisk((RESERVE_MIB + freeMib + 4) * MIB)
      await writeFile(path.join(disk.path, 'other'), Buffer.alloc(4 * MIB))
      await using records = await openLevelIn(disk.path, options)
      const { stored, error } = await fill(records, bytes)
      assert.equal(error.code, 'STORAGE_FULL')
      assert.equal(await countPresent(records, bytes), stored)
      await assert.rejects(records.write([{ type: 'put', key: key(stored), value: content(9 * MIB) }]), {
        code: 'STORAGE_FULL',
      })
      await rm(path.join(disk.path, 'other'))
      await records.write([{ type: 'put', key: key(stored), value: content(bytes, stored) }])
      assert.equal(await countPresent(records, bytes), stored + 1)
      await records[Symbol.asyncDispose]()
      await using restarted = await openLevelIn(disk.path, options)
      assert.equal(await countPresent(restarted, bytes), stored + 1)
    })
  }

  it('leaves no write that failed, also when the process starts again while the disk is still full', async () => {
    await using disk = await mountSmallDisk((RESERVE_MIB + 6) * MIB)
    const records = await openLevelIn(disk.path, options)
    const { stored } = await fill(records, 20_000)
    await records[Symbol.asyncDispose]()
    await using restarted = await openLevelIn(disk.path, options)
    assert.equal(await countPresent(restarted, 20_000), stored)
  })

  it('lets records be deleted', async () => {
    await using disk = await mountSmallDisk((RESERVE_MIB + 6) * MIB)
    await using records = await openLevelIn(disk.path, options)
    const { stored } = await fill(records, 20_000)
    const put = records.write([{ type: 'put', key: key(stored), value: content(9 * MIB) }])
    const del = records.write([{ type: 'del', key: key(stored - 1) }])
    await assert.rejects(put, { code: 'STORAGE_FULL' })
    await del
    assert.equal(await countPresent(records, 20_000), stored - 1)
  })

  it('is reported as STORAGE_FULL for a blob, whose bytes are given back at once', async () => {
    await using disk = await mountSmallDisk((RESERVE_MIB + 8) * MIB)
    await writeFile(path.join(disk.path, 'other'), Buffer.alloc(4 * MIB))
    await using records = await openLevelIn(disk.path, options)
    const blobs = await openFileBlobs({ directory: disk.path, records })
    const piece = content(300_000)
    await using staged = await blobs.stage({ maxBytes: 64 * MIB })
    await assert.rejects(
      async () => {
        for (;;) await staged.write(piece)
      },
      { code: 'STORAGE_FULL' },
    )
    assert.deepEqual(await readdir(path.join(disk.path, 'staging')), [])
    await rm(path.join(disk.path, 'other'))
    await using again = await blobs.stage({ maxBytes: 64 * MIB })
    for (let i = 0; i < 10; i += 1) await again.write(piece)
    const sealed = await again.seal()
    await records.write(sealed.writes)
    assert.equal((await readAll(blobs, sealed.digest)).length, 3_000_000)
  })
})
