/** What a reader of a growing blob is given, and when it is cut. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { type FollowedStaging, GrowingBlob, WITHHELD_BYTES } from '../../src/replication/growing-blob.ts'
import { type BlobPieces, type BlobStore, type ByteRange, CHUNK_BYTES } from '../../src/store/blobs.ts'
import { take } from './faucet.ts'

const SIZE = 3 * CHUNK_BYTES + 200_000

function openGrowing(content = randomBytes(SIZE)) {
  const verified = new Set<number>()
  const covers = ({ start, end }: ByteRange) => {
    for (let index = Math.floor(start / CHUNK_BYTES); index * CHUNK_BYTES < end; index += 1)
      if (!verified.has(index)) return false
    return true
  }
  const pieces = ({ start, end }: ByteRange): BlobPieces => {
    const stream = Readable.from([content.subarray(start, end)])
    return { [Symbol.asyncIterator]: () => stream[Symbol.asyncIterator](), [Symbol.asyncDispose]: async () => {} }
  }
  const blobs: Pick<BlobStore, 'open' | 'openVerified'> = {
    open: async (_, range = { start: 0, end: content.length }) =>
      Readable.from([content.subarray(range.start, range.end)]),
    openVerified: async (_, range) => (covers(range) ? pieces(range) : undefined),
  }
  let idle = 0
  const digest = sha256Digest(content)
  const growing = new GrowingBlob({ blobs, digest, size: content.length, onIdle: () => (idle += 1) })
  const verify = (index: number) => {
    verified.add(index)
    growing.grown()
  }
  const stage = (bytes: Buffer, offset = 0) => {
    const staged: FollowedStaging & { size: number } = {
      offset,
      size: offset,
      openReader: async () => ({
        read: async (position, maxBytes) => bytes.subarray(position, Math.min(position + maxBytes, staged.size)),
        [Symbol.asyncDispose]: async () => {},
      }),
    }
    return staged
  }
  return { growing, content, verify, stage, idleTimes: () => idle }
}

function iterate(stream: Readable): AsyncIterator<Uint8Array> {
  return stream[Symbol.asyncIterator]()
}

test('a range of verified chunks is given whole as soon as they are there, in whatever order they come', async () => {
  const { growing, content, verify, idleTimes } = openGrowing()
  await growing.begin('by chunks')
  verify(2)
  const range = { start: CHUNK_BYTES + 5, end: 3 * CHUNK_BYTES - 5 }
  const reading = growing.open(range)
  verify(1)
  assert.deepEqual(await take(iterate(await reading)), content.subarray(range.start, range.end))
  assert.equal(idleTimes(), 1)
})

test('the end of the whole waits for its digest, also when every chunk is verified', async () => {
  const { growing, content, verify } = openGrowing()
  await growing.begin('by chunks')
  for (const index of [0, 1, 2, 3]) verify(index)
  const reader = iterate(await growing.open({ start: 0, end: SIZE }))
  const most = await take(reader, SIZE - WITHHELD_BYTES)
  assert.equal(most.length, SIZE - WITHHELD_BYTES)
  growing.end(undefined)
  assert.deepEqual(Buffer.concat([most, await take(reader)]), content)
})

test('whoever was given bytes in order is cut when the rest comes by chunks, and the other way round', async () => {
  const isCut = (error: unknown) => isFeedmeshError(error, 'CORRUPT')
  for (const isChunkedFirst of [false, true]) {
    const { growing, content, verify, stage } = openGrowing()
    const staged = stage(content)
    await growing.begin(isChunkedFirst ? 'by chunks' : staged)
    staged.size = 1_000_000
    verify(0)
    const reader = iterate(await growing.open({ start: 0, end: SIZE }))
    await take(reader, 100_000)
    await growing.begin(isChunkedFirst ? stage(content) : 'by chunks')
    await assert.rejects(take(reader), isCut)
    for (const index of [1, 2, 3]) verify(index)
    growing.end(undefined)
    assert.deepEqual(await take(iterate(await growing.open({ start: 0, end: SIZE }))), content)
  }
})

test('a staging that has lost bytes cuts those who were given some, and nobody else', async () => {
  const { growing, content, stage } = openGrowing()
  const wrong = stage(randomBytes(SIZE))
  await growing.begin(wrong)
  wrong.size = 2_000_000
  growing.grown()
  const early = iterate(await growing.open({ start: 0, end: SIZE }))
  await take(early, 300_000)
  const late = growing.open({ start: 5_000_000, end: 5_500_000 })
  const right = stage(content)
  await growing.begin(right)
  right.size = SIZE
  growing.grown()
  growing.end(undefined)
  await assert.rejects(take(early), (error) => isFeedmeshError(error, 'CORRUPT'))
  assert.deepEqual(await take(iterate(await late)), content.subarray(5_000_000, 5_500_000))
})

test('a staging that goes on where the last one ended cuts nobody', async () => {
  const { growing, content, stage } = openGrowing()
  const first = stage(content)
  await growing.begin(first)
  first.size = 2_000_000
  growing.grown()
  const reader = iterate(await growing.open({ start: 0, end: SIZE }))
  const begun = await take(reader, 2_000_000)
  const next = stage(content, 2_000_000)
  await growing.begin(next)
  next.size = SIZE
  growing.grown()
  const rest = take(reader)
  growing.end(undefined)
  assert.deepEqual(Buffer.concat([begun, await rest]), content)
})

test('a fetch that failed fails those who wait and those who read', async () => {
  const { growing, content, stage, idleTimes } = openGrowing()
  const staged = stage(content)
  await growing.begin(staged)
  staged.size = 1_000_000
  growing.grown()
  const reader = iterate(await growing.open({ start: 0, end: SIZE }))
  await take(reader, 1_000_000)
  const waiting = growing.open({ start: 2_000_000, end: SIZE })
  growing.end(new FeedmeshError('NOT_FOUND', 'nobody has it'))
  const isMissing = (error: unknown) => isFeedmeshError(error, 'NOT_FOUND')
  await assert.rejects(waiting, isMissing)
  await assert.rejects(take(reader), isMissing)
  assert.equal(growing.readers, 0)
  assert.equal(idleTimes(), 1)
})
