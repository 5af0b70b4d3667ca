/** The rules of the view (protocols/mesh/README.md): each as a scenario that a wrong rule fails, and over random worlds. */

import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { Closure, Member } from '../../src/catalog/closure.ts'
import { contentDigest, type Row } from '../../src/catalog/row.ts'
import { decodeTombstone, mergeUnit, type TombstoneTarget } from '../../src/catalog/view.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { isClosed } from '../../src/ledger/adopt.ts'
import { inclusionOf, rowsOfOne, UNITS, worldOf } from '../support/arbitrary-world.ts'
import {
  closureOf,
  idOf,
  mirror,
  offer,
  pull,
  rowOf,
  rowsIn,
  tombstoneOn,
  viewDigest,
  viewOf,
  visibleIn,
  type World,
} from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'

const NAMES = ['a', 'b', 'c', 'd', 'e'] as const
const anyWorld = worldOf(NAMES)

function shuffled<T>(items: readonly T[], seed: number): T[] {
  return items
    .map((item, index) => [(Math.imul(index + 1, seed * 2 + 1) >>> 0) % 1009, item] as const)
    .sort(([a], [b]) => a - b)
    .map(([, item]) => item)
}

function reordered(world: World, seed: number): World {
  const feeds = Object.entries(world).map(([name, feed]) => [name, { ...feed, rows: shuffled(feed.rows ?? [], seed) }])
  return Object.fromEntries(shuffled(feeds, seed))
}

/** The feed has those of `added`, too, whose keys it did not have. */
function withRows(world: World, name: string, added: readonly Row[]): World {
  const own = world[name]?.rows ?? []
  const has = (row: Row) => own.some((one) => one.unit === row.unit && one.key === row.key)
  return { ...world, [name]: { ...world[name], rows: [...own, ...added.filter((row) => !has(row))] } }
}

describe('the view is a function of the cut', () => {
  test('whatever order rows and feeds are kept in', () => {
    fc.assert(
      fc.property(anyWorld, fc.nat(1000), (world, seed) => {
        for (const unit of UNITS) assert.deepEqual(viewOf(reordered(world, seed), 'a', unit), viewOf(world, 'a', unit))
        assert.deepEqual(viewDigest(reordered(world, seed), 'a'), viewDigest(world, 'a'))
      }),
      runsOf(300),
    )
  })

  test('a flag on a register is seen whether its row was kept before or after it', () => {
    const rows = [rowOf('tag/x#f', { rowClass: 'flag', meta: 'flagged' }), rowOf('tag/x', { rowClass: 'register' })]
    for (const order of [rows, rows.toReversed()])
      assert.deepEqual(visibleIn({ a: { rows: order } }, 'a'), { 'tag/x': '', 'tag/x#f': 'flagged' })
  })
})

describe('versions', () => {
  const clash: World = {
    one: { rows: [rowOf('v/1', { meta: 'one' })] },
    two: { rows: [rowOf('v/1', { meta: 'two' })] },
  }

  test('of equal standing with other bytes are blocked for every viewer', () => {
    const viewers: Record<string, World[string]> = {
      both: { includes: [pull('one'), pull('two')] },
      far: { includes: [pull('both')] },
      mirror: { includes: [mirror('one'), mirror('two')] },
    }
    for (const viewing of Object.keys(viewers))
      assert.deepEqual(visibleIn({ ...clash, ...viewers }, viewing), { 'v/1': 'blocked' }, viewing)
  })

  test('of equal standing with the same bytes are one, the first one written', () => {
    const same = { one: { rows: [rowOf('v/1', { stamp: 7 })] }, two: { rows: [rowOf('v/1', { stamp: 3 })] } }
    const { rows, blocked } = viewOf({ ...same, a: { includes: [pull('one'), pull('two')] } }, 'a')
    assert.deepEqual([rows.map((visible) => visible.feedId), blocked], [[idOf('two')], []])
  })

  test('of the feed that stands above win, and nothing ranked lower changes them', () => {
    const a = { includes: [pull('one')], rows: [rowOf('v/1', { meta: 'mine' })] }
    assert.deepEqual(visibleIn({ ...clash, a }, 'a'), { 'v/1': 'one' })
    const below = { includes: [pull('one'), pull('two', { rank: 'below' as const })] }
    assert.deepEqual(visibleIn({ ...clash, a: below }, 'a'), { 'v/1': 'one' })
  })

  test('round a loop of feeds that each say the other stands above are of equal standing', () => {
    const world: World = {
      one: { includes: [pull('two')], rows: clash.one?.rows ?? [] },
      two: { includes: [pull('one')], rows: clash.two?.rows ?? [] },
    }
    for (const viewing of ['one', 'two']) assert.deepEqual(visibleIn(world, viewing), { 'v/1': 'blocked' })
  })

  test('that are visible have the bytes of every row that nothing outranks', () => {
    fc.assert(
      fc.property(anyWorld, (world) => {
        const closure = closureOf(world, 'a')
        for (const unit of UNITS) {
          const sources = rowsIn(world, unit)
          for (const { row } of mergeUnit(closure, sources, unit).rows.filter(
            (one) => one.row.rowClass === 'immutable',
          ))
            for (const rival of standingRivals(closure, sources, row))
              assert.deepEqual(contentDigest(rival), contentDigest(row))
        }
      }),
      runsOf(500),
    )
  })

  test('once visible stay as they are whatever a feed that they outrank adds', () => {
    fc.assert(
      fc.property(anyWorld, fc.constantFrom(...NAMES), rowsOfOne(NAMES), (world, name, added) => {
        const closure = closureOf(world, 'a')
        const lower = closure.members.get(idOf(name))
        if (lower === undefined) return
        const has = (row: Row) => (world[name]?.rows ?? []).some((own) => own.unit === row.unit && own.key === row.key)
        const more = {
          ...world,
          [name]: { ...world[name], rows: [...(world[name]?.rows ?? []), ...added.filter((row) => !has(row))] },
        }
        for (const unit of UNITS) {
          const after = new Map(viewOf(more, 'a', unit).rows.map((visible) => [visible.row.key, visible.row]))
          for (const { row, feedId } of viewOf(world, 'a', unit).rows) {
            const owner = closure.members.get(feedId)!
            if (row.rowClass !== 'immutable' || !closure.outranks(owner, lower)) continue
            if (closure.mayAct('delete', lower, owner)) continue
            const now = after.get(row.key)
            assert.ok(now, `${row.key} of ${unit} is gone`)
            assert.deepEqual(contentDigest(now), contentDigest(row))
          }
        }
      }),
      runsOf(500),
    )
  })
})

/** Whether any feed that may has deleted `target` of the feed `feedId`. */
function isDeleted(
  closure: Closure,
  sources: ReadonlyMap<string, readonly Row[]>,
  target: Row,
  owner: Member,
): boolean {
  return [...closure.members.values()].some((actor) => {
    if (!closure.mayAct('delete', actor, owner)) return false
    const targets = (sources.get(actor.feedId) ?? []).map(findTombstone)
    return targets.some((one) => one?.feedId === owner.feedId && one.key === target.key && one.stamp >= target.stamp)
  })
}

function findTombstone(row: Row): TombstoneTarget | undefined {
  try {
    return row.rowClass === 'tombstone' ? decodeTombstone(row.meta) : undefined
  } catch (error) {
    if (isFeedmeshError(error, 'PEER_INVALID')) return undefined
    throw error
  }
}

/** Immutable rows under the key of `row` that are in scope, not deleted, and neither late nor outranked by any other row there. */
function standingRivals(closure: Closure, sources: ReadonlyMap<string, readonly Row[]>, row: Row): Row[] {
  const members = [...closure.members.values()].filter((member) => closure.isInScope(member, row.unit))
  const hasKey = (member: Member) => sources.get(member.feedId)?.some((one) => one.key === row.key) === true
  const hasAny = (member: Member) => (sources.get(member.feedId) ?? []).some((one) => one.rowClass !== 'flag')
  return members.flatMap((member) => {
    const rival = sources.get(member.feedId)?.find((one) => one.key === row.key && one.rowClass === 'immutable')
    if (rival === undefined || isDeleted(closure, sources, rival, member)) return []
    const isOutranked = members.some((other) => closure.outranks(other, member) && hasKey(other))
    const isLate = !member.mayExtend && members.some((other) => other.level < member.level && hasAny(other))
    return isOutranked || isLate ? [] : [rival]
  })
}

describe('registers', () => {
  const one = { rows: [rowOf('tag/x', { rowClass: 'register' as const, stamp: 5, meta: 'one' })] }
  const two = { rows: [rowOf('tag/x', { rowClass: 'register' as const, stamp: 5, meta: 'two' })] }

  test('have one winner: the later one, at the same time the one of the greater feedId', () => {
    const a = { includes: [mirror('one'), mirror('two')] }
    assert.deepEqual(visibleIn({ a, one, two }, 'a'), { 'tag/x': 'two' })
    const later = { rows: [rowOf('tag/x', { rowClass: 'register' as const, stamp: 6, meta: 'later' })] }
    assert.deepEqual(visibleIn({ a, one: later, two }, 'a'), { 'tag/x': 'later' })
  })

  test('of a feed that is outranked do not win by being newer, also where nobody may tag', () => {
    const noTags = { mayTag: 0 }
    const sources = { one: { rows: [...one.rows, rowOf('v/1')] }, two: { rows: [rowOf('v/2')] } }
    const mine = rowOf('tag/x', { rowClass: 'register', stamp: 9, meta: 'mine' })
    const a = { includes: [pull('one', noTags), pull('two', noTags)], rows: [mine] }
    assert.deepEqual(visibleIn({ a, ...sources }, 'a'), { 'tag/x': 'one', 'v/1': '', 'v/2': '' })
  })
})

describe('an offer', () => {
  const hubRows = [
    rowOf('v/1', { meta: 'hub' }),
    rowOf('tag/x', { rowClass: 'register', stamp: 1, meta: 'hub' }),
    rowOf('v/1#f', { rowClass: 'flag', stamp: 1, meta: 'hub' }),
  ]
  const seen = { 'v/1': 'hub', 'tag/x': 'hub', 'v/1#f': 'hub' }
  const attacks: Record<string, Row[]> = {
    displaces: [rowOf('v/1', { meta: 'evil' })],
    blocks: [tombstoneOn('offered', rowOf('v/1', { meta: 'evil' }), 9)],
    deletes: [tombstoneOn('hub', hubRows[0]!, 9)],
    burns: [rowOf('v/1', { rowClass: 'burn', stamp: 9 })],
    retags: [rowOf('tag/x', { rowClass: 'register', stamp: 9, meta: 'evil' })],
    flags: [rowOf('v/1#f', { rowClass: 'flag', stamp: 9, meta: 'evil' }), rowOf('v/1#g', { rowClass: 'flag' })],
    extends: [rowOf('v/2', { meta: 'evil' }), rowOf('tag/y', { rowClass: 'register', meta: 'evil' })],
    confuses: [{ ...tombstoneOn('hub', hubRows[0]!), meta: Buffer.from('no tombstone') }],
  }
  const hub = { includes: [offer('offered', { scope: ['*'] })], rows: hubRows }
  const spoke = { includes: [pull('hub')] }

  for (const [verb, rows] of Object.entries(attacks)) {
    test(`never ${verb} what the hub has, for the hub, its spokes and through a third feed`, () => {
      const offered = { rows, includes: [pull('hub'), pull('third')] }
      const third = { includes: [pull('offered')], rows: [] }
      const world = { hub, spoke, offered, third }
      for (const viewing of ['hub', 'spoke']) assert.deepEqual(visibleIn(world, viewing), seen, viewing)
    })
  }

  test('fills what the hub does not have, and steps back when it does', () => {
    const offered = { rows: [rowOf('v/9', { meta: 'offered' }), rowOf('v/9', { unit: 'w', meta: 'offered' })] }
    assert.deepEqual(visibleIn({ hub, offered }, 'hub', 'w'), { 'v/9': 'offered' })
    assert.deepEqual(visibleIn({ hub, offered }, 'hub', 'u'), seen)
    const narrow = { ...hub, includes: [offer('offered', { scope: ['x*'] })] }
    assert.deepEqual(visibleIn({ hub: narrow, offered }, 'hub', 'w'), {})
  })

  test('that may extend adds versions and flags nothing', () => {
    const extending = { ...hub, includes: [offer('offered', { mayExtend: 1 })] }
    const offered = {
      rows: Object.values(attacks)
        .flat()
        .filter((row, at, all) => all.findIndex((one) => one.key === row.key) === at),
    }
    assert.deepEqual(visibleIn({ hub: extending, offered }, 'hub'), { ...seen, 'v/2': 'evil', 'tag/y': 'evil' })
  })

  test('that the hub flags stays visible: flags are no rows of the unit', () => {
    const flagging = { includes: [offer('offered')], rows: [rowOf('v/1#f', { rowClass: 'flag', meta: 'bad' })] }
    const offered = { rows: [rowOf('v/1', { meta: 'offered' })] }
    assert.deepEqual(visibleIn({ hub: flagging, offered }, 'hub'), { 'v/1': 'offered', 'v/1#f': 'bad' })
  })

  test('changes no unit of which a better level has a row, whatever it says', () => {
    const trusted = worldOf(['a', 'b', 'c', 'spoke'], ['a', 'b', 'c', 'spoke', 'absent'])
    const offered = fc.record({
      includes: fc.array(inclusionOf([...NAMES, 'spoke']), { maxLength: 4 }),
      rows: rowsOfOne(['a', 'b', 'c', 'o']),
    })
    fc.assert(
      fc.property(trusted, offered, fc.constantFrom('a', 'spoke'), (world, o, viewing) => {
        const without: World = { ...world, o: { ...o, includes: [] } }
        const hubIncludes = [...(world.a?.includes ?? []), offer('o', { scope: ['*'] })]
        const withOffer: World = { ...world, a: { ...world.a, includes: hubIncludes }, o }
        const closure = closureOf(withOffer, viewing)
        const level = closure.members.get(idOf('o'))?.level ?? 0
        for (const unit of UNITS) {
          const before = viewOf(without, viewing, unit)
          const hasBetter = before.rows.some(
            ({ row, feedId }) => row.rowClass !== 'flag' && closure.members.get(feedId)!.level < level,
          )
          if (hasBetter) assert.deepEqual(viewOf(withOffer, viewing, unit), before)
        }
      }),
      runsOf(500),
    )
  })
})

describe('deleting', () => {
  const target = rowOf('v/1', { meta: 'x', stamp: 5 })
  const source = { rows: [target] }

  test('a burned version never comes back', () => {
    fc.assert(
      fc.property(anyWorld, fc.constantFrom(...NAMES), rowsOfOne(NAMES), (world, name, added) => {
        const closure = closureOf(world, 'a')
        const other = closure.members.get(idOf(name))
        if (other === undefined) return
        const more = withRows(world, name, added)
        for (const unit of UNITS) {
          for (const { row, feedId } of viewOf(world, 'a', unit).rows) {
            const owner = closure.members.get(feedId)!
            const isLower =
              row.rowClass === 'burn' && !closure.outranks(other, owner) && !closure.mayAct('delete', other, owner)
            // Somebody who outranks `other` may have been hidden by `other`'s own row until now.
            if (!isLower || other.feedId === feedId) continue
            const now = viewOf(more, 'a', unit).rows.find((visible) => visible.row.key === row.key)
            assert.equal(now?.row.rowClass, 'burn')
          }
        }
      }),
      runsOf(500),
    )
  })

  test('by tombstone needs rights on the way to the feed that says so, and standing over the feed that has the row', () => {
    const moderator = { rows: [tombstoneOn('source', target, 9)] }
    const may = (a: World[string], extra: World = {}) =>
      visibleIn({ a, source, moderator, ...extra }, 'a')['v/1'] === undefined
    assert.ok(may({ includes: [pull('moderator'), pull('source', { rank: 'below' })] }))
    assert.ok(!may({ includes: [pull('moderator'), pull('source')] }), 'equal level, and the source does not let it')
    assert.ok(!may({ includes: [pull('moderator', { mayDelete: 0 }), pull('source', { rank: 'below' })] }))
    const letting = { ...source, includes: [mirror('moderator')] }
    assert.ok(may({ includes: [pull('moderator'), pull('source')] }, { source: letting }))
    const notLetting = { ...source, includes: [mirror('moderator', { mayDelete: 0 })] }
    assert.ok(!may({ includes: [pull('moderator'), pull('source')] }, { source: notLetting }))
    const own = { includes: [pull('source')], rows: [tombstoneOn('source', target, 9)] }
    assert.ok(!may(own), 'the viewing feed is bound as well')
  })

  test('frees no version number: other bytes stay blocked, the same bytes come back', () => {
    const a = { includes: [pull('source', { rank: 'below' as const })], rows: [tombstoneOn('source', target, 9)] }
    const republished = (meta: string) => ({ a, source: { rows: [rowOf('v/1', { meta, stamp: 8 })] } })
    assert.deepEqual(visibleIn(republished('x'), 'a'), { 'v/1': 'x' })
    assert.deepEqual(visibleIn(republished('y'), 'a'), { 'v/1': 'blocked' })
    const twice = { ...a, rows: [...a.rows, tombstoneOn('other', rowOf('v/1', { meta: 'y' }), 9)] }
    const both = { includes: [...a.includes, pull('other', { rank: 'below' as const })], rows: twice.rows }
    for (const meta of ['x', 'y'])
      assert.deepEqual(visibleIn({ ...republished(meta), a: both, other: {} }, 'a'), { 'v/1': 'blocked' })
  })

  test('a tombstone holds no key of a feed that it may not act on', () => {
    const spoke = { rows: [tombstoneOn('spoke', rowOf('v/1', { meta: 'evil' }), 9)] }
    const a = { includes: [pull('source'), pull('spoke', { rank: 'below' as const })] }
    assert.deepEqual(visibleIn({ a, source, spoke }, 'a'), { 'v/1': 'x' })
  })

  test('tombstones without rights, or that are none, change nothing', () => {
    fc.assert(
      fc.property(anyWorld, (world) => {
        const closure = closureOf(world, 'a')
        const isLawful = (name: string, row: Row) => {
          const actor = closure.members.get(idOf(name))
          const owner = closure.members.get(findTombstone(row)?.feedId ?? '')
          const mayDelete = actor !== undefined && owner !== undefined && closure.mayAct('delete', actor, owner)
          return row.rowClass !== 'tombstone' || mayDelete
        }
        const lawful = Object.fromEntries(
          Object.entries(world).map(([name, feed]) => [
            name,
            { ...feed, rows: (feed.rows ?? []).filter((row) => isLawful(name, row)) },
          ]),
        )
        for (const unit of UNITS) assert.deepEqual(viewOf(world, 'a', unit), viewOf(lawful, 'a', unit))
      }),
      runsOf(500),
    )
  })
})

describe('an absent feed', () => {
  test('freezes nobody: what others have is visible, and deps on it count as met', () => {
    const world = { a: { includes: [pull('gone'), pull('there')] }, there: { rows: [rowOf('v/1', { meta: 'here' })] } }
    assert.deepEqual(visibleIn(world, 'a'), { 'v/1': 'here' })
    assert.equal(closureOf(world, 'a').members.get(idOf('gone'))?.absent, true)
    const dep = { feedId: Buffer.from(idOf('gone'), 'hex'), epoch: 1, seq: 7, stateRoot: Buffer.alloc(32) }
    assert.ok(isClosed([dep], new Map(), new Set()))
  })

  test('is like one that includes nothing and has no rows', () => {
    fc.assert(
      fc.property(anyWorld, fc.constantFrom('b', 'c', 'd', 'e'), (world, name) => {
        const { [name]: _gone, ...without } = world
        for (const unit of UNITS)
          assert.deepEqual(viewOf(without, 'a', unit), viewOf({ ...world, [name]: {} }, 'a', unit))
      }),
      runsOf(200),
    )
  })
})

test('rows of classes that later versions may add are kept from everybody', () => {
  const rows = [rowOf('v/1', { rowClass: 'unknown-77' }), rowOf('v/2')]
  const a = { includes: [offer('o')], rows }
  assert.deepEqual(visibleIn({ a, o: { rows: [] } }, 'a'), { 'v/2': '' })
})
