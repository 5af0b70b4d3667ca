/** Limits on bytes a second, in simulated time. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RateBucket } from '../../src/replication/rate-bucket.ts'
import { ManualTimers } from '../network/manual-timers.ts'

const RATE = 1_000_000
const PIECE = 64 * 1024

/** Takes a piece after the other for as long as the test runs. */
async function pump(bucket: RateBucket, isWaited: boolean, onPiece: (bytes: number) => void): Promise<never> {
  for (;;) {
    await bucket.take(PIECE, isWaited)
    onPiece(PIECE)
    await Promise.resolve()
  }
}

/** Lets time pass, and what waits for it happen. */
async function pass(timers: ManualTimers, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 10) {
    timers.advance(10)
    for (let turn = 0; turn < 20; turn += 1) await Promise.resolve()
  }
}

test('the rate is the total of all streams, and all of it is used', async () => {
  const timers = new ManualTimers()
  const bucket = new RateBucket(timers, RATE)
  const given = [0, 0, 0, 0, 0, 0, 0]
  for (const index of given.keys())
    void pump(bucket, false, (bytes) => {
      given[index] = (given[index] ?? 0) + bytes
    })
  await pass(timers, 60_000)
  const total = given.reduce((sum, bytes) => sum + bytes, 0)
  assert.ok(total <= 60 * RATE + RATE / 4 + PIECE, String(total))
  assert.ok(total >= 58 * RATE, String(total))
  assert.ok(Math.max(...given) - Math.min(...given) <= 2 * PIECE, String(given))
})

test('what a client waits for goes before what nobody waits for', async () => {
  const timers = new ManualTimers()
  const bucket = new RateBucket(timers, RATE)
  let [waited, background] = [0, 0]
  void pump(bucket, false, (bytes) => {
    background += bytes
  })
  await pass(timers, 5000)
  const before = background
  for (let stream = 0; stream < 2; stream += 1)
    void pump(bucket, true, (bytes) => {
      waited += bytes
    })
  await pass(timers, 10_000)
  assert.ok(waited >= 9 * RATE, String(waited))
  assert.ok(background - before <= 4 * PIECE, String(background - before))
})

test('a pause does not save up more than a moment', async () => {
  const timers = new ManualTimers()
  const bucket = new RateBucket(timers, RATE)
  await pass(timers, 3_600_000 / 100)
  let total = 0
  void pump(bucket, false, (bytes) => {
    total += bytes
  })
  await pass(timers, 1000)
  assert.ok(total <= 1.25 * RATE + PIECE, String(total))
})

test('a rate that changes counts at once, a piece larger than it goes through, and whoever leaves takes nothing', async () => {
  const timers = new ManualTimers()
  const bucket = new RateBucket(timers, 1000)
  await bucket.take(10_000, false)
  const through: string[] = []
  const wait = async () => {
    await bucket.take(1, false)
    through.push('through')
  }
  const next = wait()
  const leaving = new AbortController()
  const left = bucket.take(1_000_000_000, true, leaving.signal)
  leaving.abort(new Error('left'))
  await assert.rejects(left ?? assert.fail(), /left/)
  await pass(timers, 5000)
  assert.deepEqual(through, [])
  bucket.rate = 1_000_000
  await pass(timers, 20)
  await next
  assert.deepEqual(through, ['through'])
  assert.ok(bucket.isIdle)
  assert.deepEqual(timers.pending, [])
})
