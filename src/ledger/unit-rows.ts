/** Rows of a feed's stored state a unit at a time. */

import { compareKeys, decodeRow, unitPlace } from '../catalog/row.ts'
import { keys, under } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'
import { StoredRow } from './loaded-unit.ts'

/** Bytes of a place that all rows of a unit share. */
const UNIT_BYTES = 16

function inOrder(rows: readonly StoredRow[]): StoredRow[] {
  return rows.toSorted((a, b) => compareKeys(a.key, b.key))
}

/** Rows of `unit`, in order of keys. */
export async function readUnitRows(records: Records, state: FeedState, unit: string): Promise<StoredRow[]> {
  const prefix = keys.row(state.number, state.generation, unitPlace(state.charter.value.salt, unit))
  const rows: StoredRow[] = []
  for await (const [, value] of records.scan(under(prefix))) {
    const row = decodeRow(value)
    if (row.unit === unit) rows.push(new StoredRow(row, state.feedId))
  }
  return inOrder(rows)
}

function* groupByUnit(rows: readonly StoredRow[]): Generator<readonly [unit: string, rows: StoredRow[]]> {
  // Two units whose places begin alike are next to each other, and mixed.
  for (const [unit, group] of Map.groupBy(rows, (row) => row.unit)) yield [unit, inOrder(group)]
}

/** All units of the state, one in memory at a time, in order of place. */
export async function* readUnits(
  records: Records,
  { number, generation, feedId }: FeedState,
): AsyncGenerator<readonly [unit: string, rows: StoredRow[]]> {
  const range = keys.rows(number, generation)
  const end = keys.row(number, generation, new Uint8Array(UNIT_BYTES)).length
  let rows: StoredRow[] = []
  let current: Buffer | undefined
  for await (const [key, value] of records.scan(range)) {
    const place = Buffer.from(key.buffer, key.byteOffset, Math.min(key.length, end))
    if (current !== undefined && !current.equals(place)) {
      yield* groupByUnit(rows)
      rows = []
    }
    current = place
    rows.push(new StoredRow(decodeRow(value), feedId))
  }
  yield* groupByUnit(rows)
}
