import assert from 'node:assert/strict'
import { mkdir, open, readdir, rm, truncate, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { describe, it } from 'node:test'
import type { Digest } from '../../src/catalog/digest.ts'
import type { FaultPoint, ReachFaultPoint } from '../../src/fault-points.ts'
import { CHUNK_BYTES } from '../../src/store/blobs.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { MAX_PARTIAL_AGE_MS } from '../../src/store/file-medium.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'
import { chunkOf, stageOf, testBlobChunks } from '../conformance/blob-chunks.ts'
import { testBlobs } from '../conformance/blobs.ts'
import { type BlobsUnderTest, content, digestOf, readAll, storeBytes } from './contents.ts'
import { openLevelIn, openTemporaryFolder } from './level-folder.ts'

interface FilesUnderTest extends BlobsUnderTest {
  readonly folder: string
  stagingFiles(): Promise<string[]>
  blobFile(digest: Digest): string
}

async function openFiles(
  openRecords: (folder: string) => Promise<Records>,
  reach?: ReachFaultPoint,
): Promise<FilesUnderTest> {
  const folder = await openTemporaryFolder()
  const records = await openRecords(folder.path)
  let nowMs = Date.now()
  return {
    folder: folder.path,
    records,
    blobs: await openFileBlobs({ directory: folder.path, records, reach, now: () => nowMs }),
    advance: (ms) => {
      nowMs += ms
    },
    stagingFiles: () => readdir(path.join(folder.path, 'staging')),
    blobFile: (digest) => path.join(folder.path, 'blobs', digest.slice(7, 9), digest.replace(':', '-')),
    [Symbol.asyncDispose]: async () => {
      await records[Symbol.asyncDispose]()
      await folder[Symbol.asyncDispose]()
    },
  }
}

const inMemory = async () => createMemoryRecords()

testBlobs('files beside LevelDB', () => openFiles((folder) => openLevelIn(folder)))
testBlobChunks('files', () => openFiles(inMemory))

describe('files of blobs', () => {
  it('are opened again with all that was stored', async () => {
    await using under = await openFiles(inMemory)
    const { digest } = await storeBytes(under, content(100_000))
    const reopened = await openFileBlobs({ directory: under.folder, records: under.records })
    assert.ok((await readAll(reopened, digest)).equals(content(100_000)))
  })

  it('leave no staging file behind once they are sealed, refused or given up', async () => {
    await using under = await openFiles(inMemory)
    await storeBytes(under, content(100_000))
    await storeBytes(under, content(100_000))
    const givenUp = await under.blobs.stage({ maxBytes: 1_000_000 })
    await givenUp.write(content(200_000))
    await givenUp[Symbol.asyncDispose]()
    const tooLarge = await under.blobs.stage({ maxBytes: 100_000 })
    await tooLarge.write(content(100_000))
    await assert.rejects(tooLarge.write(content(1)), { code: 'TOO_LARGE' })
    const wrong = await under.blobs.stage({ maxBytes: 1_000_000, resume: digestOf(content(5)) })
    await wrong.write(content(200_000))
    await assert.rejects(wrong.seal(), { code: 'PEER_INVALID' })
    assert.deepEqual(await under.stagingFiles(), [])
  })

  it('are cleared of abandoned stagings at the next opening, parts are kept for seven days', async () => {
    await using under = await openFiles(inMemory)
    const staging = path.join(under.folder, 'staging')
    const nowMs = Date.now()
    const fresh = `partial-${digestOf(content(1)).replace(':', '-')}`
    const chunks = `chunks-${digestOf(content(3)).replace(':', '-')}`
    const old = `partial-${digestOf(content(2)).replace(':', '-')}`
    for (const name of [fresh, chunks, old, 'partial-nonsense', 'abandoned'])
      await writeFile(path.join(staging, name), 'bytes')
    await mkdir(path.join(staging, 'folder'))
    await utimes(path.join(staging, old), new Date(nowMs), new Date(nowMs - MAX_PARTIAL_AGE_MS - 60_000))
    await utimes(path.join(staging, fresh), new Date(nowMs), new Date(nowMs - MAX_PARTIAL_AGE_MS + 60_000))
    const reopened = await openFileBlobs({ directory: under.folder, records: under.records, now: () => nowMs })
    assert.deepEqual(await under.stagingFiles(), [chunks, fresh])
    assert.equal(await reopened.partialSize(digestOf(content(1))), 5)
  })

  it('are not trusted: a flipped bit is found by verifyBlob and by whoever hashes', async () => {
    await using under = await openFiles(inMemory)
    const { digest } = await storeBytes(under, content(300_000))
    for (const position of [0, 150_000, 299_999]) {
      await using file = await open(under.blobFile(digest), 'r+')
      const byte = Buffer.alloc(1)
      await file.read(byte, 0, 1, position)
      await file.write(Buffer.from([(byte[0] ?? 0) ^ 4]), 0, 1, position)
      assert.equal(await under.blobs.verifyBlob(digest), 'corrupt')
      assert.notEqual(digestOf(await readAll(under.blobs, digest)), digest)
      await file.write(byte, 0, 1, position)
      assert.equal(await under.blobs.verifyBlob(digest), 'ok')
    }
  })

  it('are reported as CORRUPT when they are too short or gone, and healed by storing them again', async () => {
    await using under = await openFiles(inMemory)
    const { digest } = await storeBytes(under, content(600_000))
    await truncate(under.blobFile(digest), 500_000)
    await assert.rejects(readAll(under.blobs, digest), { code: 'CORRUPT' })
    assert.equal(await under.blobs.verifyBlob(digest), 'corrupt')
    await storeBytes(under, content(600_000))
    assert.equal(await under.blobs.verifyBlob(digest), 'ok')
    await rm(under.blobFile(digest))
    await assert.rejects(under.blobs.open(digest), { code: 'CORRUPT' })
    assert.equal(await under.blobs.verifyBlob(digest), 'missing')
    await storeBytes(under, content(600_000))
    assert.equal(await under.blobs.verifyBlob(digest), 'ok')
  })

  it('can be read to the end although they are removed meanwhile', async () => {
    await using under = await openFiles(inMemory)
    const { digest } = await storeBytes(under, content(1_000_000))
    const stream = await under.blobs.open(digest)
    under.advance(MAX_PARTIAL_AGE_MS)
    await under.blobs.remove(digest)
    const pieces: Buffer[] = []
    for await (const piece of stream) pieces.push(piece as Buffer)
    assert.ok(Buffer.concat(pieces).equals(content(1_000_000)))
  })

  for (const point of ['blob.writing', 'blob.written', 'blob.synced', 'blob.renamed'] satisfies FaultPoint[]) {
    it(`leave nothing visible and nothing in staging when a step fails at ${point}`, async () => {
      let failing = true
      const reach = (reached: FaultPoint) => {
        if (failing && reached === point) throw new Error('injected')
      }
      await using under = await openFiles(inMemory, reach)
      await assert.rejects(storeBytes(under, content(300_000)), /injected/)
      assert.deepEqual(await under.stagingFiles(), [])
      assert.equal(await under.blobs.verifyBlob(digestOf(content(300_000))), 'missing')
      failing = false
      const { digest } = await storeBytes(under, content(300_000))
      assert.equal(await under.blobs.verifyBlob(digest), 'ok')
    })
  }

  it('by chunks are verified anew when they are opened again, and what is damaged does not count', async () => {
    await using under = await openFiles(inMemory)
    const options = stageOf(content(3 * CHUNK_BYTES))
    // As after a kill: nobody has let go of it.
    const killed = await under.blobs.stageChunks(options)
    for (const index of [0, 1, 2]) {
      await killed.write(index, chunkOf(content(3 * CHUNK_BYTES), index))
      if (index < 2) await killed.verify(index)
    }
    const [draft] = await under.stagingFiles()
    assert.equal(draft, `chunks-${options.digest.replace(':', '-')}`)
    {
      await using file = await open(path.join(under.folder, 'staging', draft), 'r+')
      await file.write(Buffer.from([0x55]), 0, 1, 5)
    }
    const reopened = await openFileBlobs({ directory: under.folder, records: under.records })
    assert.equal(await reopened.hasKeptChunks(options.digest), true)
    await using staged = await reopened.stageChunks(options)
    assert.deepEqual(
      [0, 1, 2].map((index) => staged.isVerified(index)),
      [false, true, true],
    )
    assert.equal(await reopened.openVerified(options.digest, { start: 0, end: 10 }), undefined)
    await staged.write(0, chunkOf(content(3 * CHUNK_BYTES), 0))
    await staged.verify(0)
    await under.records.write((await staged.seal()).writes)
    assert.equal(await reopened.verifyBlob(options.digest), 'ok')
    assert.deepEqual(await under.stagingFiles(), [])
    await killed[Symbol.asyncDispose]()
  })

  for (const point of ['blob.writing', 'blob.chunk', 'blob.written', 'blob.synced', 'blob.renamed'] as const) {
    it(`by chunks leave nothing visible and nothing unverified to be given when a step fails at ${point}`, async () => {
      let failing = true
      const reach = (reached: FaultPoint) => {
        if (failing && reached === point) throw new Error('injected')
      }
      await using under = await openFiles(inMemory, reach)
      const bytes = content(3 * CHUNK_BYTES)
      const options = stageOf(bytes)
      const store = async () => {
        await using staged = await under.blobs.stageChunks(options)
        for (const index of [1, 0, 2]) {
          await staged.write(index, chunkOf(bytes, index))
          await staged.verify(index)
        }
        await under.records.write((await staged.seal()).writes)
      }
      await assert.rejects(store(), /injected/)
      assert.deepEqual(await under.stagingFiles(), [])
      assert.equal(await under.blobs.verifyBlob(options.digest), 'missing')
      assert.equal(await under.blobs.openVerified(options.digest, { start: 0, end: 1 }), undefined)
      failing = false
      await store()
      assert.equal(await under.blobs.verifyBlob(options.digest), 'ok')
    })
  }

  it('report a folder that cannot be used as STORAGE_IO', async () => {
    await using folder = await openTemporaryFolder()
    await writeFile(path.join(folder.path, 'blobs'), 'a file')
    await using records = createMemoryRecords()
    await assert.rejects(openFileBlobs({ directory: folder.path, records }), { code: 'STORAGE_IO' })
  })
})
