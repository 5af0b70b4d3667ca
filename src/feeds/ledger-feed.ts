/** The `Feed` that feed types see, over the ledger and the blob store of a node. */

import type { Readable } from 'node:stream'
import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import type { RowFile } from '../catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { type LoadedUnit, rowBytes, StoredRow } from '../ledger/loaded-unit.ts'
import type { ReturnedRows } from '../ledger/returned-rows.ts'
import { listUnits } from '../ledger/view-index.ts'
import type { BlobStore, ByteRange, StagedBlob, StageOptions } from '../store/blobs.ts'
import {
  type Feed,
  type FeedFile,
  type FeedNotes,
  type FeedRow,
  type FeedUnit,
  type FeedUploads,
  MAX_META_BYTES,
  type UnitChange,
  type UnitSummary,
  type UnsignedPolicy,
} from './feed.ts'
import { LedgerNotes } from './ledger-notes.ts'
import { LedgerUploads } from './ledger-uploads.ts'

/** What a missing blob is wanted for: the row that names it, in the feed that signed the row. */
export interface BlobWanted {
  readonly feedId: FeedId
  readonly unit: string
  readonly key: string
  readonly file: RowFile
}

/** Brings a blob that is not here. */
export interface FetchBlob {
  /** Resolves when it is here. @throws NOT_FOUND, PEER_UNREACHABLE when nobody that can be asked has it */
  (wanted: BlobWanted): Promise<void>
  /**
   * Resolves with the first bytes of the range; the others follow as they arrive. The stream fails before its end when the blob
   * cannot be had after all, or the bytes that came are others than those of its digest: whoever has all of it has the right
   * ones. Without this a blob is read once all of it is here. @throws as above
   */
  open?(wanted: BlobWanted, range: ByteRange): Promise<Readable>
  /** A blob that is here was asked for: among those that were fetched on demand, unused ones go first. */
  used?(digest: Digest): void
}

export interface LedgerFeedOptions {
  readonly name: string
  readonly feedId: FeedId
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly fetchBlob: FetchBlob
  /** Asked before anything is written. @throws what keeps clients from writing */
  readonly verifyMayWrite?: () => void
  /** Unix time, ms; the machine's clock unless told. */
  readonly now?: () => number
}

function getStored(row: FeedRow): StoredRow {
  if (row instanceof StoredRow) return row
  throw new FeedmeshError('INTERNAL', `row ${row.key} of ${row.unit} is not one of this feed's`)
}

/** Without what came back with a new epoch and nobody has answered for; undefined where nothing is left. */
function withoutHidden(unit: LoadedUnit, returned: ReturnedRows): FeedUnit | undefined {
  if (!returned.hidesIn(unit.unit)) return unit
  const rows = unit.rows.filter((row) => !returned.isHidden(row))
  if (rows.length === unit.rows.length) return unit
  if (rows.length === 0 && unit.blocked.length === 0) return undefined
  const { changedAtMs, blocked } = unit
  return { unit: unit.unit, changedAtMs, rows, blocked, digest: returned.digestOf(unit, rows) }
}

export class LedgerFeed implements Feed {
  readonly name: string
  readonly uploads: FeedUploads
  readonly notes: FeedNotes
  readonly #options: LedgerFeedOptions

  constructor(options: LedgerFeedOptions) {
    this.name = options.name
    this.uploads = new LedgerUploads({ ...options, now: options.now ?? Date.now })
    this.notes = new LedgerNotes(options)
    this.#options = options
  }

  get type(): string {
    return this.#options.ledger.registry.getLocal(this.name).feedType
  }

  get maxFileBytes(): number {
    return this.#options.ledger.registry.getLocal(this.name).maxFileBytes
  }

  get unsigned(): UnsignedPolicy {
    return this.#options.ledger.registry.getLocal(this.name).unsigned
  }

  get revision(): string {
    const { registry } = this.#options.ledger
    const { totals, generation } = registry.getView(this.#options.feedId)
    return `${generation} ${totals.root.hash.toString('hex')} ${registry.returned.revision}`
  }

  async findUnit(unit: string): Promise<FeedUnit | undefined> {
    const { ledger, feedId } = this.#options
    const loaded = await ledger.registry.loadUnit(ledger.registry.getView(feedId), unit)
    return loaded.isEmpty ? undefined : withoutHidden(loaded, ledger.registry.returned)
  }

  async *list(options: {
    readonly prefix?: string
    readonly after?: string
    readonly limit: number
  }): AsyncIterable<UnitSummary> {
    const { registry } = this.#options.ledger
    for await (const summary of listUnits(registry.records, registry.getView(this.#options.feedId), options)) {
      if (!registry.returned.hidesIn(summary.unit)) yield summary
      else yield* this.#summarizeVisible(summary)
    }
  }

  /** Nothing for a unit of which nothing is left to be seen. */
  async *#summarizeVisible(summary: UnitSummary): AsyncIterable<UnitSummary> {
    const unit = await this.findUnit(summary.unit)
    if (unit === undefined) return
    const bytes = unit.rows.reduce((sum, row) => sum + rowBytes(getStored(row).row), 0)
    yield { ...summary, rows: unit.rows.length, bytes }
  }

  async readMeta(row: FeedRow): Promise<Uint8Array> {
    const stored = getStored(row)
    const file = stored.metaFile
    if (file === undefined) return stored.row.meta
    return await this.#withFetch(stored, file, () => this.#options.blobs.read(file.digest, MAX_META_BYTES))
  }

  async open(row: FeedRow, file: FeedFile, range?: ByteRange): Promise<Readable> {
    const { blobs, fetchBlob } = this.#options
    const stored = getStored(row)
    try {
      const stream = await blobs.open(file.digest, range)
      fetchBlob.used?.(file.digest)
      return stream
    } catch (error) {
      if (!isFeedmeshError(error, 'NOT_FOUND')) throw error
    }
    const wanted = { feedId: stored.feedId, unit: stored.unit, key: stored.key, file }
    if (fetchBlob.open !== undefined && file.size > 0)
      return await fetchBlob.open(wanted, range ?? { start: 0, end: file.size })
    await fetchBlob(wanted)
    return await blobs.open(file.digest, range)
  }

  /** Reads a blob; when it is not here, has it fetched once and reads again. */
  async #withFetch<T>(row: StoredRow, file: RowFile, read: () => Promise<T>): Promise<T> {
    try {
      return await read()
    } catch (error) {
      if (!isFeedmeshError(error, 'NOT_FOUND')) throw error
      await this.#options.fetchBlob({ feedId: row.feedId, unit: row.unit, key: row.key, file })
      return await read()
    }
  }

  async stage(options: StageOptions): Promise<StagedBlob> {
    this.#options.verifyMayWrite?.()
    return await this.#options.blobs.stage({ ...options, maxBytes: Math.min(options.maxBytes, this.maxFileBytes) })
  }

  async change(unit: string, plan: (current: FeedUnit | undefined) => UnitChange | Promise<UnitChange>): Promise<void> {
    this.#options.verifyMayWrite?.()
    return await this.#options.ledger.change(this.#options.feedId, { unit, plan })
  }
}
