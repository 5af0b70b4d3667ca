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

async function clearFeed(records: Records, number: number, generation: number): Promise<void> {
  for (const range of [
    keys.rows(number, generation),
    keys.nodes(number, generation),
    keys.charters(number),
    keys.allOperations(number),
    keys.viewRows(number),
    keys.viewNodes(number),
    keys.viewUnits(number),
  ]) {
    await records.clear(range)
  }
  await records.write([
    { type: 'del', key: keys.state(number) },
    { type: 'del', key: keys.view(number) },
    { type: 'del', key: markOf(number) },
  ])
}

/** From here on the feed is unknown, also after a crash; `finishForgetting` removes what it left. */
export async function beginForgetting(
  records: Records,
  feed: { readonly number: number; readonly generation: number },
): Promise<void> {
  const { number, generation } = feed
  await records.write([
    { type: 'del', key: keys.feed(number) },
    { type: 'put', key: markOf(number), value: u32(generation) },
  ])
}

/** Removes what is left of forgotten feeds; does nothing when nothing is. */
export async function finishForgetting(records: Records): Promise<void> {
  const marks: (readonly [number: number, generation: number])[] = []
  for await (const [key, value] of records.scan(under(keys.fact(MARK)))) {
    const number = Number(Buffer.from(key.subarray(keys.fact(MARK).length)).toString())
    marks.push([number, Buffer.from(value).readUInt32BE(0)])
  }
  for (const [number, generation] of marks) await clearFeed(records, number, generation)
}
