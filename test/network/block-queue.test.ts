import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { BLOCK_BYTES, BlockQueue, Blocks } from '../../src/network/block-queue.ts'

async function readAll(queue: BlockQueue): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of queue.read()) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

test('bytes come out as they went in, whatever the sizes', async () => {
  const queue = new BlockQueue(new Blocks(), () => {})
  const sent = randomBytes(3 * BLOCK_BYTES + 11)
  const reading = readAll(queue)
  for (let at = 0, step = 1; at < sent.length; step = step * 3 + 1) {
    const end = Math.min(sent.length, at + step)
    queue.push(sent, at, end)
    at = end
    if (step > BLOCK_BYTES) step = 1
    await new Promise(setImmediate)
  }
  queue.end()
  assert.ok((await reading).equals(sent))
})

test('a block is used again once its reader asks for the next one', async () => {
  const queue = new BlockQueue(new Blocks(), () => {})
  const seen = new Set<ArrayBufferLike>()
  const reading = (async () => {
    for await (const piece of queue.read()) seen.add(piece.buffer)
  })()
  const bytes = Buffer.alloc(BLOCK_BYTES)
  for (let block = 0; block < 20; block += 1) {
    queue.push(bytes, 0, bytes.length)
    while (queue.buffered > 0) await new Promise(setImmediate)
  }
  queue.end()
  await reading
  assert.ok(seen.size <= 2, `${seen.size} blocks`)
})

test('a failure comes after what waits, an abort before it', async () => {
  const error = new Error('lost')
  for (const how of ['fail', 'abort'] as const) {
    const queue = new BlockQueue(new Blocks(), () => {})
    queue.push(Buffer.from('some'), 0, 4)
    queue[how](error)
    const read = queue.read()
    if (how === 'fail') assert.equal(Buffer.from((await read.next()).value ?? []).toString(), 'some')
    await assert.rejects(read.next(), error)
    assert.equal(queue.buffered, 0)
  }
})
