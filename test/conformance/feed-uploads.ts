/** The contract `FeedUploads`, for every implementation. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { type Feed, MAX_UPLOAD_AGE_MS } from '../../src/feeds/feed.ts'
import type { SealedBlob } from '../../src/store/blobs.ts'

export interface UploadsBench {
  readonly feed: Feed
  readonly advance: (ms: number) => void
}

const newId = () => randomBytes(16).toString('hex')

async function seal(feed: Feed, content: Buffer | string): Promise<SealedBlob> {
  await using staged = await feed.stage({ maxBytes: 1 << 20 })
  if (content.length > 0) await staged.write(Buffer.from(content))
  return await staged.seal()
}

export function testFeedUploads(implementation: string, openBench: () => Promise<UploadsBench>): void {
  describe(`FeedUploads: ${implementation}`, () => {
    it('remembers an upload until it ends or is too old', async () => {
      const { feed, advance } = await openBench()
      const [one, two] = [newId(), newId()]
      assert.equal(await feed.uploads.find(one), undefined)
      await feed.uploads.begin(one, 'a')
      await feed.uploads.begin(two, 'b')
      assert.equal((await feed.uploads.find(one))?.unit, 'a')
      await feed.uploads.end(one)
      assert.equal(await feed.uploads.find(one), undefined)
      assert.equal((await feed.uploads.find(two))?.unit, 'b')
      advance(MAX_UPLOAD_AGE_MS + 1000)
      assert.equal(await feed.uploads.find(two), undefined)
      assert.equal(await feed.uploads.find('../x'), undefined)
    })

    it('goes on with what was left of an upload', async () => {
      const { feed } = await openBench()
      const content = randomBytes(200_000)
      for (const size of [5, 150_000]) {
        const id = newId()
        await feed.uploads.begin(id, 'a')
        const first = await feed.uploads.resume(id, { maxBytes: 1 << 20 })
        await first.write(content.subarray(0, size))
        await first.keep()
        const second = await feed.uploads.resume(id, { maxBytes: 1 << 20, hashes: ['sha512'] })
        assert.equal(second.size, size)
        await second.write(content.subarray(size))
        const blob = await second.seal()
        await feed.uploads.keep('a', blob, id)
        assert.equal(await feed.uploads.find(id), undefined)
        assert.deepEqual(await buffer(await feed.uploads.open('a', blob.digest)), content)
      }
    })

    it('begins anew after an upload was thrown away, and takes no more than allowed', async () => {
      const { feed } = await openBench()
      const id = newId()
      await feed.uploads.begin(id, 'a')
      {
        await using staged = await feed.uploads.resume(id, { maxBytes: 100_000 })
        await staged.write(Buffer.alloc(90_000))
      }
      await using staged = await feed.uploads.resume(id, { maxBytes: 100_000 })
      assert.equal(staged.size, 0)
      await assert.rejects(
        async () => await staged.write(Buffer.alloc(100_001)),
        (error) => isFeedmeshError(error, 'TOO_LARGE'),
      )
    })

    it('keeps a file for one unit, until it is forgotten or too old', async () => {
      const { feed, advance } = await openBench()
      const blob = await seal(feed, 'hello')
      assert.equal(await feed.uploads.findFile('a', blob.digest), undefined)
      await feed.uploads.keep('a', blob)
      await feed.uploads.keep('b', await seal(feed, 'hello'))
      const found = await feed.uploads.findFile('a', blob.digest)
      assert.deepEqual([found?.digest, found?.size], [blob.digest, 5])
      assert.equal(await feed.uploads.findFile('c', blob.digest), undefined)
      assert.equal((await buffer(await feed.uploads.open('a', blob.digest, { start: 1, end: 3 }))).toString(), 'el')
      await feed.uploads.forget('a', [blob.digest, `sha256:${'0'.repeat(64)}`])
      assert.equal(await feed.uploads.findFile('a', blob.digest), undefined)
      await assert.rejects(feed.uploads.open('a', blob.digest), (error) => isFeedmeshError(error, 'NOT_FOUND'))
      assert.ok(await feed.uploads.findFile('b', blob.digest))
      advance(MAX_UPLOAD_AGE_MS + 1000)
      assert.equal(await feed.uploads.findFile('b', blob.digest), undefined)
      assert.equal(await feed.findUnit('a'), undefined)
    })

    it('adopts what the node has, and nothing else', async () => {
      const { feed } = await openBench()
      const blob = await seal(feed, 'hello')
      assert.equal(await feed.uploads.adopt('b', blob.digest), false)
      await feed.uploads.keep('a', blob)
      assert.equal(await feed.uploads.adopt('b', blob.digest), true)
      assert.equal((await buffer(await feed.uploads.open('b', blob.digest))).toString(), 'hello')
    })

    it('gives rows what was kept', async () => {
      const { feed } = await openBench()
      const blob = await seal(feed, randomBytes(300_000))
      await feed.uploads.keep('a', blob)
      const file = await feed.uploads.findFile('a', blob.digest)
      assert.ok(file)
      const { digest, size } = file
      await feed.change('a', () => ({
        put: [{ key: 'k', rowClass: 'immutable', meta: Buffer.from(''), files: [{ role: 'x', digest, size }] }],
      }))
      await feed.uploads.forget('a', [digest])
      const row = (await feed.findUnit('a'))?.rows[0]
      assert.ok(row?.files[0])
      assert.equal((await buffer(await feed.open(row, row.files[0]))).length, 300_000)
    })
  })
}
