/** What every blob store has to do; run on each implementation by `test/store/*.test.ts`. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { sha256 } from '../../src/catalog/digest.ts'
import { CHUNKED_FROM_BYTES } from '../../src/catalog/row.ts'
import { CHUNK_BYTES, MAX_INLINE_BYTES } from '../../src/store/blobs.ts'
import {
  type BlobsUnderTest,
  collect,
  content,
  digestOf,
  MAX_BYTES,
  readAll,
  stageBytes,
  storeBytes,
} from '../store/contents.ts'

type Open = () => Promise<BlobsUnderTest>

/** Longer than any grace time after sealing. */
const LONG_MS = 60 * 60 * 1000

const SIZES = [0, 1, MAX_INLINE_BYTES, MAX_INLINE_BYTES + 1, 300_000, CHUNKED_FROM_BYTES - 1, CHUNKED_FROM_BYTES]

function testContents(open: Open): void {
  for (const size of [...SIZES, 2 * CHUNKED_FROM_BYTES + 5]) {
    it(`gives back a blob of ${size} bytes, which is visible only with its batch`, async () => {
      await using under = await open()
      const { blobs, records } = under
      const bytes = content(size)
      const sealed = await stageBytes(blobs, bytes)
      assert.equal(sealed.digest, digestOf(bytes))
      assert.equal(sealed.size, size)
      assert.deepEqual(sealed.hashes, { sha256: sealed.digest.slice(7) })
      assert.equal(await blobs.find(sealed.digest), undefined)
      await assert.rejects(blobs.open(sealed.digest), { code: 'NOT_FOUND' })
      await records.write(sealed.writes)
      assert.equal((await blobs.find(sealed.digest))?.size, size)
      assert.ok((await readAll(blobs, sealed.digest)).equals(bytes))
      assert.ok(Buffer.from(await blobs.read(sealed.digest, size)).equals(bytes))
      assert.equal(await blobs.verifyBlob(sealed.digest), 'ok')
    })
  }

  it('has a chunk list, a blob of its own, from 8 MiB on', async () => {
    await using under = await open()
    const bytes = content(CHUNKED_FROM_BYTES + 10)
    const sealed = await storeBytes(under, bytes)
    const list = Buffer.concat(
      [0, 1, 2].map((i) => sha256(bytes.subarray(i * CHUNK_BYTES, Math.min((i + 1) * CHUNK_BYTES, bytes.length)))),
    )
    assert.equal(sealed.chunkRoot, digestOf(list))
    assert.ok(sealed.chunkRoot)
    assert.ok(Buffer.from(await under.blobs.read(sealed.chunkRoot, 1_000)).equals(list))
    assert.equal((await under.blobs.find(sealed.digest))?.chunkRoot, sealed.chunkRoot)
    const small = await storeBytes(under, content(CHUNKED_FROM_BYTES - 1))
    assert.equal(small.chunkRoot, undefined)
  })

  it('does not depend on how the content is cut into writes', async () => {
    await using under = await open()
    const bytes = content(700_000)
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 200_000 }), { maxLength: 12 }), async (cuts) => {
        await using staged = await under.blobs.stage({ maxBytes: MAX_BYTES })
        const buffer = Buffer.alloc(bytes.length)
        let at = 0
        for (const cut of [...cuts, bytes.length]) {
          const length = bytes.copy(buffer, 0, at, Math.min(at + cut, bytes.length))
          await staged.write(buffer.subarray(0, length))
          buffer.fill(0)
          at += length
          assert.equal(staged.size, at)
        }
        const sealed = await staged.seal()
        await under.records.write(sealed.writes)
        assert.equal(sealed.digest, digestOf(bytes))
        assert.ok((await readAll(under.blobs, sealed.digest)).equals(bytes))
      }),
      { numRuns: 15 },
    )
  })

  it('stores the same content twice, and at the same time', async () => {
    await using under = await open()
    for (const size of [1_000, 500_000]) {
      const bytes = content(size, 3)
      const sealed = await Promise.all([stageBytes(under.blobs, bytes), stageBytes(under.blobs, bytes)])
      for (const { writes } of sealed) await under.records.write(writes)
      const again = await storeBytes(under, bytes)
      assert.ok((await readAll(under.blobs, again.digest)).equals(bytes))
    }
    assert.equal((await collect(under.blobs.list())).length, 2)
  })
}

function testDigests(open: Open): void {
  it('computes the hashes that were asked for', async () => {
    await using under = await open()
    for (const size of [10, 200_000]) {
      const bytes = content(size)
      const { hashes } = await stageBytes(under.blobs, bytes, { hashes: ['sha1', 'sha512', 'md5'] })
      for (const algorithm of ['sha1', 'sha256', 'sha512', 'md5']) {
        assert.equal(hashes[algorithm], createHash(algorithm).update(bytes).digest('hex'), algorithm)
      }
    }
  })

  it('stores under the algorithm of the expected digest, also when it was not announced', async () => {
    await using under = await open()
    for (const size of [10, 200_000]) {
      const bytes = content(size, 4)
      await using staged = await under.blobs.stage({ maxBytes: MAX_BYTES })
      await staged.write(bytes)
      const sealed = await staged.seal(digestOf(bytes, 'sha512'))
      await under.records.write(sealed.writes)
      assert.equal(sealed.digest, digestOf(bytes, 'sha512'))
      assert.ok((await readAll(under.blobs, sealed.digest)).equals(bytes))
      assert.equal(await under.blobs.verifyBlob(sealed.digest), 'ok')
    }
  })

  it('refuses content with another digest than expected, and leaves nothing of it', async () => {
    await using under = await open()
    for (const [size, algorithm] of [
      [10, 'sha256'],
      [200_000, 'sha512'],
      [200_000, 'sha256'],
    ] as const) {
      const wanted = digestOf(content(size, 1), algorithm)
      await using staged = await under.blobs.stage({ maxBytes: MAX_BYTES })
      await staged.write(content(size, 2))
      await assert.rejects(staged.seal(wanted), { code: 'PEER_INVALID' })
      assert.equal(await under.blobs.find(wanted), undefined)
    }
    under.advance(LONG_MS)
    assert.deepEqual(await collect(under.blobs.orphans()), [])
  })

  it('refuses more bytes than allowed', async () => {
    await using under = await open()
    for (const maxBytes of [0, 10, 100_000]) {
      await using exact = await under.blobs.stage({ maxBytes })
      await exact.write(content(maxBytes))
      await exact.seal()
      await using staged = await under.blobs.stage({ maxBytes })
      await staged.write(content(maxBytes))
      await assert.rejects(staged.write(Buffer.alloc(1)), { code: 'TOO_LARGE' })
      await assert.rejects(staged.seal(), { code: 'INTERNAL' })
    }
  })

  it('refuses steps after the end of a staging', async () => {
    await using under = await open()
    const staged = await under.blobs.stage({ maxBytes: MAX_BYTES })
    await staged.write(content(100))
    await assert.rejects(staged.keep(), { code: 'INTERNAL' })
    const disposed = await under.blobs.stage({ maxBytes: MAX_BYTES })
    await disposed.write(content(100_000))
    await disposed[Symbol.asyncDispose]()
    await disposed[Symbol.asyncDispose]()
    await assert.rejects(disposed.write(content(1)), { code: 'INTERNAL' })
    await assert.rejects(disposed.seal(), { code: 'INTERNAL' })
    under.advance(LONG_MS)
    assert.deepEqual(await collect(under.blobs.orphans()), [])
  })
}

function testResuming(open: Open): void {
  for (const [kept, size] of [
    [10, 1_000],
    [10, 200_000],
    [MAX_INLINE_BYTES, MAX_INLINE_BYTES],
    [100_000, 200_000],
    [CHUNK_BYTES + 3, CHUNKED_FROM_BYTES + 3],
  ] as const) {
    for (const algorithm of ['sha256', 'sha512'] as const) {
      it(`takes up ${kept} kept bytes of ${size} under ${algorithm}`, async () => {
        await using under = await open()
        const bytes = content(size, 5)
        const resume = digestOf(bytes, algorithm)
        await using first = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
        assert.equal(first.offset, 0)
        await first.write(bytes.subarray(0, kept))
        await first.keep()
        assert.equal(await under.blobs.partialSize(resume), kept)
        await using second = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
        assert.equal(second.offset, kept)
        assert.equal(second.size, kept)
        await second.write(bytes.subarray(kept))
        const sealed = await second.seal()
        await under.records.write(sealed.writes)
        assert.equal(sealed.digest, resume)
        assert.equal(sealed.hashes.sha256, digestOf(bytes).slice(7))
        assert.ok((await readAll(under.blobs, resume)).equals(bytes))
        assert.equal(await under.blobs.partialSize(resume), 0)
      })
    }
  }

  it('lets only one staging at a time resume a digest', async () => {
    await using under = await open()
    const bytes = content(100_000, 6)
    const resume = digestOf(bytes)
    const first = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
    await assert.rejects(under.blobs.stage({ maxBytes: MAX_BYTES, resume }), { code: 'BUSY' })
    await first.write(bytes.subarray(0, 90_000))
    await first.keep()
    const second = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
    await assert.rejects(under.blobs.stage({ maxBytes: MAX_BYTES, resume }), { code: 'BUSY' })
    await second[Symbol.asyncDispose]()
    await using third = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
    assert.equal(third.offset, 0, 'disposing of a staging removes what was kept')
    await third.write(bytes)
    await third.seal()
  })

  it('throws kept bytes away that turn out to be wrong, or too many', async () => {
    await using under = await open()
    const bytes = content(100_000, 7)
    const resume = digestOf(bytes)
    const keepWrong = async () => {
      await using staged = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
      await staged.write(content(80_000, 8))
      await staged.keep()
    }
    await keepWrong()
    await using mismatched = await under.blobs.stage({ maxBytes: MAX_BYTES, resume })
    await mismatched.write(bytes.subarray(80_000))
    await assert.rejects(mismatched.seal(), { code: 'PEER_INVALID' })
    assert.equal(await under.blobs.partialSize(resume), 0)
    await keepWrong()
    await using limited = await under.blobs.stage({ maxBytes: 70_000, resume })
    assert.equal(limited.offset, 0)
    assert.equal(await under.blobs.partialSize(resume), 0)
  })
}

function testReading(open: Open): void {
  it('gives exactly the range that is asked for', async () => {
    await using under = await open()
    for (const size of [1_000, 700_000]) {
      const bytes = content(size)
      const { digest } = await storeBytes(under, bytes)
      const spot = fc.tuple(fc.integer({ min: 0, max: size - 1 }), fc.integer({ min: 1, max: size }))
      await fc.assert(
        fc.asyncProperty(spot, async ([start, length]) => {
          const end = Math.min(start + length, size)
          assert.ok((await readAll(under.blobs, digest, { start, end })).equals(bytes.subarray(start, end)))
        }),
        { numRuns: 30, examples: [[[0, size]], [[0, 1]], [[size - 1, 1]]] },
      )
    }
  })

  it('refuses ranges that lie outside the blob', async () => {
    await using under = await open()
    for (const size of [0, 1_000, 100_000]) {
      const { digest } = await storeBytes(under, content(size))
      for (const [start, end] of [
        [0, size + 1],
        [size, size + 1],
        [5, 5],
        [6, 5],
        [-1, 5],
        [0.5, 5],
        [0, Number.NaN],
      ] as const) {
        await assert.rejects(under.blobs.open(digest, { start, end }), { code: 'RANGE' }, `${start}-${end} of ${size}`)
      }
    }
  })

  it('says NOT_FOUND for a blob that is not here, and TOO_LARGE for one over the limit of read', async () => {
    await using under = await open()
    const absent = digestOf(content(3))
    assert.equal(await under.blobs.find(absent), undefined)
    await assert.rejects(under.blobs.open(absent), { code: 'NOT_FOUND' })
    await assert.rejects(under.blobs.read(absent, 10), { code: 'NOT_FOUND' })
    assert.deepEqual(await under.blobs.findSmall([absent]), [undefined])
    assert.equal(await under.blobs.verifyBlob(absent), 'missing')
    for (const size of [1_000, 100_000]) {
      const { digest } = await storeBytes(under, content(size))
      await assert.rejects(under.blobs.read(digest, size - 1), { code: 'TOO_LARGE' })
    }
  })

  it('answers has in the order of the digests', async () => {
    await using under = await open()
    const small = await storeBytes(under, content(10))
    const large = await storeBytes(under, content(100_000))
    const absent = digestOf(content(11))
    assert.deepEqual(await under.blobs.has([large.digest, absent, small.digest]), [true, false, true])
  })

  it('can leave a stream before its end, and stop a verification', async () => {
    await using under = await open()
    const { digest } = await storeBytes(under, content(2_000_000))
    for await (const piece of await under.blobs.open(digest)) {
      assert.ok((piece as Buffer).length > 0)
      break
    }
    const unread = await under.blobs.open(digest)
    unread.destroy()
    await assert.rejects(under.blobs.verifyBlob(digest, AbortSignal.abort()), { code: 'ABORTED' })
  })
}

function testRemoval(open: Open): void {
  it('lists every blob with its size', async () => {
    await using under = await open()
    const stored = [await storeBytes(under, content(10)), await storeBytes(under, content(100_000))]
    const listed = await collect(under.blobs.list())
    const expected = stored.map(({ digest, size }) => ({ digest, size }))
    assert.deepEqual(
      listed.toSorted((a, b) => a.size - b.size),
      expected,
    )
  })

  it('removes a blob, but not a large one that was sealed a moment ago', async () => {
    await using under = await open()
    const small = await storeBytes(under, content(10))
    const large = await storeBytes(under, content(100_000))
    await under.blobs.remove(small.digest)
    await assert.rejects(under.blobs.remove(large.digest), { code: 'BUSY' })
    assert.equal(await under.blobs.verifyBlob(large.digest), 'ok')
    under.advance(LONG_MS)
    await under.blobs.remove(large.digest)
    for (const { digest } of [small, large]) {
      assert.equal(await under.blobs.find(digest), undefined)
      await assert.rejects(under.blobs.open(digest), { code: 'NOT_FOUND' })
    }
    await under.blobs.remove(large.digest)
    assert.deepEqual(await collect(under.blobs.orphans()), [])
    const again = await storeBytes(under, content(100_000))
    assert.equal(await under.blobs.verifyBlob(again.digest), 'ok')
  })

  for (const size of [100_000, CHUNKED_FROM_BYTES + 10]) {
    it(`readmits an orphan of ${size} bytes as if it had never been forgotten`, async () => {
      await using under = await open()
      const { digest } = await storeBytes(under, content(size, 9))
      const before = await under.blobs.find(digest)
      await under.records.clear({ gte: Buffer.from('b'), lt: Buffer.from('d') })
      assert.equal(await under.blobs.find(digest), undefined)
      assert.deepEqual([await under.blobs.readmit(digest), await under.blobs.find(digest)], [true, before])
      assert.equal(await under.blobs.verifyBlob(digest), 'ok')
      if (before?.chunkRoot !== undefined) assert.equal(await under.blobs.verifyBlob(before.chunkRoot), 'ok')
      assert.equal(await under.blobs.readmit(digestOf(content(size, 10))), false)
    })
  }

  it('lets a blob be stored again while it is being removed', async () => {
    await using under = await open()
    const bytes = content(100_000)
    await storeBytes(under, bytes)
    under.advance(LONG_MS)
    const digest = digestOf(bytes)
    const [, sealed] = await Promise.all([under.blobs.remove(digest), stageBytes(under.blobs, bytes)])
    await under.records.write(sealed.writes)
    assert.equal(await under.blobs.verifyBlob(digest), 'ok')
  })

  it('lists what no record knows as orphans, which can be removed or sealed again', async () => {
    await using under = await open()
    const first = await stageBytes(under.blobs, content(100_000, 1))
    const second = await stageBytes(under.blobs, content(100_000, 2))
    await storeBytes(under, content(100_000, 3))
    assert.deepEqual(await collect(under.blobs.orphans()), [], 'their batches may be under way')
    under.advance(LONG_MS)
    assert.deepEqual((await collect(under.blobs.orphans())).sort(), [first.digest, second.digest].sort())
    await under.blobs.remove(first.digest)
    await storeBytes(under, content(100_000, 2))
    under.advance(LONG_MS)
    assert.deepEqual(await collect(under.blobs.orphans()), [])
    assert.equal(await under.blobs.verifyBlob(second.digest), 'ok')
  })
}

/** `open` gives an empty store each time; the suite disposes of it. */
export function testBlobs(name: string, open: Open): void {
  describe(`blobs contract: ${name}`, () => {
    testContents(open)
    testDigests(open)
    testResuming(open)
    testReading(open)
    testRemoval(open)
  })
}
