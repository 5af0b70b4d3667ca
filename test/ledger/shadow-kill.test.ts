/**
 * The process ends at each moment of an adoption by shadow: a restarted node sees the old state or the new one, goes on from
 * what is stored, and in the end holds what an undisturbed one does.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import type { Row } from '../../src/catalog/row.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import { isWholeState, isWholeView } from '../../src/ledger/stored-state.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records, Write } from '../../src/store/records.ts'
import { countTables, readLines } from '../support/content-lines.ts'
import { pull, rowOf } from '../support/feed-graph.ts'
import { killable } from '../support/killed-records.ts'
import { type LedgerNode, openLedgerNode } from '../support/ledger-node.ts'
import { adoptByShadow, correctShadow } from '../support/shadowed-state.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const POINTS: readonly FaultPoint[] = [
  'shadow.begun',
  'shadow.stored',
  'shadow.settled',
  'view.begun',
  'view.stored',
  'view.built',
  'adopt.verified',
  'adopt.committed',
  'leftover.clearing',
  'leftover.cleared',
]
const EVERYTHING = { gte: new Uint8Array(0), lt: Buffer.alloc(64, 0xff) }
const HOUR_MS = 3_600_000
const ROWS = 60
/** So that each step takes several. */
const BATCH_WRITES = 40

function rowsOf(meta: string, from: number): Row[] {
  return Array.from({ length: ROWS }, (_, at) =>
    rowOf(`v/${from + at}`, { unit: `unit-${(from + at) % 9}`, rowClass: 'register', meta }),
  )
}

async function copyOf(writes: readonly Write[]): Promise<Records> {
  const records = createMemoryRecords()
  await records.write(writes)
  return records
}

/** A node that holds the old state of `feed`; then the new one is signed. */
async function prepare(feed: SignedFeed): Promise<Write[]> {
  const node = await openLedgerNode()
  await node.createFeed('own')
  await node.ledger.learnFeed(feed.charters)
  await node.ledger.amendCharter(node.ledger.registry.getLocal('own').id, () => ({
    includes: [{ ...pull('x'), feedId: feedIdBytes(feed.feedId) }],
  }))
  feed.sign(rowsOf('old', 0))
  await adoptByShadow(node, feed)
  await finish(node)
  feed.sign([...rowsOf('old', 0).slice(0, 20), ...rowsOf('new', 40)])
  const writes: Write[] = []
  for await (const [key, value] of node.records.scan(EVERYTHING)) writes.push({ type: 'put', key, value })
  return writes
}

async function finish(node: LedgerNode): Promise<void> {
  node.clock.now += HOUR_MS
  await node.ledger.clearLeftovers()
}

function isThere({ ledger }: LedgerNode, feed: SignedFeed): boolean {
  return ledger.registry.getState(feed.feedId).root.hash.equals(feed.stateAfter([]).manifest.value.stateRoot)
}

/** @returns whether the node got so far as to be killed */
async function runAndKill(
  records: Records,
  feed: SignedFeed,
  at: { point: FaultPoint; nth: number },
): Promise<boolean> {
  const mortal = killable(records)
  let left = at.nth
  const node = await openLedgerNode({
    records: mortal,
    batchWrites: BATCH_WRITES,
    reach: (point) => {
      if (point === at.point && (left -= 1) === 0) mortal.kill()
    },
  })
  try {
    await adoptByShadow(node, feed)
    await finish(node)
  } catch (error) {
    if (!mortal.isKilled) throw error
  }
  return mortal.isKilled
}

async function verifyWhole({ records, ledger }: LedgerNode): Promise<void> {
  for (const state of ledger.registry.states.values()) assert.ok(await isWholeState(records, state))
  for (const view of ledger.registry.views.values()) assert.ok(await isWholeView(records, view))
}

test('a node killed at any moment of an adoption by shadow starts whole, goes on, and leaves nothing behind', async (t) => {
  const feed = new SignedFeed('remote')
  const before = await prepare(feed)
  const plain = await openLedgerNode({ records: await copyOf(before) })
  const oldLines = await readLines(plain.ledger.registry)
  await adoptByShadow(plain, feed)
  await finish(plain)
  const [newLines, tables] = [await readLines(plain.ledger.registry), await countTables(plain.records)]
  let kills = 0
  for (const point of POINTS) {
    for (let nth = 1; ; nth += 1) {
      const records = await copyOf(before)
      if (!(await runAndKill(records, feed, { point, nth }))) {
        assert.ok(nth > 1, `${point} is never reached`)
        break
      }
      kills += 1
      const node = await openLedgerNode({ records })
      await verifyWhole(node)
      assert.deepEqual(await readLines(node.ledger.registry), isThere(node, feed) ? newLines : oldLines)
      if (!isThere(node, feed)) await adoptByShadow(node, feed)
      await finish(node)
      await verifyWhole(node)
      assert.deepEqual(await readLines(node.ledger.registry), newLines)
      assert.deepEqual(await countTables(records), tables, `after ${point}, ${nth}`)
    }
  }
  t.diagnostic(`${kills} kills`)
})

test('rows that were stored before a kill are not asked for again', async () => {
  const feed = new SignedFeed('remote')
  const before = await prepare(feed)
  const records = await copyOf(before)
  assert.ok(await runAndKill(records, feed, { point: 'shadow.settled', nth: 2 }))
  const node = await openLedgerNode({ records })
  await using shadow = await node.ledger.shadows.open(node.ledger.registry.getState(feed.feedId))
  assert.equal(await correctShadow(shadow, feed.rows), 0)
})
