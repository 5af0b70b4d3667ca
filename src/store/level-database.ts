/**
 * One LevelDB database that mends itself.
 *
 * A LevelDB handle that met one I/O error refuses all later writes (measured: also after space has been freed), and the
 * batch that failed may or may not stand in the log. So after a failed batch this handle is closed, the batch is cut off
 * the log, and the database is opened again, before the failure is reported.
 *
 * Invariant: a batch reported as failed is on no disk. It is never in the memtable or a table, because LevelDB applies a
 * batch only after its log record is synced; `#doubtful` holds its number until it is cut off the log, and the database
 * is never opened before that. Batches run one at a time, so at most one is doubtful and it is the last of its log. Each
 * starts with a put of its number; should a reopened database show that number all the same, the batch has been replayed
 * into a synced table and is reported as done.
 *
 * Opening needs space (the log becomes a table). A reserve file provides it, so that a node with a full disk still
 * serves. While the reserve cannot be filled again, batches that add anything are refused.
 */

import { mkdir } from 'node:fs/promises'
import { Level } from 'level'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { DiskReserve, freeBytes } from './disk-reserve.ts'
import { keys, u64 } from './keys.ts'
import { cutBatchFromLog } from './level-log.ts'
import type { Write } from './records.ts'
import { asStorageError } from './storage-errors.ts'

export type Database = Level<Uint8Array, Uint8Array>

export interface LevelDatabaseOptions {
  readonly directory: string
  readonly log?: Log | undefined
  /** Disk space kept back so that the database can be opened on a full disk, bytes. Default 32 MiB: two logs as they grow at most. */
  readonly reserveBytes?: number | undefined
  /** Creates the database without opening it; a test hands in one whose batches fail. */
  readonly createDatabase?: ((directory: string) => Database) | undefined
}

/** Key under which every batch leaves its number. */
const BATCH_KEY = keys.fact('batch')
const DEFAULT_RESERVE_BYTES = 32 * 1024 * 1024
/** Free space below which a full disk still counts as full, besides the size of the batch: room for a table and a manifest. */
const SLACK_BYTES = 64 * 1024

export function createLevel(directory: string): Database {
  return new Level<Uint8Array, Uint8Array>(directory, {
    keyEncoding: 'view',
    valueEncoding: 'view',
    cacheSize: 32 * 1024 * 1024,
    // Tables are mapped into memory while they are open: at most 128 MiB of them.
    maxFileSize: 2 * 1024 * 1024,
    maxOpenFiles: 64,
  })
}

async function readBatchNumber(database: Database): Promise<bigint> {
  const bytes = (await database.get(BATCH_KEY)) as Uint8Array | undefined
  if (bytes === undefined) return 0n
  if (bytes.length === 8) return Buffer.from(bytes).readBigUInt64BE()
  throw new FeedmeshError(
    'CORRUPT',
    `the batch number of the database in ${database.location} is unreadable; restore the folder from a backup`,
  )
}

export class LevelDatabase implements AsyncDisposable {
  readonly #directory: string
  readonly #log: Log | undefined
  readonly #createDatabase: (directory: string) => Database
  readonly #reserve: DiskReserve
  #database: Database | undefined
  #opening: Promise<Database> | undefined
  /** A handle that refuses writes and has to be closed before the next is opened. */
  #latched: Database | undefined
  #doubtful: bigint | undefined
  #lastBatch = 0n
  /** Number of the last batch in the database as it was last opened. */
  #openedAt = 0n
  /** A batch failed for want of space, and there has been no room since. */
  #full = false
  #closed = false

  constructor(options: LevelDatabaseOptions) {
    this.#directory = options.directory
    this.#log = options.log
    this.#createDatabase = options.createDatabase ?? createLevel
    this.#reserve = new DiskReserve(options.directory, options.reserveBytes ?? DEFAULT_RESERVE_BYTES)
  }

  /** @throws DATA_IN_USE, CORRUPT, STORAGE_FULL, STORAGE_IO */
  async open(): Promise<void> {
    try {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    } catch (error) {
      throw asStorageError(error, `cannot create the folder ${this.#directory}`)
    }
    await this.#opened()
    await this.#fillReserve()
  }

  /** Reads with the open database, again with the next one when it is closed for mending meanwhile. */
  async read<T>(what: string, read: (database: Database) => Promise<T>): Promise<T> {
    for (;;) {
      const database = await this.#opened()
      try {
        return await read(database)
      } catch (error) {
        if (this.#database === database) throw asStorageError(error, `cannot read ${what} in ${this.#directory}`)
      }
    }
  }

  /**
   * All of `writes` in one synced batch. One call at a time. A batch that fails is tried once more after mending, since
   * the reason may lie in the past (a compaction that found no space).
   * @throws STORAGE_FULL, STORAGE_IO: nothing of `writes` is visible, now or after a restart
   */
  async commit(writes: readonly Write[], bytes: number): Promise<void> {
    const what = `cannot write to the database in ${this.#directory}`
    if (writes.some(({ type }) => type === 'put') && !(await this.#hasRoom(bytes))) {
      throw asStorageError(Object.assign(new Error('no space left'), { code: 'ENOSPC' }), what)
    }
    for (let attempt = 1; ; attempt += 1) {
      const database = await this.#opened()
      this.#lastBatch += 1n
      const number = this.#lastBatch
      const marker: Write = { type: 'put', key: BATCH_KEY, value: u64(number) }
      try {
        await database.batch([marker, ...writes], { sync: true })
        return
      } catch (cause) {
        const error = asStorageError(cause, what)
        await this.#mend(database, number, error)
        if (this.#database !== undefined && this.#openedAt === number) return
        if (attempt > 1 || this.#database === undefined || !(await this.#hasRoom(bytes))) throw error
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#opening?.catch(() => undefined)
    const database = this.#database
    this.#database = undefined
    await database?.close()
    await this.#latched?.close()
  }

  async #mend(database: Database, number: bigint, error: FeedmeshError): Promise<void> {
    this.#log?.warn({ err: error, directory: this.#directory }, 'a write failed; the database is being opened anew')
    if (error.code === 'STORAGE_FULL') this.#full = true
    this.#doubtful = number
    this.#latched = database
    this.#database = undefined
    try {
      await this.#opened()
    } catch (reason) {
      this.#log?.error({ err: reason }, 'the database cannot be opened anew; the next call tries again')
    }
  }

  /** The open database; opens it when there is none. Concurrent callers share one attempt. */
  #opened(): Promise<Database> {
    if (this.#closed)
      return Promise.reject(new FeedmeshError('ABORTED', `the database in ${this.#directory} is closed`))
    if (this.#database !== undefined) return Promise.resolve(this.#database)
    this.#opening ??= this.#reopen().finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #reopen(): Promise<Database> {
    try {
      await this.#latched?.close()
      this.#latched = undefined
      if (this.#doubtful !== undefined) {
        await cutBatchFromLog(this.#directory, BATCH_KEY, u64(this.#doubtful))
        this.#doubtful = undefined
      }
      const database = await this.#openUsingReserve()
      this.#latched = database
      this.#openedAt = await readBatchNumber(database)
      if (this.#openedAt > this.#lastBatch) this.#lastBatch = this.#openedAt
      this.#latched = undefined
      this.#database = database
      return database
    } catch (error) {
      throw asStorageError(error, `cannot open the database in ${this.#directory}`)
    }
  }

  async #openUsingReserve(): Promise<Database> {
    try {
      return await this.#openNew()
    } catch (cause) {
      const error = asStorageError(cause, `cannot open the database in ${this.#directory}`)
      if (error.code !== 'STORAGE_FULL') throw error
    }
    this.#full = true
    await this.#reserve.release()
    return this.#openNew()
  }

  async #openNew(): Promise<Database> {
    const database = this.#createDatabase(this.#directory)
    try {
      await database.open()
      return database
    } catch (error) {
      await database.close()
      throw error
    }
  }

  /** Whether the reserve is in place. */
  async #fillReserve(): Promise<boolean> {
    try {
      await this.#reserve.fill()
      return true
    } catch (cause) {
      const error = asStorageError(cause, `cannot set space aside in ${this.#directory}`)
      if (!isFeedmeshError(error, 'STORAGE_FULL')) throw error
      if (!this.#full)
        this.#log?.warn({ err: error }, 'the disk is nearly full; writes are refused until there is room')
      this.#full = true
      return false
    }
  }

  /** Whether a batch of `bytes` may be tried: always, unless the disk was full and still is. */
  async #hasRoom(bytes: number): Promise<boolean> {
    if (!this.#full) return true
    if (!(await this.#fillReserve())) return false
    if ((await freeBytes(this.#directory)) < 2 * bytes + SLACK_BYTES) return false
    this.#full = false
    return true
  }
}
