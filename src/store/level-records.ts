/** The key-value store on LevelDB, one folder, with group commit. */

import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import { keys, u32 } from './keys.ts'
import { type Database, LevelDatabase, type LevelDatabaseOptions } from './level-database.ts'
import type { KeyRange, Records, ScanOptions, Write } from './records.ts'
import { HOW_TO_REBUILD } from './stored-bytes.ts'

/** Version of the layout of the data folder; a node refuses folders with a greater one. */
export const SCHEMA_VERSION = 1
/** Concurrent writes are merged into batches of at most this many bytes; a larger single write is a batch of its own. */
export const MAX_BATCH_BYTES = 8 * 1024 * 1024
/** What a scan reads at a time. */
const SCAN_ENTRIES = 512
const SCAN_BYTES = 256 * 1024
/** `clear` deletes this many keys per batch. */
const CLEAR_KEYS = 4096

export interface LevelRecordsOptions extends LevelDatabaseOptions {
  readonly reach?: ReachFaultPoint | undefined
}

interface PendingWrite {
  readonly writes: readonly Write[]
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

function byteCount(writes: readonly Write[]): number {
  let bytes = 0
  for (const write of writes) bytes += write.key.length + (write.type === 'put' ? write.value.length : 0) + 16
  return bytes
}

function isDeletion({ writes }: PendingWrite): boolean {
  return writes.every(({ type }) => type === 'del')
}

/** What is left of a scan after `lastKey`. */
function rest(options: ScanOptions, lastKey: Uint8Array | undefined): KeyRange {
  if (lastKey === undefined) return options
  if (options.reverse) return { gte: options.gte, lt: lastKey }
  return { gte: Buffer.concat([lastKey, Buffer.alloc(1)]), lt: options.lt }
}

/** One page of a scan: the entries, and whether there may be more. */
interface Cursor<T> {
  nextv(size: number): Promise<T[]>
  close(): Promise<void>
}

class LevelRecords implements Records {
  readonly #database: LevelDatabase
  readonly #reach: ReachFaultPoint
  #queue: PendingWrite[] = []
  #writing: Promise<void> | undefined
  #closed = false

  constructor(database: LevelDatabase, reach: ReachFaultPoint) {
    this.#database = database
    this.#reach = reach
  }

  find(key: Uint8Array): Promise<Uint8Array | undefined> {
    return this.#database.read('a record', (database) => database.get(key))
  }

  findMany(wanted: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    return this.#database.read('records', (database) => database.getMany([...wanted]))
  }

  scan(options: ScanOptions): AsyncIterable<readonly [key: Uint8Array, value: Uint8Array]> {
    return this.#pages(
      options,
      (database, range) => database.iterator(range),
      ([key]) => key,
    )
  }

  scanKeys(options: ScanOptions): AsyncIterable<Uint8Array> {
    return this.#pages(
      options,
      (database, range) => database.keys(range),
      (key) => key,
    )
  }

  /** A scan that outlives a mending goes on behind the last key it gave, in the reopened database. */
  async *#pages<T>(
    options: ScanOptions,
    openCursor: (database: Database, range: ScanOptions & { highWaterMarkBytes: number }) => Cursor<T>,
    keyOf: (item: T) => Uint8Array,
  ): AsyncGenerator<T> {
    let left = options.limit ?? Number.POSITIVE_INFINITY
    let lastKey: Uint8Array | undefined
    let source: { readonly database: Database; readonly cursor: Cursor<T> } | undefined
    try {
      while (left > 0) {
        const page = await this.#database.read('records', async (database) => {
          if (source?.database !== database) {
            const range = {
              ...rest(options, lastKey),
              reverse: options.reverse ?? false,
              highWaterMarkBytes: SCAN_BYTES,
            }
            source = { database, cursor: openCursor(database, range) }
          }
          return await source.cursor.nextv(Math.min(left, SCAN_ENTRIES))
        })
        if (page.length === 0) return
        for (const item of page) {
          lastKey = keyOf(item)
          left -= 1
          yield item
        }
      }
    } finally {
      await source?.cursor.close()
    }
  }

  write(writes: readonly Write[]): Promise<void> {
    if (this.#closed) return Promise.reject(new FeedmeshError('ABORTED', 'the store is closed; nothing was written'))
    if (writes.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      this.#queue.push({ writes, bytes: byteCount(writes), resolve, reject })
      this.#writing ??= this.#drain()
    })
  }

  async clear(range: KeyRange): Promise<void> {
    let deletes: Write[] = []
    for await (const key of this.scanKeys(range)) {
      deletes.push({ type: 'del', key })
      if (deletes.length === CLEAR_KEYS) {
        await this.write(deletes)
        deletes = []
      }
    }
    await this.write(deletes)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true
    await this.#writing
    await this.#database[Symbol.asyncDispose]()
  }

  /** Never rejects: each failure goes to the callers of its batch. */
  async #drain(): Promise<void> {
    // Lets the calls of one turn of the event loop meet in one batch.
    await Promise.resolve()
    while (this.#queue.length > 0) await this.#commit(this.#takeGroup())
    this.#writing = undefined
  }

  #takeGroup(): PendingWrite[] {
    let bytes = 0
    const end = this.#queue.findIndex((write) => {
      bytes += write.bytes
      return bytes > MAX_BATCH_BYTES
    })
    return this.#queue.splice(0, end === -1 ? this.#queue.length : Math.max(end, 1))
  }

  async #commit(group: readonly PendingWrite[]): Promise<void> {
    try {
      this.#reach('records.writing')
      await this.#database.commit(
        group.flatMap(({ writes }) => writes),
        group.reduce((sum, { bytes }) => sum + bytes, 0),
      )
      this.#reach('records.written')
    } catch (error) {
      const deletions = isFeedmeshError(error, 'STORAGE_FULL') ? group.filter(isDeletion) : []
      // What frees space must not fail along with what needs it.
      const retried = deletions.length < group.length ? deletions : []
      for (const pending of group) if (!retried.includes(pending)) pending.reject(error)
      if (retried.length > 0) await this.#commit(retried)
      return
    }
    for (const { resolve } of group) resolve()
  }
}

/** LevelDB drops what it cannot read of its log without a word; the schema version is the first thing ever written. */
async function verifyNew(records: Records, directory: string): Promise<void> {
  const batch = keys.fact('batch')
  for await (const found of records.scanKeys({ gte: Uint8Array.of(0), lt: Uint8Array.of(0xff), limit: 2 })) {
    if (Buffer.compare(found, batch) === 0) continue
    throw new FeedmeshError('CORRUPT', `the beginning of the database in ${directory} is lost; ${HOW_TO_REBUILD}`)
  }
}

/** Writes the schema version into a new folder, checks it in an old one. */
async function settleSchema(records: Records, directory: string): Promise<void> {
  const key = keys.fact('schema')
  const stored = await records.find(key)
  if (stored === undefined) {
    await verifyNew(records, directory)
    return records.write([{ type: 'put', key, value: u32(SCHEMA_VERSION) }])
  }
  if (stored.length !== 4) {
    throw new FeedmeshError(
      'CORRUPT',
      `${directory} holds no readable schema version; restore the folder from a backup`,
    )
  }
  const version = Buffer.from(stored).readUInt32BE()
  if (version > SCHEMA_VERSION) {
    throw new FeedmeshError(
      'DATA_NEWER',
      `${directory} has schema version ${version}, this program knows ${SCHEMA_VERSION}: start the newer Feedmesh again, or restore a backup made before the upgrade`,
    )
  }
}

/**
 * Opens or creates the store in `directory`.
 * @throws DATA_IN_USE, DATA_NEWER, CORRUPT, STORAGE_FULL, STORAGE_IO
 */
export async function openLevelRecords(options: LevelRecordsOptions): Promise<Records> {
  const database = new LevelDatabase(options)
  const records = new LevelRecords(database, options.reach ?? noFaults)
  try {
    await database.open()
    await settleSchema(records, options.directory)
    return records
  } catch (error) {
    await records[Symbol.asyncDispose]()
    throw error
  }
}
