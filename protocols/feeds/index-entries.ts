/** Entries of signed indexes, as the types that have one need them. */

import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import type { IndexEntry } from '../../src/feeds/signed-index.ts'

/** Takes apart what is one entry after the other, each with `end` at its end. @throws CORRUPT */
export function* splitEntriesAt(end: Buffer, bytes: Buffer, unitOf: (entry: Buffer) => string): Generator<IndexEntry> {
  for (let at = 0; at < bytes.length; ) {
    const found = bytes.indexOf(end, at)
    if (found === -1) throw new FeedmeshError('CORRUPT', 'a part of a signed index ends within an entry')
    const entry = bytes.subarray(at, found + end.length)
    yield { unit: unitOf(entry), bytes: entry }
    at += entry.length
  }
}

/** Rows may be another node's: undefined for what cannot be understood, which is not listed. */
export async function findReadable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (isFeedmeshError(error, 'BAD_INPUT', 'BAD_PACKAGE')) return undefined
    throw error
  }
}
