/**
 * Forgetting a feed takes several batches. A mark in the first of them says that the rest is still to do.
 *
 * Invariant: a number is given to a feed only while no mark names it, so no feed inherits the rows of another.
 */

import { keys, u32, under } from '../store/keys.ts'
import type { Records } from '../store/records.ts'

const MARK = 'forgetting/'

function markOf(number: number): Uint8Array {
  return keys.fact(`${MARK}${number}`)
}

async function clearFeed(records: Records, number: number): Promise<void> {
  for (const range of [
    keys.allRows(number),
    keys.allNodes(number),
    keys.charters(number),
    keys.allOperations(number),
    keys.allViewRows(number),
    keys.allViewNodes(number),
    keys.allViewUnits(number),
    keys.leftoversOf(number),
    keys.uploadedTo(number),
    keys.uploadSessions(number),
    keys.notes(number),
  ]) {
    await records.clear(range)
  }
  await records.write([
    { type: 'del', key: keys.state(number) },
    { type: 'del', key: keys.view(number) },
    { type: 'del', key: keys.shadow(number) },
    { type: 'del', key: markOf(number) },
  ])
}

/** From here on the feed is unknown, also after a crash; `finishForgetting` removes what it left. */
export async function beginForgetting(records: Records, number: number): Promise<void> {
  await records.write([
    { type: 'del', key: keys.feed(number) },
    { type: 'put', key: markOf(number), value: u32(number) },
  ])
}

/** Removes what is left of forgotten feeds; does nothing when nothing is. */
export async function finishForgetting(records: Records): Promise<void> {
  const numbers: number[] = []
  for await (const key of records.scanKeys(under(keys.fact(MARK))))
    numbers.push(Number(Buffer.from(key.subarray(keys.fact(MARK).length)).toString()))
  for (const number of numbers) await clearFeed(records, number)
}
