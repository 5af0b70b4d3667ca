/** Feeds of many small entries: packages of ten versions each, a tiny file and about 250 bytes of metadata to each. */

import { hash } from 'node:crypto'
import { encodeRow, type Row } from '../../src/catalog/row.ts'
import type { Feed, RowDraft } from '../../src/feeds/feed.ts'
import { StoredRow } from '../../src/ledger/loaded-unit.ts'

export const VERSIONS_PER_PACKAGE = 10
/** Changes that are under way at once; the ledger makes one commit of them. */
const GROUP = 100

export interface EntryPlace {
  readonly unit: string
  readonly key: string
}

export function entryPlace(index: number): EntryPlace {
  const unit = `bench-${String(Math.floor(index / VERSIONS_PER_PACKAGE)).padStart(7, '0')}`
  return { unit, key: `v/1.0.${index % VERSIONS_PER_PACKAGE}` }
}

function entryMeta({ unit, key }: EntryPlace, revision: number): Buffer {
  const name = unit
  const version = key.slice(2)
  const manifest = { name, version, description: `entry of a benchmark, revision ${revision}`, main: 'index.js' }
  // Real hashes: they are what does not compress in an entry.
  const dist = { integrity: `sha512-${hash('sha512', `${unit} ${key} ${revision}`, 'base64')}` }
  return Buffer.from(JSON.stringify({ manifest: { ...manifest, dist }, root: {} }))
}

async function draftEntry(feed: Feed, place: EntryPlace, revision: number): Promise<RowDraft> {
  await using staged = await feed.stage({ maxBytes: 1024 })
  await staged.write(Buffer.from(`content of ${place.unit} ${place.key}`))
  const files = [{ role: 'tarball', blob: await staged.seal() }]
  return { key: place.key, rowClass: 'register', meta: entryMeta(place, revision), files }
}

/** Writes the entries of `indexes` (as registers, so that a later revision may replace them), a change for each package. */
export async function writeEntries(feed: Feed, indexes: readonly number[], revision: number): Promise<void> {
  const units = Map.groupBy(indexes.map(entryPlace), ({ unit }) => unit)
  const work = [...units]
  for (let start = 0; start < work.length; start += GROUP) {
    const group = work.slice(start, start + GROUP)
    await Promise.all(
      group.map(async ([unit, places]) => {
        const put = await Promise.all(places.map((place) => draftEntry(feed, place, revision)))
        await feed.change(unit, () => ({ put }))
      }),
    )
  }
}

/** Sum of the encoded rows of the entries: what no protocol without compression can do without. */
export async function measureRows(feed: Feed, indexes: readonly number[]): Promise<number> {
  let bytes = 0
  const units = Map.groupBy(indexes.map(entryPlace), ({ unit }) => unit)
  for (const [name, places] of units) {
    const unit = await feed.findUnit(name)
    const wanted = new Set(places.map(({ key }) => key))
    for (const row of unit?.rows ?? []) if (wanted.has(row.key)) bytes += encodeRow(rowOf(row)).length
  }
  return bytes
}

function rowOf(row: unknown): Row {
  if (row instanceof StoredRow) return row.row
  throw new Error('the feed gives rows that are not the ledger’s')
}

export function range(from: number, to: number): number[] {
  return Array.from({ length: to - from }, (_, at) => from + at)
}

/** `count` of the first `size` indexes, the same ones for the same seed. */
export function randomIndexes(count: number, size: number, seed: number): number[] {
  const chosen = new Set<number>()
  let state = seed
  while (chosen.size < count) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    chosen.add(Math.floor((state / 2 ** 32) * size))
  }
  return [...chosen]
}
