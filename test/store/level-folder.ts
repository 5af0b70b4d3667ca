/** LevelDB stores in temporary folders, and databases that fail on demand. */

import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { createLevel, type Database } from '../../src/store/level-database.ts'
import { type LevelRecordsOptions, openLevelRecords } from '../../src/store/level-records.ts'
import type { Records } from '../../src/store/records.ts'

/** Small, so that each store of a test costs little. */
export const TEST_RESERVE_BYTES = 256 * 1024

export interface TemporaryFolder extends AsyncDisposable {
  readonly path: string
}

export async function openTemporaryFolder(): Promise<TemporaryFolder> {
  const folder = await mkdtemp(path.join(tmpdir(), 'feedmesh-store-'))
  return {
    path: folder,
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  }
}

export function openLevelIn(folder: string, options: Omit<LevelRecordsOptions, 'directory'> = {}): Promise<Records> {
  return openLevelRecords({ directory: path.join(folder, 'records'), reserveBytes: TEST_RESERVE_BYTES, ...options })
}

/** A store in a folder of its own, which goes away with it. */
export async function openTemporaryLevel(): Promise<Records> {
  const folder = await openTemporaryFolder()
  const records = await openLevelIn(folder.path)
  const dispose = records[Symbol.asyncDispose].bind(records)
  records[Symbol.asyncDispose] = async () => {
    await dispose()
    await folder[Symbol.asyncDispose]()
  }
  return records
}

export function levelError(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

export const DISK_BROKEN = levelError('LEVEL_IO_ERROR', 'IO error: 000003.log: Input/output error')
export const DISK_FULL = levelError('LEVEL_IO_ERROR', 'IO error: 000003.log: No space left on device')

/** What the next batches and the next databases to be opened are to do; each entry is used once, in order. */
export interface Faults {
  /** `logged`: the batch is in the log, but its sync is reported as failed. `table`: it is even in a table. */
  readonly batches: ({ readonly at: 'before' | 'logged' | 'table'; readonly error: Error } | undefined)[]
  readonly openings: (Error | undefined)[]
}

async function failBatch(level: Database, run: () => Promise<void>, faults: Faults): Promise<void> {
  const fault = faults.batches.shift()
  if (fault?.at === 'before') throw fault.error
  await run()
  if (fault?.at === 'table') await compact(level)
  if (fault) throw fault.error
}

/** Brings everything from the log into tables. */
async function compact(level: Database): Promise<void> {
  const compactable = level as unknown as { compactRange(start: Uint8Array, end: Uint8Array): Promise<void> }
  await compactable.compactRange(Buffer.from([0]), Buffer.from([0xff]))
}

export function createFaultyLevel(faults: Faults): (directory: string) => Database {
  return (directory) => {
    const level = createLevel(directory)
    const openingFault = faults.openings.shift()
    const batch = level.batch.bind(level) as (operations: unknown, options: unknown) => Promise<void>
    const open = () => level.constructor.prototype.open.call(level)
    return Object.assign(level, {
      batch: (operations: unknown, options: unknown) => failBatch(level, () => batch(operations, options), faults),
      open: async () => {
        if (openingFault) throw openingFault
        await open()
      },
    })
  }
}
