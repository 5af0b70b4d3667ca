/** A state on its way: kept over restarts, corrected, refused, and invisible until its root is the signed one. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type FeedId, feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { encodeRow, placeOf, type Row } from '../../src/catalog/row.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { noFaults } from '../../src/fault-points.ts'
import { prepareShadowAdoption } from '../../src/ledger/shadow-adoption.ts'
import { Shadows } from '../../src/ledger/shadows.ts'
import { isWholeState, isWholeView } from '../../src/ledger/stored-state.ts'
import { listUnits } from '../../src/ledger/view-index.ts'
import { AuditLog } from '../../src/operations/audit.ts'
import { Maintenance } from '../../src/operations/maintenance.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records, Write } from '../../src/store/records.ts'
import { countTables } from '../support/content-lines.ts'
import { failNth } from '../support/faulty-records.ts'
import { pull, rowOf } from '../support/feed-graph.ts'
import { type LedgerNode, openLedgerNode } from '../support/ledger-node.ts'
import { adoptByShadow, charterWritesOf, correctShadow, prepareByShadow } from '../support/shadowed-state.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const MINUTE_MS = 60_000
const ACTOR = { name: 'test', from: 'test' }

function rowsFrom(from: number, to: number, meta = ''): Row[] {
  return Array.from({ length: to - from }, (_, at) =>
    rowOf(`v/${from + at}`, { unit: `unit-${(from + at) % 20}`, rowClass: 'register', meta }),
  )
}

/** A node whose feed `own` includes `remote`. */
async function openWith(remote: SignedFeed, records: Records = createMemoryRecords()): Promise<LedgerNode> {
  const node = await openLedgerNode({ records })
  if (node.ledger.registry.locals.has('own')) return node
  await node.createFeed('own')
  await node.ledger.learnFeed(remote.charters)
  await node.ledger.amendCharter(node.ledger.registry.getLocal('own').id, () => ({
    includes: [{ ...pull('x'), feedId: feedIdBytes(remote.feedId) }],
  }))
  return node
}

function signed(rows: readonly Row[]): SignedFeed {
  const feed = new SignedFeed('remote')
  feed.sign(rows)
  return feed
}

async function openShadow(node: LedgerNode, feed: SignedFeed) {
  return await node.ledger.shadows.open(node.ledger.registry.getState(feed.feedId))
}

async function unitsOf(node: LedgerNode, name = 'own'): Promise<string[]> {
  const { registry } = node.ledger
  const units = []
  for await (const { unit, rows } of listUnits(node.records, registry.getView(registry.getLocal(name).id), {
    limit: 999,
  }))
    units.push(`${unit} ${rows}`)
  return units
}

async function verifyWhole(node: LedgerNode): Promise<void> {
  for (const state of node.ledger.registry.states.values()) assert.ok(await isWholeState(node.records, state))
  for (const view of node.ledger.registry.views.values()) assert.ok(await isWholeView(node.records, view))
}

test('what was put before a restart is there, counted and not asked for again', async () => {
  const feed = signed(rowsFrom(0, 100))
  const node = await openWith(feed)
  {
    await using shadow = await openShadow(node, feed)
    await shadow.put(feed.rows.slice(0, 70).map(encodeRow))
  }
  const again = await openWith(feed, node.records)
  assert.ok(await again.ledger.shadows.has(again.ledger.registry.getState(feed.feedId)))
  await using shadow = await openShadow(again, feed)
  assert.equal(shadow.count, 70)
  assert.deepEqual(await unitsOf(again), [])
  assert.equal(await correctShadow(shadow, feed.rows), 30)
  assert.equal((await shadow.settle()).count, 100)
  assert.equal((await Array.fromAsync(shadow.rows())).length, 100)
})

test('rows that do not lead to the signed root are refused, kept, and may be corrected', async () => {
  const feed = signed(rowsFrom(0, 60))
  const node = await openWith(feed)
  await using shadow = await openShadow(node, feed)
  const { salt } = shadow
  const extra = rowOf('v/extra', { unit: 'unit-1' })
  await shadow.put([...feed.rows.slice(1), extra].map(encodeRow))
  const { registry } = node.ledger
  await assert.rejects(prepareShadowAdoption(registry, feed.stateAfter([]), shadow), { code: 'PEER_INVALID' })
  await shadow.drop([placeOf(salt, extra.unit, extra.key)])
  await shadow.put([encodeRow(feed.rows[0]!)])
  const state = await prepareShadowAdoption(registry, feed.stateAfter([]), shadow)
  await node.ledger.adopt({ verified: [state], writes: [], absent: new Set(), verifyReady: async () => {} })
  assert.equal((await unitsOf(node)).length, 20)
  await verifyWhole(node)
})

test('bytes that are no row are refused, rows after the manifest’s clock too', async () => {
  const feed = signed(rowsFrom(0, 40))
  const node = await openWith(feed)
  await using shadow = await openShadow(node, feed)
  await assert.rejects(shadow.put([Buffer.from('no row')]), { code: 'PEER_INVALID' })
  const late = new SignedFeed('remote')
  late.sign([...feed.rows, rowOf('v/late', { stamp: 99 })])
  const { manifest, ...received } = late.stateAfter([])
  await correctShadow(shadow, late.rows)
  const early = { ...manifest, value: { ...manifest.value, clock: 1n } }
  await assert.rejects(prepareShadowAdoption(node.ledger.registry, { ...received, manifest: early }, shadow), {
    code: 'PEER_INVALID',
  })
  await shadow.drop([placeOf(shadow.salt, 'u', 'v/late')])
  await shadow.settle()
  assert.equal(shadow.latestStamp, 1n)
})

test('a state whose rows change after it was verified is not adopted', async () => {
  const feed = signed(rowsFrom(0, 40))
  const node = await openWith(feed)
  const state = await prepareByShadow(node, feed)
  await using shadow = state.shadow
  await shadow.put([encodeRow(rowOf('v/other'))])
  const adoption = { verified: [state], writes: [], absent: new Set<FeedId>(), verifyReady: async () => {} }
  await assert.rejects(node.ledger.adopt(adoption), { code: 'CONFLICT' })
  assert.deepEqual(await unitsOf(node), [])
})

test('a shadow of a state begins with its rows; a copy that did not end is begun anew', async () => {
  const feed = signed(rowsFrom(0, 50))
  const node = await openWith(feed)
  await adoptByShadow(node, feed)
  const base = node.ledger.registry.getState(feed.feedId)
  const full = new FeedmeshError('STORAGE_FULL', 'injected: the disk is full')
  // Read the record, write it, begin to scan, read ten rows.
  const failing = failNth(node.records, 13, full, 'latched')
  const shadows = new Shadows({ records: failing, reach: noFaults, now: () => node.clock.now })
  await assert.rejects(shadows.open(base), { code: 'STORAGE_FULL' })
  assert.ok(await node.ledger.shadows.has(base))
  await using shadow = await openShadow(node, feed)
  assert.equal(shadow.count, 50)
  assert.equal(shadow.generation, base.generation + 1)
})

test('a feed has one shadow at a time, and gives it back', async () => {
  const feed = signed(rowsFrom(0, 40))
  const node = await openWith(feed)
  const first = await openShadow(node, feed)
  await assert.rejects(openShadow(node, feed), { code: 'BUSY' })
  await first.put(feed.rows.map(encodeRow))
  await first.discard()
  await assert.rejects(
    first.put([]).then(() => first.settle()),
    { code: 'ABORTED' },
  )
  await using second = await openShadow(node, feed)
  assert.equal(second.count, 0)
})

test('the state before stays readable for ten minutes under its root, then it is removed', async () => {
  const feed = signed(rowsFrom(0, 80, 'old'))
  const node = await openWith(feed)
  await adoptByShadow(node, feed)
  const old = node.ledger.registry.getState(feed.feedId)
  feed.sign(rowsFrom(40, 120, 'new'))
  await adoptByShadow(node, feed)
  const { registry } = node.ledger
  const now = registry.getState(feed.feedId)
  assert.notEqual(now.generation, old.generation)
  node.clock.now += 9 * MINUTE_MS
  await node.ledger.clearLeftovers()
  assert.equal(registry.findServed(feed.feedId, old.root.hash), old)
  assert.ok(await isWholeState(node.records, old))
  assert.equal(registry.findServed(feed.feedId, now.root.hash), now)
  node.clock.now += 2 * MINUTE_MS
  await node.ledger.clearLeftovers()
  assert.equal(registry.findServed(feed.feedId, old.root.hash), undefined)
  assert.ok(!(await isWholeState(node.records, old)))
  await verifyWhole(node)
  const { g, S } = await countTables(node.records)
  assert.deepEqual([g, S], [0, 0])
})

test('a restarted node removes what replaced states left', async () => {
  const feed = signed(rowsFrom(0, 80, 'old'))
  const node = await openWith(feed)
  await adoptByShadow(node, feed)
  feed.sign(rowsFrom(0, 80, 'new'))
  await adoptByShadow(node, feed)
  const again = await openWith(feed, node.records)
  await again.ledger.clearLeftovers()
  const { r, v, g } = await countTables(node.records)
  assert.deepEqual([r, v, g], [80, 160, 0])
  await verifyWhole(again)
})

test('units that look the same keep the time of their change', async () => {
  const feed = signed([...rowsFrom(0, 40), rowOf('v/1', { unit: 'changed', rowClass: 'register', meta: 'old' })])
  const node = await openWith(feed)
  await adoptByShadow(node, feed)
  const { registry } = node.ledger
  const { id } = registry.getLocal('own')
  const times = async () => {
    const listed = await Array.fromAsync(listUnits(node.records, registry.getView(id), { limit: 99 }))
    return new Map(listed.map(({ unit, changedAtMs }) => [unit, changedAtMs]))
  }
  const before = await times()
  feed.sign([...rowsFrom(0, 40), rowOf('v/1', { unit: 'changed', rowClass: 'register', meta: 'new', stamp: 2 })])
  await adoptByShadow(node, feed)
  const after = await times()
  for (const [unit, time] of before)
    assert.equal(after.get(unit)! > time, unit === 'changed', `${unit} ${time} ${after.get(unit)}`)
})

/** Lets writes through until one names `letter`; that one waits for `open`. */
function gate(records: Records, letter: string) {
  const reached = Promise.withResolvers<void>()
  const opened = Promise.withResolvers<void>()
  const gated: Records = {
    find: (key) => records.find(key),
    findMany: (keys) => records.findMany(keys),
    scan: (options) => records.scan(options),
    scanKeys: (options) => records.scanKeys(options),
    clear: (range) => records.clear(range),
    [Symbol.asyncDispose]: () => records[Symbol.asyncDispose](),
    write: async (writes: readonly Write[]) => {
      if (writes.every(({ key }) => letter.includes(String.fromCharCode(key[0]!)))) {
        reached.resolve()
        await opened.promise
      }
      await records.write(writes)
    },
  }
  return { records: gated, reached: reached.promise, open: opened.resolve }
}

test('publishes go on while an index is built, and are in it', async () => {
  const feed = signed(rowsFrom(0, 100))
  const gated = gate(createMemoryRecords(), 'w')
  const node = await openWith(feed, gated.records)
  const own = node.openFeed('own')
  const put = (key: string) => ({ put: [{ key, rowClass: 'register' as const, meta: Buffer.alloc(0), files: [] }] })
  await own.change('unit-3', () => put('v/early'))
  const adopting = adoptByShadow(node, feed)
  await gated.reached
  // More than are left to the time under the lock.
  await Promise.all(Array.from({ length: 300 }, (_, at) => own.change(`late-${at}`, () => put('v/1'))))
  await own.change('unit-3', () => ({ drop: ['v/early'] }))
  await own.change('unit-4', () => put('v/late'))
  gated.open()
  await adopting
  const units = await unitsOf(node)
  assert.equal(units.length, 320)
  assert.ok(units.includes('unit-3 5') && units.includes('unit-4 6') && units.includes('late-7 1'))
  await verifyWhole(node)
  const again = await openLedgerNode({ records: node.records })
  assert.deepEqual(await unitsOf(again), units)
})

test('leftovers are cleared while an index is built, and after it came to count, without it', async () => {
  const feed = signed(rowsFrom(0, 100))
  const gated = gate(createMemoryRecords(), 'w')
  const node = await openWith(feed, gated.records)
  const adopting = adoptByShadow(node, feed)
  await gated.reached
  await node.ledger.clearLeftovers()
  gated.open()
  await adopting
  await node.ledger.clearLeftovers()
  assert.equal((await unitsOf(node)).length, 20)
  await verifyWhole(node)
})

test('an index that another adoption made useless is built again', async () => {
  const [one, two] = [new SignedFeed('one'), new SignedFeed('two')]
  one.sign(rowsFrom(0, 60, 'one'))
  two.sign(rowsFrom(40, 100, 'two'))
  const gated = gate(createMemoryRecords(), 'w')
  const node = await openWith(one, gated.records)
  const { registry } = node.ledger
  await node.ledger.learnFeed(two.charters)
  await node.ledger.amendCharter(registry.getLocal('own').id, ({ includes }) => ({
    includes: [...includes, { ...pull('x'), feedId: feedIdBytes(two.feedId) }],
  }))
  const both = Promise.all([adoptByShadow(node, one), adoptByShadow(node, two)])
  await gated.reached
  gated.open()
  await both
  assert.equal(registry.getView(registry.getLocal('own').id).totals.root.count, 100)
  await verifyWhole(node)
  const { g: marked = 0 } = await countTables(node.records)
  assert.ok(marked > 0)
  node.clock.now += 11 * MINUTE_MS
  await node.ledger.clearLeftovers()
  const { g, v } = await countTables(node.records)
  assert.deepEqual([g, v], [0, 100 + 60 + 60])
})

function maintain(node: LedgerNode): Maintenance {
  return new Maintenance({
    ledger: node.ledger,
    blobs: node.blobs,
    audit: new AuditLog(node.records, () => node.clock.now),
    fetchBlob: async () => {
      throw new FeedmeshError('NOT_FOUND', 'no peers')
    },
    pinned: () => [],
  })
}

test('gc spares the files that rows on their way name, and the feed they are of', async () => {
  const content = Buffer.from('content of a file')
  const feed = new SignedFeed('remote')
  feed.sign([{ ...rowOf('v/1'), files: [{ role: 'file', digest: sha256Digest(content), size: content.length }] }])
  const node = await openLedgerNode()
  await node.ledger.learnFeed(feed.charters)
  const shadow = await openShadow(node, feed)
  await shadow.put(feed.rows.map(encodeRow))
  await shadow.settle()
  await using staged = await node.blobs.stage({ maxBytes: 100 })
  await staged.write(content)
  await node.records.write((await staged.seal()).writes)
  const kept = await maintain(node).reclaim({ isDryRun: false }, ACTOR)
  assert.deepEqual([kept.blobs, kept.feeds], [0, 0])
  await shadow[Symbol.asyncDispose]()
  const rest = await maintain(node).reclaim({ isDryRun: true }, ACTOR)
  assert.deepEqual([rest.blobs, rest.feeds], [1, 1])
  await maintain(node).reclaim({ isDryRun: false }, ACTOR)
  const { r, S, n, s } = await countTables(node.records)
  assert.deepEqual([r, S, n, s], [0, 0, 0, 0])
})

test('a shadow that nobody took up for a week is given up', async () => {
  const feed = signed(rowsFrom(0, 40))
  const node = await openWith(feed)
  const shadow = await openShadow(node, feed)
  await shadow.put(feed.rows.map(encodeRow))
  const day = 24 * 60 * MINUTE_MS
  node.clock.now += 8 * day
  await node.ledger.clearLeftovers()
  assert.equal((await shadow.settle()).count, 40)
  await shadow[Symbol.asyncDispose]()
  await node.ledger.clearLeftovers()
  const { r, S } = await countTables(node.records)
  assert.deepEqual([r, S], [0, 0])
})

test('a view that is kept again after a while is not the one of the time before', async () => {
  const feed = signed(rowsFrom(0, 40))
  const node = await openWith(feed)
  await adoptByShadow(node, feed)
  await node.ledger.removeFeed('own')
  const second = await node.createFeed('second')
  await node.ledger.adopt({
    verified: [],
    writes: charterWritesOf(node, feed),
    absent: new Set(),
    verifyReady: async () => {},
  })
  await node.ledger.amendCharter(node.ledger.registry.getLocal(second.name).id, () => ({
    includes: [{ ...pull('x'), feedId: feedIdBytes(feed.feedId) }],
  }))
  await verifyWhole(node)
  node.clock.now += 11 * MINUTE_MS
  await node.ledger.clearLeftovers()
  await verifyWhole(node)
  assert.equal((await unitsOf(node, 'second')).length, 20)
})
