/**
 * One bit of a stopped node's data folder flips, seeded: it refuses to start and says so, or it starts, and then nothing
 * damaged reaches a peer and `verify` finds what is damaged. BIT_FLIPS=n tries more (500); FLIP_SEED=n replays one.
 */

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { createRandom } from '../chaos/random.ts'
import { type Flip, flipOneBit, openHub, type OpenHub, Original } from '../support/damaged-folder.ts'

const FIXED = process.env['FLIP_SEED']
const FLIPS = FIXED === undefined ? Number(process.env['BIT_FLIPS'] ?? 500) : 1
const FIRST = FIXED === undefined ? 1 : Number(FIXED)
const ACTOR = { name: 'test', from: 'test' }
/** Damage to these must be found by `verify`. */
const IN_USE = ['r', 'b', 'c', 'n']

type Outcome = 'refused' | 'found' | 'signs nothing, being behind its floor file' | 'unchanged' | `not found: ${string}`

async function verifyFinds(hub: OpenHub): Promise<boolean> {
  try {
    const report = await hub.maintenance.verify({ repair: false, signal: AbortSignal.timeout(10_000) }, ACTOR)
    return report.damaged.length > 0
  } catch (error) {
    assert.ok(isFeedmeshError(error, 'CORRUPT'), `verify: ${String(error)}`)
    return true
  }
}

/** The end of the database's log is gone: what is left is whole, and older than what was signed. */
function isBehindFloor({ node }: OpenHub): boolean {
  const { ledger, book, parts } = node
  const { registry } = ledger
  return [...registry.locals.values()].some((local) => parts.catchUp.find(local.id, { registry, book })?.isBehindFloor)
}

async function openDamaged(directory: string, network: ReturnType<typeof createMemoryNetwork>) {
  try {
    return await openHub(network, directory)
  } catch (error) {
    assert.ok(isFeedmeshError(error, 'CORRUPT', 'BAD_INPUT', 'DATA_NEWER', 'STORAGE_IO'), `start: ${String(error)}`)
    return undefined
  }
}

async function examine(original: Original, directory: string, flip: Flip): Promise<Outcome> {
  const network = createMemoryNetwork()
  await using hub = await openDamaged(directory, network)
  if (hub === undefined) return 'refused'
  await original.pullHonestly(network, hub.node)
  const tables = await original.differingTables(hub.node.parts.records)
  if (await verifyFinds(hub)) return 'found'
  if (isBehindFloor(hub)) return 'signs nothing, being behind its floor file'
  assert.notEqual(flip.kind, 'blob file', 'a damaged file is not found')
  for (const table of IN_USE) assert.ok(!tables.has(table), `damage to table ${table} is not found`)
  return tables.size === 0 ? 'unchanged' : `not found: ${[...tables].sort().join('')}`
}

test(`${FLIPS} flipped bits: nothing damaged is passed on, and what is in use is found`, {
  timeout: 3_600_000,
}, async (t) => {
  await using original = await Original.create()
  const counts = new Map<string, number>()
  for (let seed = FIRST; seed < FIRST + FLIPS; seed += 1) {
    const directory = join(original.folder, '..', `copy-${seed}`)
    let where = ''
    try {
      const flip = await flipOneBit(original, directory, createRandom(seed))
      where = `${flip.kind}: ${flip.where}`
      const outcome = `${flip.kind}: ${await examine(original, directory, flip)}`
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1)
    } catch (cause) {
      throw new Error(`${where}; replay with FLIP_SEED=${seed} node --test test/faults/bit-flips.test.ts`, { cause })
    } finally {
      await rm(directory, { recursive: true, force: true })
    }
  }
  for (const [outcome, count] of [...counts].sort()) t.diagnostic(`${count} × ${outcome}`)
})
