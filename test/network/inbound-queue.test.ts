import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { InboundQueue } from '../../src/network/inbound-queue.ts'

test('the inbound queue hands over what came before a failure, and nothing after an abort', async () => {
  const failed = new InboundQueue(() => {})
  failed.push(Buffer.from('a'))
  failed.fail(new Error('lost'))
  failed.push(Buffer.from('b'))
  const reader = failed.read()
  assert.equal((await reader.next()).value?.toString(), 'a')
  await assert.rejects(reader.next(), /lost/)

  const aborted = new InboundQueue(() => {})
  aborted.push(Buffer.from('a'))
  aborted.end()
  aborted.abort(new Error('stopped'))
  await assert.rejects(aborted.read().next(), /stopped/)
  assert.equal(aborted.buffered, 0)
})

test('the inbound queue stays ended after a later failure, counts what waits, and is read once', async () => {
  const taken: number[] = []
  const queue = new InboundQueue((bytes) => taken.push(bytes))
  queue.push(Buffer.from('abc'))
  queue.push(Buffer.from('de'))
  assert.equal(queue.buffered, 5)
  queue.end()
  queue.fail(new Error('too late'))
  const pieces: string[] = []
  for await (const piece of queue.read()) pieces.push(Buffer.from(piece).toString())
  assert.deepEqual(pieces, ['abc', 'de'])
  assert.deepEqual(taken, [3, 2])
  await assert.rejects(queue.read().next(), (error) => isFeedmeshError(error, 'INTERNAL'))
})
