/** Reading along while a blob is written, in both stores. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { BlobStore, StagedReader } from '../../src/store/blobs.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'

async function openStore(kind: 'files' | 'memory', stack: AsyncDisposableStack) {
  const records = stack.use(createMemoryRecords())
  if (kind === 'memory') return { records, blobs: createMemoryBlobs({ records }) }
  const directory = await mkdtemp(join(tmpdir(), 'feedmesh-reader-'))
  stack.defer(() => rm(directory, { recursive: true, force: true }))
  return { records, blobs: await openFileBlobs({ directory, records }) }
}

async function readTo(reader: StagedReader, from: number, end: number): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for (let at = from; at < end; ) {
    const piece = await reader.read(at, Math.min(100_000, end - at))
    if (piece.length === 0) break
    pieces.push(piece)
    at += piece.length
  }
  return Buffer.concat(pieces)
}

async function stage(blobs: BlobStore, content: Buffer) {
  const staged = await blobs.stage({ maxBytes: content.length, resume: sha256Digest(content) })
  const reader = (await staged.openReader?.()) ?? assert.fail('it cannot be followed')
  return { staged, reader }
}

for (const kind of ['files', 'memory'] as const) {
  test(`${kind}: a reader sees each byte once it is written, in pieces of any size, and nothing beyond`, async () => {
    await using stack = new AsyncDisposableStack()
    const { records, blobs } = await openStore(kind, stack)
    const content = randomBytes(3_000_000)
    const { staged, reader } = await stage(blobs, content)
    stack.use(reader)
    let written = 0
    for (const size of [1, 1000, 70_000, 130_000, 400_000, 700_000, 5, 1_200_000]) {
      await staged.write(content.subarray(written, written + size))
      written += size
      assert.ok((await readTo(reader, 0, content.length)).equals(content.subarray(0, written)), `after ${written}`)
    }
    assert.equal((await reader.read(written, 10)).length, 0)
    await staged.write(content.subarray(written))
    const sealed = await staged.seal()
    await records.write(sealed.writes)
    assert.ok((await readTo(reader, 0, content.length)).equals(content))
    blobs.settle(sealed.digest)
    await blobs.remove(sealed.digest)
    assert.ok((await readTo(reader, 1_000_000, content.length)).equals(content.subarray(1_000_000)))
  })

  test(`${kind}: reading at full speed while it is written changes nothing of what is stored`, async () => {
    await using stack = new AsyncDisposableStack()
    const { records, blobs } = await openStore(kind, stack)
    const content = randomBytes(6_000_000)
    const { staged, reader } = await stage(blobs, content)
    stack.use(reader)
    let isOver = false
    const follow = async () => {
      let at = 0
      while (at < content.length) {
        const piece = await reader.read(at, 50_000)
        assert.ok(content.subarray(at, at + piece.length).equals(piece), `at ${at}`)
        at += piece.length
        if (isOver && piece.length === 0) assert.fail(`it ends at ${at}`)
      }
    }
    const followers = [follow(), follow(), follow()]
    for (let at = 0; at < content.length; at += 33_333) await staged.write(content.subarray(at, at + 33_333))
    await records.write((await staged.seal()).writes)
    isOver = true
    await Promise.all(followers)
    assert.equal(await blobs.verifyBlob(sha256Digest(content)), 'ok')
  })

  test(`${kind}: what was kept is read by whoever follows the next staging; what is thrown away disturbs no reader`, async () => {
    await using stack = new AsyncDisposableStack()
    const { blobs } = await openStore(kind, stack)
    const content = randomBytes(300_000)
    const first = await stage(blobs, content)
    await first.staged.write(content.subarray(0, 200_000))
    await first.staged.keep()
    assert.ok((await readTo(first.reader, 0, content.length)).equals(content.subarray(0, 200_000)))
    await first.reader[Symbol.asyncDispose]()
    const next = await stage(blobs, content)
    assert.equal(next.staged.offset, 200_000)
    assert.ok((await readTo(next.reader, 0, content.length)).equals(content.subarray(0, 200_000)))
    await next.staged[Symbol.asyncDispose]()
    await next.reader.read(0, 10)
    await next.reader[Symbol.asyncDispose]()
    assert.equal(await blobs.partialSize(sha256Digest(content)), 0)
  })

  test(`${kind}: a blob is spared until every one of its sealings is settled`, async () => {
    await using stack = new AsyncDisposableStack()
    const { records, blobs } = await openStore(kind, stack)
    const content = randomBytes(100_000)
    const digest = sha256Digest(content)
    for (let count = 0; count < 2; count += 1) {
      await using staged = await blobs.stage({ maxBytes: content.length })
      await staged.write(content)
      await records.write((await staged.seal()).writes)
    }
    const isBusy = (error: unknown) => isFeedmeshError(error, 'BUSY')
    await assert.rejects(blobs.remove(digest), isBusy)
    blobs.settle(digest)
    await assert.rejects(blobs.remove(digest), isBusy)
    blobs.settle(digest)
    await blobs.remove(digest)
    assert.deepEqual(await blobs.has([digest]), [false])
    blobs.settle(digest)
  })
}
