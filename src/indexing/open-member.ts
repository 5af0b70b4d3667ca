/** The entries of a member while it is being changed, and where a document is cut. Pure. */

import { compareKeys } from '../catalog/row.ts'
import type { IndexEntry } from '../feeds/signed-index.ts'
import type { StoredMember } from './generation.ts'

/** Of text in a member; an entry is never cut. */
const MEMBER_BYTES = 128 * 1024
export const MAX_MEMBER_TEXT_BYTES = 2 * MEMBER_BYTES
/** A member that shrank below this is joined with the next. */
export const MIN_MEMBER_TEXT_BYTES = MEMBER_BYTES / 8

export interface OpenMember {
  /** Where its range begins, whatever is in it now. */
  readonly first: string
  readonly entries: IndexEntry[]
  /** Of all entries, bytes. */
  size: number
  /** What it was read from, while it is the same. */
  stored: StoredMember | undefined
}

export function createOpenMember(first: string, entries: IndexEntry[] = [], stored?: StoredMember): OpenMember {
  return { first, entries, size: sizeOf(entries), stored }
}

function sizeOf(entries: readonly IndexEntry[]): number {
  return entries.reduce((sum, { bytes }) => sum + bytes.length, 0)
}

/** Whether an entry that comes next belongs into another member. What is larger than any member stands alone. */
export function isFull(size: number, next: IndexEntry): boolean {
  return size >= MEMBER_BYTES || (size > 0 && size + next.bytes.length > MAX_MEMBER_TEXT_BYTES)
}

/** The entries as they are stored: as one member, or as several where they are too many. */
export function cutEntries({ entries, size }: OpenMember): IndexEntry[][] {
  if (size <= MAX_MEMBER_TEXT_BYTES) return [entries]
  const pieces: IndexEntry[][] = []
  let pieceSize = 0
  for (const entry of entries) {
    if (pieces.length === 0 || isFull(pieceSize, entry)) {
      pieces.push([])
      pieceSize = 0
    }
    pieces.at(-1)?.push(entry)
    pieceSize += entry.bytes.length
  }
  return pieces
}

/**
 * Makes `next` the entries of a unit in members that follow each other. What stays the same stays where it is, so that a version
 * more changes one member, not all that the unit is in.
 * @returns whether anything is another than before
 */
export function replaceUnit(members: readonly OpenMember[], unit: string, next: readonly IndexEntry[]): boolean {
  const places = members.map((member) => ({ member, ...findUnit(member.entries, unit) }))
  const known = places.flatMap(({ member, from, end }) => member.entries.slice(from, end))
  const { before, behind } = compareEnds(known, next)
  const gone = { from: before, end: known.length - behind }
  const added = next.slice(before, next.length - behind)
  if (gone.from === gone.end && added.length === 0) return false
  /** The entry beside which the new ones belong. */
  const anchor = gone.from < gone.end ? gone.from : Math.max(0, gone.from - 1)
  let offset = 0
  let isPlaced = false
  for (const [at, { member, from, end }] of places.entries()) {
    const count = end - from
    const [goneFrom, goneEnd] = [gone.from, gone.end].map((place) => Math.min(Math.max(place - offset, 0), count))
    const isHere: boolean = !isPlaced && (anchor < offset + count || at === places.length - 1)
    isPlaced ||= isHere
    replaceEntries(member, { from: from + goneFrom!, end: from + goneEnd! }, isHere ? added : [])
    offset += count
  }
  return true
}

function replaceEntries(
  member: OpenMember,
  { from, end }: { readonly from: number; readonly end: number },
  added: readonly IndexEntry[],
): void {
  if (from === end && added.length === 0) return
  const gone = member.entries.splice(from, end - from, ...added)
  member.size += sizeOf(added) - sizeOf(gone)
  member.stored = undefined
}

/** Where a unit's entries are, or would be. */
function findUnit(entries: readonly IndexEntry[], unit: string): { readonly from: number; readonly end: number } {
  const found = entries.findIndex((known) => compareKeys(known.unit, unit) >= 0)
  const from = found === -1 ? entries.length : found
  let end = from
  while (entries[end]?.unit === unit) end += 1
  return { from, end }
}

/** How many entries two lists have in common at their beginning, and at the end of what is left. */
function compareEnds(known: readonly IndexEntry[], next: readonly IndexEntry[]): { before: number; behind: number } {
  const isSame = (a: IndexEntry | undefined, b: IndexEntry | undefined) =>
    a !== undefined && b !== undefined && a.bytes.equals(b.bytes)
  let before = 0
  while (isSame(known[before], next[before])) before += 1
  const most = Math.min(known.length, next.length) - before
  let behind = 0
  while (behind < most && isSame(known.at(-1 - behind), next.at(-1 - behind))) behind += 1
  return { before, behind }
}
