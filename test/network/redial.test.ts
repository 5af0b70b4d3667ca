import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { backoffMs, Redial } from '../../src/network/redial.ts'
import { ManualTimers } from './manual-timers.ts'

class Rig {
  readonly timers = new ManualTimers()
  readonly redial: Redial
  dials = 0
  isConnected = false
  signal: AbortSignal | undefined
  #settle: PromiseWithResolvers<void> | undefined

  constructor(random = 0) {
    this.redial = new Redial({
      dial: (signal) => {
        this.dials += 1
        this.signal = signal
        this.#settle = Promise.withResolvers<void>()
        return this.#settle.promise
      },
      isConnected: () => this.isConnected,
      setTimer: this.timers.setTimer,
      now: this.timers.now,
      random: () => random,
    })
  }

  async fail(): Promise<void> {
    this.#settle?.reject(new Error('nobody there'))
    await new Promise(setImmediate)
  }

  async succeed(): Promise<void> {
    this.isConnected = true
    this.redial.connected()
    this.#settle?.resolve()
    await new Promise(setImmediate)
  }

  lose(): void {
    this.isConnected = false
    this.redial.disconnected()
  }
}

test('the back-off stays between 1 s and 60 s, never shrinks with failures, and differs by chance', () => {
  fc.assert(
    fc.property(fc.nat(5000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, random) => {
      const delay = backoffMs(failures, random)
      assert.ok(delay >= 1000 && delay <= 60_000)
      assert.ok(backoffMs(failures + 1, random) >= delay)
    }),
  )
  assert.equal(backoffMs(0, 0), 1000)
  assert.equal(backoffMs(20, 0), 30_000)
  assert.notEqual(backoffMs(20, 0), backoffMs(20, 0.9))
})

test('a peer that is away is dialled for ever, less and less often', async () => {
  const rig = new Rig()
  assert.equal(rig.dials, 1)
  const delays: number[] = []
  for (let attempt = 1; attempt <= 200; attempt += 1) {
    assert.equal(rig.dials, attempt)
    await rig.fail()
    const [delay = 0] = rig.timers.pending
    delays.push(delay)
    rig.timers.advance(delay - 1)
    assert.equal(rig.dials, attempt)
    rig.timers.advance(1)
  }
  assert.deepEqual(delays.slice(0, 7), [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
  assert.equal(delays.at(-1), 30_000)
})

test('a lost connection is dialled again soon, and connecting stops the dialling', async () => {
  const rig = new Rig()
  await rig.succeed()
  assert.deepEqual(rig.timers.pending, [])
  rig.timers.advance(3_600_000)
  assert.equal(rig.dials, 1)
  rig.lose()
  assert.deepEqual(rig.timers.pending, [1000])
  rig.timers.advance(1000)
  assert.equal(rig.dials, 2)
})

test('a connection from the other end while waiting cancels the next dial', async () => {
  const rig = new Rig()
  await rig.fail()
  rig.isConnected = true
  rig.redial.connected()
  rig.timers.advance(120_000)
  assert.equal(rig.dials, 1)
})

test('a peer that drops the connection at once is not dialled every second', async () => {
  const rig = new Rig()
  for (let round = 0; round < 8; round += 1) {
    await rig.succeed()
    rig.timers.advance(10)
    rig.lose()
    rig.timers.advance(rig.timers.pending[0] ?? 0)
  }
  assert.equal(rig.dials, 9)
  await rig.succeed()
  rig.lose()
  assert.equal(rig.timers.pending[0], 30_000)
})

test('dialNow forgets the back-off, also while an attempt is under way', async () => {
  const rig = new Rig()
  for (let attempt = 0; attempt < 6; attempt += 1) {
    await rig.fail()
    rig.timers.advance(60_000)
  }
  const before = rig.dials
  rig.redial.dialNow()
  assert.equal(rig.dials, before, 'one attempt at a time')
  await rig.fail()
  assert.equal(rig.dials, before + 1, 'the next follows at once')
  await rig.fail()
  assert.deepEqual(rig.timers.pending, [1000])
  rig.redial.dialNow()
  assert.equal(rig.dials, before + 2)
})

test('disposing stops the attempt and all that would follow', async () => {
  const rig = new Rig()
  rig.redial[Symbol.dispose]()
  assert.equal(rig.signal?.aborted, true)
  await rig.fail()
  assert.deepEqual(rig.timers.pending, [])
  rig.redial.dialNow()
  assert.equal(rig.dials, 1)
})
