/**
 * The ledger: the signed state of every feed this node knows, and the only place that changes it.
 *
 * Invariant: rows, trie, log, manifest and views of one change are in one batch of the record store, so a crash leaves all
 * of it or nothing. Memory (the registry) follows the batch, never precedes it.
 */

import { type Charter, type FeedId, feedIdBytes, feedIdOf, signCharter, succeedCharter } from '../catalog/charter.ts'
import { MAX_REVOCATIONS, type Revocations } from '../catalog/grant.ts'
import type { Signed, Signer } from '../catalog/signed.ts'
import { createSeedSigner } from '../catalog/token.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { BlobStore } from '../store/blobs.ts'
import { keys, u32 } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { isClosed, type VerifiedState, verifyNotOlder } from './adopt.ts'
import { charterWrite, createFeedState, encodeLocalFeed, type FeedState, stateWrite } from './feed-state.ts'
import { type Floor, floorOf } from './floor.ts'
import { beginForgetting, finishForgetting } from './forget.ts'
import { depsOf, NO_CHANGE, type SigningContext, type StateTotals, signRefresh, signState } from './own-manifest.ts'
import { applyDraft, FeedDrafter, type PlannedChange } from './publish.ts'
import { type LocalFeed, Registry } from './registry.ts'
import { spendShadow, verifyShadow } from './shadow-adoption.ts'
import { Shadows } from './shadows.ts'
import { type Beginning, firstCharter } from './succession.ts'
import type { FeedChange } from './transitions.ts'
import type { ViewBuild } from './view-build.ts'
import { Views } from './views.ts'

export interface LedgerOptions {
  readonly records: Records
  readonly blobs: BlobStore
  readonly floor: Floor
  /** The node's key: owner of the feeds made here. */
  readonly signer: Signer
  /** Unix time, ms. */
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
  readonly reach: ReachFaultPoint
  /** Operations of a feed's log that are kept at least; DEFAULT_KEPT_OPERATIONS unless told. */
  readonly keptOperations?: number
  /** Rows that may be looked at again in memory when feeds come to count otherwise; MANY_ROWS unless told. */
  readonly manyRows?: number
  /**
   * `beginning`: of an epoch or generation, which needs no past to be caught up with.
   * @throws MAY_NOT_SIGN when the clock is not to be trusted, or the feed's past has not been caught up with
   */
  readonly verifyMaySign: (feedId: FeedId, beginning?: 'beginning') => void
}

export interface NewFeed extends Pick<LocalFeed, 'name' | 'feedType' | 'publicRead' | 'maxFileBytes'> {
  /** `accept` unless told. */
  readonly unsigned?: LocalFeed['unsigned']
  readonly indexKeys?: Charter['indexKeys']
  /** Called before the feed exists: a feed whose recovery key was lost on the way cannot come to be. */
  keepRecoverySeed(feedId: FeedId, seed: Uint8Array): Promise<void>
}

const DEFAULT_KEPT_OPERATIONS = 10_000

/** Changes that share one manifest and one sync. */
const MAX_GROUP = 128

interface Waiting extends PlannedChange {
  readonly feedId: FeedId
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export interface Adoption {
  readonly verified: readonly VerifiedState[]
  /** What else goes into the same batch: charters. */
  readonly writes: readonly Write[]
  /** Feeds that cannot be had: what depends on them does not wait for them. */
  readonly absent: ReadonlySet<FeedId>
  /** Asked while no other change can happen. @throws what keeps the states from being adopted */
  verifyReady(): Promise<void>
}

export type LedgerListener = (feedId: FeedId) => void

export class Ledger {
  readonly registry: Registry
  /** States that are on their way. */
  readonly shadows: Shadows
  readonly #options: LedgerOptions
  readonly #views: Views
  readonly #listeners = new Set<LedgerListener>()
  #tail: Promise<unknown> = Promise.resolve()
  #waiting: Waiting[] = []

  private constructor(registry: Registry, options: LedgerOptions) {
    this.registry = registry
    this.#options = options
    this.shadows = new Shadows(options)
    this.#views = new Views({ ...options, registry })
  }

  static async open(options: LedgerOptions): Promise<Ledger> {
    const registry = await Registry.open(options.records)
    // The last process may have ended between the batch and the floor file.
    for (const { feedId, charter, manifest } of registry.states.values())
      if (manifest !== undefined) options.floor.raise(feedId, floorOf(charter.value, manifest.value))
    return new Ledger(registry, options)
  }

  /** Called after every commit with each feed whose state changed. Returns the function that unsubscribes. */
  onChange(listener: LedgerListener): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** One state change at a time; later calls wait. */
  #exclusive<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#tail.then(work)
    this.#tail = run.catch(() => {})
    return run
  }

  /** Runs `work`, which commits `changes` (or nearly those), alone; large indexes that it needs are built before. */
  #committing<T>(changes: () => readonly FeedChange[], work: (built: readonly ViewBuild[]) => Promise<T>): Promise<T> {
    return this.#views.around(changes, (alone) => this.#exclusive(alone), work)
  }

  #signing(feedId: FeedId): SigningContext {
    const view = this.registry.views.get(feedId)
    const deps = view === undefined ? [] : depsOf(view.closure, this.registry.states)
    const refreshFloor = this.#options.floor.find(feedId)?.refresh ?? 0
    return { signer: this.#options.signer, nowMs: this.#options.now(), deps, refreshFloor }
  }

  /** Signs `state` (a feed of this node) as the successor of what the registry has of it. */
  #sign(state: FeedState, totals: StateTotals, beginning?: 'beginning'): FeedState {
    this.#options.verifyMaySign(state.feedId, beginning)
    const context = this.#signing(state.feedId)
    return { ...state, deps: context.deps, manifest: signState(state, totals, context) }
  }

  /** Writes the changes and everything that follows from them, then takes them into memory. */
  async #commit(
    changes: readonly FeedChange[],
    writes: readonly Write[],
    reached: 'publish.committed' | 'adopt.committed',
    built: readonly ViewBuild[] = [],
  ): Promise<void> {
    const views = await this.#views.change(changes, built)
    const batch = [...writes]
    for (const write of views.writes) batch.push(write)
    for (const { state } of changes) batch.push(stateWrite(state))
    await this.#views.write(batch, changes, views)
    this.#options.reach(reached)
    this.registry.apply({ states: changes.map((change) => change.state), views: views.views, units: views.units })
    for (const { state } of changes) {
      if (state.manifest !== undefined)
        this.#options.floor.raise(state.feedId, floorOf(state.charter.value, state.manifest.value))
      for (const listener of this.#listeners) listener(state.feedId)
    }
  }

  /** @throws EXISTS, MAY_NOT_SIGN */
  createFeed(feed: NewFeed): Promise<LocalFeed> {
    return this.#exclusive(async () => {
      const { name, feedType, publicRead, maxFileBytes, indexKeys = [] } = feed
      if (this.registry.locals.has(name))
        throw new FeedmeshError('EXISTS', `a feed named ${name} exists already; feedmesh feed show ${name}`)
      const { now, randomBytes, signer } = this.#options
      await finishForgetting(this.#options.records)
      const recoverySeed = randomBytes(32)
      const createdAt = now()
      const charter = firstCharter({
        feedType,
        owner: signer.publicKey,
        recovery: createSeedSigner(recoverySeed).publicKey,
        salt: randomBytes(16),
        issuedAt: createdAt,
        indexKeys,
      })
      const number = this.registry.nextFeedNumber()
      const unsigned = createFeedState(number, signCharter(charter, signer))
      const state = this.#sign(unsigned, NO_CHANGE)
      await feed.keepRecoverySeed(state.feedId, recoverySeed)
      this.#options.reach('feed.keyed')
      const settings = { feedType, publicRead, maxFileBytes, unsigned: feed.unsigned ?? 'accept', maxRate: 0 }
      const record = { ...settings, feedId: feedIdBytes(state.feedId), createdAt }
      const local: LocalFeed = { ...record, name, id: state.feedId }
      this.registry.setLocal(name, local)
      try {
        await this.#commit(
          [{ state, rows: new Map() }],
          [...newFeedWrites(state), { type: 'put', key: keys.localFeed(name), value: encodeLocalFeed(name, record) }],
          'publish.committed',
        )
      } catch (error) {
        this.registry.setLocal(name, undefined)
        throw error
      }
      return local
    })
  }

  /** The feed is no longer served or signed here. Its rows stay until `gc`. @throws NOT_FOUND */
  removeFeed(name: string): Promise<void> {
    return this.#exclusive(async () => {
      this.registry.getLocal(name)
      await this.#options.records.write([{ type: 'del', key: keys.localFeed(name) }])
      this.registry.setLocal(name, undefined)
      const kept = new Set(this.registry.viewedStates().map((state) => state.feedId))
      this.registry.apply({ views: [...this.registry.views.values()].filter((view) => kept.has(view.feedId)) })
    })
  }

  /** Runs `work` while no state changes: nothing is published or adopted meanwhile. It must not change states itself. */
  exclusively<T>(work: () => Promise<T>): Promise<T> {
    return this.#exclusive(work)
  }

  /** States that no view counts, and whose next one nobody is fetching. */
  unusedStates(): FeedState[] {
    return this.registry.unusedStates().filter((state) => !this.shadows.isOpen(state.feedId))
  }

  /** Removes what replaced states and given up ones left, ten minutes after they were. */
  async clearLeftovers(signal?: AbortSignal): Promise<void> {
    await this.#views.clearLeftovers(signal)
    await this.shadows.clearIdle()
  }

  /** Forgets feeds that no view counts: their rows, trie, log and charters. The floor remembers them. */
  forgetUnused(): Promise<number> {
    return this.#exclusive(async () => {
      const unused = this.unusedStates()
      for (const state of unused) {
        await beginForgetting(this.#options.records, state.number)
        this.registry.states.delete(state.feedId)
        this.#options.reach('forget.begun')
      }
      await finishForgetting(this.#options.records)
      return unused.length
    })
  }

  /** A feed of another node, from its verified charter chain, before its first manifest is here. */
  learnFeed(charters: readonly Signed<Charter>[]): Promise<FeedState> {
    return this.#exclusive(async () => {
      const newest = charters.at(-1)
      if (newest === undefined) throw new FeedmeshError('PEER_INVALID', 'a feed without charter')
      const known = this.registry.states.get(feedIdOf(newest))
      if (known !== undefined) return known
      await finishForgetting(this.#options.records)
      const state = createFeedState(this.registry.nextFeedNumber(), newest)
      const writes = charters.map((charter) => charterWrite(state.number, charter))
      await this.#commit([{ state, rows: new Map() }], [...newFeedWrites(state), ...writes], 'adopt.committed')
      return state
    })
  }

  /** Signs a new version of the charter of a feed of this node, and a manifest under it. */
  amendCharter(feedId: FeedId, amend: (charter: Charter) => Partial<Charter>): Promise<void> {
    const amended = (): FeedState => {
      const state = this.registry.getState(feedId)
      const next = succeedCharter(state.charter, this.#options.now())
      return { ...state, charter: signCharter({ ...next, ...amend(next) }, this.#options.signer) }
    }
    const proposed = () => [{ state: amended(), rows: new Map() }]
    return this.#committing(proposed, async (built) => {
      const state = this.#sign(amended(), NO_CHANGE)
      const writes = [charterWrite(state.number, state.charter)]
      await this.#commit([{ state, rows: new Map() }], writes, 'publish.committed', built)
    })
  }

  /** Signs what is here of a feed as the first state of an epoch or generation, whose charter `begin` gives. */
  beginAnew(feedId: FeedId, begin: (state: FeedState) => Promise<Beginning>): Promise<void> {
    return this.#exclusive(async () => {
      const { charter, writes, local } = await begin(this.registry.getState(feedId))
      const state = this.registry.getState(feedId)
      const signed = this.#sign({ ...state, charter, logFrom: 0 }, NO_CHANGE, 'beginning')
      if (local !== undefined) this.registry.setLocal(local.name, local)
      try {
        await this.#commit([{ state: signed, rows: new Map() }], writes, 'publish.committed')
      } catch (error) {
        if (local !== undefined) this.registry.setLocal(local.name, undefined)
        throw error
      }
      // Logs of earlier epochs are read by nobody any more.
      const { gte } = keys.allOperations(state.number)
      await this.#options.records.clear({ gte, lt: keys.operation(state.number, charter.value.epoch, 0) })
    })
  }

  /** Voids grants of a feed of this node: peers learn it with the manifest signed here. */
  revoke(feedId: FeedId, revoked: Revocations['list']): Promise<void> {
    return this.#exclusive(async () => {
      const state = this.registry.getState(feedId)
      const subjects = new Set(revoked.map((entry) => Buffer.from(entry.subject).toString('hex')))
      const kept = state.revocations.list.filter((entry) => !subjects.has(Buffer.from(entry.subject).toString('hex')))
      const signed = this.#sign(
        // The oldest go first: grants issued before them have expired long since.
        { ...state, revocations: { ...state.revocations, list: [...kept, ...revoked].slice(-MAX_REVOCATIONS) } },
        NO_CHANGE,
      )
      await this.#commit([{ state: signed, rows: new Map() }], [], 'publish.committed')
    })
  }

  /** Signs the present state of a feed of this node again, with later times. */
  refresh(feedId: FeedId): Promise<void> {
    return this.#exclusive(async () => {
      const state = this.registry.getState(feedId)
      if (state.manifest === undefined) return
      this.#options.verifyMaySign(feedId)
      const context = this.#signing(feedId)
      const refreshed = { ...state, deps: context.deps, manifest: signRefresh(state, state.manifest, context) }
      await this.#commit([{ state: refreshed, rows: new Map() }], [], 'publish.committed')
    })
  }

  /** See `Feed.change`. Changes that wait at the same time share a manifest and a sync. */
  change(feedId: FeedId, change: PlannedChange): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ ...change, feedId, resolve, reject })
    void this.#exclusive(() => this.#publishWaiting())
    return promise
  }

  async #publishWaiting(): Promise<void> {
    const [first] = this.#waiting
    if (first === undefined) return
    const group = this.#waiting.filter((waiting) => waiting.feedId === first.feedId).slice(0, MAX_GROUP)
    this.#waiting = this.#waiting.filter((waiting) => !group.includes(waiting))
    const planned: Waiting[] = []
    try {
      const feed = this.registry.getState(first.feedId)
      const drafter = new FeedDrafter(this.registry, this.#options.blobs, { feed, nowMs: this.#options.now() })
      for (const waiting of group) {
        try {
          await drafter.add(waiting)
          planned.push(waiting)
        } catch (error) {
          waiting.reject(error)
        }
      }
      if (drafter.draft.operations.length > 0) await this.#publish(drafter)
      for (const waiting of planned) waiting.resolve()
    } catch (error) {
      for (const waiting of group) waiting.reject(error)
    }
  }

  async #publish({ draft }: FeedDrafter): Promise<void> {
    this.#options.reach('publish.planned')
    const applied = await applyDraft(this.registry, draft, this.#options.keptOperations ?? DEFAULT_KEPT_OPERATIONS)
    const state = this.#sign(applied.state, draft.totals)
    this.#options.reach('publish.signed')
    await this.#commit([{ state, rows: draft.rows }], applied.writes, 'publish.committed')
  }

  /**
   * Makes verified states visible, together.
   * @throws CONFLICT when one was computed from a state that is no longer the current one, or the set is not closed
   */
  adopt(adoption: Adoption): Promise<void> {
    const { verified, absent } = adoption
    return this.#committing(
      () => verified,
      async (built) => {
        await adoption.verifyReady()
        const states = new Map(this.registry.states)
        for (const one of verified) {
          if (this.registry.states.get(one.state.feedId) !== one.base) {
            throw new FeedmeshError('CONFLICT', `feed ${one.state.feedId} changed while its next state was fetched`)
          }
          verifyNotOlder(one)
          verifyShadow(one)
          this.registry.forks.verifyBelow(one.state)
          states.set(one.state.feedId, one.state)
        }
        for (const one of verified) {
          const { deps } = one.state
          if (!isClosed(deps, states, new Set([...absent, ...this.registry.forks.barredOf(deps)])))
            throw new FeedmeshError('CONFLICT', `feed ${one.state.feedId} depends on states that are not here yet`)
        }
        this.#options.reach('adopt.verified')
        const writes: Write[] = [...adoption.writes]
        for (const one of verified) for (const write of one.writes) writes.push(write)
        await this.#commit(verified, writes, 'adopt.committed', built)
        for (const one of verified) spendShadow(one)
      },
    )
  }
}

function newFeedWrites(state: FeedState): Write[] {
  return [
    { type: 'put', key: keys.feed(state.number), value: u32(state.number) },
    charterWrite(state.number, state.charter),
  ]
}
