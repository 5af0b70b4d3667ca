/**
 * From changed states to changed views: small changes go through the index of a view in place; where whole states are
 * replaced the index is built anew beside it, before the ledger's lock is taken, and the commit only says which one counts.
 */

import type { FeedId } from '../catalog/charter.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { Records, Write } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'
import { type Leftover, Leftovers, leftoverMark, leftoverUnmark, readLeftovers } from './leftovers.ts'
import type { LoadedUnit } from './loaded-unit.ts'
import type { Registry, View } from './registry.ts'
import { shadowUnmark } from './shadow.ts'
import { changeView, type FeedChange, isReplacement, planViews, sameMembers, type ViewPlan } from './transitions.ts'
import { ViewBuild } from './view-build.ts'
import { findStoredView, viewWrite } from './view-index.ts'

/** Peers go on reading a state, and clients a listing, for so long after it was replaced. */
const KEPT_MS = 10 * 60_000
/** Units that may be left to the time under the lock, and how often one tries to get there. */
const FEW_UNITS = 200
const MAX_CATCH_UPS = 5
/** Indexes that others' changes made useless are built again outside the lock so often. */
const MAX_BUILDS = 3

export interface ViewChanges {
  readonly writes: Write[]
  readonly views: View[]
  readonly units: { readonly view: FeedId; readonly unit: LoadedUnit }[]
  /** Indexes that were built anew. */
  readonly builds: ViewBuild[]
  /** What counts no more once `writes` are stored. */
  readonly replaced: Leftover[]
}

export type Exclusively = <T>(work: () => Promise<T>) => Promise<T>

export interface ViewsOptions {
  readonly registry: Registry
  readonly records: Records
  readonly reach: ReachFaultPoint
  /** Unix time, ms. */
  readonly now: () => number
  /** See `MANY_ROWS`. */
  readonly manyRows?: number
  /** Writes of a batch at most; 2,000 unless told. */
  readonly batchWrites?: number
}

function viewLeftover({ ref }: ViewBuild): Leftover {
  return { kind: 'view', ...ref }
}

export class Views {
  readonly #options: ViewsOptions
  readonly #leftovers: Leftovers
  readonly #active = new Set<ViewBuild>()

  constructor(options: ViewsOptions) {
    this.#options = options
    this.#leftovers = new Leftovers(options)
  }

  /**
   * Runs `work`, which commits `changes`, under the lock that `exclusively` takes. What indexes it needs are built before, while
   * the lock is free; should they not fit any more then, again, and at last under the lock.
   */
  async around<T>(
    changes: () => readonly FeedChange[],
    exclusively: Exclusively,
    work: (built: readonly ViewBuild[]) => Promise<T>,
  ): Promise<T> {
    for (let attempt = 1; attempt <= MAX_BUILDS && this.#needsBuild(changes()); attempt += 1) {
      const builds = await exclusively(() => this.#begin(changes()))
      try {
        await this.#runAll(builds)
        const done = await exclusively(async () =>
          this.#fits(changes(), builds) ? { value: await work(builds) } : undefined,
        )
        if (done !== undefined) return done.value
      } finally {
        this.giveUp(builds)
      }
    }
    return await exclusively(() => work([]))
  }

  /** Every view as it is once `changes` are in force. Under the lock. Nothing of it counts before `writes` are stored. */
  async change(changes: readonly FeedChange[], built: readonly ViewBuild[]): Promise<ViewChanges> {
    const result: ViewChanges = { writes: [], views: [], units: [], builds: [], replaced: [] }
    try {
      for (const plan of this.#plan(changes)) {
        if (plan.isAnew) await this.#switchIndex(plan, changes, { built, result })
        else await this.#changeInPlace(plan, changes, result)
      }
    } catch (error) {
      this.giveUp(result.builds)
      throw error
    }
    for (const state of this.#replacedStates(changes)) {
      result.replaced.push({ kind: 'state', number: state.number, generation: state.generation })
      result.writes.push(shadowUnmark(state.number))
    }
    for (const leftover of result.replaced) result.writes.push(leftoverMark(leftover))
    return result
  }

  /** Stores a batch that makes `done` count, before the registry takes the changes in. */
  async write(batch: readonly Write[], changes: readonly FeedChange[], done: ViewChanges): Promise<void> {
    const { registry, records, now } = this.#options
    for (const leftover of done.replaced) this.#leftovers.keep(leftover, Number.POSITIVE_INFINITY)
    this.#touch(changes)
    try {
      await records.write(batch)
    } catch (error) {
      this.giveUp(done.builds)
      throw error
    } finally {
      this.#touch(changes)
    }
    for (const build of done.builds) this.#active.delete(build)
    for (const state of this.#replacedStates(changes)) registry.keepReplaced(state)
    for (const leftover of done.replaced) this.#leftovers.keep(leftover, now() + KEPT_MS)
  }

  /** Removes generations that nobody reads any more. */
  async clearLeftovers(signal?: AbortSignal): Promise<void> {
    await this.#leftovers.clear((leftover) => {
      if (leftover.kind === 'state') this.#options.registry.dropReplaced(leftover)
    }, signal)
  }

  /** Leaves indexes that did not come to count to `clearLeftovers`. */
  giveUp(builds: readonly ViewBuild[]): void {
    for (const build of builds) if (this.#active.delete(build)) this.#leftovers.release(viewLeftover(build))
  }

  async #switchIndex(
    plan: ViewPlan,
    changes: readonly FeedChange[],
    { built, result }: { readonly built: readonly ViewBuild[]; readonly result: ViewChanges },
  ): Promise<void> {
    const build = this.#find(plan, changes, built) ?? (await this.#create(plan, changes))
    result.builds.push(build)
    if (!built.includes(build)) await this.#run(build)
    await build.catchUp(changes)
    const { number, feedId } = plan.state
    const old = plan.old ?? (await findStoredView(this.#options.records, number))
    if (old !== undefined) result.replaced.push({ kind: 'view', number, generation: old.generation })
    const { ref, totals } = build
    result.writes.push(viewWrite(ref, totals), leftoverUnmark(viewLeftover(build)))
    result.views.push({ feedId, closure: plan.closure, totals, ...ref })
  }

  async #changeInPlace(plan: ViewPlan, changes: readonly FeedChange[], result: ViewChanges): Promise<void> {
    const { registry, now } = this.#options
    const stale = await this.#findStale(plan)
    if (stale !== undefined) result.replaced.push(stale)
    const generation = stale === undefined ? (plan.old?.generation ?? 0) : await this.#nextGeneration(plan)
    const changed = await changeView(registry, changes, plan, { nowMs: now(), generation })
    for (const write of changed.writes) result.writes.push(write)
    for (const unit of changed.units) result.units.push({ view: plan.state.feedId, unit })
    result.views.push(changed.view)
  }

  /** An index left from the time when the view was kept before: what changed since it does not know. */
  async #findStale({ state, old }: ViewPlan): Promise<Leftover | undefined> {
    const stored = old === undefined ? await findStoredView(this.#options.records, state.number) : undefined
    return stored === undefined ? undefined : { kind: 'view', number: state.number, generation: stored.generation }
  }

  #replacedStates(changes: readonly FeedChange[]): FeedState[] {
    const { registry } = this.#options
    return changes.flatMap(({ state }) => (isReplacement(registry, state) ? registry.getState(state.feedId) : []))
  }

  #sourcesOf(plan: ViewPlan, changes: readonly FeedChange[]): Map<FeedId, FeedState> {
    const { registry } = this.#options
    const replacing = new Map(changes.map(({ state }) => [state.feedId, state]))
    const sources = new Map<FeedId, FeedState>()
    for (const feedId of plan.closure.members.keys()) {
      const known = registry.states.get(feedId)
      const next = replacing.get(feedId)
      const state = next !== undefined && isReplacement(registry, next) ? next : (known ?? next)
      if (state !== undefined) sources.set(feedId, state)
    }
    return sources
  }

  #find(plan: ViewPlan, changes: readonly FeedChange[], built: readonly ViewBuild[]): ViewBuild | undefined {
    const sources = this.#sourcesOf(plan, changes)
    return built.find(
      (build) =>
        build.viewing.feedId === plan.state.feedId &&
        this.#active.has(build) &&
        sameMembers(build.closure, plan.closure) &&
        build.sources.size === sources.size &&
        [...sources].every(([feedId, { generation }]) => build.sources.get(feedId)?.generation === generation),
    )
  }

  /** Before and after a commit is stored: indexes that are being built look again at what it changes. */
  #touch(changes: readonly FeedChange[]): void {
    for (const build of this.#active) for (const change of changes) build.touch(change)
  }

  #plan(changes: readonly FeedChange[]): ViewPlan[] {
    return planViews(this.#options.registry, changes, this.#options.manyRows)
  }

  #needsBuild(changes: readonly FeedChange[]): boolean {
    return this.#plan(changes).some((plan) => plan.isAnew)
  }

  #fits(changes: readonly FeedChange[], built: readonly ViewBuild[]): boolean {
    return this.#plan(changes).every((plan) => !plan.isAnew || this.#find(plan, changes, built) !== undefined)
  }

  /** Only while no state changes. */
  async #begin(changes: readonly FeedChange[]): Promise<ViewBuild[]> {
    const builds: ViewBuild[] = []
    for (const plan of this.#plan(changes)) if (plan.isAnew) builds.push(await this.#create(plan, changes))
    return builds
  }

  async #create(plan: ViewPlan, changes: readonly FeedChange[]): Promise<ViewBuild> {
    const { state: viewing, closure, old } = plan
    const generation = await this.#nextGeneration(plan)
    const sources = this.#sourcesOf(plan, changes)
    const build = new ViewBuild({ ...this.#options, viewing, closure, old, generation, sources })
    this.#leftovers.keep(viewLeftover(build), Number.POSITIVE_INFINITY)
    this.#active.add(build)
    return build
  }

  /** Greater than those of all indexes of the view of which anything may be stored. */
  async #nextGeneration({ state }: ViewPlan): Promise<number> {
    const { records } = this.#options
    const stored = (await findStoredView(records, state.number))?.generation ?? 0
    const left = await readLeftovers(records)
    const active = [...this.#active].map(viewLeftover)
    const taken = [...left, ...active].filter(({ kind, number }) => kind === 'view' && number === state.number)
    return Math.max(stored, ...taken.map(({ generation }) => generation)) + 1
  }

  /** Two at a time: each waits for the disk as often as it computes. */
  async #runAll(builds: readonly ViewBuild[]): Promise<void> {
    const waiting = builds.values()
    const work = async () => {
      for (const build of waiting) await this.#run(build)
    }
    const ends = await Promise.allSettled([work(), work()])
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  async #run(build: ViewBuild): Promise<void> {
    const { records, reach } = this.#options
    await records.write([leftoverMark(viewLeftover(build))])
    reach('view.begun')
    await build.run()
    for (let round = 0; round < MAX_CATCH_UPS && build.touched > FEW_UNITS; round += 1) await build.catchUp([])
    reach('view.built')
  }
}
