import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { PullWindows } from '../../src/replication/pull-windows.ts'
import { isInWindow, isWindowOpen, localMinute, parseTimeWindow } from '../../src/replication/time-window.ts'

const at = (hour: number, minute = 0) => hour * 60 + minute

test('a window holds its begin and not its end, also over midnight', () => {
  const day = parseTimeWindow('08:30-17:00')
  const night = parseTimeWindow('22:00-06:00')
  const early = parseTimeWindow('00:00-06:00')
  const late = parseTimeWindow('22:00-24:00')
  const open = (window: typeof day) =>
    [at(0), at(5, 59), at(6), at(8, 29), at(8, 30), at(16, 59), at(17), at(21, 59), at(22), at(23, 59)].map((minute) =>
      isInWindow(window, minute) ? 1 : 0,
    )
  assert.deepEqual(open(day), [0, 0, 0, 0, 1, 1, 0, 0, 0, 0])
  assert.deepEqual(open(night), [1, 1, 0, 0, 0, 0, 0, 0, 1, 1])
  assert.deepEqual(open(early), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0])
  assert.deepEqual(open(late), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1])
})

test('what is no window of time is refused by name', () => {
  for (const text of [
    '',
    '22-6',
    '22:00',
    '24:00-06:00',
    '22:00-24:01',
    '22:60-06:00',
    '06:00-06:00',
    '1:00-2:00',
    '22:00–06:00',
  ])
    assert.throws(
      () => parseTimeWindow(text),
      (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.includes('22:00-06:00'),
      text,
    )
  assert.ok(isWindowOpen('', 0))
})

test('the clock on the wall decides, on the days when it is set as well', () => {
  const zone = process.env['TZ']
  process.env['TZ'] = 'Europe/Berlin'
  try {
    const minuteAt = (utc: string) => localMinute(Date.parse(utc))
    // 2026-03-29: 02:00 becomes 03:00. 2026-10-25: 03:00 becomes 02:00.
    assert.equal(minuteAt('2026-03-29T00:59:00Z'), at(1, 59))
    assert.equal(minuteAt('2026-03-29T01:00:00Z'), at(3))
    assert.equal(minuteAt('2026-10-25T00:30:00Z'), at(2, 30))
    assert.equal(minuteAt('2026-10-25T01:30:00Z'), at(2, 30))
    const isOpen = (utc: string) => isWindowOpen('22:00-06:00', Date.parse(utc))
    for (const [night, isSummer] of [
      ['2026-03-28T21:30:00Z', true],
      ['2026-03-29T03:59:59Z', true],
      ['2026-03-29T04:00:00Z', false],
      ['2026-10-24T20:00:00Z', true],
      ['2026-10-25T04:59:59Z', true],
      ['2026-10-25T05:00:00Z', false],
    ] as const)
      assert.equal(isOpen(night), isSummer, night)
    // An hour that is left out, and one that comes twice.
    assert.equal(isWindowOpen('02:00-03:00', Date.parse('2026-03-29T01:00:00Z')), false)
    assert.equal(isWindowOpen('02:00-03:00', Date.parse('2026-10-25T01:30:00Z')), true)
  } finally {
    if (zone === undefined) delete process.env['TZ']
    else process.env['TZ'] = zone
  }
})

test('a run that began in the window ends with it, and one whose window was taken away goes on', async () => {
  let now = new Date(2026, 0, 5, 5, 59).getTime()
  const windows = new PullWindows(() => now)
  let window = '22:00-06:00'
  const until = (signal: AbortSignal) =>
    new Promise<string>((resolve) => {
      signal.addEventListener('abort', () => resolve((signal.reason as Error).message))
    })
  assert.ok(windows.isOpen({ window }))
  const ended = windows.run(() => window, until)
  windows.check()
  now += 60_000
  assert.equal(windows.isOpen({ window }), false)
  window = ''
  windows.check()
  window = '22:00-06:00'
  windows.check()
  assert.match(await ended, /22:00-06:00 has closed/)
})
