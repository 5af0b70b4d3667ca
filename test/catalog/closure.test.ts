/** The closure: which feeds count, seen from one of them, and what each may do there. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import {
  type Charter,
  type FeedId,
  feedIdBytes,
  feedIdText,
  MAX_CLOSURE,
  MAX_THROUGH_FEEDS,
} from '../../src/catalog/charter.ts'
import { Closure, type Member } from '../../src/catalog/closure.ts'
import { isInScope } from '../../src/catalog/glob.ts'
import { inclusionOf, UNITS, worldOf } from '../support/arbitrary-world.ts'
import { charterFor, closureOf, idOf, mirror, offer, pull, type World } from '../support/feed-graph.ts'
import { runsOf } from '../support/fuzz-runs.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const

interface Path {
  readonly target: FeedId
  readonly level: number
  readonly scopes: readonly (readonly string[])[]
  readonly rights: readonly number[]
}

/** Every path from `viewing`, one by one: what the closure has to say in total. */
function allPaths(world: World, viewing: string): Path[] {
  const includesOf = new Map(Object.entries(world).map(([name, feed]) => [idOf(name), feed.includes ?? []]))
  const found: Path[] = []
  const walk = (from: Path, remaining: number) => {
    if (remaining === 0) return
    for (const edge of includesOf.get(from.target) ?? []) {
      const target = feedIdText(edge.feedId)
      if (target === idOf(viewing)) continue
      const { mayDelete, mayTag, mayExtend } = edge.rights
      const below = edge.rank === 'below'
      const path: Path = {
        target,
        level: from.level + (below ? 1 : 0),
        scopes: [...from.scopes, edge.scope],
        rights: [from.rights[0]! & mayDelete, from.rights[1]! & mayTag, from.rights[2]! & (below ? mayExtend : 1)],
      }
      found.push(path)
      walk(path, Math.min(remaining - 1, edge.through))
    }
  }
  walk({ target: idOf(viewing), level: 0, scopes: [], rights: [1, 1, 1] }, Number.MAX_SAFE_INTEGER)
  return found
}

test('a feed counts as the sum of all paths to it says', () => {
  fc.assert(
    fc.property(worldOf(NAMES), (world) => {
      const closure = closureOf(world, 'a')
      const paths = Map.groupBy(allPaths(world, 'a'), (path) => path.target)
      assert.deepEqual([...closure.members.keys()].sort(), [idOf('a'), ...paths.keys()].sort())
      for (const [id, ways] of paths) {
        const member = closure.members.get(id)!
        assert.equal(member.level, Math.min(...ways.map((way) => way.level)))
        const any = (index: number) => ways.some((way) => way.rights[index] === 1)
        assert.deepEqual([member.mayDelete, member.mayTag, member.mayExtend], [any(0), any(1), any(2)])
        for (const unit of UNITS) {
          const isSeen = ways.some((way) => way.scopes.every((scope) => isInScope(scope, unit)))
          assert.equal(closure.isInScope(member, unit), isSeen, unit)
        }
      }
    }),
    runsOf(500),
  )
})

test('scopes intersect along a path and unite over paths', () => {
  const world: World = {
    a: { includes: [pull('b', { scope: ['x*'] }), pull('c')] },
    b: { includes: [pull('d', { scope: ['*y', 'z'] })] },
    c: { includes: [pull('d', { scope: ['only'] })] },
  }
  const closure = closureOf(world, 'a')
  const d = closure.members.get(idOf('d'))!
  const seen = ['xy', 'x', 'y', 'z', 'only', 'x-y'].filter((unit) => closure.isInScope(d, unit))
  assert.deepEqual(seen, ['xy', 'only', 'x-y'])
})

test('an offer reaches itself alone, a pull four steps further', () => {
  const chain: World = Object.fromEntries(
    Array.from({ length: 9 }, (_, index) => [`f${index}`, { includes: [pull(`f${index + 1}`)] }]),
  )
  assert.deepEqual([...closureOf(chain, 'f0').members.keys()], ['f0', 'f1', 'f2', 'f3', 'f4', 'f5'].map(idOf))
  const offered = { ...chain, f0: { includes: [offer('f1')] } }
  assert.deepEqual([...closureOf(offered, 'f0').members.keys()], ['f0', 'f1'].map(idOf))
})

test('a feed first reached where the way ends is gone on from where a longer way does not', () => {
  const world: World = {
    a: { includes: [pull('s')] },
    s: { includes: [offer('x'), pull('m')] },
    m: { includes: [pull('x')] },
    x: { includes: [pull('y')] },
  }
  assert.ok(closureOf(world, 'a').members.has(idOf('y')))
})

/** Neither a better level nor rights nor scope nor rank over another. */
function assertNotRaised(after: Closure, before: Closure, id: FeedId): void {
  const [now, then] = [after.members.get(id), before.members.get(id)]
  if (now === undefined) return
  assert.ok(then !== undefined && now.level >= then.level)
  for (const right of ['mayDelete', 'mayTag', 'mayExtend'] as const) assert.ok(!now[right] || then[right], right)
  for (const unit of UNITS) assert.ok(!after.isInScope(now, unit) || before.isInScope(then, unit))
  for (const other of before.members.values()) {
    const still = after.members.get(other.feedId)
    if (still !== undefined && after.outranks(now, still))
      assert.ok(before.outranks(then, other) || isRaisedOnly(still, other))
  }
}

/** The other feed stood worse before: what the charter says of others is its own business. */
function isRaisedOnly(after: Member, before: Member): boolean {
  return after.level !== before.level
}

test('no charter raises its own feed', () => {
  fc.assert(
    fc.property(
      worldOf(NAMES),
      fc.constantFrom('b', 'c', 'd'),
      fc.array(inclusionOf([...NAMES, 'absent']), { maxLength: 6 }),
      (world, name, includes) => {
        const silent = closureOf({ ...world, [name]: {} }, 'a')
        const isKnown = (target: Uint8Array) => silent.members.has(feedIdText(target))
        const among = includes.filter((edge) => isKnown(edge.feedId))
        const said = closureOf({ ...world, [name]: { includes: among } }, 'a')
        // A charter may bring in further feeds; what those say, and what others say of them, is not its own word.
        if (said.members.size === silent.members.size) assertNotRaised(said, silent, idOf(name))
      },
    ),
    runsOf(500),
  )
})

test('a feed that says of itself, or has the other say in a loop, that it stands above stays where it was', () => {
  for (const includes of [[pull('b')], [pull('c'), pull('a')], [mirror('a'), pull('c'), offer('a')]]) {
    for (const standing of [offer('b'), mirror('b'), pull('b', { rank: 'below' })]) {
      const world: World = { a: { includes: [standing, pull('c')] }, b: { includes }, c: {} }
      const closure = closureOf(world, 'a')
      const [a, b] = [closure.members.get(idOf('a'))!, closure.members.get(idOf('b'))!]
      assert.ok(!closure.outranks(b, a))
      assert.deepEqual(b, closureOf({ ...world, b: {} }, 'a').members.get(idOf('b')))
    }
  }
})

test('rights to act need every inclusion on some way, and the consent or a worse level of the other feed', () => {
  const world: World = {
    a: { includes: [mirror('b'), pull('c'), pull('d', { rank: 'below' })] },
    b: { includes: [mirror('a')] },
    c: {},
    d: { includes: [mirror('c')] },
  }
  const closure = closureOf(world, 'a')
  const may = (actor: string, target: string) =>
    closure.mayAct('delete', closure.members.get(idOf(actor))!, closure.members.get(idOf(target))!)
  assert.deepEqual(
    [may('a', 'b'), may('b', 'a'), may('c', 'a'), may('a', 'c'), may('c', 'b'), may('c', 'd'), may('d', 'c')],
    [true, true, true, false, true, true, false],
  )
})

/** Charters by number, made when asked for. */
function lazyCharters(includesOf: (index: number) => readonly number[], scoped = false) {
  const made = new Map<FeedId, Charter>()
  const count = { reads: 0 }
  const idAt = (index: number): FeedId => index.toString(16).padStart(64, '0')
  const charterOf = (id: FeedId): Charter => {
    count.reads += 1
    const known = made.get(id)
    if (known !== undefined) return known
    const index = Number.parseInt(id, 16)
    const includes = includesOf(index).map((target, at) => ({
      ...pull('x', scoped ? { scope: [`${index}-${at}*`] } : {}),
      feedId: feedIdBytes(idAt(target)),
    }))
    const charter = { ...charterFor('x', includes), feedId: feedIdBytes(id) }
    made.set(id, charter)
    return charter
  }
  return { idAt, charterOf, count }
}

test('large graphs are cut at 64 feeds an inclusion and 512 in all, nearest first, with a bounded number of steps', () => {
  const wide = lazyCharters((index) => Array.from({ length: 512 }, (_, at) => (index * 7 + at + 1) % 700))
  const closure = new Closure(wide.idAt(0), wide.charterOf)
  assert.equal(closure.members.size, MAX_CLOSURE + 1)
  const direct = Array.from({ length: 512 }, (_, at) => wide.idAt(at + 1))
  assert.deepEqual(new Set(closure.members.keys()), new Set([wide.idAt(0), ...direct]))
  const narrow = lazyCharters((index) => (index < 3 ? [index + 1] : Array.from({ length: 512 }, (_, at) => 1000 - at)))
  const through = new Closure(narrow.idAt(0), narrow.charterOf)
  assert.equal(through.members.size, 1 + 1 + MAX_THROUGH_FEEDS)
  const lowest = [...through.members.keys()].filter((id) => Number.parseInt(id, 16) > 3)
  assert.equal(Math.max(...lowest.map((id) => Number.parseInt(id, 16))), 489 + MAX_THROUGH_FEEDS - 3)
  assert.ok(wide.count.reads <= 3 * 700, `${wide.count.reads} charters were read`)
})

test('feeds that all include each other with a scope of their own take a bounded number of steps and memory', () => {
  const clique = lazyCharters(() => Array.from({ length: 60 }, (_, at) => at), true)
  const closure = new Closure(clique.idAt(0), clique.charterOf)
  assert.equal(closure.members.size, 60)
  const ways = [...closure.members.values()].reduce((sum, member) => sum + member.scopes.length, 0)
  assert.ok(ways < 60 * 60 * 16, `${ways} ways`)
  assert.ok(clique.count.reads <= 3 * 60, `${clique.count.reads} charters were read`)
})
