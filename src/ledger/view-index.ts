/**
 * What is kept of each view: a trie over its visible rows (whose root is the view's digest), a summary of each unit in
 * order of names, totals. Written in the same batch as the rows that change it, so it is never behind them.
 */

import { bytes, decodeCbor, encodeCbor, record, type Shaped, uint } from '../catalog/cbor.ts'
import { placeOf } from '../catalog/row.ts'
import { EMPTY_ROOT, type NodeRef, type TrieChange, updateTrie } from '../catalog/trie.ts'
import { BLOCKED_DIGEST, viewDigestOf } from '../catalog/view.ts'
import { isIndexUnit, type UnitSummary } from '../feeds/feed.ts'
import { after, keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { type LoadedUnit, rowBytes, type StoredRow } from './loaded-unit.ts'
import { decodeRoot, encodeRoot } from './node-codec.ts'
import { RecordTrie } from './record-trie.ts'

export interface ViewTotals {
  readonly root: NodeRef
  /** Visible rows that name files: versions, assets. */
  readonly entries: number
  /** Sum of the sizes of their files, bytes. */
  readonly bytes: number
}

export const EMPTY_VIEW: ViewTotals = { root: EMPTY_ROOT, entries: 0, bytes: 0 }

const storedTotals = record({
  root: [1, bytes({ max: 128 })],
  entries: [2, uint()],
  bytes: [3, uint()],
  generation: [4, uint()],
})
const storedSummary = record({
  rows: [1, uint()],
  bytes: [2, uint()],
  changedAtMs: [3, uint()],
  /** Rows that name files. */
  entries: [4, uint()],
})
export type StoredSummary = Shaped<typeof storedSummary>

export const NO_SALT = new Uint8Array(0)

/** Names the index of a view in the store. */
export interface ViewRef {
  /** Local number of the feed. */
  readonly number: number
  readonly generation: number
}

export interface UnitTransition {
  readonly unit: string
  readonly before: LoadedUnit | undefined
  readonly after: LoadedUnit
}

/** undefined where no index was ever stored. */
export async function findStoredView(
  records: Records,
  number: number,
): Promise<{ readonly totals: ViewTotals; readonly generation: number } | undefined> {
  const stored = await records.find(keys.view(number))
  if (stored === undefined) return undefined
  const { root, generation, ...totals } = decodeCbor(storedTotals, stored, 'stored view')
  return { totals: { root: decodeRoot(root), ...totals }, generation }
}

/** Makes an index the one that counts. */
export function viewWrite({ number, generation }: ViewRef, totals: ViewTotals): Write {
  const value = encodeCbor(storedTotals, { ...totals, root: encodeRoot(totals.root), generation })
  return { type: 'put', key: keys.view(number), value }
}

export async function findUnitSummary(
  records: Records,
  { number, generation }: ViewRef,
  unit: string,
): Promise<StoredSummary | undefined> {
  const stored = await records.find(keys.viewUnit(number, generation, unit))
  return stored === undefined ? undefined : decodeCbor(storedSummary, stored, 'stored unit summary')
}

export async function* listUnits(
  records: Records,
  { number, generation }: ViewRef,
  options: { readonly prefix?: string; readonly after?: string; readonly limit: number },
): AsyncGenerator<UnitSummary> {
  const keyOf = (unit: string) => keys.viewUnit(number, generation, unit)
  const prefix = keyOf(options.prefix ?? '')
  const start = keyOf('').length
  const from = options.after === undefined ? prefix : Buffer.concat([keyOf(options.after), Uint8Array.of(0)])
  const gte = Buffer.compare(from, prefix) > 0 ? from : prefix
  for await (const [key, value] of records.scan({ gte, lt: after(prefix), limit: options.limit })) {
    const { rows, bytes: sum, changedAtMs } = decodeCbor(storedSummary, value, 'stored unit summary')
    yield { unit: Buffer.from(key.subarray(start)).toString(), rows, bytes: sum, changedAtMs }
  }
}

function visibleDigests(unit: LoadedUnit | undefined): Map<string, StoredRow | 'blocked'> {
  const visible = new Map<string, StoredRow | 'blocked'>()
  for (const row of unit?.rows ?? []) visible.set(row.key, row)
  for (const key of unit?.blocked ?? []) visible.set(key, 'blocked')
  return visible
}

interface Tally {
  entries: number
  bytes: number
}

function count(tally: Tally, row: StoredRow | 'blocked' | undefined, sign: 1 | -1): void {
  if (row === undefined || row === 'blocked' || !isEntry(row)) return
  tally.entries += sign
  tally.bytes += sign * rowBytes(row.row)
}

/** Digests of the places that differ between the two states of the unit. */
function compareUnit(transition: UnitTransition, tally: Tally): { key: string; digest: Buffer | undefined }[] {
  const before = visibleDigests(transition.before)
  const changes: { key: string; digest: Buffer | undefined }[] = []
  for (const [key, row] of visibleDigests(transition.after)) {
    const old = before.get(key)
    before.delete(key)
    if (old === row) continue
    count(tally, old, -1)
    count(tally, row, 1)
    changes.push({ key, digest: row === 'blocked' ? BLOCKED_DIGEST : viewDigestOf(row) })
  }
  for (const [key, old] of before) {
    count(tally, old, -1)
    changes.push({ key, digest: undefined })
  }
  return changes
}

function isEntry(row: StoredRow): boolean {
  return row.files.length > 0
}

export function summaryOf(unit: LoadedUnit): StoredSummary {
  return {
    rows: unit.rows.length,
    bytes: unit.rows.reduce((total, row) => total + rowBytes(row.row), 0),
    changedAtMs: unit.changedAtMs,
    entries: unit.rows.filter(isEntry).length,
  }
}

/** Without `summary` the unit goes. */
export function summaryWrite({ number, generation }: ViewRef, unit: string, summary: StoredSummary | undefined): Write {
  const key = keys.viewUnit(number, generation, unit)
  return summary === undefined ? { type: 'del', key } : { type: 'put', key, value: encodeCbor(storedSummary, summary) }
}

/** The place of a visible row and what the digest of the view says of it; undefined for a row that goes. */
export interface VisibleChange {
  readonly place: Buffer
  readonly digest: Buffer | undefined
}

export function visibleWrite({ number, generation }: ViewRef, { place, digest }: VisibleChange): Write {
  const key = keys.viewRow(number, generation, place)
  return digest === undefined ? { type: 'del', key } : { type: 'put', key, value: digest }
}

/** Writes that take the index of a view from `totals` through `transitions` (distinct units); the view's own record is left to the caller. */
export async function indexView(
  records: Records,
  view: ViewRef,
  state: { readonly totals: ViewTotals; readonly transitions: readonly UnitTransition[] },
): Promise<{ readonly totals: ViewTotals; readonly writes: Write[] }> {
  const tally: Tally = { entries: state.totals.entries, bytes: state.totals.bytes }
  const changes: TrieChange[] = []
  const writes: Write[] = []
  for (const transition of state.transitions) {
    if (isIndexUnit(transition.unit)) continue
    for (const { key, digest } of compareUnit(transition, tally)) {
      const change = { place: placeOf(NO_SALT, transition.unit, key), digest }
      changes.push(change)
      writes.push(visibleWrite(view, change))
    }
    const { unit, after: now } = transition
    writes.push(summaryWrite(view, unit, now.isEmpty ? undefined : summaryOf(now)))
  }
  const trie = RecordTrie.ofView(records, view)
  const update = await updateTrie(trie, state.totals.root, changes)
  for (const write of trie.nodeWrites(update)) writes.push(write)
  return { totals: { root: update.root, ...tally }, writes }
}
