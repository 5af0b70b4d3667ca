/** One unit as a feed's view shows it, in memory: the rows of every source and what they merge to. */

import type { FeedId } from '../catalog/charter.ts'
import type { Closure } from '../catalog/closure.ts'
import { sha256 } from '../catalog/digest.ts'
import { compareKeys, encodeRow, META_ROLE, type Row, type RowFile, rowDigest } from '../catalog/row.ts'
import { stampMs } from '../catalog/stamp.ts'
import { flagTarget, type MergedUnit, mergeUnit, type VisibleRow } from '../catalog/view.ts'
import type { FeedFile, FeedRow, FeedRowClass, FeedUnit } from '../feeds/feed.ts'

/** A row of an adopted state, as the ledger and the feed types see it. */
export class StoredRow implements VisibleRow, FeedRow {
  readonly row: Row
  readonly feedId: FeedId
  #digest: string | undefined
  #files: readonly RowFile[] | undefined

  constructor(row: Row, feedId: FeedId) {
    this.row = row
    this.feedId = feedId
  }

  get unit(): string {
    return this.row.unit
  }

  get key(): string {
    return this.row.key
  }

  get rowClass(): FeedRowClass {
    return this.row.rowClass as FeedRowClass
  }

  get writtenAtMs(): number {
    return stampMs(this.row.stamp)
  }

  get digest(): string {
    this.#digest ??= rowDigest(encodeRow(this.row)).toString('hex')
    return this.#digest
  }

  get files(): readonly RowFile[] {
    this.#files ??= this.row.files.filter((file) => file.role !== META_ROLE)
    return this.#files
  }

  /** Where metadata of more than 1 KiB is. */
  get metaFile(): FeedFile | undefined {
    return this.row.files.find((file) => file.role === META_ROLE)
  }
}

export interface MergedRows {
  readonly rows: readonly StoredRow[]
  readonly blocked: readonly string[]
}

export class LoadedUnit implements FeedUnit {
  readonly unit: string
  /** Rows of each source in byte order of keys; sources without rows are missing. */
  readonly sources: ReadonlyMap<FeedId, readonly StoredRow[]>
  readonly merged: MergedRows
  readonly changedAtMs: number
  #digest: string | undefined

  constructor(
    unit: string,
    sources: ReadonlyMap<FeedId, readonly StoredRow[]>,
    state: { closure: Closure; changedAtMs: number },
  ) {
    this.unit = unit
    this.sources = sources
    this.merged = mergeSources(unit, sources, state.closure)
    this.changedAtMs = state.changedAtMs
  }

  get rows(): readonly StoredRow[] {
    return this.merged.rows
  }

  get blocked(): readonly string[] {
    return this.merged.blocked
  }

  get digest(): string {
    this.#digest ??= sha256(...this.rows.map((row) => row.digest), '\n', ...this.blocked).toString('hex')
    return this.#digest
  }

  get isEmpty(): boolean {
    return this.rows.length === 0 && this.blocked.length === 0
  }

  /** The unit once `feedId`'s rows in it are `rows`. */
  withSource(feedId: FeedId, rows: readonly StoredRow[], state: { closure: Closure; changedAtMs: number }): LoadedUnit {
    const sources = new Map(this.sources)
    if (rows.length === 0) sources.delete(feedId)
    else sources.set(feedId, rows)
    return new LoadedUnit(this.unit, sources, state)
  }
}

/** Whether every row is seen when its feed is alone with the unit: no tombstones, nothing unknown, no flag on a row that is gone. */
function isPlain(rows: readonly StoredRow[]): boolean {
  if (rows.some(({ row }) => row.rowClass === 'tombstone' || row.rowClass.startsWith('unknown'))) return false
  const flags = rows.filter(({ row }) => row.rowClass === 'flag')
  if (flags.length === 0) return true
  const standing = new Set(rows.filter(({ row }) => row.rowClass !== 'burn').map((row) => row.key))
  return flags.every((flag) => standing.has(flagTarget(flag.key)))
}

/** With one source and nothing hidden the source's rows are the view: no copy, however many versions there are. */
function mergeSources(unit: string, sources: ReadonlyMap<FeedId, readonly StoredRow[]>, closure: Closure): MergedRows {
  const [only] = sources
  if (only === undefined) return { rows: [], blocked: [] }
  const member = closure.members.get(only[0])
  if (sources.size === 1 && member !== undefined && isPlain(only[1]))
    return { rows: closure.isInScope(member, unit) ? only[1] : [], blocked: [] }
  const stored = new Map<Row, StoredRow>()
  for (const rows of sources.values()) for (const row of rows) stored.set(row.row, row)
  const merged: MergedUnit = mergeUnit(
    closure,
    new Map([...sources].map(([id, rows]) => [id, rows.map((row) => row.row)])),
    unit,
  )
  return { rows: merged.rows.map((visible) => stored.get(visible.row)!), blocked: merged.blocked }
}

/** From this many changes on, sorting once is cheaper than inserting one by one. */
const MANY_CHANGES = 16

/** `rows` (in order of keys) with each changed key's row replaced, added, or removed when it is undefined. */
export function replaceRows(
  rows: readonly StoredRow[],
  changes: ReadonlyMap<string, StoredRow | undefined> | undefined,
): readonly StoredRow[] {
  if (changes === undefined || changes.size === 0) return rows
  if (changes.size < MANY_CHANGES)
    return [...changes].reduce<readonly StoredRow[]>((list, [key, row]) => replaceRow(list, key, row), rows)
  const kept = rows.filter((row) => !changes.has(row.key))
  const added = [...changes.values()].filter((row) => row !== undefined)
  return [...kept, ...added].sort((a, b) => compareKeys(a.key, b.key))
}

function replaceRow(rows: readonly StoredRow[], key: string, next: StoredRow | undefined): StoredRow[] {
  let low = 0
  let high = rows.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compareKeys(rows[middle]!.key, key) < 0) low = middle + 1
    else high = middle
  }
  const found = rows[low]?.key === key ? 1 : 0
  return rows.toSpliced(low, found, ...(next === undefined ? [] : [next]))
}

/** Sum of the sizes of the files of `row`, metadata included, bytes. */
export function rowBytes(row: Row): number {
  return row.files.reduce((sum, file) => sum + file.size, 0)
}
