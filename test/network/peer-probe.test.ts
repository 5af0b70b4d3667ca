import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import { PeerProbe } from '../../src/network/peer-probe.ts'
import { ManualTimers } from './manual-timers.ts'

function startProbe(answers: () => Promise<never>, isAlive: () => boolean) {
  const timers = new ManualTimers()
  const state = { pings: 0, dead: false }
  const probe = new PeerProbe({
    open: () => {
      state.pings += 1
      return answers()
    },
    isAlive,
    onRtt: () => assert.fail('nobody answered'),
    onDead: () => {
      state.dead = true
    },
    setTimer: timers.setTimer,
  })
  return { probe, timers, state }
}

const unanswered = (): Promise<never> => Promise.reject(new FeedmeshError('TIMEOUT', 'no answer'))
const unknown = (): Promise<never> => Promise.reject(new FeedmeshError('PEER_INVALID', 'no such protocol'))

test('a connection is given up after two unanswered pings without any other byte', async () => {
  const { timers, state } = startProbe(unanswered, () => false)
  await new Promise(setImmediate)
  assert.deepEqual(timers.pending, [5000])
  timers.advance(5000)
  await new Promise(setImmediate)
  assert.equal(state.pings, 2)
  assert.equal(state.dead, true)
  assert.deepEqual(timers.pending, [])
})

test('a connection on which bytes move is not given up, nor one whose peer knows no ping', async () => {
  for (const [answers, alive] of [[unanswered, true] as const, [unknown, false] as const]) {
    const { probe, timers, state } = startProbe(answers, () => alive)
    for (let at = 0; at < 10; at += 1) {
      await new Promise(setImmediate)
      assert.deepEqual(timers.pending, [30_000])
      timers.advance(30_000)
    }
    assert.equal(state.dead, false)
    assert.equal(
      state.pings,
      alive ? 2 : 11,
      'pings are for those who are not heard, and for the round trip now and then',
    )
    probe[Symbol.dispose]()
    await new Promise(setImmediate)
    assert.deepEqual(timers.pending, [])
  }
})
