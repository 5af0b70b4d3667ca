/** Random worlds of feeds for property tests: small, and with every rule of the view in reach. */

import fc from 'fast-check'
import { feedIdBytes, type Inclusion } from '../../src/catalog/charter.ts'
import type { Row, RowClass } from '../../src/catalog/row.ts'
import { idOf, rowOf, tombstoneOn, type World } from './feed-graph.ts'

export const UNITS = ['a', 'ab', 'b'] as const
const SCOPES: readonly (readonly string[])[] = [[], [], ['*'], ['a*'], ['b'], ['a', 'b']]
const bit = fc.integer({ min: 0, max: 1 })

export function inclusionOf(names: readonly string[]): fc.Arbitrary<Inclusion> {
  return fc
    .record({
      name: fc.constantFrom(...names),
      rank: fc.constantFrom('above' as const, 'beside' as const, 'below' as const),
      scope: fc.constantFrom(...SCOPES),
      mayDelete: bit,
      mayTag: bit,
      mayExtend: bit,
      through: fc.integer({ min: 0, max: 4 }),
    })
    .map(({ name, rank, scope, through, ...rights }) => ({
      feedId: feedIdBytes(idOf(name)),
      rank,
      scope,
      rights,
      through,
    }))
}

const KEYS = ['v/1', 'v/2', 'tag/x', 'tag/y', 'v/1#f', 'v/2#f'] as const

function likelyClass(key: string): fc.Arbitrary<RowClass> {
  if (key.includes('#')) return fc.constant('flag')
  if (key.startsWith('tag/')) return fc.constant('register')
  const classes: RowClass[] = ['immutable', 'immutable', 'immutable', 'burn', 'register', 'unknown-200']
  return fc.constantFrom(...classes)
}

const content: fc.Arbitrary<Row> = fc.constantFrom(...KEYS).chain((key) =>
  fc
    .record({
      unit: fc.constantFrom(...UNITS),
      rowClass: likelyClass(key),
      stamp: fc.integer({ min: 1, max: 6 }),
      meta: fc.constantFrom('x', 'y'),
    })
    .map((parts) => rowOf(key, parts)),
)

function tombstone(names: readonly string[]): fc.Arbitrary<Row> {
  const broken = fc.uint8Array({ maxLength: 90 })
  return fc
    .tuple(fc.constantFrom(...names), content, fc.option(broken, { nil: undefined, freq: 6 }))
    .map(([owner, target, meta]) => {
      const row = tombstoneOn(owner, target)
      return meta === undefined ? row : { ...row, meta }
    })
}

/** Distinct (unit, key). */
export function rowsOfOne(names: readonly string[]): fc.Arbitrary<Row[]> {
  const row = fc.oneof({ arbitrary: content, weight: 4 }, { arbitrary: tombstone(names), weight: 1 })
  return fc.uniqueArray(row, { maxLength: 8, selector: ({ unit, key }) => `${unit}\0${key}` })
}

/** `names` are feeds that exist; `all` may also be included and pointed at without being there. */
export function worldOf(names: readonly string[], all: readonly string[] = [...names, 'absent']): fc.Arbitrary<World> {
  const feed = fc.record({ includes: fc.array(inclusionOf(all), { maxLength: 4 }), rows: rowsOfOne(all) })
  return fc
    .tuple(...names.map(() => feed))
    .map((feeds) => Object.fromEntries(names.map((name, index) => [name, feeds[index]!])))
}
