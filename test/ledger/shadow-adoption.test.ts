/** States that come by a shadow are adopted as those that come as a difference: same rows, roots, views and summaries. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { type FeedId, feedIdBytes, type Inclusion } from '../../src/catalog/charter.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import type { Row } from '../../src/catalog/row.ts'
import { prepareAdoption, type VerifiedState } from '../../src/ledger/adopt.ts'
import { isWholeState, isWholeView } from '../../src/ledger/stored-state.ts'
import { listUnits } from '../../src/ledger/view-index.ts'
import { keys } from '../../src/store/keys.ts'
import type { KeyRange, Records, Write } from '../../src/store/records.ts'
import { inclusionOf, rowsOfOne } from '../support/arbitrary-world.ts'
import { idOf, pull } from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import { type LedgerNode, openLedgerNode } from '../support/ledger-node.ts'
import { charterWritesOf, prepareByShadow } from '../support/shadowed-state.ts'
import { SignedFeed } from '../support/signed-feed.ts'

const NAMES = ['a', 'b', 'c'] as const
type Name = (typeof NAMES)[number]

function includes(feed: SignedFeed, style = pull('x')): Inclusion {
  return { ...style, feedId: feedIdBytes(feed.feedId) }
}

class Observer {
  readonly node: LedgerNode
  readonly #known = new Map<FeedId, readonly Row[]>()

  private constructor(node: LedgerNode) {
    this.node = node
  }

  static async open(feeds: readonly SignedFeed[], manyRows: number): Promise<Observer> {
    const node = await openLedgerNode({ manyRows })
    await node.createFeed('own')
    const own = node.ledger.registry.getLocal('own').id
    for (const feed of feeds) await node.ledger.learnFeed(feed.charters)
    await node.ledger.amendCharter(own, () => ({ includes: feeds.map((feed) => includes(feed)) }))
    return new Observer(node)
  }

  /** Together; those in `shadowed` by a shadow. */
  async adopt(feeds: readonly SignedFeed[], shadowed: ReadonlySet<SignedFeed>): Promise<void> {
    const { ledger } = this.node
    const verified: VerifiedState[] = []
    const writes: Write[] = []
    for (const feed of feeds) {
      verified.push(
        shadowed.has(feed)
          ? await prepareByShadow(this.node, feed)
          : await prepareAdoption(ledger.registry, feed.stateAfter(this.#known.get(feed.feedId) ?? [])),
      )
      writes.push(...charterWritesOf(this.node, feed))
    }
    await ledger.adopt({ verified, writes, absent: new Set(), verifyReady: async () => {} })
    for (const feed of feeds) this.#known.set(feed.feedId, feed.rows)
  }

  /** What is stored of states and views, without numbers, generations and times. */
  async contents(feeds: readonly SignedFeed[]): Promise<unknown> {
    const { records, registry } = { records: this.node.records, registry: this.node.ledger.registry }
    const states = []
    const views = []
    for (const { feedId } of feeds) {
      const state = registry.getState(feedId)
      assert.ok(await isWholeState(records, state))
      const { number, generation } = state
      const [rows, nodes] = [keys.rows(number, generation), keys.nodes(number, generation)]
      states.push([state.root, await read(records, rows), await read(records, nodes)])
    }
    for (const view of registry.views.values()) {
      assert.ok(await isWholeView(records, view))
      const { number, generation, totals } = view
      const [rows, nodes] = [keys.viewRows(number, generation), keys.viewNodes(number, generation)]
      views.push([totals, await read(records, rows), await read(records, nodes), await this.#units(view)])
    }
    return { states, views }
  }

  async #units(view: Parameters<typeof listUnits>[1] & { readonly feedId: FeedId }): Promise<unknown[]> {
    const { registry } = this.node.ledger
    const units = []
    for await (const { unit, rows, bytes } of listUnits(this.node.records, view, { limit: 1000 })) {
      const loaded = await registry.loadUnit(registry.getView(view.feedId), unit)
      units.push([unit, rows, bytes, loaded.digest])
    }
    return units
  }
}

async function read(records: Records, range: KeyRange): Promise<[string, string][]> {
  const found: [string, string][] = []
  for await (const [key, value] of records.scan(range))
    found.push([Buffer.from(key.subarray(9)).toString('hex'), Buffer.from(value).toString('hex')])
  return found
}

interface Step {
  readonly changes: readonly { readonly name: Name; readonly rows: readonly Row[]; readonly byShadow: boolean }[]
  /** Whose inclusions change, and to what. */
  readonly others: readonly Name[] | undefined
}

const anyStep: fc.Arbitrary<Step> = fc.record({
  changes: fc.uniqueArray(
    fc.record({ name: fc.constantFrom(...NAMES), rows: rowsOfOne(NAMES), byShadow: fc.boolean() }),
    { minLength: 1, maxLength: 3, selector: ({ name }) => name },
  ),
  others: fc.option(fc.uniqueArray(fc.constantFrom(...NAMES), { maxLength: 2 }), { nil: undefined, freq: 3 }),
})

/** Tombstones of the generator name feeds by their short names: here they are to name the signed ones. Versions name a file. */
function complete(row: Row, ids: ReadonlyMap<string, FeedId>): Row {
  if (row.rowClass === 'immutable') {
    const digest = sha256Digest(row.meta)
    return { ...row, files: [{ role: 'file', digest, size: 7 }] }
  }
  const target = ids.get(Buffer.from(row.meta.subarray(0, 32)).toString('hex'))
  if (row.rowClass !== 'tombstone' || target === undefined || row.meta.length < 32) return row
  return { ...row, meta: Buffer.concat([feedIdBytes(target), row.meta.subarray(32)]) }
}

test('what a node holds does not tell whether a state came by a shadow or as a difference', async () => {
  const edges = fc.array(inclusionOf(['x']), { minLength: 8, maxLength: 8 })
  const steps = fc.array(anyStep, { minLength: 1, maxLength: 6 })
  await fc.assert(
    fc.asyncProperty(steps, edges, fc.constantFrom(0, 5, 10_000), async (run, styles, manyRows) => {
      const feeds = new Map(NAMES.map((name) => [name, new SignedFeed(name)]))
      const ids = new Map(NAMES.map((name) => [idOf(name), feeds.get(name)!.feedId]))
      const all = [...feeds.values()]
      for (const feed of all) feed.sign([])
      const plain = await Observer.open(all, 1_000_000)
      const mixed = await Observer.open(all, manyRows)
      for (const [index, { changes, others }] of run.entries()) {
        const changed = changes.map(({ name }) => feeds.get(name)!)
        const first = changed[0]!
        if (others !== undefined) first.include(others.map((other) => includes(feeds.get(other)!, styles[index])))
        for (const { name, rows } of changes) feeds.get(name)!.sign(rows.map((row) => complete(row, ids)))
        const shadowed = changes.filter(({ byShadow }) => byShadow).map(({ name }) => feeds.get(name)!)
        await plain.adopt(changed, new Set())
        await mixed.adopt(changed, new Set(shadowed))
        assert.deepEqual(await mixed.contents(all), await plain.contents(all))
      }
    }),
    runsOf(40),
  )
})
