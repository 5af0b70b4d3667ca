/**
 * One pull over one link: heads → difference → verification against the signed roots → blobs → one batch makes it visible.
 *
 * Nothing a peer sends is stored before it is verified, and nothing becomes visible before all that it names is here
 * (availability `full`). What was fetched before a failure is kept and not fetched again.
 */

import { Exchange, parseError } from '../../protocols/mesh/exchange.ts'
import { type Ask, compareState, type Difference, fetchWhole, replayTail } from '../../protocols/mesh/sync/asker.ts'
import {
  SYNC_PROTOCOL,
  type SyncReply,
  type SyncRequest,
  syncReply,
  syncRequest,
} from '../../protocols/mesh/sync/messages.ts'
import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { isInScope } from '../catalog/glob.ts'
import { META_ROLE, type Row } from '../catalog/row.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { prepareAdoption, type VerifiedState } from '../ledger/adopt.ts'
import { charterWrite, type FeedState } from '../ledger/feed-state.ts'
import { type Floor, MemoryFloor } from '../ledger/floor.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { MeshHost } from '../network/host.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { Write } from '../store/records.ts'
import type { BlobFetcher, WantedBlob } from './blob-fetcher.ts'
import type { Link, Replication } from './book.ts'
import { type AbsentFeed, type Head, type HeadsPort, isAboutFeed, learnHead, learnHeads } from './heads.ts'
import { ItemTracker } from './item-tracker.ts'
import { LedgerLocalState } from './local-state.ts'
import type { ActiveRun } from './runs.ts'

export interface PullContext {
  readonly host: MeshHost
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly floor: Floor
  readonly fetcher: BlobFetcher
  readonly now: () => number
  readonly reach: ReachFaultPoint
  isOwn(feedId: FeedId): boolean
  /** The word an operator uses for a row: `name@version`, a path; undefined for rows that are not items. */
  itemName(feedType: string, unit: string, key: string): string | undefined
}

/** The feed moved on at the peer while it was read: begin again this often. */
const MAX_RESTARTS = 3

export interface PullPlan {
  readonly fetch: { readonly items: number; readonly bytes: number }
  readonly delete: { readonly items: number }
}

interface Fetched {
  readonly head: Head
  readonly verified: VerifiedState
  readonly difference: Difference
}

/** Requests and replies over one stream. `error` replies are thrown. */
function askOver(exchange: Exchange<SyncRequest, SyncReply>): Ask {
  return async function* ask(request) {
    await exchange.send(request)
    for (;;) {
      const reply = await exchange.receive()
      if (reply.kind === 'error') throw parseError(reply)
      yield reply
      if (reply.kind !== 'segment' || reply.more === 0) return
    }
  }
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
  #pinned: readonly Digest[] = []
  readonly #absent = new Set<FeedId>()

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
        return await this.#attempt()
      } catch (error) {
        if (!isFeedmeshError(error, 'CONFLICT') || attempt >= MAX_RESTARTS || this.#signal.aborted) throw error
      }
    }
  }

  /** What a run would do now; nothing is fetched but metadata, and nothing becomes visible. */
  async plan(): Promise<PullPlan> {
    const fetched = await this.#gather()
    const { missing } = await this.#track(fetched)
    const items = new Set(missing.map((blob) => JSON.stringify([blob.unit, blob.key]))).size
    const gone = fetched.flatMap((one) => this.#deletedItems(one))
    return {
      fetch: { items, bytes: missing.reduce((sum, blob) => sum + blob.size, 0) },
      delete: { items: gone.length },
    }
  }

  async #attempt(): Promise<boolean> {
    const fetched = await this.#gather()
    if (!(await this.#fetchBlobs(fetched))) return false
    await this.#adopt(fetched)
    return true
  }

  /** The new states of the linked feed and of its closure, verified. */
  async #gather(): Promise<Fetched[]> {
    const channel = await this.#context.host.open(this.#link.peer, SYNC_PROTOCOL, this.#signal)
    await using exchange = new Exchange<SyncRequest, SyncReply>(channel, {
      out: syncRequest,
      in: syncReply,
      what: SYNC_PROTOCOL,
    })
    const ask = askOver(exchange)
    const { heads, absent } = await this.#learn(ask)
    for (const { feedId, error } of absent) this.#miss(feedId, error)
    const fetched: Fetched[] = []
    for (const head of heads) {
      if (head.newer === undefined) continue
      const one = await this.#fetchOrMiss(ask, head)
      if (one !== undefined) fetched.push(one)
    }
    this.#context.reach('adopt.fetched')
    await exchange.end()
    return fetched
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
    if (!isFeedmeshError(error, 'NOT_FOUND', 'FORBIDDEN')) this.#run.failed(`feed ${feedId}`, error)
  }

  /** undefined for a feed of the closure whose state cannot be had; the linked feed itself must be had. */
  async #fetchOrMiss(ask: Ask, head: Head): Promise<Fetched | undefined> {
    try {
      return await this.#fetchState(ask, head)
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
    }
  }

  /** Rows that differ, verified against the signed root. */
  async #fetchState(ask: Ask, head: Head): Promise<Fetched> {
    const known = head.known ?? (await this.#context.ledger.learnFeed(head.newCharters))
    const newer = head.newer!
    if (Buffer.compare(newer.manifest.value.stateRoot, known.root.hash) === 0) {
      return await this.#verify(head, { puts: [], drops: [] })
    }
    const tail = await this.#tryTail(ask, head, known)
    if (tail !== undefined) return tail
    const target = {
      feedId: feedIdBytes(head.feedId),
      stateRoot: newer.manifest.value.stateRoot,
      entries: newer.manifest.value.entries,
    }
    const local = new LedgerLocalState(this.#context.ledger.registry.records, known)
    const difference = await compareState(ask, local, target)
    try {
      return await this.#verify(head, difference)
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
      return await this.#verify(head, await fetchWhole(ask, local, target))
    }
  }

  /** By the log, when it reaches back to what is here; undefined when the tries must be compared. */
  async #tryTail(ask: Ask, head: Head, known: FeedState): Promise<Fetched | undefined> {
    const [mine, theirs] = [known.manifest?.value, head.newer!.manifest.value]
    if (mine === undefined || mine.epoch !== theirs.epoch || head.logFrom > mine.logSize) return undefined
    const target = { feedId: feedIdBytes(head.feedId), stateRoot: theirs.stateRoot, entries: theirs.entries }
    try {
      return await this.#verify(
        head,
        await replayTail(ask, target, { epoch: mine.epoch, from: mine.logSize, to: theirs.logSize }),
      )
    } catch (error) {
      // The log is a hint: where it does not lead to the signed root, comparing the tries decides.
      if (isFeedmeshError(error, 'PEER_INVALID', 'NOT_FOUND')) return undefined
      throw error
    }
  }

  async #verify(head: Head, difference: Difference): Promise<Fetched> {
    const { manifest, deps, revocations } = head.newer!
    const { feedId, charter } = head
    const verified = await prepareAdoption(this.#context.ledger.registry, {
      feedId,
      charter,
      manifest,
      deps,
      revocations,
      ...difference,
    })
    return { head, verified, difference }
  }

  #wants(unit: string, item: string): boolean {
    const { include, exclude } = this.#replication
    const matches = (globs: readonly string[]) => isInScope(globs, unit) || isInScope(globs, item)
    return (include.length === 0 || matches(include)) && (exclude.length === 0 || !matches(exclude))
  }

  /** Files of a row that are to be here before it is visible: metadata always, the rest as availability and filters say. */
  #filesOf(feedId: FeedId, feedType: string, row: Row): WantedBlob[] {
    const item = this.#context.itemName(feedType, row.unit, row.key) ?? row.unit
    const all = this.#replication.availability === 'full' && this.#wants(row.unit, item)
    const base = { feedId, unit: row.unit, key: row.key }
    return row.files
      .filter((file) => all || file.role === META_ROLE)
      .map(({ digest, size }) => ({ ...base, digest, size }))
  }

  /** The items that the new rows are, and which of their blobs are not here. */
  async #track(fetched: readonly Fetched[]): Promise<{ tracker: ItemTracker; missing: WantedBlob[] }> {
    const tracker = new ItemTracker(this.#run)
    for (const { head, difference } of fetched) {
      const { feedType } = head.charter.value
      for (const row of difference.puts) {
        const files = this.#filesOf(head.feedId, feedType, row)
        const isContent = row.files.some((file) => file.role !== META_ROLE)
        const name = isContent ? this.#context.itemName(feedType, row.unit, row.key) : undefined
        tracker.add(name, files, `${row.unit} ${row.key}`)
      }
    }
    const list = tracker.wanted
    this.#pinned = list.map((blob) => blob.digest)
    const here = await this.#context.blobs.has(list.map((blob) => blob.digest))
    return { tracker, missing: list.filter((_, index) => here[index] !== true) }
  }

  /** @returns whether all of them are here. */
  async #fetchBlobs(fetched: readonly Fetched[]): Promise<boolean> {
    const { tracker, missing } = await this.#track(fetched)
    tracker.begin(missing)
    if (missing.length > 0) await this.#run.persist()
    let isComplete = true
    await this.#context.fetcher.fetchAll(this.#link.peer, missing, {
      signal: this.#signal,
      onOutcome: ({ wanted, error }) => {
        isComplete &&= error === undefined
        tracker.settle(wanted, error)
      },
    })
    return isComplete
  }

  /** Items that go with the new state. */
  #deletedItems({ head, difference }: Fetched): string[] {
    const kept = new Set(difference.puts.map((row) => JSON.stringify([row.unit, row.key])))
    const gone = difference.drops.filter(({ unit, key }) => !kept.has(JSON.stringify([unit, key])))
    return gone.flatMap(({ unit, key }) => this.#context.itemName(head.charter.value.feedType, unit, key) ?? [])
  }

  /** Blobs may have been reclaimed between the look and this moment, in which nothing can be. @throws CONFLICT */
  async #verifyStillHere(): Promise<void> {
    const here = await this.#context.blobs.has(this.#pinned)
    if (here.includes(false))
      throw new FeedmeshError('CONFLICT', 'files that were here a moment ago have been reclaimed')
  }

  async #adopt(fetched: readonly Fetched[]): Promise<void> {
    if (fetched.length === 0) return
    const charters: Write[] = fetched.flatMap(({ head, verified }) =>
      head.newCharters.map((charter) => charterWrite(verified.state.number, charter)),
    )
    try {
      await this.#context.ledger.adopt({
        verified: fetched.map(({ verified }) => verified),
        writes: charters,
        absent: this.#absent,
        verifyReady: () => this.#verifyStillHere(),
      })
    } catch (error) {
      throw asFeedmeshError(error)
    }
    for (const one of fetched) for (const item of this.#deletedItems(one)) this.#run.deleted(item)
    await this.#context.floor.flush()
  }
}
