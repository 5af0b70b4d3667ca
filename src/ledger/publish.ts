/**
 * The writing half of a feed's journey: a group of planned changes becomes rows, trie nodes, log, view and one new signed
 * manifest in one batch. Runs under the ledger's lock; changes nothing in memory until the batch is on disk.
 */

import { encodeOperation, type Operation } from '../catalog/operation.ts'
import {
  encodeRow,
  MAX_INLINE_META_BYTES,
  META_ROLE,
  placeOf,
  type Row,
  type RowFile,
  rowDigest,
} from '../catalog/row.ts'
import { nextStamp, type Stamp } from '../catalog/stamp.ts'
import { type TrieChange, updateTrie } from '../catalog/trie.ts'
import { flagTarget } from '../catalog/view.ts'
import { FeedmeshError } from '../errors.ts'
import { type FeedUnit, MAX_META_BYTES, type RowDraft, type UnitChange } from '../feeds/feed.ts'
import type { BlobStore, SealedBlob } from '../store/blobs.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import { CheckedTrie } from './checked-trie.ts'
import type { FeedState } from './feed-state.ts'
import { LoadedUnit, replaceRows, rowBytes, StoredRow } from './loaded-unit.ts'
import type { StateTotals } from './own-manifest.ts'
import { RecordTrie } from './record-trie.ts'
import type { Registry, View } from './registry.ts'

export type Plan = (current: FeedUnit | undefined) => UnitChange | Promise<UnitChange>

/** A planned change with what became of it. */
export interface PlannedChange {
  readonly unit: string
  readonly plan: Plan
}

/** What a group of changes to one feed adds up to. */
export interface FeedDraft {
  readonly state: FeedState
  readonly rows: Map<string, Map<string, StoredRow | undefined>>
  readonly operations: Operation[]
  readonly writes: Write[]
  totals: StateTotals
}

function isFlaggable(unit: LoadedUnit, key: string): boolean {
  return unit.rows.some((row) => row.key === key && row.rowClass !== 'burn')
}

/** @throws BAD_INPUT when one key is written twice, or both written and dropped */
function verifyDistinct(change: UnitChange): void {
  const names = [...(change.drop ?? []), ...(change.put ?? []).map((row) => row.key)]
  if (new Set(names).size < names.length) throw new FeedmeshError('BAD_INPUT', 'one change names a key twice')
}

function isSealed(file: RowDraft['files'][number]): file is { readonly role: string; readonly blob: SealedBlob } {
  return 'blob' in file
}

function ownRow(current: LoadedUnit | undefined, state: FeedState, key: string): StoredRow | undefined {
  return current?.sources.get(state.feedId)?.find((row) => row.key === key)
}

/** Collects changes one after the other, each seeing the ones before it. */
export class FeedDrafter {
  readonly #registry: Registry
  readonly #blobs: BlobStore
  readonly #view: View
  readonly #nowMs: number
  readonly #units = new Map<string, LoadedUnit>()
  #stamp: Stamp
  readonly draft: FeedDraft

  constructor(registry: Registry, blobs: BlobStore, state: { readonly feed: FeedState; readonly nowMs: number }) {
    this.#registry = registry
    this.#blobs = blobs
    this.#view = registry.getView(state.feed.feedId)
    this.#nowMs = state.nowMs
    this.#stamp = this.#latestStamp()
    this.draft = {
      state: state.feed,
      rows: new Map(),
      operations: [],
      writes: [],
      totals: { operations: 0, bytesAdded: 0, clock: 0n },
    }
  }

  /** A write is stamped after everything this node has seen in the feed's closure. */
  #latestStamp(): Stamp {
    const clocks = [...this.#view.closure.members.keys()].map(
      (id) => this.#registry.states.get(id)?.manifest?.value.clock ?? 0n,
    )
    return clocks.reduce((latest, clock) => (clock > latest ? clock : latest), 0n)
  }

  /** Adds one change to the draft; on a refusal the draft is as before. @throws what the plan throws, EXISTS, NOT_FOUND, FORBIDDEN */
  async add(change: PlannedChange): Promise<void> {
    const current = this.#units.get(change.unit) ?? (await this.#registry.loadUnit(this.#view, change.unit))
    const wanted = await change.plan(current.isEmpty ? undefined : current)
    verifyDistinct(wanted)
    for (const key of wanted.drop ?? []) this.#verifyMayDrop(current, key)
    for (const row of wanted.put ?? []) this.#verifyMayPut(current, row)
    const puts: { row: Row; writes: readonly Write[] }[] = []
    for (const draft of wanted.put ?? []) puts.push(await this.#createRow(change.unit, draft))
    const changes = new Map<string, StoredRow | undefined>((wanted.drop ?? []).map((key) => [key, undefined]))
    for (const { row } of puts) changes.set(row.key, new StoredRow(row, this.draft.state.feedId))
    const next = this.#preview(current, changes)
    this.#record(current, next, changes)
    for (const put of puts) this.draft.writes.push(...put.writes)
  }

  #verifyMayPut(current: LoadedUnit, draft: RowDraft): void {
    const existing = current.rows.find((row) => row.key === draft.key)
    const fixed = existing?.rowClass === 'immutable' || existing?.rowClass === 'burn'
    if (current.blocked.includes(draft.key))
      throw new FeedmeshError(
        'CONFLICT',
        `${draft.key} of ${current.unit} is blocked: two sources hold it with different content`,
      )
    if (fixed && !(existing.rowClass === 'immutable' && draft.rowClass === 'burn')) {
      throw new FeedmeshError('EXISTS', `${draft.key} of ${current.unit} exists already and cannot be replaced`)
    }
  }

  #verifyMayDrop(current: LoadedUnit, key: string): void {
    const visible = current.rows.find((row) => row.key === key)
    if (visible === undefined) throw new FeedmeshError('NOT_FOUND', `${current.unit} has no ${key}`)
    if (visible.rowClass === 'burn') throw new FeedmeshError('EXISTS', `${key} of ${current.unit} was removed for good`)
    if (ownRow(current, this.draft.state, key) === undefined) {
      throw new FeedmeshError('FORBIDDEN', `${key} of ${current.unit} comes from another feed; remove it there`)
    }
  }

  async #createRow(unit: string, draft: RowDraft): Promise<{ row: Row; writes: readonly Write[] }> {
    const writes: Write[] = []
    const files: RowFile[] = []
    for (const file of draft.files) {
      if (isSealed(file)) {
        writes.push(...file.blob.writes)
        files.push(toRowFile(file.role, file.blob))
      } else {
        if ((await this.#blobs.find(file.digest)) === undefined)
          throw new FeedmeshError(
            'NOT_FOUND',
            `file ${file.role} of ${draft.key} names ${file.digest}, which is not here`,
          )
        files.push(file)
      }
    }
    const inline = draft.meta.length <= MAX_INLINE_META_BYTES
    if (!inline) {
      const blob = await this.#sealMeta(draft.meta)
      writes.push(...blob.writes)
      files.push(toRowFile(META_ROLE, blob))
    }
    this.#stamp = nextStamp(this.#stamp, this.#nowMs)
    const meta = inline ? draft.meta : new Uint8Array(0)
    const row: Row = { rowClass: draft.rowClass, stamp: this.#stamp, unit, key: draft.key, meta, files }
    encodeRow(row)
    return { row, writes }
  }

  async #sealMeta(meta: Uint8Array): Promise<SealedBlob> {
    await using staged = await this.#blobs.stage({ maxBytes: MAX_META_BYTES })
    await staged.write(meta)
    return await staged.seal()
  }

  /** The unit after the changes; refuses rows that would not be seen because another feed's stand above them. */
  #preview(current: LoadedUnit, changes: ReadonlyMap<string, StoredRow | undefined>): LoadedUnit {
    const own = replaceRows(current.sources.get(this.draft.state.feedId) ?? [], changes)
    const next = current.withSource(this.draft.state.feedId, own, {
      closure: this.#view.closure,
      changedAtMs: this.#nowMs,
    })
    const visible = new Set(next.rows)
    for (const [key, row] of changes) {
      if (row === undefined || visible.has(row)) continue
      if (row.rowClass === 'flag' && !isFlaggable(next, flagTarget(key)))
        throw new FeedmeshError('NOT_FOUND', `${current.unit} has no ${flagTarget(key)} to be flagged`)
      throw new FeedmeshError(
        'FORBIDDEN',
        `${key} of ${current.unit} is decided by another feed that this one replicates; change it there`,
      )
    }
    return next
  }

  #record(current: LoadedUnit, next: LoadedUnit, changes: ReadonlyMap<string, StoredRow | undefined>): void {
    const { state, operations, rows } = this.draft
    let bytesAdded = this.draft.totals.bytesAdded
    for (const [key, row] of changes) {
      const old = ownRow(current, state, key)
      bytesAdded += (row === undefined ? 0 : rowBytes(row.row)) - (old === undefined ? 0 : rowBytes(old.row))
      operations.push(row === undefined ? { kind: 'drop', unit: current.unit, key } : { kind: 'put', row: row.row })
    }
    rows.set(current.unit, new Map([...(rows.get(current.unit) ?? []), ...changes]))
    const own = replaceRows(current.sources.get(state.feedId) ?? [], changes)
    this.#units.set(
      current.unit,
      current.withSource(state.feedId, own, { closure: this.#view.closure, changedAtMs: this.#nowMs }),
    )
    this.draft.totals = { operations: operations.length, bytesAdded, clock: this.#stamp }
  }
}

function toRowFile(role: string, blob: SealedBlob): RowFile {
  const file = { role, digest: blob.digest, size: blob.size }
  return blob.chunkRoot === undefined ? file : { ...file, chunkRoot: blob.chunkRoot }
}

/** Trie, rows and log of the draft, without manifest: the new state and the writes that lead to it. */
export async function applyDraft(
  registry: Registry,
  draft: FeedDraft,
  keptOperations: number,
): Promise<{ state: FeedState; writes: Write[] }> {
  const { state } = draft
  const trie = RecordTrie.ofState(registry.records, state.number, state.generation)
  const writes = [...draft.writes]
  const changes: TrieChange[] = []
  for (const [unit, rows] of draft.rows) {
    for (const [key, row] of rows) {
      const place = placeOf(state.charter.value.salt, unit, key)
      const encoded = row === undefined ? undefined : encodeRow(row.row)
      changes.push({ place, digest: encoded === undefined ? undefined : rowDigest(encoded) })
      const rowKey = keys.row(state.number, state.generation, place)
      writes.push(encoded === undefined ? { type: 'del', key: rowKey } : { type: 'put', key: rowKey, value: encoded })
    }
  }
  const update = await updateTrie(new CheckedTrie(trie, state.root), state.root, changes)
  for (const write of trie.nodeWrites(update)) writes.push(write)
  const logFrom = appendToLog(draft, writes, keptOperations)
  return { state: { ...state, root: update.root, logFrom }, writes }
}

/** Operations dropped from the old end of the log with one change, at most. */
const MAX_DROPPED = 4096

/**
 * Appends the draft's operations, and drops old ones beyond what is kept: as many as the feed has rows, but no fewer than
 * `keptOperations`. Whoever is further behind compares tries, which is cheaper then.
 */
function appendToLog({ state, operations }: FeedDraft, writes: Write[], keptOperations: number): number {
  const epoch = state.charter.value.epoch
  const isSameEpoch = state.manifest?.value.epoch === epoch
  const size = isSameEpoch ? (state.manifest?.value.logSize ?? 0) : 0
  const from = isSameEpoch ? state.logFrom : 0
  for (const [index, operation] of operations.entries()) {
    writes.push({
      type: 'put',
      key: keys.operation(state.number, epoch, size + index),
      value: encodeOperation(operation),
    })
  }
  const excess = size + operations.length - from - Math.max(keptOperations, state.root.count)
  const dropped = Math.min(MAX_DROPPED, Math.max(0, excess))
  for (let index = from; index < from + dropped; index += 1)
    writes.push({ type: 'del', key: keys.operation(state.number, epoch, index) })
  return from + dropped
}
