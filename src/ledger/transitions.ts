/** From changed rows and charters of feeds to what changes in every view that counts them. */

import type { FeedId } from '../catalog/charter.ts'
import { Closure } from '../catalog/closure.ts'
import { decodeRow } from '../catalog/row.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'
import { LoadedUnit, replaceRows, type StoredRow } from './loaded-unit.ts'
import type { Registry, View } from './registry.ts'
import { EMPTY_VIEW, indexView, type UnitTransition } from './view-index.ts'

/** Rows of one feed that change: unit → key → the new row, undefined when it goes. */
export type RowChanges = ReadonlyMap<string, ReadonlyMap<string, StoredRow | undefined>>

export interface FeedChange {
  readonly state: FeedState
  readonly rows: RowChanges
}

export interface ViewChanges {
  readonly writes: Write[]
  readonly views: View[]
  readonly units: { readonly view: FeedId; readonly unit: LoadedUnit }[]
}

class ViewTransition {
  readonly #registry: Registry
  readonly #changes: ReadonlyMap<FeedId, FeedChange>
  readonly #old: View | undefined
  readonly closure: Closure
  readonly #nowMs: number

  constructor(
    registry: Registry,
    state: { changes: ReadonlyMap<FeedId, FeedChange>; old: View | undefined; closure: Closure; nowMs: number },
  ) {
    this.#registry = registry
    this.#changes = state.changes
    this.#old = state.old
    this.closure = state.closure
    this.#nowMs = state.nowMs
  }

  /** Members whose standing changes: all their units are looked at again. */
  #movedMembers(): FeedId[] {
    const before = this.#old?.closure.members
    if (before === this.closure.members) return []
    const ids = new Set([...(before?.keys() ?? []), ...this.closure.members.keys()])
    return [...ids].filter((id) => JSON.stringify(before?.get(id)) !== JSON.stringify(this.closure.members.get(id)))
  }

  /**
   * When members stand to each other in another way, every unit that two of them have rows in is looked at again: all units
   * of all members but the largest.
   */
  #restandingMembers(): FeedId[] {
    if (this.#old === undefined || this.#old.closure.standing === this.closure.standing) return []
    const count = (feedId: FeedId) => this.#registry.states.get(feedId)?.root.count ?? 0
    return [...this.closure.members.keys()].sort((a, b) => count(b) - count(a)).slice(1)
  }

  async units(): Promise<Set<string>> {
    const units = new Set<string>()
    for (const [feedId, change] of this.#changes) {
      if (this.closure.members.has(feedId)) for (const unit of change.rows.keys()) units.add(unit)
    }
    for (const feedId of [...this.#movedMembers(), ...this.#restandingMembers()]) {
      const state = this.#registry.states.get(feedId)
      if (state === undefined || state.root.count === 0) continue
      for await (const [, value] of this.#registry.records.scan(keys.rows(state.number, state.generation)))
        units.add(decodeRow(value).unit)
    }
    return units
  }

  async transition(unit: string): Promise<UnitTransition> {
    const fresh = this.#old === undefined || this.#old.totals.root.count === 0
    const before = this.#old === undefined || fresh ? undefined : await this.#registry.loadUnit(this.#old, unit)
    const sources = new Map<FeedId, readonly StoredRow[]>()
    for (const feedId of this.closure.members.keys()) {
      const known =
        before?.sources.get(feedId) ??
        (this.#old?.closure.members.has(feedId) && !fresh ? [] : await this.#registry.readSource(feedId, unit))
      const rows = replaceRows(known, this.#changes.get(feedId)?.rows.get(unit))
      if (rows.length > 0) sources.set(feedId, rows)
    }
    const changedAtMs = Math.max(this.#nowMs, (before?.changedAtMs ?? 0) + 1)
    return { unit, before, after: new LoadedUnit(unit, sources, { closure: this.closure, changedAtMs }) }
  }
}

function sameMembers(a: Closure, b: Closure): boolean {
  return a.standing === b.standing && JSON.stringify([...a.members]) === JSON.stringify([...b.members])
}

/** Every view as it is once `changes` (states and their rows) are in force. Reads the registry, changes nothing. */
export async function changeViews(
  registry: Registry,
  changes: readonly FeedChange[],
  nowMs: number,
): Promise<ViewChanges> {
  const byFeed = new Map(changes.map((change) => [change.state.feedId, change]))
  const states = new Map(registry.states)
  for (const change of changes) states.set(change.state.feedId, change.state)
  const result: ViewChanges = { writes: [], views: [], units: [] }
  for (const state of registry.viewedStates(states)) {
    const old = registry.views.get(state.feedId)
    const charterChanged = changes.some(
      (change) => change.state.charter !== registry.states.get(change.state.feedId)?.charter,
    )
    const computed =
      old === undefined || charterChanged
        ? new Closure(state.feedId, (id) => states.get(id)?.charter.value)
        : old.closure
    const closure = old !== undefined && sameMembers(old.closure, computed) && !charterChanged ? old.closure : computed
    const work = new ViewTransition(registry, { changes: byFeed, old, closure, nowMs })
    const transitions: UnitTransition[] = []
    for (const unit of await work.units()) transitions.push(await work.transition(unit))
    let totals = old?.totals ?? EMPTY_VIEW
    if (transitions.length > 0) {
      const indexed = await indexView(registry.records, state.number, { totals, transitions })
      totals = indexed.totals
      for (const write of indexed.writes) result.writes.push(write)
    }
    for (const { after } of transitions) result.units.push({ view: state.feedId, unit: after })
    result.views.push({ feedId: state.feedId, number: state.number, closure, totals })
  }
  return result
}
