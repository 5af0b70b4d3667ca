/** Feeds that include each other, as values: charters without signatures and rows, and what a viewing feed makes of them. */

import { type Charter, DEFAULT_FRESHNESS, type FeedId, feedIdBytes, type Inclusion } from '../../src/catalog/charter.ts'
import { Closure } from '../../src/catalog/closure.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { contentDigest, placeOf, type Row, type RowClass } from '../../src/catalog/row.ts'
import { buildTrie } from '../../src/catalog/trie.ts'
import {
  BLOCKED_DIGEST,
  encodeTombstone,
  type MergedUnit,
  mergeUnit,
  tombstoneKey,
  viewDigestOf,
} from '../../src/catalog/view.ts'

/** A feed's id from a short name; ids sort as the names do. */
export function idOf(name: string): FeedId {
  return Buffer.from(name.padEnd(32, '.')).toString('hex').slice(0, 64)
}

type InclusionChange = Partial<Omit<Inclusion, 'feedId' | 'rights'>> & Partial<Inclusion['rights']>

function inclusion(name: string, base: InclusionChange, change: InclusionChange): Inclusion {
  const all = {
    rank: 'above' as const,
    scope: [],
    through: 4,
    mayDelete: 1,
    mayTag: 1,
    mayExtend: 1,
    ...base,
    ...change,
  }
  const { rank, scope, through, mayDelete, mayTag, mayExtend } = all
  return { feedId: feedIdBytes(idOf(name)), rank, scope, through, rights: { mayDelete, mayTag, mayExtend } }
}

/** As `inclusionFor` makes them for the modes. */
export const pull = (name: string, change: InclusionChange = {}): Inclusion => inclusion(name, {}, change)
export const mirror = (name: string, change: InclusionChange = {}): Inclusion =>
  inclusion(name, { rank: 'beside' }, change)
export const offer = (name: string, change: InclusionChange = {}): Inclusion =>
  inclusion(name, { rank: 'below', through: 0, mayDelete: 0, mayTag: 0, mayExtend: 0 }, change)

export function charterFor(name: string, includes: readonly Inclusion[]): Charter {
  return {
    feedId: feedIdBytes(idOf(name)),
    feedType: 'npm',
    owner: sha256(`owner of ${name}`),
    recovery: sha256(`recovery of ${name}`),
    generation: 0,
    epoch: 1,
    version: 2,
    previous: sha256(name),
    salt: sha256(`salt of ${name}`).subarray(0, 16),
    issuedAt: 0,
    freshness: DEFAULT_FRESHNESS,
    indexKeys: [],
    includes,
    lastGood: null,
  }
}

export interface RowParts {
  readonly unit?: string
  readonly rowClass?: RowClass
  readonly stamp?: number
  readonly meta?: string
}

export function rowOf(key: string, parts: RowParts = {}): Row {
  const { unit = 'u', rowClass = 'immutable', stamp = 1, meta = '' } = parts
  return { rowClass, stamp: BigInt(stamp), unit, key, meta: Buffer.from(meta), files: [] }
}

/** A tombstone on a row of the feed `owner`. */
export function tombstoneOn(owner: string, target: Row, stamp = 1): Row {
  const feedId = idOf(owner)
  const content = contentDigest(target)
  const meta = encodeTombstone({ feedId, key: target.key, stamp: target.stamp, content })
  const key = tombstoneKey(feedId, target.key)
  return { rowClass: 'tombstone', stamp: BigInt(stamp), unit: target.unit, key, meta, files: [] }
}

/** Feeds by name: what they include and what rows they have. A feed that is not in it is absent. */
export type World = Readonly<
  Record<string, { readonly includes?: readonly Inclusion[]; readonly rows?: readonly Row[] }>
>

export function closureOf(world: World, viewing: string): Closure {
  const charters = new Map(
    Object.entries(world).map(([name, feed]) => [idOf(name), charterFor(name, feed.includes ?? [])]),
  )
  return new Closure(idOf(viewing), (id) => charters.get(id))
}

export function rowsIn(world: World, unit: string): Map<FeedId, Row[]> {
  return new Map(
    Object.entries(world).map(([name, feed]) => [idOf(name), (feed.rows ?? []).filter((row) => row.unit === unit)]),
  )
}

export function viewOf(world: World, viewing: string, unit = 'u'): MergedUnit {
  return mergeUnit(closureOf(world, viewing), rowsIn(world, unit), unit)
}

/** What is visible, short: key → metadata, or `blocked`. */
export function visibleIn(world: World, viewing: string, unit = 'u'): Record<string, string> {
  const { rows, blocked } = viewOf(world, viewing, unit)
  const visible = rows.map(({ row }) => [
    row.key,
    row.rowClass === 'burn' ? 'burned' : Buffer.from(row.meta).toString(),
  ])
  return Object.fromEntries([...visible, ...blocked.map((key) => [key, 'blocked'])])
}

export function unitsOf(world: World): string[] {
  return [...new Set(Object.values(world).flatMap((feed) => (feed.rows ?? []).map((row) => row.unit)))].sort()
}

/** Digest of a feed's view, computed from the rows at once. */
export function viewDigest(world: World, viewing: string): Buffer {
  const closure = closureOf(world, viewing)
  const entries = unitsOf(world).flatMap((unit) => {
    const { rows, blocked } = mergeUnit(closure, rowsIn(world, unit), unit)
    const place = (key: string) => placeOf(new Uint8Array(0), unit, key)
    return [
      ...rows.map((visible) => ({ place: place(visible.row.key), digest: viewDigestOf(visible) })),
      ...blocked.map((key) => ({ place: place(key), digest: BLOCKED_DIGEST })),
    ]
  })
  return buildTrie(entries.sort((a, b) => a.place.compare(b.place))).hash
}
