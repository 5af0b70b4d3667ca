/**
 * The index of a view, built anew beside the one that counts: a pass over the rows of all members writes what is visible of
 * each unit, a pass over that makes the trie. In memory is a unit at a time, however many there are.
 *
 * It is built from the states as they were when it began, while others publish. What they touch meanwhile is looked at again
 * afterwards, at last under the ledger's lock.
 */

import type { FeedId } from '../catalog/charter.ts'
import type { Closure } from '../catalog/closure.ts'
import { placeOf, unitPlace } from '../catalog/row.ts'
import { packPath, type TrieChange, updateTrie } from '../catalog/trie.ts'
import { BLOCKED_DIGEST, viewDigestOf } from '../catalog/view.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { isIndexUnit } from '../feeds/feed.ts'
import { keys, under } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { type BoundedBatches, writeInBatches } from './bounded-batches.ts'
import type { FeedState } from './feed-state.ts'
import { LoadedUnit, replaceRows, type StoredRow } from './loaded-unit.ts'
import { encodeInnerNode } from './node-codec.ts'
import { RecordTrie } from './record-trie.ts'
import type { View } from './registry.ts'
import { StreamedTrie } from './streamed-trie.ts'
import type { FeedChange } from './transitions.ts'
import { readUnitRows, readUnits } from './unit-rows.ts'
import {
  EMPTY_VIEW,
  findUnitSummary,
  NO_SALT,
  summaryOf,
  summaryWrite,
  type ViewRef,
  type ViewTotals,
  type VisibleChange,
  visibleWrite,
} from './view-index.ts'

export interface ViewBuildOptions {
  readonly records: Records
  /** Writes of a batch at most; 2,000 unless told. */
  readonly batchWrites?: number
  readonly reach: ReachFaultPoint
  /** Unix time, ms. */
  readonly now: () => number
  readonly viewing: FeedState
  readonly closure: Closure
  /** States of the members as the index is to show them. */
  readonly sources: ReadonlyMap<FeedId, FeedState>
  /** The index that counts now. */
  readonly old: View | undefined
  readonly generation: number
}

/** Units that are looked at again with one batch. */
const PATCH_UNITS = 100
/** Members with this many rows, taken together, are asked from memory whether they have a unit at all. */
const MAX_NAMED_ROWS = 50_000

export class ViewBuild {
  readonly viewing: FeedState
  readonly closure: Closure
  readonly ref: ViewRef
  readonly sources: ReadonlyMap<FeedId, FeedState>
  readonly #options: ViewBuildOptions
  /** The index that counts now, where it shows anything. */
  readonly #old: View | undefined
  readonly #members: readonly FeedState[]
  /** Names of the units of small members. */
  readonly #named = new Map<FeedId, ReadonlySet<string>>()
  #touched = new Set<string>()
  #totals: ViewTotals = EMPTY_VIEW

  constructor(options: ViewBuildOptions) {
    this.#options = options
    this.#old = options.old?.totals.root.count === 0 ? undefined : options.old
    this.viewing = options.viewing
    this.closure = options.closure
    this.sources = options.sources
    this.ref = { number: options.viewing.number, generation: options.generation }
    this.#members = [...options.closure.members.keys()].flatMap((id) => options.sources.get(id) ?? [])
  }

  get totals(): ViewTotals {
    return this.#totals
  }

  get touched(): number {
    return this.#touched.size
  }

  /** To be told before and after every change that is stored while the index is built. */
  touch(change: FeedChange): void {
    if (this.closure.members.has(change.state.feedId)) for (const unit of change.rows.keys()) this.#touched.add(unit)
  }

  /** Writes the whole index. */
  async run(): Promise<void> {
    const { reach, ...options } = this.#options
    const batching = { ...options, onStored: () => reach('view.stored') }
    await this.#nameSmallMembers()
    const tally = await writeInBatches(batching, (batches) => this.#writeUnits(batches))
    const root = await writeInBatches(batching, (batches) => this.#writeNodes(batches))
    this.#totals = { root, ...tally }
  }

  /** Looks again at what was touched. `changes` are not stored yet, and are to show. */
  async catchUp(changes: readonly FeedChange[]): Promise<void> {
    for (const change of changes) this.touch(change)
    const units = [...this.#touched]
    this.#touched = new Set()
    const byFeed = new Map(changes.map((change) => [change.state.feedId, change]))
    for (let from = 0; from < units.length; from += PATCH_UNITS)
      await this.#patch(units.slice(from, from + PATCH_UNITS), byFeed)
  }

  async #nameSmallMembers(): Promise<void> {
    let rows = 0
    for (const state of this.#members.toSorted((a, b) => a.root.count - b.root.count)) {
      rows += state.root.count
      if (rows > MAX_NAMED_ROWS) return
      const names = new Set<string>()
      for await (const [unit] of readUnits(this.#options.records, state)) names.add(unit)
      this.#named.set(state.feedId, names)
    }
  }

  async #writeUnits(batches: BoundedBatches): Promise<{ entries: number; bytes: number }> {
    const tally = { entries: 0, bytes: 0 }
    for (const [index, state] of this.#members.entries()) {
      for await (const [name, rows] of readUnits(this.#options.records, state)) {
        if (isIndexUnit(name)) continue
        const unit = await this.#loadAt(index, name, rows)
        // Touched units are left to `catchUp`: what was read of them may be of two states.
        if (unit === undefined || unit.isEmpty || this.#touched.has(name)) continue
        const changes = visibleChanges(unit)
        const summary = { ...summaryOf(unit), changedAtMs: await this.#changedAt(unit, changes) }
        if (this.#touched.has(name)) continue
        tally.entries += summary.entries
        tally.bytes += summary.bytes
        for (const change of changes) batches.add(visibleWrite(this.ref, change))
        batches.add(summaryWrite(this.ref, name, summary))
        if (batches.isFull) await batches.writeOut()
      }
    }
    return tally
  }

  /** The unit, of which the member at `index` has `rows`; undefined when a member before it has some, and so had it. */
  async #loadAt(index: number, name: string, rows: readonly StoredRow[]): Promise<LoadedUnit | undefined> {
    const sources = new Map<FeedId, readonly StoredRow[]>()
    for (const [at, state] of this.#members.entries()) {
      const found = at === index ? rows : await this.#read(state, name)
      if (found.length > 0 && at < index) return undefined
      if (found.length > 0) sources.set(state.feedId, found)
    }
    return new LoadedUnit(name, sources, { closure: this.closure, changedAtMs: 0 })
  }

  async #read(state: FeedState, unit: string): Promise<readonly StoredRow[]> {
    if (this.#named.get(state.feedId)?.has(unit) === false) return []
    return await readUnitRows(this.#options.records, state, unit)
  }

  /** When the unit changed: now, unless the index that counts shows the same of it. */
  async #changedAt(unit: LoadedUnit, changes: readonly VisibleChange[]): Promise<number> {
    const { records, now } = this.#options
    const old = this.#old
    const before = old === undefined ? undefined : await findUnitSummary(records, old, unit.unit)
    if (old === undefined || before === undefined) return now()
    const shown = await this.#shown(old, unit.unit)
    const isSame =
      shown.size === changes.length &&
      changes.every(({ place, digest }) => digest !== undefined && shown.get(place.toString('hex'))?.equals(digest))
    return isSame ? before.changedAtMs : Math.max(now(), before.changedAtMs + 1)
  }

  /** What an index says of the rows of a unit, by place. */
  async #shown({ number, generation }: ViewRef, unit: string): Promise<Map<string, Buffer>> {
    const range = under(keys.viewRow(number, generation, unitPlace(NO_SALT, unit)))
    const offset = keys.viewRow(number, generation, new Uint8Array(0)).length
    const shown = new Map<string, Buffer>()
    for await (const [key, value] of this.#options.records.scan(range))
      shown.set(Buffer.from(key.subarray(offset)).toString('hex'), Buffer.from(value))
    return shown
  }

  async #writeNodes(batches: BoundedBatches) {
    const { number, generation } = this.ref
    const offset = keys.viewRow(number, generation, new Uint8Array(0)).length
    const trie = new StreamedTrie((node) =>
      batches.add({
        type: 'put',
        key: keys.viewNode(number, generation, packPath(node.path)),
        value: encodeInnerNode(node),
      }),
    )
    for await (const [key, value] of this.#options.records.scan(keys.viewRows(number, generation))) {
      trie.add({ place: Buffer.from(key.subarray(offset)), digest: Buffer.from(value) })
      if (batches.isFull) await batches.writeOut()
    }
    return trie.end()
  }

  async #patch(units: readonly string[], changes: ReadonlyMap<FeedId, FeedChange>): Promise<void> {
    const { records, reach } = this.#options
    const tally = { entries: this.#totals.entries, bytes: this.#totals.bytes }
    const trieChanges: TrieChange[] = []
    const writes: Write[] = []
    for (const name of units) {
      if (isIndexUnit(name)) continue
      const unit = await this.#loadChanged(name, changes)
      const visible = visibleChanges(unit)
      const before = await findUnitSummary(records, this.ref, name)
      const after = { ...summaryOf(unit), changedAtMs: await this.#changedAt(unit, visible) }
      tally.entries += after.entries - (before?.entries ?? 0)
      tally.bytes += after.bytes - (before?.bytes ?? 0)
      for (const change of differences(await this.#shown(this.ref, name), visible)) {
        trieChanges.push(change)
        writes.push(visibleWrite(this.ref, change))
      }
      writes.push(summaryWrite(this.ref, name, unit.isEmpty ? undefined : after))
    }
    const trie = RecordTrie.ofView(records, this.ref)
    const update = await updateTrie(trie, this.#totals.root, trieChanges)
    for (const write of trie.nodeWrites(update)) writes.push(write)
    await records.write(writes)
    reach('view.stored')
    this.#totals = { root: update.root, ...tally }
  }

  async #loadChanged(name: string, changes: ReadonlyMap<FeedId, FeedChange>): Promise<LoadedUnit> {
    const { records } = this.#options
    const sources = new Map<FeedId, readonly StoredRow[]>()
    for (const state of this.#members) {
      const stored = await readUnitRows(records, state, name)
      const rows = replaceRows(stored, changes.get(state.feedId)?.rows.get(name))
      if (rows.length > 0) sources.set(state.feedId, rows)
    }
    return new LoadedUnit(name, sources, { closure: this.closure, changedAtMs: 0 })
  }
}

/** Everything that is visible of a unit. */
function visibleChanges(unit: LoadedUnit): VisibleChange[] {
  const rows = unit.rows.map((row) => ({ place: placeOf(NO_SALT, unit.unit, row.key), digest: viewDigestOf(row) }))
  const blocked = unit.blocked.map((key) => ({ place: placeOf(NO_SALT, unit.unit, key), digest: BLOCKED_DIGEST }))
  return [...rows, ...blocked]
}

/** What takes an index from what it shows to what is visible. */
function differences(shown: Map<string, Buffer>, visible: readonly VisibleChange[]): VisibleChange[] {
  const left = new Map(shown)
  const changes = visible.filter(({ place, digest }) => {
    const known = left.get(place.toString('hex'))
    left.delete(place.toString('hex'))
    return digest === undefined || known?.equals(digest) !== true
  })
  for (const place of left.keys()) changes.push({ place: Buffer.from(place, 'hex'), digest: undefined })
  return changes
}
