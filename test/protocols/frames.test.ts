import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { encodeFrame, FrameReader, writeFrame } from '../../protocols/mesh/frames.ts'
import { isFeedmeshError } from '../../src/errors.ts'

async function* cut(bytes: Uint8Array, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (let turn = 0; at < bytes.byteLength; turn += 1) {
    const size = sizes[turn % sizes.length] ?? 1
    yield bytes.subarray(at, at + size)
    at += size
  }
}

const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 })
const sizes = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 6 })

function invalid(...parts: readonly string[]): (error: unknown) => boolean {
  return (error) => isFeedmeshError(error, 'PEER_INVALID') && parts.every((part) => error.message.includes(part))
}

test('frames come out as they went in, wherever the bytes are cut', async () => {
  await fc.assert(
    fc.asyncProperty(bodies, sizes, async (frames, cuts) => {
      const reader = new FrameReader(cut(Buffer.concat(frames.map(encodeFrame)), cuts))
      for (const frame of frames) assert.deepEqual(Buffer.from((await reader.read(300)) ?? []), Buffer.from(frame))
      assert.equal(await reader.read(300), undefined)
      assert.equal(await reader.read(300), undefined)
    }),
  )
})

test('raw bytes between frames are streamed exactly and without a copy', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 5000 }), bodies, sizes, async (payload, frames, cuts) => {
      const wire = Buffer.concat([...frames.map(encodeFrame), payload, encodeFrame(Buffer.from('after'))])
      const reader = new FrameReader(cut(wire, cuts))
      for (let at = 0; at < frames.length; at += 1) await reader.read(300)
      const pieces: Uint8Array[] = []
      for await (const piece of reader.stream(payload.byteLength)) {
        assert.equal(piece.buffer, wire.buffer)
        assert.ok(piece.byteLength > 0)
        pieces.push(piece)
      }
      assert.deepEqual(Buffer.concat(pieces), Buffer.from(payload))
      assert.equal(Buffer.from((await reader.read(10)) ?? []).toString(), 'after')
    }),
  )
})

test('a frame that is cut off anywhere is PEER_INVALID, between frames it is the end', async () => {
  const wire = Buffer.concat([encodeFrame(Buffer.from('first')), encodeFrame(Buffer.from('second'))])
  for (let length = 0; length <= wire.byteLength; length += 1) {
    const reader = new FrameReader(cut(wire.subarray(0, length), [3]))
    const readBoth = async (): Promise<number> => {
      let count = 0
      while ((await reader.read(100)) !== undefined) count += 1
      return count
    }
    if (length === 0) assert.equal(await readBoth(), 0)
    else if (length === 9) assert.equal(await readBoth(), 1)
    else if (length === wire.byteLength) assert.equal(await readBoth(), 2)
    else await assert.rejects(readBoth(), invalid('cut off'), `${length} bytes`)
  }
})

test('a frame over the limit is refused by its length alone, naming the limit', async () => {
  let asked = 0
  async function* announce(): AsyncGenerator<Uint8Array> {
    asked += 1
    yield Uint8Array.of(0xff, 0xff, 0xff, 0xff)
    asked += 1
    assert.fail('the body was asked for')
  }
  await assert.rejects(new FrameReader(announce()).read(1000), invalid('4294967295', '1000'))
  assert.equal(asked, 1)
  const exact = new FrameReader(cut(encodeFrame(Buffer.alloc(1000, 1)), [7]))
  assert.equal((await exact.read(1000))?.byteLength, 1000)
})

/** Announces a frame of 1 GiB and sends 100 bytes of it. */
async function* stall(): AsyncGenerator<Uint8Array> {
  yield Uint8Array.of(0x40, 0, 0, 0)
  for (let at = 0; at < 100; at += 1) yield Buffer.alloc(1)
}

test('a frame that is announced as large and never comes costs no memory of that size', async () => {
  const before = process.memoryUsage().arrayBuffers
  await assert.rejects(new FrameReader(stall()).read(2 ** 30), invalid('100 of 1073741824'))
  assert.ok(process.memoryUsage().arrayBuffers - before < 16 * 1024 * 1024)
})

test('a payload that is cut off is PEER_INVALID after all that came was handed over', async () => {
  const reader = new FrameReader(cut(Buffer.alloc(25, 1), [10]))
  let got = 0
  await assert.rejects(async () => {
    for await (const piece of reader.stream(30)) got += piece.byteLength
  }, invalid('25 of 30'))
  assert.equal(got, 25)
})

test('random bytes lead to frames within the limit, to PEER_INVALID or to the end, never to anything else', async () => {
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), sizes, fc.nat(200), async (bytes, cuts, limit) => {
      const reader = new FrameReader(cut(bytes, cuts))
      try {
        for (let frame = await reader.read(limit); frame !== undefined; frame = await reader.read(limit)) {
          assert.ok(frame.byteLength <= limit)
        }
      } catch (error) {
        assert.ok(isFeedmeshError(error, 'PEER_INVALID'), String(error))
      }
    }),
  )
})

test('what is written in frames is read in frames; a large body is not copied', async () => {
  for (const length of [0, 1, 1024, 1025, 100_000]) {
    const body = Buffer.alloc(length, 3)
    const sent: Uint8Array[] = []
    await writeFrame({ send: async (bytes) => void sent.push(bytes) }, body)
    const reader = new FrameReader(cut(Buffer.concat(sent), [777]))
    assert.deepEqual(Buffer.from((await reader.read(length)) ?? []), body)
    if (length > 1024) assert.equal(sent.at(-1), body)
  }
})

test('an error of the source reaches the reader as it is', async () => {
  const broken = new Error('lost')
  async function* breaking(): AsyncGenerator<Uint8Array> {
    yield Uint8Array.of(0, 0)
    throw broken
  }
  await assert.rejects(new FrameReader(breaking()).read(10), broken)
})
