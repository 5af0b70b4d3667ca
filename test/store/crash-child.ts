/**
 * A process that stores items until it kills itself at a named fault point. Arguments: folder, fault point (or `none`:
 * go on until killed), how often the point is reached before. Prints the number of each item once it is stored.
 *
 * Item `i` = one small blob, one of 100,000 bytes, and five rows that name them; all in one batch.
 */

import { writeSync } from 'node:fs'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { openLevelRecords } from '../../src/store/level-records.ts'
import type { Write } from '../../src/store/records.ts'
import { CRASH_ROWS, itemContents, rowKey } from './crash-items.ts'
import { TEST_RESERVE_BYTES } from './level-folder.ts'

const [folder = '', deadlyPoint = 'none', skipText = '0', firstText = '0'] = process.argv.slice(2)
let skip = Number(skipText)
let armed = false

function reach(point: string): void {
  if (!armed || point !== deadlyPoint) return
  skip -= 1
  if (skip < 0) process.kill(process.pid, 'SIGKILL')
}

const records = await openLevelRecords({ directory: `${folder}/records`, reserveBytes: TEST_RESERVE_BYTES, reach })
const blobs = await openFileBlobs({ directory: folder, records, reach })

async function storeItem(item: number): Promise<void> {
  const writes: Write[] = []
  for (const bytes of itemContents(item)) {
    await using staged = await blobs.stage({ maxBytes: 1_000_000 })
    await staged.write(bytes.subarray(0, 50_000))
    await staged.write(bytes.subarray(50_000))
    const sealed = await staged.seal()
    writes.push(...sealed.writes)
  }
  for (let row = 0; row < CRASH_ROWS; row += 1) {
    writes.push({ type: 'put', key: rowKey(item, row), value: Buffer.alloc(3_000, item) })
  }
  await records.write(writes)
  writeSync(1, `${item}\n`)
}

armed = true
for (let item = Number(firstText); ; item += 3) {
  await Promise.all([storeItem(item), storeItem(item + 1), storeItem(item + 2)])
}
