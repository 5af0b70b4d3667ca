import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import type { RowDraft } from '../../src/feeds/feed.ts'
import { keys } from '../../src/store/keys.ts'
import { openLedgerNode } from '../support/ledger-node.ts'

function version(number: string, meta = 'm'): RowDraft {
  return { key: `v/${number}`, rowClass: 'immutable', meta: Buffer.from(meta), files: [] }
}

test('what was published is in the unit, in the list, and under a new signed manifest', async () => {
  const node = await openLedgerNode()
  const feed = await node.createFeed('packages')
  const state = () => [...node.ledger.registry.states.values()][0]!
  assert.equal(state().manifest?.value.seq, 1)
  await feed.change('left', (current) => {
    assert.equal(current, undefined)
    return { put: [version('1.0.0')] }
  })
  const unit = await feed.findUnit('left')
  assert.deepEqual(
    unit?.rows.map((row) => row.key),
    ['v/1.0.0'],
  )
  assert.equal(state().manifest?.value.seq, 2)
  assert.equal(state().manifest?.value.entries, 1)
  const names = await Array.fromAsync(feed.list({ limit: 10 }))
  assert.deepEqual(
    names.map((summary) => summary.unit),
    ['left'],
  )
})

test('an immutable row cannot be replaced, and the refusal leaves nothing behind', async () => {
  const node = await openLedgerNode()
  const feed = await node.createFeed('packages')
  await feed.change('left', () => ({ put: [version('1.0.0')] }))
  const before = [...node.ledger.registry.states.values()][0]
  await assert.rejects(
    feed.change('left', () => ({ put: [version('1.0.0', 'other')] })),
    (error) => isFeedmeshError(error, 'EXISTS'),
  )
  assert.equal([...node.ledger.registry.states.values()][0], before)
})

test('changes that arrive together share a manifest, and one refusal does not touch the others', async () => {
  const node = await openLedgerNode()
  const feed = await node.createFeed('packages')
  const results = await Promise.allSettled([
    feed.change('a', () => ({ put: [version('1.0.0')] })),
    feed.change('a', () => ({ put: [version('1.0.0')] })),
    feed.change('a', () => ({ put: [version('2.0.0')] })),
    feed.change('b', () => ({ put: [version('1.0.0')] })),
  ])
  assert.deepEqual(
    results.map((result) => result.status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
  const state = [...node.ledger.registry.states.values()][0]
  assert.ok((state?.manifest?.value.seq ?? 9) <= 3)
  assert.equal((await feed.findUnit('a'))?.rows.length, 2)
})

test('metadata over 1 KiB is kept as a blob and read back byte for byte', async () => {
  const node = await openLedgerNode()
  const feed = await node.createFeed('packages')
  const long = 'x'.repeat(5000)
  await feed.change('left', () => ({ put: [version('1.0.0', long)] }))
  const [row] = (await feed.findUnit('left'))?.rows ?? []
  assert.ok(row)
  assert.deepEqual(row.files, [])
  assert.equal(Buffer.from(await feed.readMeta(row)).toString(), long)
})

test('a node reopened over the same records has the same feeds, units and digest', async () => {
  const node = await openLedgerNode()
  const feed = await node.createFeed('packages')
  for (let index = 0; index < 100; index += 1)
    await feed.change(`p${index % 7}`, () => ({ put: [version(`1.0.${index}`)] }))
  await feed.change('p1', () => ({ drop: ['v/1.0.1'] }))
  const again = await openLedgerNode({
    records: node.records,
    blobs: node.blobs,
    floor: node.floor,
    signer: node.signer,
  })
  const [before, after] = [node, again].map(({ ledger }) => [...ledger.registry.views.values()][0]?.totals)
  assert.deepEqual(after, before)
  assert.equal(again.ledger.registry.getLocal('packages').feedType, 'npm')
})

test('the log keeps its newest operations and says from where on it is there', async () => {
  const node = await openLedgerNode({ keptOperations: 10 })
  const feed = await node.createFeed('packages')
  const [state] = [...node.ledger.registry.states.values()]
  for (let index = 0; index < 40; index += 1)
    await feed.change('a', () => ({
      put: [{ key: 'tag/latest', rowClass: 'register', meta: Buffer.from(`${index}`), files: [] }],
    }))
  const after = node.ledger.registry.getState(state?.feedId ?? '')
  assert.equal(after.manifest?.value.logSize, 40)
  assert.equal(after.logFrom, 30)
  const kept = await Array.fromAsync(node.records.scanKeys(keys.allOperations(after.number)))
  assert.equal(kept.length, 10)
})
