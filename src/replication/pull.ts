/**
 * One pull over one link: heads → difference → verification against the signed roots → blobs → one batch makes it visible.
 *
 * Nothing a peer sends is stored before it is verified, and nothing becomes visible before all that it names is here
 * (availability `full`). What was fetched before a failure is kept and not fetched again.
 */

import type { Ask } from '../../protocols/mesh/sync/asker.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { META_ROLE, type Row } from '../catalog/row.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { chainWrites, readChain } from '../ledger/charter-chain.ts'
import { type Floor, MemoryFloor } from '../ledger/floor.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { ReturnedRow } from '../ledger/returned-rows.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { Write } from '../store/records.ts'
import type { BlobFetcher, WantedBlob } from './blob-fetcher.ts'
import type { Link, Replication } from './book.ts'
import type { ComingRun } from './coming-files.ts'
import { EpochChange } from './epoch-change.ts'
import { isBroughtAhead } from './expected-files.ts'
import { type AbsentFeed, type Head, type HeadsPort, isAboutFeed, learnHead, learnHeads } from './heads.ts'
import { ItemTracker } from './item-tracker.ts'
import type { ActiveRun } from './runs.ts'
import { type FetchedState, type RowNews, StateFetch } from './state-fetch.ts'
import type { SyncStreams } from './sync-streams.ts'

export interface PullContext {
  readonly streams: SyncStreams
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly floor: Floor
  readonly fetcher: BlobFetcher
  readonly now: () => number
  readonly reach: ReachFaultPoint
  isOwn(feedId: FeedId): boolean
  /** Peers that are connected and may serve the feed, `except` left out. */
  servers(feedId: FeedId, except: string): readonly string[]
  /** The word an operator uses for a row: `name@version`, a path; undefined for rows that are not items. */
  itemName(feedType: string, unit: string, key: string): string | undefined
}

/** The feed moved on at the peer while it was read: begin again this often. */
const MAX_RESTARTS = 3
/** Beside the first. */
const MAX_STREAMS_TO_LINKED = 2

export interface PullPlan {
  readonly fetch: { readonly items: number; readonly bytes: number }
  readonly delete: { readonly items: number }
}

/** Names of deleted items kept for the run's log; the rest is counted. */
const MAX_NAMED_DELETIONS = 10_000

interface Deletions {
  readonly names: string[]
  count: number
}

export interface PullWork {
  readonly link: Link
  readonly replication: Replication
  readonly run: ActiveRun
  readonly signal: AbortSignal
  /** What this node signed for its own feed before it was restored, instead of the peer's feed. */
  readonly isOwnPast?: boolean
}

export class Pull {
  readonly #context: PullContext
  readonly #link: Link
  readonly #replication: Replication
  readonly #run: ActiveRun
  readonly #signal: AbortSignal
  readonly #isOwnPast: boolean
  #pinned: Digest[] = []
  #coming: ComingRun | undefined
  readonly #absent = new Set<FeedId>()
  /** Why the linked feed cannot be followed, although the peer serves it. */
  #forked: FeedmeshError | undefined
  /** Files of one's own past that the peer does not have. */
  readonly #lacking = new Set<Digest>()
  /** What new epochs undo of what is here. */
  #undone: ReturnedRow[] = []

  constructor(context: PullContext, work: PullWork) {
    this.#context = context
    this.#link = work.link
    this.#replication = work.replication
    this.#run = work.run
    this.#signal = work.signal
    this.#isOwnPast = work.isOwnPast === true
  }

  /** Blobs named by rows that are on their way to be adopted. */
  get pinned(): readonly Digest[] {
    return this.#pinned
  }

  /** @returns whether everything the peer has signed is here now. @throws why it failed as a whole */
  async run(): Promise<boolean> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        this.#pinned = []
        return await this.#attempt()
      } catch (error) {
        if (!isFeedmeshError(error, 'CONFLICT') || attempt >= MAX_RESTARTS || this.#signal.aborted) throw error
        this.#run.restart()
      }
    }
  }

  /** What a run would do now; nothing is fetched but metadata, and nothing becomes visible. */
  async plan(): Promise<PullPlan> {
    await using stack = new AsyncDisposableStack()
    const plan = { fetch: { items: 0, bytes: 0 }, delete: { items: 0 } }
    for (const one of await this.#gather(stack)) {
      for await (const news of one.news()) {
        const { missing } = await this.#track(one, news)
        plan.fetch.items += new Set(missing.map((blob) => JSON.stringify([blob.unit, blob.key]))).size
        plan.fetch.bytes += missing.reduce((sum, blob) => sum + blob.size, 0)
        plan.delete.items += this.#deletedItems(one, news).length
      }
    }
    return plan
  }

  async #attempt(): Promise<boolean> {
    await using stack = new AsyncDisposableStack()
    const fetched = await this.#gather(stack)
    const deletions: Deletions = { names: [], count: 0 }
    this.#coming = stack.use(this.#context.fetcher.coming.begin())
    if (!(await this.#fetchBlobs(fetched, deletions))) return false
    await this.#adopt(fetched)
    for (const item of deletions.names) this.#run.deleted(item)
    this.#run.deletedMore(deletions.count - deletions.names.length)
    // What else the peer has is here now; that the linked feed itself stands still is what the run has to say.
    if (this.#forked !== undefined) throw this.#forked
    return true
  }

  /** The new states of the linked feed and of its closure, verified. What `stack` takes has to live as long as they. */
  async #gather(stack: AsyncDisposableStack): Promise<FetchedState[]> {
    await using stream = this.#context.streams.lend(this.#link.peer, this.#signal)
    const { heads, absent } = await this.#learn(stream.ask)
    for (const { feedId, error } of absent) this.#miss(feedId, error)
    await using lanes = new AsyncDisposableStack()
    const states = new StateFetch({
      ledger: this.#context.ledger,
      main: stream.ask,
      openMore: async (head, count) => this.#openMore(head, count, lanes),
      stack,
      signal: this.#signal,
    })
    const fetched: FetchedState[] = []
    for (const head of heads) {
      if (head.newer === undefined) continue
      const one = await this.#fetchOrMiss(states, head)
      if (one !== undefined) fetched.push(one)
    }
    this.#context.reach('adopt.fetched')
    return fetched
  }

  /** First the other peers that serve the feed, then more streams to the linked one. */
  #openMore(head: Head, count: number, lanes: AsyncDisposableStack): Ask[] {
    const others = this.#context.servers(head.feedId, this.#link.peer)
    const peers = [...others, ...Array<string>(MAX_STREAMS_TO_LINKED).fill(this.#link.peer)]
    return peers.slice(0, count).map((peer) => lanes.use(this.#context.streams.lend(peer, this.#signal)).ask)
  }

  async #learn(ask: Ask): Promise<{ readonly heads: Head[]; readonly absent: readonly AbsentFeed[] }> {
    const port = this.#headsPort(ask)
    if (!this.#isOwnPast) return await learnHeads(port, feedIdText(this.#link.remote))
    // The floor file holds what was signed here: a peer that has less of it is no liar.
    return { heads: [await learnHead({ ...port, floor: new MemoryFloor() }, feedIdText(this.#link.local))], absent: [] }
  }

  /** The run goes on without the feed. What this peer may not tell of is no failure; what does not verify is. */
  #miss(feedId: FeedId, error: FeedmeshError): void {
    this.#absent.add(feedId)
    if (isFeedmeshError(error, 'FORKED') && feedId === feedIdText(this.#link.remote)) this.#forked = error
    else if (!isFeedmeshError(error, 'NOT_FOUND', 'FORBIDDEN')) this.#run.failed(`feed ${feedId}`, error)
  }

  /** undefined for a feed of the closure whose state cannot be had; the linked feed itself must be had. */
  async #fetchOrMiss(states: StateFetch, head: Head): Promise<FetchedState | undefined> {
    try {
      return await states.fetch(head)
    } catch (thrown) {
      const error = asFeedmeshError(thrown)
      const isLinked = this.#isOwnPast || head.feedId === feedIdText(this.#link.remote)
      if (isLinked || !isAboutFeed(error)) throw error
      this.#miss(head.feedId, error)
      return undefined
    }
  }

  #headsPort(ask: Ask): HeadsPort {
    const { ledger, floor, now } = this.#context
    return {
      ask,
      floor,
      nowMs: now(),
      isOwn: (feedId) => this.#context.isOwn(feedId),
      find: (feedId) => ledger.registry.states.get(feedId),
      readChain: (state) => readChain(ledger.registry.records, state),
      findFork: (feedId) => ledger.registry.forks.find(feedId),
      noteFork: (fork) => ledger.registry.forks.note(fork),
    }
  }

  /** Files of a row that are to be here before it is visible: metadata always, the rest as availability and filters say. */
  #filesOf({ feedId, charter, newer }: Head, row: Row): WantedBlob[] {
    const item = this.#context.itemName(charter.value.feedType, row.unit, row.key) ?? row.unit
    const all = isBroughtAhead(this.#replication, row.unit, item)
    const base = { feedId, unit: row.unit, key: row.key, at: newer?.manifest.value }
    return row.files
      .filter((file) => all || file.role === META_ROLE)
      .map(({ digest, size, chunkRoot }) => ({ ...base, digest, size, chunkRoot }))
  }

  /** The items that the new rows are, and which of their blobs are not here. */
  async #track({ head }: FetchedState, { puts }: RowNews): Promise<{ tracker: ItemTracker; missing: WantedBlob[] }> {
    const tracker = new ItemTracker(this.#run)
    const { feedType } = head.charter.value
    for (const row of puts) {
      const files = this.#filesOf(head, row)
      const isContent = row.files.some((file) => file.role !== META_ROLE)
      const name = isContent ? this.#context.itemName(feedType, row.unit, row.key) : undefined
      tracker.add(name, files, `${row.unit} ${row.key}`)
    }
    const list = tracker.wanted
    const here = await this.#context.blobs.has(list.map((blob) => blob.digest))
    return { tracker, missing: list.filter((_, index) => here[index] !== true) }
  }

  /** A few thousand rows at a time. @returns whether all of them are here. */
  async #fetchBlobs(fetched: readonly FetchedState[], deletions: Deletions): Promise<boolean> {
    let isComplete = true
    this.#undone = []
    for (const one of fetched) {
      const epochChange = this.#isOwnPast ? undefined : this.#findEpochChange(one)
      for await (const news of one.news()) {
        isComplete = (await this.#fetchGroup(one, news)) && isComplete
        await epochChange?.add(news)
        const gone = this.#deletedItems(one, news)
        deletions.names.push(...gone.slice(0, Math.max(0, MAX_NAMED_DELETIONS - deletions.names.length)))
        deletions.count += gone.length
      }
      if (epochChange !== undefined) this.#undone.push(...epochChange.rows)
    }
    return isComplete
  }

  #findEpochChange({ head }: FetchedState): EpochChange | undefined {
    const { ledger, now } = this.#context
    return EpochChange.find(ledger.registry, head, now())
  }

  async #fetchGroup(one: FetchedState, news: RowNews): Promise<boolean> {
    const { tracker, missing } = await this.#track(one, news)
    // Those of a shadow are known to be in use by its rows.
    if (isHeld(one)) this.#pinned.push(...tracker.wanted.map((blob) => blob.digest))
    const isFirst = this.#run.run.planned.items === 0
    this.#coming?.add(tracker.wanted)
    tracker.begin(missing)
    if (missing.length > 0 && isFirst) await this.#run.persist()
    let isComplete = true
    const mayLack = this.#lackable(news)
    await this.#context.fetcher.fetchAll(this.#holdersOf(one), missing, {
      signal: this.#signal,
      onLie: ({ peer, wanted, error }) => this.#run.blamed(peer, `${wanted.unit} ${wanted.key}`, error),
      onOutcome: ({ wanted, error }) => {
        if (error !== undefined && mayLack(wanted, error)) this.#lacking.add(wanted.digest)
        else isComplete &&= error === undefined
        tracker.settle(wanted, error)
      },
    })
    return isComplete
  }

  /** The linked peer, and others that serve the feed; for one's own past only the peer that has it is asked. */
  #holdersOf({ head }: FetchedState): string[] {
    const others = this.#isOwnPast ? [] : this.#context.servers(head.feedId, this.#link.peer)
    return [this.#link.peer, ...others]
  }

  /**
   * One's own past counts also where nobody has its files any more: not to have it would keep the feed from being signed for
   * good. What clients see of a row without its file, its metadata, is needed; and what fails here is tried again.
   */
  #lackable({ puts }: RowNews): (wanted: WantedBlob, error: FeedmeshError) => boolean {
    if (!this.#isOwnPast) return () => false
    const files = puts.flatMap((row) => row.files)
    const metadata = new Set(files.filter(({ role }) => role === META_ROLE).map(({ digest }) => digest))
    return ({ digest }, error) => !metadata.has(digest) && isFeedmeshError(error, 'NOT_FOUND', 'CORRUPT')
  }

  /** Items that go with the new state. */
  #deletedItems({ head }: FetchedState, { drops }: RowNews): string[] {
    return drops.flatMap(({ unit, key }) => this.#context.itemName(head.charter.value.feedType, unit, key) ?? [])
  }

  /** Blobs may have been reclaimed between the look and this moment, in which nothing can be. @throws CONFLICT */
  async #verifyStillHere(): Promise<void> {
    const here = await this.#context.blobs.has(this.#pinned.filter((digest) => !this.#lacking.has(digest)))
    if (here.includes(false))
      throw new FeedmeshError('CONFLICT', 'files that were here a moment ago have been reclaimed')
  }

  async #adopt(fetched: readonly FetchedState[]): Promise<void> {
    if (fetched.length === 0) return
    const charters: Write[] = fetched.flatMap(({ head, state }) =>
      chainWrites(state.state.number, head.newCharters, head.known?.charter),
    )
    const { returned } = this.#context.ledger.registry
    // Hidden before they are here: no client sees them in between.
    const forget = returned.keep(this.#undone)
    try {
      await this.#context.ledger.adopt({
        verified: fetched.map(({ state }) => state),
        writes: [...charters, ...returned.writes(this.#undone)],
        absent: this.#isOwnPast ? depsOf(fetched) : this.#absent,
        verifyReady: () => this.#verifyStillHere(),
      })
    } catch (error) {
      forget()
      throw error
    }
    await this.#context.floor.flush()
  }
}

/** What was signed here once was whole here once; what it depends on may depend on it in turn. */
function depsOf(fetched: readonly FetchedState[]): Set<FeedId> {
  return new Set(fetched.flatMap(({ state }) => state.state.deps.map(({ feedId }) => feedIdText(feedId))))
}

function isHeld({ state }: FetchedState): boolean {
  return !('shadow' in state)
}
