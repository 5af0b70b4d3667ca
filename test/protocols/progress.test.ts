import assert from 'node:assert/strict'
import { test } from 'node:test'
import { withProgress } from '../../protocols/mesh/progress.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { ManualTimers } from '../network/manual-timers.ts'

/** A source whose pieces a test hands over. */
class HandSource implements AsyncIterable<Uint8Array> {
  #next: PromiseWithResolvers<IteratorResult<Uint8Array>> | undefined
  returned = false

  async give(bytes: number): Promise<void> {
    this.#next?.resolve({ done: false, value: new Uint8Array(bytes) })
    await new Promise(setImmediate)
  }

  async end(): Promise<void> {
    this.#next?.resolve({ done: true, value: undefined })
    await new Promise(setImmediate)
  }

  async fail(error: Error): Promise<void> {
    this.#next?.reject(error)
    await new Promise(setImmediate)
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => {
        this.#next = Promise.withResolvers()
        return this.#next.promise
      },
      return: async () => {
        this.returned = true
        return { done: true, value: undefined }
      },
    }
  }
}

function start(minBytes?: number) {
  const timers = new ManualTimers()
  const source = new HandSource()
  const guarded = withProgress(source, {
    now: timers.now,
    setTimer: timers.setTimer,
    ...(minBytes === undefined ? {} : { minBytes }),
  })
  const state: { bytes: number; error?: unknown; done: boolean } = { bytes: 0, done: false }
  const reading = (async (): Promise<unknown> => {
    try {
      for await (const piece of guarded) state.bytes += piece.byteLength
      state.done = true
    } catch (error) {
      state.error = error
    }
    return state.error
  })()
  return { timers, source, state, reading }
}

const KIB = 1024

test('a peer that sends nothing fails with TIMEOUT after 15 s, not before', async () => {
  const { timers, state, reading } = start()
  timers.advance(14_999)
  await new Promise(setImmediate)
  assert.equal(state.error, undefined)
  timers.advance(1)
  const error = await reading
  assert.ok(isFeedmeshError(error, 'TIMEOUT'))
  assert.match(error.message, /0 bytes in 15 s; at least 49152/)
  assert.deepEqual(timers.pending, [])
})

test('a peer that drips bytes fails, one at the minimum does not', async () => {
  const dripping = start()
  for (let second = 0; second < 16; second += 1) {
    dripping.timers.advance(1000)
    await dripping.source.give(100)
  }
  assert.ok(isFeedmeshError(dripping.state.error, 'TIMEOUT'))

  const enough = start()
  for (let second = 0; second < 600; second += 1) {
    enough.timers.advance(1000)
    await enough.source.give(4 * KIB)
  }
  assert.equal(enough.state.error, undefined)
  assert.equal(enough.state.bytes, 600 * 4 * KIB)
})

test('a burst pays for a pause of less than 15 s', async () => {
  const { timers, source, state } = start()
  for (let round = 0; round < 20; round += 1) {
    await source.give(200 * KIB)
    timers.advance(14_000)
    await new Promise(setImmediate)
  }
  assert.equal(state.error, undefined)
  timers.advance(15_000)
  await new Promise(setImmediate)
  assert.ok(isFeedmeshError(state.error, 'TIMEOUT'))
})

test('time that the reader takes does not count against the peer', async () => {
  const timers = new ManualTimers()
  const source = new HandSource()
  const pieces = withProgress(source, { now: timers.now, setTimer: timers.setTimer })
  for (let round = 0; round < 50; round += 1) {
    const next = pieces.next()
    await source.give(1)
    assert.equal((await next).value?.byteLength, 1)
    timers.advance(60_000)
  }
  await pieces.return()
  assert.equal(source.returned, true)
  assert.deepEqual(timers.pending, [])
})

test('the end and an error of the source pass through and leave no timer', async () => {
  const ended = start()
  await ended.source.give(10)
  await ended.source.end()
  await ended.reading
  assert.equal(ended.state.done, true)
  assert.deepEqual(ended.timers.pending, [])

  const failing = start()
  const broken = new Error('lost')
  await failing.source.fail(broken)
  await failing.reading
  assert.equal(failing.state.error, broken)
  assert.deepEqual(failing.timers.pending, [])
})

test('a fast source sets one timer, not one per piece', async () => {
  let set = 0
  const timers = new ManualTimers()
  const source = new HandSource()
  const pieces = withProgress(source, {
    now: timers.now,
    setTimer: (run, delayMs) => {
      set += 1
      return timers.setTimer(run, delayMs)
    },
  })
  for (let at = 0; at < 1000; at += 1) {
    const next = pieces.next()
    await source.give(64 * KIB)
    await next
  }
  assert.equal(set, 1)
  await pieces.return()
})
