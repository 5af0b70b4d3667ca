/** All feeds a node knows and the views it keeps, in memory; rows stay in the store and are loaded a unit at a time. */

import type { Charter, FeedId } from '../catalog/charter.ts'
import { feedIdText } from '../catalog/charter.ts'
import { Closure } from '../catalog/closure.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import { HOW_TO_REBUILD, readStored } from '../store/stored-bytes.ts'
import { encodeLocalFeed, type FeedState, type LocalFeedRecord, readFeedStates, readLocalFeeds } from './feed-state.ts'
import { Forks } from './forks.ts'
import type { StoredRow } from './loaded-unit.ts'
import { LoadedUnit } from './loaded-unit.ts'
import { ReturnedRows } from './returned-rows.ts'
import { verifyStoredState } from './stored-state.ts'
import { readUnitRows } from './unit-rows.ts'
import { EMPTY_VIEW, findStoredView, findUnitSummary, type ViewTotals } from './view-index.ts'

/** A feed as its clients see it. Kept for the feeds of this node and for those that they include directly. */
export interface View {
  readonly feedId: FeedId
  readonly number: number
  readonly closure: Closure
  /** Names its index in the store; see `keys.viewRow`. */
  readonly generation: number
  readonly totals: ViewTotals
}

export interface LocalFeed extends LocalFeedRecord {
  readonly name: string
  readonly id: FeedId
}

/** Units kept in memory, counted in rows. */
const MAX_CACHED_ROWS = 200_000

class UnitCache {
  readonly #units = new Map<string, LoadedUnit>()
  #rows = 0

  static name(view: FeedId, unit: string): string {
    return `${view} ${unit}`
  }

  find(view: FeedId, unit: string): LoadedUnit | undefined {
    const name = UnitCache.name(view, unit)
    const found = this.#units.get(name)
    if (found === undefined) return undefined
    this.#units.delete(name)
    this.#units.set(name, found)
    return found
  }

  set(view: FeedId, unit: LoadedUnit): void {
    this.delete(view, unit.unit)
    this.#units.set(UnitCache.name(view, unit.unit), unit)
    this.#rows += unit.rows.length + 1
    for (const [name, oldest] of this.#units) {
      if (this.#rows <= MAX_CACHED_ROWS) return
      this.#units.delete(name)
      this.#rows -= oldest.rows.length + 1
    }
  }

  /** Forgets all units of a view. */
  clear(view: FeedId): void {
    for (const [name, { unit }] of this.#units) if (name === UnitCache.name(view, unit)) this.delete(view, unit)
  }

  delete(view: FeedId, unit: string): void {
    const name = UnitCache.name(view, unit)
    this.#rows -= (this.#units.get(name)?.rows.length ?? -1) + 1
    this.#units.delete(name)
  }
}

/** What a committed batch changed, applied to memory after the batch is on disk. */
export interface RegistryChange {
  readonly states?: readonly FeedState[]
  readonly views?: readonly View[]
  readonly units?: readonly { readonly view: FeedId; readonly unit: LoadedUnit }[]
}

/** @throws CORRUPT when the feed that the name stands for is not here, or is another one */
function verifyLocalFeed({ name, id, feedType }: LocalFeed, charter: Charter | undefined): void {
  if (charter?.feedType === feedType) return
  throw new FeedmeshError(
    'CORRUPT',
    `feed ${name} stands for feed ${id} of type ${feedType}, which is not in the database; ${HOW_TO_REBUILD}`,
  )
}

/** What clients see of a feed has changed: in these units, or nobody knows where. */
export type ViewListener = (feedId: FeedId, units: ReadonlySet<string> | 'all') => void

export class Registry {
  readonly records: Records
  readonly forks: Forks
  readonly returned: ReturnedRows
  readonly states = new Map<FeedId, FeedState>()
  readonly locals = new Map<string, LocalFeed>()
  views: ReadonlyMap<FeedId, View> = new Map()
  readonly #units = new UnitCache()
  readonly #viewListeners = new Set<ViewListener>()
  /** States that were replaced as a whole and whose rows are still here, for peers that are reading them. */
  readonly #replaced = new Set<FeedState>()
  /** Counts changes; a unit that was read while it moved is not cached. */
  #revision = 0

  private constructor(records: Records, told: { readonly forks: Forks; readonly returned: ReturnedRows }) {
    this.records = records
    this.forks = told.forks
    this.returned = told.returned
  }

  static async open(records: Records): Promise<Registry> {
    const forks = await readStored('the proof of a fork', () => Forks.open(records))
    const returned = await readStored('a returned row', () => ReturnedRows.open(records))
    const registry = new Registry(records, { forks, returned })
    for (const state of await readStored('a feed', () => readFeedStates(records))) {
      await verifyStoredState(records, state)
      registry.states.set(state.feedId, state)
    }
    for (const [name, feed] of await readStored('a feed', () => readLocalFeeds(records))) {
      const local: LocalFeed = { ...feed, name, id: feedIdText(feed.feedId) }
      verifyLocalFeed(local, registry.charterOf(local.id))
      registry.locals.set(name, local)
    }
    const views = new Map<FeedId, View>()
    for (const state of registry.viewedStates()) {
      const closure = new Closure(state.feedId, (id) => registry.charterOf(id))
      views.set(state.feedId, {
        feedId: state.feedId,
        number: state.number,
        closure,
        ...((await readStored('a view', () => findStoredView(records, state.number))) ?? {
          totals: EMPTY_VIEW,
          generation: 0,
        }),
      })
    }
    registry.views = views
    return registry
  }

  charterOf(feedId: FeedId): Charter | undefined {
    return this.states.get(feedId)?.charter.value
  }

  /** @throws NOT_FOUND */
  getState(feedId: FeedId): FeedState {
    const state = this.states.get(feedId)
    if (state === undefined) throw new FeedmeshError('NOT_FOUND', `no feed with id ${feedId} is known here`)
    return state
  }

  /** The state of a feed with this root: the current one, or one that was replaced a moment ago. */
  findServed(feedId: FeedId, stateRoot: Uint8Array): FeedState | undefined {
    const current = this.states.get(feedId)
    const states = current === undefined ? [] : [current, ...this.#replaced]
    return states.find((state) => state.feedId === feedId && Buffer.compare(state.root.hash, stateRoot) === 0)
  }

  /** `findServed` gives it until `dropReplaced`. */
  keepReplaced(state: FeedState): void {
    this.#replaced.add(state)
  }

  dropReplaced({ number, generation }: { readonly number: number; readonly generation: number }): void {
    for (const state of this.#replaced)
      if (state.number === number && state.generation === generation) this.#replaced.delete(state)
  }

  /** @throws NOT_FOUND */
  getLocal(name: string): LocalFeed {
    const feed = this.locals.get(name)
    if (feed === undefined)
      throw new FeedmeshError(
        'NOT_FOUND',
        `no feed named ${JSON.stringify(name.slice(0, 80))} here; feedmesh feed list shows them`,
      )
    return feed
  }

  localById(feedId: FeedId): LocalFeed | undefined {
    return [...this.locals.values()].find((feed) => feed.id === feedId)
  }

  /** @throws NOT_FOUND */
  getView(feedId: FeedId): View {
    const view = this.views.get(feedId)
    if (view === undefined) throw new FeedmeshError('NOT_FOUND', `no view of feed ${feedId} is kept here`)
    return view
  }

  /** Feeds whose view is kept, given (possibly not yet committed) states. */
  viewedStates(states: ReadonlyMap<FeedId, FeedState> = this.states): FeedState[] {
    const ids = new Set<FeedId>()
    for (const local of this.locals.values()) {
      ids.add(local.id)
      for (const edge of states.get(local.id)?.charter.value.includes ?? []) ids.add(feedIdText(edge.feedId))
    }
    return [...ids].flatMap((id) => states.get(id) ?? [])
  }

  /** Whether `from` is the feed, or comes to it by inclusion. */
  reaches(from: FeedId, feedId: FeedId): boolean {
    return from === feedId || this.views.get(from)?.closure.members.has(feedId) === true
  }

  /** States that no view counts: what is left of removed feeds and replications. */
  unusedStates(): FeedState[] {
    const counted = new Set([...this.views.values()].flatMap((view) => [...view.closure.members.keys()]))
    return [...this.states.values()].filter((state) => !counted.has(state.feedId))
  }

  nextFeedNumber(): number {
    return Math.max(0, ...[...this.states.values()].map((state) => state.number)) + 1
  }

  /** Rows that a feed's own state has in a unit, in order of keys. */
  async readSource(feedId: FeedId, unit: string): Promise<StoredRow[]> {
    const state = this.states.get(feedId)
    if (state === undefined || state.root.count === 0) return []
    return await readUnitRows(this.records, state, unit)
  }

  async loadUnit(view: View, unit: string): Promise<LoadedUnit> {
    const cached = this.#units.find(view.feedId, unit)
    if (cached !== undefined) return cached
    const revision = this.#revision
    const sources = new Map<FeedId, StoredRow[]>()
    for (const feedId of view.closure.members.keys()) {
      const rows = await this.readSource(feedId, unit)
      if (rows.length > 0) sources.set(feedId, rows)
    }
    const changedAtMs = (await findUnitSummary(this.records, view, unit))?.changedAtMs ?? 0
    const loaded = new LoadedUnit(unit, sources, { closure: view.closure, changedAtMs })
    if (revision === this.#revision && !loaded.isEmpty) this.#units.set(view.feedId, loaded)
    return loaded
  }

  /** Called after every change of a view, also when it comes to be kept or is kept no more. Returns what unsubscribes. */
  onViewChange(listener: ViewListener): () => void {
    this.#viewListeners.add(listener)
    return () => this.#viewListeners.delete(listener)
  }

  apply(change: RegistryChange): void {
    this.#revision += 1
    for (const state of change.states ?? []) this.states.set(state.feedId, state)
    const anew = this.#viewsAnew(change.views ?? this.views.values())
    for (const feedId of anew) this.#units.clear(feedId)
    if (change.views !== undefined) this.views = new Map(change.views.map((view) => [view.feedId, view]))
    for (const { view, unit } of change.units ?? []) {
      if (unit.isEmpty) this.#units.delete(view, unit.unit)
      else this.#units.set(view, unit)
    }
    this.#tellViewListeners(change, anew)
  }

  /** Views whose index is another one, that are new, or that go. */
  #viewsAnew(next: Iterable<View>): Set<FeedId> {
    const gone = new Set(this.views.keys())
    const anew = new Set<FeedId>()
    for (const { feedId, generation, closure } of next) {
      const old = this.views.get(feedId)
      if (old?.generation !== generation || old.closure !== closure) anew.add(feedId)
      gone.delete(feedId)
    }
    return anew.union(gone)
  }

  #tellViewListeners(change: RegistryChange, anew: ReadonlySet<FeedId>): void {
    if (this.#viewListeners.size === 0) return
    const units = Map.groupBy(change.units ?? [], ({ view }) => view)
    for (const listener of this.#viewListeners) {
      for (const feedId of anew) listener(feedId, 'all')
      for (const [feedId, changed] of units)
        if (!anew.has(feedId)) listener(feedId, new Set(changed.map(({ unit }) => unit.unit)))
    }
  }

  /** Keeps what an operator has chosen for a feed. To be called while nothing else changes: `Ledger.exclusively`. @throws NOT_FOUND */
  async editLocal(name: string, changes: Partial<Pick<LocalFeedRecord, 'unsigned' | 'maxRate'>>): Promise<LocalFeed> {
    const feed = { ...this.getLocal(name), ...changes }
    await this.records.write([{ type: 'put', key: keys.localFeed(name), value: encodeLocalFeed(name, feed) }])
    this.setLocal(name, feed)
    return feed
  }

  setLocal(name: string, feed: LocalFeed | undefined): void {
    if (feed === undefined) this.locals.delete(name)
    else this.locals.set(name, feed)
  }
}
