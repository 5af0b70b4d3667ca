/**
 * What is kept of each view: a trie over its visible rows (whose root is the view's digest), a summary of each unit in
 * order of names, totals. Written in the same batch as the rows that change it, so it is never behind them.
 */

import { bytes, decodeCbor, encodeCbor, record, type Shaped, uint } from '../catalog/cbor.ts'
import { placeOf } from '../catalog/row.ts'
import { EMPTY_ROOT, type NodeRef, type TrieChange, updateTrie } from '../catalog/trie.ts'
import { BLOCKED_DIGEST, viewDigestOf } from '../catalog/view.ts'
import type { UnitSummary } from '../feeds/feed.ts'
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

const storedTotals = record({ root: [1, bytes({ max: 128 })], entries: [2, uint()], bytes: [3, uint()] })
const storedSummary = record({ rows: [1, uint()], bytes: [2, uint()], changedAtMs: [3, uint()] })
type StoredSummary = Shaped<typeof storedSummary>

const NO_SALT = new Uint8Array(0)

export interface UnitTransition {
  readonly unit: string
  readonly before: LoadedUnit | undefined
  readonly after: LoadedUnit
}

export async function readViewTotals(records: Records, number: number): Promise<ViewTotals> {
  const stored = await records.find(keys.view(number))
  if (stored === undefined) return EMPTY_VIEW
  const { root, ...totals } = decodeCbor(storedTotals, stored, 'stored view')
  return { root: decodeRoot(root), ...totals }
}

export async function findUnitSummary(
  records: Records,
  number: number,
  unit: string,
): Promise<StoredSummary | undefined> {
  const stored = await records.find(keys.viewUnit(number, unit))
  return stored === undefined ? undefined : decodeCbor(storedSummary, stored, 'stored unit summary')
}

export async function* listUnits(
  records: Records,
  number: number,
  options: { readonly prefix?: string; readonly after?: string; readonly limit: number },
): AsyncGenerator<UnitSummary> {
  const prefix = keys.viewUnit(number, options.prefix ?? '')
  const start = keys.viewUnit(number, '').length
  const from =
    options.after === undefined ? prefix : Buffer.concat([keys.viewUnit(number, options.after), Uint8Array.of(0)])
  const gte = Buffer.compare(from, prefix) > 0 ? from : prefix
  for await (const [key, value] of records.scan({ gte, lt: after(prefix), limit: options.limit })) {
    yield {
      unit: Buffer.from(key.subarray(start)).toString(),
      ...decodeCbor(storedSummary, value, 'stored unit summary'),
    }
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
  if (row === undefined || row === 'blocked' || row.files.length === 0) return
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

function summaryWrite(number: number, { unit, after: now }: UnitTransition): Write {
  const key = keys.viewUnit(number, unit)
  if (now.isEmpty) return { type: 'del', key }
  const sum = now.rows.reduce((total, row) => total + rowBytes(row.row), 0)
  return {
    type: 'put',
    key,
    value: encodeCbor(storedSummary, { rows: now.rows.length, bytes: sum, changedAtMs: now.changedAtMs }),
  }
}

/** The writes that take the view of feed `number` from `totals` through `transitions` (distinct units). */
export async function indexView(
  records: Records,
  number: number,
  state: { readonly totals: ViewTotals; readonly transitions: readonly UnitTransition[] },
): Promise<{ readonly totals: ViewTotals; readonly writes: Write[] }> {
  const tally: Tally = { entries: state.totals.entries, bytes: state.totals.bytes }
  const changes: TrieChange[] = []
  const writes: Write[] = []
  for (const transition of state.transitions) {
    for (const { key, digest } of compareUnit(transition, tally)) {
      const place = placeOf(NO_SALT, transition.unit, key)
      changes.push({ place, digest })
      const entryKey = keys.viewRow(number, place)
      writes.push(digest === undefined ? { type: 'del', key: entryKey } : { type: 'put', key: entryKey, value: digest })
    }
    writes.push(summaryWrite(number, transition))
  }
  const trie = RecordTrie.ofView(records, number)
  const update = await updateTrie(trie, state.totals.root, changes)
  writes.push(...trie.nodeWrites(update))
  const totals = { root: update.root, ...tally }
  const value = encodeCbor(storedTotals, { ...totals, root: encodeRoot(totals.root) })
  writes.push({ type: 'put', key: keys.view(number), value })
  return { totals, writes }
}
