/**
 * One bit of a stopped node's data folder flips, seeded: it refuses to start and says so, or it starts, and then nothing
 * damaged reaches a peer and `verify` finds what is damaged. BIT_FLIPS=n tries more (500); FLIP_SEED=n replays one.
 */

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { runChild } from '../support/run-child.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'flip-child.ts')
const FIXED = process.env['FLIP_SEED']
const FLIPS = FIXED === undefined ? Number(process.env['BIT_FLIPS'] ?? 500) : 1
const FIRST = FIXED === undefined ? 1 : Number(FIXED)
/** Of one process. */
const SLICE = 125
const WORKERS = 2

interface Slice {
  next: number
  readonly end: number
}

type Counts = Map<string, number>

function count(counts: Counts, outcome: string): void {
  counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
}

/** One process until it ends or LevelDB ends it; the slice goes on behind the last flip. */
async function runSlice(slice: Slice, counts: Counts): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-flips-'))
  try {
    const child = await runChild(CHILD, [String(slice.next), String(slice.end - slice.next), folder])
    for (const [, outcome = ''] of child.stdout.matchAll(/^outcome (.+)$/gm)) count(counts, outcome)
    const last = [...child.stdout.matchAll(/^flipped (\d+) (.+)$/gm)].at(-1)
    const [, seed = String(slice.next), where = 'nothing flipped'] = last ?? []
    slice.next = Number(seed) + 1
    if (child.exitCode === 0) return
    const replay = `${where}; replay with FLIP_SEED=${seed} node --test test/faults/bit-flips.test.ts`
    assert.ok(child.signal === 'SIGABRT' && where.startsWith('database table'), `${replay}\n${child.stderr}`)
    count(counts, 'database table: LevelDB ends the process')
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

test(`${FLIPS} flipped bits: nothing damaged is passed on, and what is in use is found`, {
  timeout: 3_600_000,
}, async (t) => {
  const counts: Counts = new Map()
  const slices: Slice[] = []
  for (let next = FIRST; next < FIRST + FLIPS; next += SLICE)
    slices.push({ next, end: Math.min(next + SLICE, FIRST + FLIPS) })
  const work = async () => {
    for (let slice = slices.shift(); slice !== undefined; slice = slices.shift())
      while (slice.next < slice.end) await runSlice(slice, counts)
  }
  await Promise.all(Array.from({ length: WORKERS }, work))
  for (const [outcome, times] of [...counts].sort(([one], [other]) => one.localeCompare(other)))
    t.diagnostic(`${times} × ${outcome}`)
  assert.equal(
    [...counts.values()].reduce((sum, times) => sum + times, 0),
    FLIPS,
  )
})
