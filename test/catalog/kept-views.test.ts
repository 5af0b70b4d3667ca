/** Views as nodes keep them, changed a batch at a time, are what the rules give when everything is computed at once. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type FeedId, feedIdBytes, type Inclusion } from '../../src/catalog/charter.ts'
import { Closure } from '../../src/catalog/closure.ts'
import { placeOf, type Row } from '../../src/catalog/row.ts'
import { buildTrie } from '../../src/catalog/trie.ts'
import { BLOCKED_DIGEST, mergeUnit, viewDigestOf } from '../../src/catalog/view.ts'
import { prepareAdoption } from '../../src/ledger/adopt.ts'
import { charterWrite } from '../../src/ledger/feed-state.ts'
import { inclusionOf, rowsOfOne, UNITS } from '../support/arbitrary-world.ts'
import { idOf, pull, rowOf } from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import { type LedgerNode, openLedgerNode } from '../support/ledger-node.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const NAMES = ['a', 'b', 'c'] as const
type Name = (typeof NAMES)[number]

/** Digest of a kept feed's view, from all rows at once. */
async function computeDigest(node: LedgerNode, viewing: FeedId): Promise<Buffer> {
  const { registry } = node.ledger
  const closure = new Closure(viewing, (id) => registry.charterOf(id))
  const entries: { place: Buffer; digest: Buffer }[] = []
  for (const unit of UNITS) {
    const sources = new Map<FeedId, Row[]>()
    for (const id of closure.members.keys())
      sources.set(
        id,
        (await registry.readSource(id, unit)).map((stored) => stored.row),
      )
    const merged = mergeUnit(closure, sources, unit)
    const add = (key: string, digest: Buffer) => entries.push({ place: placeOf(new Uint8Array(0), unit, key), digest })
    for (const visible of merged.rows) add(visible.row.key, viewDigestOf(visible))
    for (const key of merged.blocked) add(key, BLOCKED_DIGEST)
  }
  return buildTrie(entries.sort((one, two) => one.place.compare(two.place))).hash
}

async function verifyViews(node: LedgerNode): Promise<void> {
  for (const view of node.ledger.registry.views.values())
    assert.deepEqual(view.totals.root.hash, await computeDigest(node, view.feedId))
}

function includes(feed: SignedFeed, style = pull('x')): Inclusion {
  return { ...style, feedId: feedIdBytes(feed.feedId) }
}

class Observer {
  readonly node: LedgerNode
  readonly #known = new Map<FeedId, readonly Row[]>()

  constructor(node: LedgerNode) {
    this.node = node
  }

  static async open(feeds: readonly SignedFeed[]): Promise<Observer> {
    const node = await openLedgerNode()
    await node.createFeed('own')
    const own = node.ledger.registry.getLocal('own').id
    for (const feed of feeds) await node.ledger.learnFeed(feed.charters)
    await node.ledger.amendCharter(own, () => ({ includes: feeds.map((feed) => includes(feed)) }))
    return new Observer(node)
  }

  async adopt(feeds: readonly SignedFeed[]): Promise<void> {
    const { ledger } = this.node
    const verified = []
    const charters = []
    for (const feed of feeds) {
      const state = await prepareAdoption(ledger.registry, feed.stateAfter(this.#known.get(feed.feedId) ?? []))
      verified.push(state)
      for (const charter of feed.charters) charters.push(charterWrite(state.state.number, charter))
    }
    await ledger.adopt({ verified, writes: charters, absent: new Set(), verifyReady: async () => {} })
    for (const feed of feeds) this.#known.set(feed.feedId, feed.rows)
  }

  digestOf(feed: SignedFeed): Buffer {
    return this.node.ledger.registry.getView(feed.feedId).totals.root.hash
  }
}

interface Step {
  readonly name: Name
  readonly rows: readonly Row[]
  readonly others: readonly Name[] | undefined
}

/** Tombstones of the generator name feeds by their short names: here they are to name the signed ones. */
function readdress(row: Row, ids: ReadonlyMap<string, FeedId>): Row {
  const target = ids.get(Buffer.from(row.meta.subarray(0, 32)).toString('hex'))
  if (row.rowClass !== 'tombstone' || target === undefined || row.meta.length < 32) return row
  return { ...row, meta: Buffer.concat([feedIdBytes(target), row.meta.subarray(32)]) }
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  name: fc.constantFrom(...NAMES),
  rows: rowsOfOne(NAMES),
  others: fc.option(fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 2 }), { nil: undefined, freq: 3 }),
})

test('a flag whose row is not there is hidden, whether its feed is the only one with the unit or not', async () => {
  const feed = new SignedFeed('a')
  feed.sign([rowOf('v/1#f', { unit: 'a', rowClass: 'flag' })])
  const observer = await Observer.open([feed])
  await observer.adopt([feed])
  await verifyViews(observer.node)
})

test('feeds change their standing to each other also where a third feed says so', async () => {
  const [one, two, third] = [new SignedFeed('one'), new SignedFeed('two'), new SignedFeed('third')]
  one.sign([rowOf('v/1', { unit: 'a', meta: 'one' })])
  two.sign([rowOf('v/1', { unit: 'a', meta: 'two' })])
  third.sign([])
  one.include([includes(third)])
  one.sign(one.rows)
  const observer = await Observer.open([one, two, third])
  await observer.adopt([one, two, third])
  await verifyViews(observer.node)
  third.include([includes(two)])
  third.sign([])
  await observer.adopt([third])
  await verifyViews(observer.node)
})

test('two nodes that adopt the same states in other orders and groups keep the same views, those that the rules give', async () => {
  const edges = fc.array(inclusionOf(['x']), { minLength: 12, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(fc.array(anyStep, { minLength: 1, maxLength: 8 }), edges, async (steps, styles) => {
      const feeds = new Map(NAMES.map((name) => [name, new SignedFeed(name)]))
      const ids = new Map(NAMES.map((name) => [idOf(name), feeds.get(name)!.feedId]))
      const all = [...feeds.values()]
      for (const feed of all) feed.sign([])
      const [eager, late] = [await Observer.open(all), await Observer.open(all)]
      await eager.adopt(all)
      for (const [index, { name, rows, others }] of steps.entries()) {
        const feed = feeds.get(name)!
        const style = styles[index]!
        if (others !== undefined) feed.include(others.map((other) => includes(feeds.get(other)!, style)))
        feed.sign(rows.map((row) => readdress(row, ids)))
        await eager.adopt([feed])
        await verifyViews(eager.node)
      }
      await late.adopt(all.toReversed())
      await verifyViews(late.node)
      for (const feed of all) assert.deepEqual(eager.digestOf(feed), late.digestOf(feed))
    }),
    runsOf(40),
  )
})
