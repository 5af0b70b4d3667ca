/** From changed rows and charters of feeds to what changes in every view that counts them. */

import type { FeedId } from '../catalog/charter.ts'
import { Closure } from '../catalog/closure.ts'
import { decodeRow } from '../catalog/row.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'
import { LoadedUnit, replaceRows, type StoredRow } from './loaded-unit.ts'
import type { Registry, View } from './registry.ts'
import { EMPTY_VIEW, indexView, type UnitTransition, viewWrite } from './view-index.ts'

/** Rows of one feed that change: unit → key → the new row, undefined when it goes. */
export type RowChanges = ReadonlyMap<string, ReadonlyMap<string, StoredRow | undefined>>

export interface FeedChange {
  readonly state: FeedState
  readonly rows: RowChanges
}

/** A view to be, once some changes are in force. */
export interface ViewPlan {
  /** The viewing feed. */
  readonly state: FeedState
  readonly old: View | undefined
  readonly closure: Closure
  /** Whether so much of it is looked at again that its index is better built anew. */
  readonly isAnew: boolean
}

export interface ViewChange {
  readonly writes: Write[]
  readonly view: View
  readonly units: readonly LoadedUnit[]
}

/** From more rows than this of feeds that come to count otherwise, the index is built anew: their units do not fit into memory. */
export const MANY_ROWS = 10_000

class ViewTransition {
  readonly #registry: Registry
  readonly #changes: ReadonlyMap<FeedId, FeedChange>
  readonly #old: View | undefined
  readonly closure: Closure

  constructor(registry: Registry, changes: readonly FeedChange[], plan: Pick<ViewPlan, 'old' | 'closure'>) {
    this.#registry = registry
    this.#changes = new Map(changes.map((change) => [change.state.feedId, change]))
    this.#old = plan.old
    this.closure = plan.closure
  }

  /** Whether a member's rows are replaced as a whole, or too many are looked at again. */
  isAnew(manyRows: number): boolean {
    const isReplaced = [...this.#changes.values()].some(
      ({ state }) => this.closure.members.has(state.feedId) && isReplacement(this.#registry, state),
    )
    const rows = [...new Set([...this.#movedMembers(), ...this.#restandingMembers()])].map(
      (feedId) => this.#registry.states.get(feedId)?.root.count ?? 0,
    )
    return isReplaced || rows.reduce((sum, count) => sum + count, 0) > manyRows
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

  async transition(unit: string, nowMs: number): Promise<UnitTransition> {
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
    const changedAtMs = Math.max(nowMs, (before?.changedAtMs ?? 0) + 1)
    return { unit, before, after: new LoadedUnit(unit, sources, { closure: this.closure, changedAtMs }) }
  }
}

export function sameMembers(a: Closure, b: Closure): boolean {
  return a.standing === b.standing && JSON.stringify([...a.members]) === JSON.stringify([...b.members])
}

/** Whether the feed's rows are another generation than the one that counts. */
export function isReplacement(registry: Registry, state: FeedState): boolean {
  const known = registry.states.get(state.feedId)
  return known !== undefined && known.generation !== state.generation
}

/** Every view as it is to be once `changes` (states and their rows) are in force. */
export function planViews(registry: Registry, changes: readonly FeedChange[], manyRows = MANY_ROWS): ViewPlan[] {
  const states = new Map(registry.states)
  for (const change of changes) states.set(change.state.feedId, change.state)
  const isCharterChanged = changes.some(({ state }) => state.charter !== registry.states.get(state.feedId)?.charter)
  return registry.viewedStates(states).map((state) => {
    const old = registry.views.get(state.feedId)
    const computed =
      old === undefined || isCharterChanged
        ? new Closure(state.feedId, (id) => states.get(id)?.charter.value)
        : old.closure
    const closure =
      old !== undefined && sameMembers(old.closure, computed) && !isCharterChanged ? old.closure : computed
    return { state, old, closure, isAnew: new ViewTransition(registry, changes, { old, closure }).isAnew(manyRows) }
  })
}

/** Changes the index of a view in place, unit by unit. Reads the registry, changes nothing. */
export async function changeView(
  registry: Registry,
  changes: readonly FeedChange[],
  plan: ViewPlan,
  context: { readonly nowMs: number; readonly generation: number },
): Promise<ViewChange> {
  const { state, old, closure } = plan
  const work = new ViewTransition(registry, changes, plan)
  const transitions: UnitTransition[] = []
  for (const unit of await work.units()) transitions.push(await work.transition(unit, context.nowMs))
  const ref = { number: state.number, generation: context.generation }
  const units = transitions.map(({ after }) => after)
  const view = { feedId: state.feedId, closure, ...ref }
  if (transitions.length === 0 && old !== undefined) return { writes: [], view: { ...view, totals: old.totals }, units }
  const { totals, writes } = await indexView(registry.records, ref, { totals: old?.totals ?? EMPTY_VIEW, transitions })
  writes.push(viewWrite(ref, totals))
  return { writes, view: { ...view, totals }, units }
}
