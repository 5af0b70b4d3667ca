/**
 * The mesh as a whole under everything that can go wrong, on simulated time. A failing seed prints the line that replays it.
 * SIM_HOURS: simulated hours (12); SIM_FIRST: the first seed.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Campaign } from './campaign.ts'
import { FAULT_KINDS } from './options.ts'

const HOURS = Number(process.env['SIM_HOURS'] ?? 12)
const FIRST = Number(process.env['SIM_FIRST'] ?? 1)

test(`${HOURS} simulated hours leave nothing lost, nothing forged, nothing half there, and all equal in the end`, {
  timeout: 36_000_000,
}, async (t) => {
  const campaign = new Campaign({ first: FIRST, seeds: Number.MAX_SAFE_INTEGER, hours: HOURS })
  const failure = await campaign.run()
  t.diagnostic(campaign.report())
  if (failure !== undefined) throw failure
  const fired = FAULT_KINDS.filter((kind) => campaign.firings.has(kind))
  assert.ok(fired.length >= 14, `only ${fired.length} kinds of faults have happened`)
})
