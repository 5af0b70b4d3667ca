/** Views: feeds that include each other, their rows, and what clients of one of them see. */

import { encodeCbor } from '../../../src/catalog/cbor.ts'
import { type Charter, charterShape, DEFAULT_FRESHNESS, feedIdBytes, type FeedId, type Inclusion } from '../../../src/catalog/charter.ts'
import { Closure } from '../../../src/catalog/closure.ts'
import { contentDigest, encodeRow, placeOf, type Row, type RowClass } from '../../../src/catalog/row.ts'
import { buildTrie } from '../../../src/catalog/trie.ts'
import { BLOCKED_DIGEST, encodeTombstone, mergeUnit, tombstoneKey, viewDigestOf } from '../../../src/catalog/view.ts'
import { stampAt } from '../../../src/catalog/stamp.ts'
import { noise, signerOf, START, toJson, type Vector } from './vector.ts'

interface Feed {
  readonly includes?: readonly Inclusion[]
  readonly rows?: readonly Row[]
}
type World = Readonly<Record<string, Feed>>

const idOf = (name: string): FeedId => noise(`feed ${name}`).toString('hex')

type Change = Partial<Omit<Inclusion, 'feedId' | 'rights'>> & Partial<Inclusion['rights']>

function include(name: string, change: Change = {}): Inclusion {
  const all = { rank: 'above' as const, scope: [], through: 4, mayDelete: 1, mayTag: 1, mayExtend: 1, ...change }
  const { rank, scope, through, mayDelete, mayTag, mayExtend } = all
  return { feedId: feedIdBytes(idOf(name)), rank, scope, through, rights: { mayDelete, mayTag, mayExtend } }
}

const pull = include
const mirror = (name: string, change: Change = {}) => include(name, { rank: 'beside', ...change })
const offer = (name: string, change: Change = {}) =>
  include(name, { rank: 'below', through: 0, mayDelete: 0, mayTag: 0, mayExtend: 0, scope: ['*'], ...change })

function charterOf(name: string, includes: readonly Inclusion[]): Charter {
  return {
    feedId: feedIdBytes(idOf(name)),
    feedType: 'npm',
    owner: signerOf(name).publicKey,
    recovery: signerOf(`recovery of ${name}`).publicKey,
    generation: 0,
    epoch: 1,
    version: 2,
    previous: noise(`first charter of ${name}`),
    salt: noise(`salt of ${name}`, 16),
    issuedAt: START,
    freshness: DEFAULT_FRESHNESS,
    indexKeys: [],
    includes,
    lastGood: null,
  }
}

interface Parts {
  readonly unit?: string
  readonly rowClass?: RowClass
  readonly at?: number
  readonly meta?: string
}

function row(key: string, { unit = 'tool', rowClass = 'immutable', at = 0, meta = '' }: Parts = {}): Row {
  return { rowClass, stamp: stampAt(START + at), unit, key, meta: Buffer.from(meta), files: [] }
}

const tag = (meta: string, at = 0): Row => row('tag/latest', { rowClass: 'register', at, meta })

function tombstone(owner: string, target: Row, at = 10): Row {
  const content = contentDigest(target)
  const meta = encodeTombstone({ feedId: idOf(owner), key: target.key, stamp: target.stamp, content })
  return { ...row(tombstoneKey(idOf(owner), target.key), { rowClass: 'tombstone', at, unit: target.unit }), meta }
}

function rowsOf(world: World, unit: string): Map<FeedId, Row[]> {
  return new Map(Object.entries(world).map(([name, feed]) => [idOf(name), (feed.rows ?? []).filter((one) => one.unit === unit)]))
}

function view(name: string, what: string, world: World): Vector {
  const charters = new Map(Object.entries(world).map(([feed, { includes }]) => [idOf(feed), charterOf(feed, includes ?? [])]))
  const closure = new Closure(idOf('viewer'), (id) => charters.get(id))
  const names = [...new Set(Object.values(world).flatMap((feed) => (feed.rows ?? []).map((one) => one.unit)))].sort()
  const units = names.map((unit) => ({ unit, merged: mergeUnit(closure, rowsOf(world, unit), unit) }))
  const entries = units.flatMap(({ unit, merged }) => [
    ...merged.rows.map((visible) => ({ place: placeOf(new Uint8Array(0), unit, visible.row.key), digest: viewDigestOf(visible) })),
    ...merged.blocked.map((key) => ({ place: placeOf(new Uint8Array(0), unit, key), digest: BLOCKED_DIGEST })),
  ])
  const root = buildTrie(entries.sort((a, b) => a.place.compare(b.place)))
  const feeds = Object.keys(world)
  return {
    folder: `vectors/views/${name}`,
    kind: 'view',
    what,
    facts: {
      viewing: idOf('viewer'),
      feeds: feeds.map((feed) => ({
        name: feed,
        feedId: idOf(feed),
        charter: `${feed}-charter.hex`,
        rows: (world[feed]?.rows ?? []).map((one) => toJson(encodeRow(one))),
      })),
      members: [...closure.members.values()].map(({ feedId, level, absent }) => ({ feedId, level, absent })),
      units: units.map(({ unit, merged }) => ({
        unit,
        visible: merged.rows.map((visible) => ({ key: visible.row.key, feedId: visible.feedId, meta: Buffer.from(visible.row.meta).toString() })),
        blocked: merged.blocked,
      })),
      digest: toJson(root.hash),
    },
    bytes: Object.fromEntries(feeds.map((feed) => [`${feed}-charter`, encodeCbor(charterShape, charters.get(idOf(feed))!)])),
  }
}

const one = row('v/1.0.0', { meta: 'one' })
const two = row('v/1.0.0', { meta: 'two' })

export function viewVectors(): Vector[] {
  const below: Change = { rank: 'below' }
  return [
    view('own', 'a feed without inclusions shows its own rows; unknown classes are hidden', {
      viewer: { rows: [one, tag('1.0.0'), row('v/0.9.0', { rowClass: 'burn' }), row('x', { rowClass: 'unknown-99' })] },
    }),
    view('source-wins', 'a source stands above the feed that includes it', { viewer: { includes: [pull('source')], rows: [two, tag('own', 9)] }, source: { rows: [one, tag('1.0.0', 1)] } }),
    view('conflict', 'equal standing and other bytes: blocked', { viewer: { includes: [pull('left'), pull('right')] }, left: { rows: [one] }, right: { rows: [two, row('v/2.0.0')] } }),
    view('same-bytes', 'equal standing and the same bytes: the first writer’s', { viewer: { includes: [pull('left'), pull('right')] }, left: { rows: [{ ...one, stamp: stampAt(START + 5) }] }, right: { rows: [one] } }),
    view('loop', 'two feeds that each place the other above are equal', { viewer: { includes: [pull('other')], rows: [one] }, other: { includes: [pull('viewer')], rows: [two] } }),
    view('registers', 'the later register of equal feeds wins, at the same time the one of the greater feedId', { viewer: { includes: [mirror('left'), mirror('right')] }, left: { rows: [tag('1.0.0', 5), row('tag/next', { rowClass: 'register', meta: 'left' })] }, right: { rows: [tag('2.0.0', 6), row('tag/next', { rowClass: 'register', meta: 'right' })] } }),
    view('offer', 'an offer adds units, and nothing to units that the hub has', { viewer: { includes: [offer('site')], rows: [one] }, site: { rows: [two, row('v/9.0.0'), tag('9.0.0', 99), row('v/1.0.0', { unit: 'other' }), tombstone('viewer', one), tombstone('site', two)] } }),
    view('offer-out-of-scope', 'rows outside the scope of an offer are not there', { viewer: { includes: [offer('site', { scope: ['@site/*'] })] }, site: { rows: [row('v/1', { unit: '@site/a' }), row('v/1', { unit: 'tool' })] } }),
    view('offer-extends', 'an offer that may extend adds versions, and flags nothing', { viewer: { includes: [offer('site', { mayExtend: 1 })], rows: [one, tag('1.0.0')] }, site: { rows: [two, row('v/2.0.0'), tag('2.0.0', 99), row('v/1.0.0#deprecated', { rowClass: 'flag' })] } }),
    view('flag-of-the-hub', 'flags of a better level mark rows of a worse one and are no rows of the unit', { viewer: { includes: [offer('site')], rows: [row('v/1.0.0#deprecated', { rowClass: 'flag', meta: 'bad' })] }, site: { rows: [one] } }),
    view('burn', 'a burned version stays burned', { viewer: { includes: [mirror('left')], rows: [row('v/1.0.0', { rowClass: 'burn' })] }, left: { rows: [one, row('v/1.0.0#deprecated', { rowClass: 'flag' })] } }),
    view('tombstone', 'a moderator deletes a row of a feed below it', { viewer: { includes: [pull('moderator'), pull('source', below)] }, moderator: { rows: [tombstone('source', one)] }, source: { rows: [one, row('v/2.0.0')] } }),
    view('tombstone-holds', 'other bytes under a deleted version stay blocked, the same bytes come back', { viewer: { includes: [pull('moderator'), pull('source', below)] }, moderator: { rows: [tombstone('source', one), tombstone('source', row('v/2.0.0', { meta: 'x' }))] }, source: { rows: [{ ...two, stamp: stampAt(START + 20) }, row('v/2.0.0', { meta: 'x', at: 20 })] } }),
    view('tombstone-without-rights', 'a tombstone without rights, and one that is none, change nothing', { viewer: { includes: [pull('moderator', { mayDelete: 0 }), pull('source', below)] }, moderator: { rows: [tombstone('source', one), { ...tombstone('source', two), key: 'gone:x', meta: Buffer.from('none') }] }, source: { rows: [one] } }),
    view('chain', 'a source of a source; the level counts `below` on the best way', { viewer: { includes: [pull('hub'), include('far', below)] }, hub: { includes: [pull('far', { scope: ['t*'] })] }, far: { rows: [one, row('v/1', { unit: 'other' })] } }),
    view('through', 'an inclusion is followed as far as it says', { viewer: { includes: [pull('near', { through: 1 })] }, near: { includes: [pull('far')] }, far: { includes: [pull('farther')], rows: [one] }, farther: { rows: [two, row('v/1', { unit: 'other' })] } }),
    view('absent', 'a feed that is not here has no rows and stops nobody', { viewer: { includes: [pull('gone'), pull('there')] }, there: { rows: [one] } }),
  ]
}
