/**
 * What a new epoch of a replicated feed undid: rows that came back although they were gone here, rows that went back to an
 * older value, rows that are lost. Local and unsigned, outside every digest: those that came back are hidden from clients of
 * this node until an operator answers.
 *
 * A row that its owner writes now is stamped later than everything it has seen. So a row that is new here and stamped no
 * later than the manifest that was here before is no news: the owner's state went back.
 */

import { bool, bytes, decodeCbor, encodeCbor, record, type Shaped, text, uint, word } from '../catalog/cbor.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import { sha256 } from '../catalog/digest.ts'
import { keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import type { LoadedUnit, StoredRow } from './loaded-unit.ts'

const MAX_NAME_BYTES = 1024

const storedRow = record({
  feedId: [1, bytes({ size: 32 })],
  unit: [2, text(MAX_NAME_BYTES)],
  key: [3, text(MAX_NAME_BYTES)],
  /** `came back`: was gone here · `went back`: had another value here · `lost`: was here and is no more. */
  kind: [4, word(['came back', 'went back', 'lost'])],
  /** Of the row as it is signed now, hex; empty where there is none. */
  digest: [5, text(64)],
  epoch: [6, uint()],
  at: [7, uint()],
  /** The operator has decided that it stays hidden. */
  isAnswered: [8, bool],
})
type StoredReturned = Shaped<typeof storedRow>

export type ReturnedRow = Omit<StoredReturned, 'feedId'> & { readonly feedId: FeedId }

/** Rows that are lost or went back are told up to this number of each feed; those that came back are hidden all. */
export const MAX_TOLD_ROWS = 10_000

function placeKey({ feedId, unit, key }: Pick<ReturnedRow, 'feedId' | 'unit' | 'key'>): Uint8Array {
  return keys.returnedRow(feedId, sha256(`${unit}\0${key}`).subarray(0, 16))
}

export class ReturnedRows {
  readonly #records: Records
  /** By the name of their keys. */
  readonly #rows = new Map<string, ReturnedRow>()
  /** Those that clients do not see: unit → feed and key → digest. */
  readonly #hidden = new Map<string, Map<string, string>>()
  /** Counts what changes which rows are hidden, since the process began. */
  #revision = 0

  private constructor(records: Records) {
    this.#records = records
  }

  static async open(records: Records): Promise<ReturnedRows> {
    const returned = new ReturnedRows(records)
    for await (const [, value] of records.scan(keys.returnedRows())) {
      const { feedId, ...row } = decodeCbor(storedRow, value, 'stored returned row')
      returned.#keep({ ...row, feedId: Buffer.from(feedId).toString('hex') })
    }
    return returned
  }

  get revision(): number {
    return this.#revision
  }

  #keep(row: ReturnedRow): void {
    this.#revision += 1
    this.#rows.set(Buffer.from(placeKey(row)).toString('hex'), row)
    if (row.kind !== 'came back') return
    const hidden = this.#hidden.get(row.unit) ?? new Map<string, string>()
    this.#hidden.set(row.unit, hidden.set(`${row.feedId} ${row.key}`, row.digest))
  }

  #drop(row: ReturnedRow): void {
    this.#revision += 1
    this.#rows.delete(Buffer.from(placeKey(row)).toString('hex'))
    const hidden = this.#hidden.get(row.unit)
    hidden?.delete(`${row.feedId} ${row.key}`)
    if (hidden?.size === 0) this.#hidden.delete(row.unit)
  }

  /** What belongs into the batch that adopts the state; `keep` follows it. */
  writes(rows: readonly ReturnedRow[]): Write[] {
    return rows.map((row) => ({
      type: 'put',
      key: placeKey(row),
      value: encodeCbor(storedRow, { ...row, feedId: feedIdBytes(row.feedId) }),
    }))
  }

  /** @returns what takes it back */
  keep(rows: readonly ReturnedRow[]): () => void {
    const before = rows.map((row) => this.#rows.get(Buffer.from(placeKey(row)).toString('hex')))
    for (const row of rows) this.#keep(row)
    return () => {
      for (const row of rows) this.#drop(row)
      for (const row of before) if (row !== undefined) this.#keep(row)
    }
  }

  /** Of all feeds, those that an operator has yet to answer first. */
  list(): ReturnedRow[] {
    return [...this.#rows.values()].sort((a, b) => Number(a.isAnswered) - Number(b.isAnswered))
  }

  listOf(feedIds: ReadonlySet<FeedId>): ReturnedRow[] {
    return this.list().filter((row) => feedIds.has(row.feedId))
  }

  /** `show`: what came back is seen from now on. `hide`: it stays hidden for good. What is lost or went back was told. */
  async answer(rows: readonly ReturnedRow[], answer: 'show' | 'hide'): Promise<void> {
    const isKept = (row: ReturnedRow) => answer === 'hide' && row.kind === 'came back'
    const kept = rows.filter(isKept).map((row) => ({ ...row, isAnswered: true }))
    const gone = rows.filter((row) => !isKept(row))
    await this.#records.write([
      ...this.writes(kept),
      ...gone.map((row): Write => ({ type: 'del', key: placeKey(row) })),
    ])
    for (const row of gone) this.#drop(row)
    this.keep(kept)
  }

  /** Whether clients do not see something of the unit that its view holds. */
  hidesIn(unit: string): boolean {
    return this.#hidden.has(unit)
  }

  isHidden(row: StoredRow): boolean {
    return this.#hidden.get(row.unit)?.get(`${row.feedId} ${row.key}`) === row.digest
  }

  /** Names a view of the unit without the hidden rows; differs as soon as others are hidden. */
  digestOf(unit: LoadedUnit, visible: readonly StoredRow[]): string {
    return sha256(
      `${unit.digest} without ${unit.rows.length - visible.length}\n`,
      ...visible.map((row) => row.digest),
    ).toString('hex')
  }
}
