/**
 * Every operation of every journey fails in turn, once or as a disk that stays full: the journey succeeds or says what is
 * wrong, nothing half is visible, nothing acknowledged is lost, and once the fault is gone it can be repeated and ends as if
 * nothing had happened. FAULT_PAIRS=1 tries every operation of the longest journeys too, and sampled pairs of operations.
 */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import type { Ledger } from '../../src/ledger/ledger.ts'
import { auditStores } from './audit-data.ts'
import { countTables, readLines } from './content-lines.ts'
import { openLedgerNode } from './ledger-node.ts'
import { createRandom } from './random.ts'
import type { Journey, Live, Prepared } from './swept-journeys.ts'
import { type Fault, INJECTED, type Snapshot, SweptStores } from './swept-stores.ts'

const PAIRS = process.env['FAULT_PAIRS'] === undefined ? 0 : 200
const DENSE = 48

interface End {
  readonly before: ReadonlySet<string>
  readonly after: ReadonlySet<string>
  readonly tables: Readonly<Record<string, number>>
}

interface Ground {
  readonly journey: Journey
  readonly prepared: Prepared
  readonly snapshot: Snapshot
  readonly end: End
}

function copyStores({ prepared, snapshot }: Pick<Ground, 'prepared' | 'snapshot'>): Promise<SweptStores> {
  return prepared.copy === undefined ? SweptStores.open(snapshot) : prepared.copy(snapshot)
}

/** The undisturbed run, which all others are held against. */
async function prepareGround(journey: Journey, world: AsyncDisposableStack): Promise<Ground> {
  await using stack = new AsyncDisposableStack()
  const filled = await SweptStores.open()
  const prepared = await journey.prepare(filled, world)
  const snapshot = await filled.snapshot()
  const stores = await copyStores({ prepared, snapshot })
  const live = await prepared.open(stores, stack)
  const before = await readLines(live.ledger.registry)
  await live.run()
  await live.goOn?.()
  const after = await readLines((await reopen(stores)).registry)
  return { journey, prepared, snapshot, end: { before, after, tables: await countTables(stores.records) } }
}

/** What a restarted node would see. */
async function reopen(stores: SweptStores): Promise<Ledger> {
  return (await openLedgerNode({ records: stores.records, blobs: stores.blobs })).ledger
}

async function attempt(live: Live, mode: Fault['mode']): Promise<boolean> {
  try {
    await live.run()
    return true
  } catch (error) {
    assert.ok(isFeedmeshError(error, INJECTED[mode].code), `an error of another kind: ${String(error)}`)
    return false
  }
}

function isSame(a: ReadonlySet<string>, b: ReadonlySet<string>): boolean {
  return a.size === b.size && a.isSubsetOf(b)
}

function checkVisible({ journey, end }: Ground, live: Live, lines: ReadonlySet<string>): void {
  const isAcknowledged = (line: string) => [...live.acknowledged].some((start) => line.startsWith(start))
  if (journey.failureLeaves === 'nothing')
    assert.deepEqual([...lines], [...end.before], 'what was refused is visible, or something is gone')
  else if (journey.failureLeaves === 'either')
    assert.ok(isSame(lines, end.before) || isSame(lines, end.after), `half is visible: ${[...lines].join('\n')}`)
  else
    assert.deepEqual(
      [...lines].sort(),
      [...end.after].filter((line) => end.before.has(line) || isAcknowledged(line)).sort(),
    )
}

/** What is in memory and what a restart would find are whole and the same. */
async function auditBoth(live: Live, stores: SweptStores): Promise<Set<string>> {
  await auditStores(live.ledger.registry, stores.blobs)
  const ledger = await reopen(stores)
  await auditStores(ledger.registry, stores.blobs)
  const lines = await readLines(ledger.registry)
  assert.deepEqual(await readLines(live.ledger.registry), lines, 'memory and disk differ')
  return lines
}

/** @returns the operations that the journey took under the fault */
async function sweepOnce(ground: Ground, fault: Fault): Promise<number> {
  const { journey, end } = ground
  await using stack = new AsyncDisposableStack()
  const stores = await copyStores(ground)
  const live = await ground.prepared.open(stores, stack)
  const armed = stores.arm(fault)
  const isDone = await attempt(live, fault.mode)
  const { operations } = armed
  armed.heal()
  if (journey.isDamaged !== true || isDone) {
    const lines = await auditBoth(live, stores)
    if (!isDone) checkVisible(ground, live, lines)
  }
  stores.passHour()
  const next = (await live.goOn?.()) ?? live
  if (!isDone) await next.run()
  await auditBoth(next, stores)
  assert.deepEqual([...(await readLines((await reopen(stores)).registry))].sort(), [...end.after].sort())
  assert.deepEqual(
    await countTables(stores.records),
    end.tables,
    'the stores hold other records than after an undisturbed run',
  )
  return operations
}

/** Beyond the first ones, which are the most varied, `npm test` tries every eleventh; the long run tries all. */
function nextOperation(n: number): number {
  return PAIRS > 0 || n < DENSE ? n + 1 : n + 11
}

async function sweep(ground: Ground, target: Fault['target'], mode: Fault['mode']): Promise<number> {
  for (let n = 1; ; n = nextOperation(n)) {
    const fault: Fault = { target, at: [n], mode }
    const operations = await sweepOnce(ground, fault).catch((cause: unknown) => {
      throw new Error(`operation ${n} of the ${target} failing ${mode}`, { cause })
    })
    if (operations < n) return operations
  }
}

async function samplePairs(ground: Ground, target: Fault['target'], operations: number): Promise<void> {
  const random = createRandom(operations)
  for (let pair = 0; pair < PAIRS; pair += 1) {
    const at = [1 + random.below(operations), 1 + random.below(2 * operations)]
    await sweepOnce(ground, { target, at, mode: 'once' }).catch((cause: unknown) => {
      throw new Error(`operations ${at.join(' and ')} of the ${target} failing`, { cause })
    })
  }
}

/** Declares the tests of one journey. */
export function sweepJourney(journey: Journey): void {
  describe(journey.title, () => {
    for (const target of ['records', 'blobs'] as const) {
      it(`leaves nothing half done, whichever operation of the ${target} fails, and can be repeated`, async (t) => {
        await using world = new AsyncDisposableStack()
        const ground = await prepareGround(journey, world)
        const once = await sweep(ground, target, 'once')
        const latched = await sweep(ground, target, 'latched')
        t.diagnostic(`${once} operations failing once, ${latched} from there on`)
        if (once > 0) await samplePairs(ground, target, once)
      })
    }
  })
}
