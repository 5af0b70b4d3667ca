/** What every blob store has to do with blobs that come by chunks; run on each implementation by `test/store/*.test.ts`. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { type Digest, sha256, sha256Digest } from '../../src/catalog/digest.ts'
import { CHUNKED_FROM_BYTES } from '../../src/catalog/row.ts'
import { type BlobStore, type ByteRange, CHUNK_BYTES, type StagedChunks } from '../../src/store/blobs.ts'
import { type BlobsUnderTest, collect, content, digestOf, MAX_BYTES, readAll } from '../store/contents.ts'

type Open = () => Promise<BlobsUnderTest>

/** Longer than any grace time after sealing. */
const LONG_MS = 60 * 60 * 1000
const SIZE = 4 * CHUNK_BYTES + 5
const BYTES = content(SIZE, 11)
const COUNT = 5

export function chunkOf(bytes: Buffer, index: number): Buffer {
  return bytes.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)
}

export function listOf(bytes: Buffer): Buffer {
  const count = Math.ceil(bytes.length / CHUNK_BYTES)
  return Buffer.concat(Array.from({ length: count }, (_, index) => sha256(chunkOf(bytes, index))))
}

export function stageOf(bytes: Buffer, digest: Digest = digestOf(bytes)) {
  const chunkList = listOf(bytes)
  return { digest, size: bytes.length, chunkRoot: sha256Digest(chunkList), chunkList }
}

async function writeChunk(staged: StagedChunks, index: number, bytes = BYTES): Promise<void> {
  await staged.write(index, chunkOf(bytes, index).subarray(staged.heldOf(index)))
  await staged.verify(index)
}

async function readVerified(blobs: BlobStore, digest: Digest, range: ByteRange): Promise<Buffer | undefined> {
  await using pieces = await blobs.openVerified(digest, range)
  if (pieces === undefined) return undefined
  const all: Buffer[] = []
  for await (const piece of pieces) all.push(Buffer.from(piece))
  return Buffer.concat(all)
}

function verifiedOf(staged: StagedChunks): number[] {
  return Array.from({ length: staged.count }, (_, index) => index).filter((index) => staged.isVerified(index))
}

const rangeOf = (index: number): ByteRange => ({
  start: index * CHUNK_BYTES,
  end: Math.min((index + 1) * CHUNK_BYTES, SIZE),
})

function testOrder(open: Open): void {
  for (const algorithm of ['sha256', 'sha512'] as const) {
    it(`makes a blob of chunks that come in any order, under ${algorithm}`, async () => {
      await using under = await open()
      const options = stageOf(BYTES, digestOf(BYTES, algorithm))
      const orders = fc.shuffledSubarray([0, 1, 2, 3, 4], { minLength: 5 })
      await fc.assert(
        fc.asyncProperty(orders, async (order) => {
          await using staged = await under.blobs.stageChunks(options)
          assert.equal(staged.count, COUNT)
          for (const index of order) await writeChunk(staged, index)
          const sealed = await staged.seal()
          assert.deepEqual([sealed.digest, sealed.size, sealed.chunkRoot], [options.digest, SIZE, options.chunkRoot])
          assert.equal(sealed.hashes.sha256, digestOf(BYTES).slice(7))
          await under.records.write(sealed.writes)
          assert.equal(await under.blobs.verifyBlob(options.digest), 'ok')
          assert.equal(await under.blobs.verifyBlob(options.chunkRoot), 'ok')
          assert.deepEqual(await under.blobs.find(options.digest), { size: SIZE, chunkRoot: options.chunkRoot })
        }),
        { numRuns: 3, examples: [[[4, 3, 2, 1, 0]], [[0, 1, 2, 3, 4]]] },
      )
      assert.ok((await readAll(under.blobs, options.digest)).equals(BYTES))
      assert.equal(await under.blobs.hasKeptChunks(options.digest), false)
    })
  }

  it('takes several chunks at the same time, each in pieces', async () => {
    await using under = await open()
    await using staged = await under.blobs.stageChunks(stageOf(BYTES))
    const write = async (index: number) => {
      const chunk = chunkOf(BYTES, index)
      for (let at = 0; at < chunk.length; at += 700_000) {
        const piece = Buffer.from(chunk.subarray(at, at + 700_000))
        await staged.write(index, piece)
        piece.fill(0)
        assert.equal(staged.heldOf(index), Math.min(at + 700_000, chunk.length))
      }
      await staged.verify(index)
    }
    await Promise.all([3, 1, 0, 4, 2].map(write))
    const sealed = await staged.seal()
    await under.records.write(sealed.writes)
    assert.equal(await under.blobs.verifyBlob(sealed.digest), 'ok')
  })
}

function testReading(open: Open): void {
  it('gives verified chunks to others before the blob is whole, and nothing else', async () => {
    await using under = await open()
    const { blobs } = under
    const options = stageOf(BYTES)
    await using staged = await blobs.stageChunks(options)
    const give = (range: ByteRange) => readVerified(blobs, options.digest, range)
    await writeChunk(staged, 1)
    await writeChunk(staged, 2)
    await staged.write(3, chunkOf(BYTES, 3))
    const { start } = rangeOf(1)
    const { end } = rangeOf(2)
    assert.ok((await give({ start, end }))?.equals(BYTES.subarray(start, end)))
    assert.ok((await give({ start: start + 7, end: end - 9 }))?.equals(BYTES.subarray(start + 7, end - 9)))
    for (const range of [
      rangeOf(0),
      rangeOf(3),
      rangeOf(4),
      { start: start - 1, end },
      { start, end: end + 1 },
      { start, end: start },
      { start, end: SIZE },
      { start: -1, end: 1 },
      { start: SIZE, end: SIZE + 1 },
    ])
      assert.equal(await give(range), undefined, `${range.start}-${range.end}`)
    await assert.rejects(blobs.openPieces(options.digest, rangeOf(1)), { code: 'NOT_FOUND' })
    for (const index of [0, 4]) await writeChunk(staged, index)
    await staged.verify(3)
    const reading = await blobs.openVerified(options.digest, { start: 0, end: SIZE })
    const sealed = await staged.seal()
    assert.ok((await give(rangeOf(4)))?.equals(chunkOf(BYTES, 4)), 'until it is known to the store')
    await under.records.write(sealed.writes)
    await staged[Symbol.asyncDispose]()
    assert.equal(await give(rangeOf(4)), undefined)
    assert.ok(reading)
    await using whole = reading
    const hash: Buffer[] = []
    for await (const piece of whole) hash.push(Buffer.from(piece))
    assert.ok(Buffer.concat(hash).equals(BYTES), 'who reads goes on while it is sealed')
  })
}

function testHostile(open: Open): void {
  it('throws away a chunk that is not the listed one, and only that', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    await using staged = await under.blobs.stageChunks(options)
    await writeChunk(staged, 0)
    await staged.write(1, chunkOf(BYTES, 2))
    await assert.rejects(staged.verify(1), { code: 'PEER_INVALID' })
    assert.deepEqual([staged.heldOf(1), verifiedOf(staged)], [0, [0]])
    assert.equal(await readVerified(under.blobs, options.digest, rangeOf(1)), undefined)
    await assert.rejects(staged.seal(), { code: 'INTERNAL' })
    for (const index of [2, 1, 4, 3]) await writeChunk(staged, index)
    const sealed = await staged.seal()
    await under.records.write(sealed.writes)
    assert.equal(await under.blobs.verifyBlob(options.digest), 'ok')
  })

  it('takes no more bytes than a chunk has, and no chunk that is not all there', async () => {
    await using under = await open()
    await using staged = await under.blobs.stageChunks(stageOf(BYTES))
    await staged.write(4, chunkOf(BYTES, 4).subarray(0, 3))
    await assert.rejects(staged.verify(4), { code: 'INTERNAL' })
    await assert.rejects(staged.write(4, Buffer.alloc(3)), { code: 'TOO_LARGE' })
    assert.equal(staged.heldOf(4), 3)
    staged.forget(4)
    await writeChunk(staged, 4)
    await assert.rejects(staged.write(4, Buffer.alloc(1)), { code: 'TOO_LARGE' })
  })

  it('refuses a chunk list that is not the one of chunkRoot, or not as long as the file asks for', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const other = Buffer.from(options.chunkList)
    other[0] = (other[0] ?? 0) ^ 1
    await assert.rejects(under.blobs.stageChunks({ ...options, chunkList: other }), { code: 'PEER_INVALID' })
    for (const chunkList of [options.chunkList.subarray(32), Buffer.concat([options.chunkList, Buffer.alloc(32)])]) {
      const lying = { ...options, chunkList, chunkRoot: sha256Digest(chunkList) }
      await assert.rejects(under.blobs.stageChunks(lying), { code: 'PEER_INVALID' })
    }
    await using staged = await under.blobs.stageChunks(options)
    assert.equal(staged.count, COUNT, 'a refusal holds nothing up')
  })

  it('finds out that a chunk list is of another content, and leaves nothing of it', async () => {
    await using under = await open()
    const wanted = digestOf(content(SIZE, 12))
    await using staged = await under.blobs.stageChunks(stageOf(BYTES, wanted))
    for (let index = 0; index < COUNT; index += 1) await writeChunk(staged, index)
    await assert.rejects(staged.seal(), { code: 'PEER_INVALID' })
    await staged[Symbol.asyncDispose]()
    assert.deepEqual([await under.blobs.find(wanted), await under.blobs.hasKeptChunks(wanted)], [undefined, false])
    under.advance(LONG_MS)
    assert.deepEqual(await collect(under.blobs.orphans()), [])
    await using whole = await under.blobs.stage({ maxBytes: MAX_BYTES, resume: wanted })
    assert.equal(whole.offset, 0)
  })
}

function testKeeping(open: Open): void {
  it('keeps verified chunks for the next staging, and what is not verified counts for nothing', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const first = await under.blobs.stageChunks(options)
    for (const index of [0, 2, 4]) await writeChunk(first, index)
    await first.write(3, chunkOf(BYTES, 3).subarray(0, 1_000_000))
    await first.keep()
    await first[Symbol.asyncDispose]()
    assert.equal(await readVerified(under.blobs, options.digest, rangeOf(0)), undefined)
    assert.equal(await under.blobs.hasKeptChunks(options.digest), true)
    await using second = await under.blobs.stageChunks(options)
    assert.deepEqual([verifiedOf(second), second.heldOf(3)], [[0, 2, 4], 0])
    for (const index of [1, 3]) await writeChunk(second, index)
    const sealed = await second.seal()
    await under.records.write(sealed.writes)
    assert.equal(await under.blobs.verifyBlob(options.digest), 'ok')
  })

  it('takes up what was kept in order', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const first = await under.blobs.stage({ maxBytes: MAX_BYTES, resume: options.digest })
    await first.write(BYTES.subarray(0, 2 * CHUNK_BYTES + 100))
    await first.keep()
    await using second = await under.blobs.stageChunks(options)
    assert.deepEqual(verifiedOf(second), [0, 1])
  })

  it('is never taken for what was kept in order', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const first = await under.blobs.stageChunks(options)
    await writeChunk(first, 2)
    await first.keep()
    await using second = await under.blobs.stage({ maxBytes: MAX_BYTES, resume: options.digest })
    assert.equal(second.offset, 0)
  })

  it('keeps nothing where nothing is verified, and removes all when it is disposed of', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const empty = await under.blobs.stageChunks(options)
    await empty.write(0, Buffer.alloc(1000))
    await empty.keep()
    assert.equal(await under.blobs.hasKeptChunks(options.digest), false)
    const disposed = await under.blobs.stageChunks(options)
    await writeChunk(disposed, 0)
    await disposed[Symbol.asyncDispose]()
    assert.equal(await under.blobs.hasKeptChunks(options.digest), false)
    await assert.rejects(disposed.write(1, Buffer.alloc(1)), { code: 'INTERNAL' })
  })

  it('is the only staging of its digest', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const first = await under.blobs.stageChunks(options)
    await assert.rejects(under.blobs.stageChunks(options), { code: 'BUSY' })
    await assert.rejects(under.blobs.stage({ maxBytes: MAX_BYTES, resume: options.digest }), { code: 'BUSY' })
    await first[Symbol.asyncDispose]()
    await using second = await under.blobs.stageChunks(options)
    await writeChunk(second, 0)
    await first[Symbol.asyncDispose]()
    await assert.rejects(under.blobs.stageChunks(options), { code: 'BUSY' }, 'what is over lets go once')
    assert.ok(await readVerified(under.blobs, options.digest, rangeOf(0)))
  })

  it('stops reading what was kept when it is told to, and leaves it', async () => {
    await using under = await open()
    const options = stageOf(BYTES)
    const first = await under.blobs.stageChunks(options)
    await writeChunk(first, 0)
    await first.keep()
    await assert.rejects(under.blobs.stageChunks({ ...options, signal: AbortSignal.abort() }), { code: 'ABORTED' })
    await using second = await under.blobs.stageChunks(options)
    assert.deepEqual(verifiedOf(second), [0])
  })
}

/** `open` gives an empty store each time; the suite disposes of it. */
export function testBlobChunks(name: string, open: Open): void {
  describe(`blobs by chunks: ${name}`, () => {
    it('is for files of 8 MiB or more', async () => {
      await using under = await open()
      await assert.rejects(under.blobs.stageChunks(stageOf(content(CHUNKED_FROM_BYTES - 1))), { code: 'INTERNAL' })
    })
    testOrder(open)
    testReading(open)
    testHostile(open)
    testKeeping(open)
  })
}
