import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RateMeter } from '../../src/network/rate-meter.ts'
import { ManualTimers } from './manual-timers.ts'

test('a rate settles at what flows and fades when nothing does', () => {
  const clock = new ManualTimers()
  const meter = new RateMeter(clock.now)
  for (let at = 0; at < 600; at += 1) {
    clock.advance(100)
    meter.add(100_000)
  }
  assert.ok(Math.abs(meter.bytesPerSecond - 1_000_000) < 20_000, String(meter.bytesPerSecond))
  clock.advance(5000)
  assert.ok(Math.abs(meter.bytesPerSecond - 1_000_000 / Math.E) < 20_000)
  clock.advance(600_000)
  assert.equal(meter.bytesPerSecond, 0)
})
