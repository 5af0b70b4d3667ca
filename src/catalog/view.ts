/**
 * The view: what clients of a feed see of one unit. A pure function of the adopted rows and of the closure.
 *
 * The steps are those of protocols/mesh/README.md, "View": scope, tombstones, units, rank, class.
 */

import { isFeedmeshError } from '../errors.ts'
import type { FeedId } from './charter.ts'
import type { Closure, Member } from './closure.ts'
import { sha256 } from './digest.ts'
import { BinaryReader, compareKeys, contentDigest, encodeRow, type Row } from './row.ts'
import type { Stamp } from './stamp.ts'

export interface VisibleRow {
  readonly row: Row
  readonly feedId: FeedId
}

export interface MergedUnit {
  /** At most one a key, in byte order of keys; burns included, tombstones not. */
  readonly rows: readonly VisibleRow[]
  /** Keys held with different bytes by sources of which none outranks the other, sorted. */
  readonly blocked: readonly string[]
}

interface Candidate extends VisibleRow {
  readonly member: Member
}

/** What a tombstone row says: `feedId`'s row under `key`, up to `stamp`, with this content, is gone. */
export interface TombstoneTarget {
  readonly feedId: FeedId
  readonly key: string
  readonly stamp: Stamp
  readonly content: Buffer
}

/** Metadata of a tombstone: feedId(32) stamp(8) contentDigest(32) keyLen(2) key. */
export function encodeTombstone(target: TombstoneTarget): Uint8Array {
  const key = Buffer.from(target.key)
  const numbers = Buffer.alloc(10)
  numbers.writeBigUInt64BE(target.stamp)
  numbers.writeUInt16BE(key.length, 8)
  return Buffer.concat([
    Buffer.from(target.feedId, 'hex'),
    numbers.subarray(0, 8),
    target.content,
    numbers.subarray(8),
    key,
  ])
}

/** @throws PEER_INVALID */
export function decodeTombstone(meta: Uint8Array): TombstoneTarget {
  const reader = new BinaryReader(meta, 'tombstone')
  const feedId = reader.take(32).toString('hex')
  const stamp = reader.uint64()
  const content = reader.take(32)
  const key = reader.text(2, 1024)
  reader.end()
  return { feedId, stamp, content, key }
}

/** Key of the tombstone row itself: one for each feed and key it acts on. */
export function tombstoneKey(feedId: FeedId, key: string): string {
  return `gone:${sha256(feedId, '\0', key).toString('hex')}`
}

/** Key of the flag `name` on the row `target`. */
export function flagKey(target: string, name: string): string {
  return `${target}#${name}`
}

/** Key of the row that a flag is on. */
export function flagTarget(key: string): string {
  return key.slice(0, Math.max(0, key.lastIndexOf('#')))
}

/** By (stamp, feedId): the order in which registers win. */
function isNewer(a: VisibleRow, b: VisibleRow): boolean {
  return a.row.stamp === b.row.stamp ? a.feedId > b.feedId : a.row.stamp > b.row.stamp
}

function newest(candidates: readonly Candidate[]): Candidate | undefined {
  return candidates.reduce<Candidate | undefined>(
    (best, next) => (best === undefined || isNewer(next, best) ? next : best),
    undefined,
  )
}

function isContent(row: Row): boolean {
  return row.rowClass !== 'tombstone' && !row.rowClass.startsWith('unknown')
}

/** Content that a tombstone holds a key with: other bytes under it stay blocked in the feeds that `actor` may act on. */
interface Hold {
  readonly actor: Member
  readonly content: Buffer
}

interface Admitted {
  readonly candidates: Candidate[]
  readonly holds: ReadonlyMap<string, readonly Hold[]>
}

/** undefined for metadata that is no tombstone's: such a row is hidden, and stops nobody's view. */
function findTarget(row: Row): TombstoneTarget | undefined {
  try {
    return row.rowClass === 'tombstone' ? decodeTombstone(row.meta) : undefined
  } catch (error) {
    if (isFeedmeshError(error, 'PEER_INVALID')) return undefined
    throw error
  }
}

/** Steps 1 and 2: rows in scope, without those that a tombstone acts on; and what tombstones hold keys with. */
function admitRows(closure: Closure, rowsOf: ReadonlyMap<FeedId, readonly Row[]>, unit: string): Admitted {
  const all = [...closure.members.values()].flatMap((member) => {
    const rows = closure.isInScope(member, unit) ? rowsOf.get(member.feedId) : undefined
    return (rows ?? []).map((row) => ({ row, feedId: member.feedId, member }))
  })
  const holds = new Map<string, Hold[]>()
  const gone = new Map<string, Stamp>()
  for (const { row, member } of all) {
    const target = findTarget(row)
    const owner = target && closure.members.get(target.feedId)
    if (target === undefined || owner === undefined || !closure.mayAct('delete', member, owner)) continue
    const name = `${target.feedId} ${target.key}`
    const known = gone.get(name)
    gone.set(name, known === undefined || target.stamp > known ? target.stamp : known)
    holds.set(target.key, [...(holds.get(target.key) ?? []), { actor: member, content: target.content }])
  }
  const isGone = (candidate: Candidate) =>
    candidate.row.stamp <= (gone.get(`${candidate.feedId} ${candidate.row.key}`) ?? -1n)
  return { candidates: all.filter((candidate) => isContent(candidate.row) && !isGone(candidate)), holds }
}

/**
 * Step 3: rows of a worse level do not count where a better level has any, unless every inclusion to them says so. Flags of
 * the better level do not count for this: they mark rows that somebody else may have.
 */
function dropLateLevels(candidates: readonly Candidate[]): readonly Candidate[] {
  const content = candidates.filter((candidate) => candidate.row.rowClass !== 'flag')
  const best = content.reduce((level, { member }) => Math.min(level, member.level), Number.POSITIVE_INFINITY)
  return candidates.filter(({ member }) => member.level <= best || member.mayExtend)
}

class UnitMerge {
  readonly #closure: Closure
  readonly #candidates: readonly Candidate[]
  readonly #contributors: readonly Member[]
  readonly #holds: Admitted['holds']
  readonly #winners = new Map<string, VisibleRow>()
  readonly #blocked: string[] = []

  constructor(closure: Closure, candidates: readonly Candidate[], holds: Admitted['holds']) {
    this.#closure = closure
    this.#candidates = candidates
    this.#contributors = [...new Set(candidates.map((one) => one.member))]
    this.#holds = holds
  }

  run(): MergedUnit {
    // In order of keys, so that what a flag marks (a prefix of its key) is decided before it.
    const byKey = [...Map.groupBy(this.#candidates, (candidate) => candidate.row.key)].sort(([a], [b]) =>
      compareKeys(a, b),
    )
    for (const [key, candidates] of byKey) {
      this.#decideFixed(
        key,
        this.#best(candidates).filter((one) => one.row.rowClass === 'immutable' || one.row.rowClass === 'burn'),
      )
    }
    for (const [key, candidates] of byKey) {
      if (!this.#winners.has(key) && !this.#blocked.includes(key)) this.#decideMovable(key, candidates)
    }
    const rows = [...this.#winners.values()].sort((a, b) => compareKeys(a.row.key, b.row.key))
    return { rows, blocked: this.#blocked.sort(compareKeys) }
  }

  /** Those that no other outranks. */
  #best(candidates: readonly Candidate[]): readonly Candidate[] {
    if (candidates.length === 1) return candidates
    return candidates.filter((one) => !candidates.some((other) => this.#closure.outranks(other.member, one.member)))
  }

  /** Immutable rows and burns: a burn stands; one content is one thing; two are a conflict that an operator settles. */
  #decideFixed(key: string, left: readonly Candidate[]): void {
    if (left.length === 0) return
    const burn = newest(left.filter((one) => one.row.rowClass === 'burn'))
    if (burn !== undefined) {
      this.#winners.set(key, burn)
      return
    }
    const [only] = left
    if (only !== undefined && left.length === 1 && !this.#holds.has(key)) {
      this.#winners.set(key, only)
      return
    }
    const contents = new Set(left.map((one) => contentDigest(one.row).toString('hex')))
    if (contents.size > 1 || left.every((one) => this.#isHeld(one))) {
      this.#blocked.push(key)
      return
    }
    // The earliest writer, so that the publish time does not move when a second source brings the same bytes.
    this.#winners.set(
      key,
      left.reduce((first, next) => (isNewer(first, next) ? next : first)),
    )
  }

  /** Whether a tombstone that acts on the row's feed holds its key with other content. */
  #isHeld(one: Candidate): boolean {
    const holds = this.#holds.get(one.row.key)?.filter((hold) => this.#closure.mayAct('delete', hold.actor, one.member))
    if (holds === undefined || holds.length === 0) return false
    const content = contentDigest(one.row)
    return holds.some((hold) => !hold.content.equals(content))
  }

  /** Registers and flags: the newest of those whose writer may act on what it touches, else the newest register of the others. */
  #decideMovable(key: string, candidates: readonly Candidate[]): void {
    const movable = candidates.filter((one) => one.row.rowClass === 'register' || one.row.rowClass === 'flag')
    const entitled = movable.filter((one) => this.#isEntitled(one))
    const winner =
      newest(this.#best(entitled)) ?? newest(this.#best(movable.filter((one) => one.row.rowClass === 'register')))
    if (winner !== undefined) this.#winners.set(key, winner)
  }

  #isEntitled(one: Candidate): boolean {
    if (one.row.rowClass === 'flag') {
      const target = this.#winners.get(flagTarget(one.row.key))
      const owner = target === undefined ? undefined : this.#closure.members.get(target.feedId)
      return owner !== undefined && target?.row.rowClass !== 'burn' && this.#closure.mayAct('tag', one.member, owner)
    }
    return this.#contributors.every((other) => this.#closure.mayAct('tag', one.member, other))
  }
}

/** `rowsOf` holds the unit's rows of each adopted feed of the closure; feeds without rows may be missing. */
export function mergeUnit(closure: Closure, rowsOf: ReadonlyMap<FeedId, readonly Row[]>, unit: string): MergedUnit {
  const { candidates, holds } = admitRows(closure, rowsOf, unit)
  if (candidates.length === 0) return { rows: [], blocked: [] }
  return new UnitMerge(closure, dropLateLevels(candidates), holds).run()
}

/** What the digest of a view says of one visible row: its content; of registers and flags also who wrote it and when. */
export function viewDigestOf(visible: VisibleRow): Buffer {
  const { row, feedId } = visible
  if (row.rowClass === 'immutable' || row.rowClass === 'burn') return sha256(Uint8Array.of(0x1b), contentDigest(row))
  return sha256(Uint8Array.of(0x1c), Buffer.from(feedId, 'hex'), encodeRow(row))
}

/** What the digest of a view says of a blocked key. */
export const BLOCKED_DIGEST = sha256(Uint8Array.of(0x1d), 'blocked')
