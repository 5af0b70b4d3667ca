/** The test of the tests: the simulator finds bugs that were put in on purpose. SIM_PLANTS=all hunts all of them. */

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { test } from 'node:test'
import { promisify } from 'node:util'
import { PLANTED_BUGS, QUICKEST } from './planted-bugs.ts'

const ALL = process.env['SIM_PLANTS'] === 'all'
const hunted = PLANTED_BUGS.filter(({ name }) => ALL || QUICKEST.includes(name))

for (const bug of hunted) {
  test(`found within ${bug.seeds} seeds: ${bug.name}`, { timeout: 1_800_000 }, async (t) => {
    const args = ['--import', join(import.meta.dirname, 'plant-loader.ts'), join(import.meta.dirname, 'hunt-child.ts')]
    const env = { ...process.env, SIM_PLANT: bug.name }
    const { stdout } = await promisify(execFile)(process.execPath, args, { env, signal: t.signal })
    const { seed, message, cpuMs } = JSON.parse(stdout) as { seed?: number; message?: string; cpuMs: number }
    assert.ok(seed !== undefined, `not found within ${bug.seeds} seeds`)
    t.diagnostic(`seed ${seed}, ${cpuMs} ms: ${message?.split('\n')[0]}`)
  })
}
