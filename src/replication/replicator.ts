/**
 * Keeps replications going: connections to outgoing peers, a hello on every connection, pulls on connect, by poll, when a
 * peer asks for one and when an operator does.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { feedIdText, type Inclusion } from '../catalog/charter.ts'
import { inclusionFor, isReceiving, isSending } from '../catalog/policy.ts'
import { MAX_CLOCK_AHEAD_MS } from '../catalog/stamp.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { Book, Link, Replication } from './book.ts'
import type { CatchUp } from './catch-up.ts'
import type { PokeResult } from './link-answerer.ts'
import type { LinkAsker } from './link-asker.ts'
import { NewsPace } from './news-pace.ts'
import { PullWindows } from './pull-windows.ts'
import type { Puller, PullRequest } from './puller.ts'
import type { Run, RunProgressListener, RunTrigger } from './runs.ts'

export interface ReplicatorOptions {
  readonly host: MeshHost
  readonly book: Book
  readonly ledger: Ledger
  readonly puller: Puller
  readonly asker: LinkAsker
  readonly catchUp: CatchUp
  readonly log: Log
  readonly now: () => number
  /** Ms that have passed since some moment, also when somebody sets the clock: what polls go by. */
  readonly elapsedMs: () => number
  readonly setTimer: SetTimer
  /** In [0, 1): spreads the polls of many nodes. */
  readonly random: () => number
}

/** How often due polls are looked for, ms. */
const TICK_MS = 1000
/** Polls come within ± this share of their interval. */
const JITTER = 0.2
/** Of a link whose replication was removed meanwhile. */
const DEFAULT_EVERY_MS = 60_000
const GREET_TIMEOUT_MS = 15_000
/** A peer's pull that this end asked for may take this long. */
const POKE_TIMEOUT_MS = 9 * 60_000
/** Feeds of this node are signed again when this share of their lifetime is over. */
const REFRESH_AFTER = 1 / 24
/** One that failed is tried again after this, ms. */
const REFRESH_RETRY_MS = 60_000

function isRefreshDue(manifest: { readonly issuedAt: number; readonly expiresAt: number }, now: number): boolean {
  const { issuedAt, expiresAt } = manifest
  return now >= issuedAt + (expiresAt - issuedAt) * REFRESH_AFTER || now < issuedAt - MAX_CLOCK_AHEAD_MS
}

export interface ReplicationPlan {
  readonly fetch: { readonly items: number; readonly bytes: number }
  readonly send: { readonly items: number; readonly bytes: number }
  readonly delete: { readonly items: number }
}

function addTo(sum: { items: number; bytes: number }, more: { readonly items: number; readonly bytes: number }): void {
  sum.items += more.items
  sum.bytes += more.bytes
}

export interface LinkOutcome {
  readonly link: Link
  readonly received: Run | undefined
  readonly sent: PokeResult | undefined
  readonly error: FeedmeshError | undefined
}

export class Replicator implements AsyncDisposable {
  readonly #options: ReplicatorOptions
  readonly #stopping = new AbortController()
  /** By `elapsedMs`: of each link. */
  readonly #nextPoll = new Map<string, number>()
  /** By `elapsedMs`: of feeds that could not be signed again. */
  readonly #nextRefresh = new Map<string, number>()
  readonly #newsPace = new NewsPace()
  readonly #windows: PullWindows
  readonly #background = new Set<Promise<unknown>>()
  /** By `elapsedMs`: when a peer is asked again what it holds of this node’s own feed. */
  readonly #nextRecovery = new Map<string, number>()
  #isRecovering = false
  #cancelTick: () => void = () => {}
  #unsubscribe: () => void = () => {}

  constructor(options: ReplicatorOptions) {
    this.#options = options
    this.#windows = new PullWindows(options.now)
  }

  start(): void {
    this.#unsubscribe = this.#options.host.onPeer((event) => {
      if (event.type === 'connected') this.#inBackground(this.#onConnected(event.peerId))
    })
    for (const replication of this.#options.book.replications.all()) this.keepConnected(replication)
    this.#scheduleTick()
  }

  #scheduleTick(): void {
    this.#cancelTick = this.#options.setTimer(() => {
      this.#scheduleTick()
      this.#tick()
    }, TICK_MS)
  }

  /** Work whose failure concerns nobody who waits. */
  #inBackground(work: Promise<unknown>): void {
    const guarded = work.catch((error: unknown) => {
      if (!this.#stopping.signal.aborted)
        this.#options.log.warn({ err: asFeedmeshError(error) }, 'background replication work failed')
    })
    this.#background.add(guarded)
    void guarded.finally(() => this.#background.delete(guarded))
  }

  /** Dials the peers of an outgoing replication for as long as it is not paused. */
  keepConnected(replication: Replication): void {
    if (replication.communication !== 'outgoing' || replication.paused) return
    for (const peer of replication.peers) this.#options.host.keep(peer, replication.addresses)
  }

  /** Ends the connection to peers that no other replication needs. */
  async release(replication: Replication): Promise<void> {
    const { book, host } = this.#options
    const others = book.replications
      .all()
      .filter((other) => other.id !== replication.id && other.communication === 'outgoing' && !other.paused)
    for (const peer of replication.peers) {
      if (!others.some((other) => other.peers.includes(peer))) await host.release(peer)
    }
  }

  /**
   * Makes the feed of this end include the one it is linked to, where content flows here. Does nothing when it does already:
   * it is called before every pull, because the node may have stopped between storing a link and signing the inclusion.
   */
  async establish(link: Link): Promise<void> {
    const { book, ledger } = this.#options
    const replication = book.getReplication(link.replication)
    if (!isReceiving(replication.mode)) return
    const { scope, mayExtend } = replication
    const isSource = (inclusion: Inclusion) => Buffer.compare(inclusion.feedId, link.remote) === 0
    const local = feedIdText(link.local)
    if (ledger.registry.charterOf(local)?.includes.some(isSource) === true) return
    await ledger.amendCharter(local, (charter) => ({
      includes: [...charter.includes, inclusionFor(replication, { feedId: link.remote, scope, mayExtend })],
    }))
    this.#nextPoll.set(link.id, 0)
  }

  /** Before anything else with a peer: what it holds of our own feed, where this node was restored. */
  async #recoverOwn(link: Link): Promise<void> {
    const { catchUp, ledger, book, puller } = this.#options
    const parts = { registry: ledger.registry, book }
    const feedId = feedIdText(link.local)
    if (catchUp.find(feedId, parts)?.missing.includes(link.peer) !== true) return
    try {
      await puller.recoverOwn(link, this.#stopping.signal)
    } catch (error) {
      // A peer that never had the feed has nothing to tell; any other failure leaves it to be asked again.
      if (!isFeedmeshError(error, 'NOT_FOUND')) throw error
    }
    await catchUp.note(feedId, link.peer, parts)
  }

  async #pull(link: Link, request: PullRequest): Promise<Run> {
    await this.establish(link)
    return await this.#options.puller.pull(link, request)
  }

  async #onConnected(peer: string): Promise<void> {
    const links = this.#options.book.linksWith(peer)
    if (links.length === 0) return
    // One greeting tells both ends; before a pull there is one in any case.
    const isDialler = this.#options.host.peers().find(({ peerId }) => peerId === peer)?.direction === 'outbound'
    if (isDialler || links.some((link) => this.#mayPull(link))) await this.#greet(peer)
    await this.#recoverFrom(links)
    for (const link of links) this.#pullInBackground(link, 'connect')
  }

  /** What one link cannot tell now it is asked for again with the next polls; the others are asked all the same. */
  async #recoverFrom(links: readonly Link[]): Promise<void> {
    const { book, elapsedMs, log } = this.#options
    for (const link of links) {
      const everyMs = book.replications.find(link.replication)?.everyMs ?? DEFAULT_EVERY_MS
      this.#nextRecovery.set(link.id, elapsedMs() + everyMs)
      try {
        await this.#recoverOwn(link)
      } catch (error) {
        if (this.#stopping.signal.aborted) return
        log.warn(
          { err: asFeedmeshError(error), peer: link.peer },
          'a peer could not be asked what was signed here before',
        )
      }
    }
  }

  /** One round at a time over the peers that have yet to tell what they hold of the feeds of this node. */
  async #recoverDue(connected: ReadonlySet<string>): Promise<void> {
    if (this.#isRecovering) return
    const { book, catchUp, elapsedMs, ledger } = this.#options
    const parts = { registry: ledger.registry, book }
    const due = book.links
      .all()
      .filter(
        (link) =>
          link.revokedAt === null &&
          connected.has(link.peer) &&
          elapsedMs() >= (this.#nextRecovery.get(link.id) ?? 0) &&
          catchUp.find(feedIdText(link.local), parts)?.missing.includes(link.peer) === true,
      )
    if (due.length === 0) return
    this.#isRecovering = true
    try {
      await this.#recoverFrom(due)
    } finally {
      this.#isRecovering = false
    }
  }

  async #greet(peer: string): Promise<void> {
    try {
      using limit = startTimeLimit(this.#options.setTimer, GREET_TIMEOUT_MS, this.#stopping.signal)
      await this.#options.asker.greet(peer, limit.signal)
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_UNREACHABLE', 'TIMEOUT', 'ABORTED')) throw error
      this.#options.log.debug({ err: error, peer }, 'no hello with a peer that was just connected')
    }
  }

  #mayPull(link: Link): boolean {
    const replication = this.#options.book.replications.find(link.replication)
    return (
      replication !== undefined &&
      !replication.paused &&
      isReceiving(replication.mode) &&
      link.revokedAt === null &&
      !this.#stopping.signal.aborted
    )
  }

  #pullInBackground(link: Link, trigger: RunTrigger): void {
    if (!this.#mayPull(link)) return
    // Also where the window is closed: when it opens not all that wait for it begin at once.
    this.#scheduleNext(link)
    const windowOf = () => this.#options.book.replications.find(link.replication)?.window ?? ''
    if (!this.#windows.isOpen({ window: windowOf() })) return
    const pull = (signal: AbortSignal) =>
      this.#pull(link, { trigger, signal: AbortSignal.any([signal, this.#stopping.signal]) })
    this.#inBackground(this.#windows.run(windowOf, pull))
  }

  /** A peer announced something newer. What comes while a pull is under way, or too often, is pulled once, a little later. */
  onNews(link: Link): void {
    const elapsed = this.#options.elapsedMs()
    if (this.#options.puller.isRunning(link.id)) return this.#pullBy(link, elapsed)
    const waitMs = this.#newsPace.take(link.id, elapsed)
    if (waitMs > 0) this.#pullBy(link, elapsed + waitMs)
    else this.#pullInBackground(link, 'change')
  }

  /** The next poll comes at this time, if it would come later. */
  #pullBy(link: Link, elapsed: number): void {
    this.#nextPoll.set(link.id, Math.min(this.#nextPoll.get(link.id) ?? elapsed, elapsed))
  }

  #scheduleNext(link: Link): void {
    const { book, elapsedMs, random } = this.#options
    const everyMs = book.replications.find(link.replication)?.everyMs ?? DEFAULT_EVERY_MS
    this.#nextPoll.set(link.id, elapsedMs() + everyMs * (1 + JITTER * (2 * random() - 1)))
  }

  #tick(): void {
    const { book, host, elapsedMs } = this.#options
    const connected = new Set(
      host
        .peers()
        .filter((peer) => peer.connected)
        .map((peer) => peer.peerId),
    )
    for (const link of book.links.all()) {
      if (!this.#mayPull(link) || elapsedMs() < (this.#nextPoll.get(link.id) ?? 0)) continue
      const outgoing = book.replications.find(link.replication)?.communication === 'outgoing'
      if (connected.has(link.peer)) this.#pullInBackground(link, 'schedule')
      else if (outgoing) this.#scheduleNext(link)
    }
    this.#windows.check()
    this.#inBackground(this.#recoverDue(connected))
    this.#refreshFeeds()
  }

  /** Signs quiet feeds again before their manifests grow old, or when a clock that was ahead has dated them. */
  #refreshFeeds(): void {
    const { ledger, now, elapsedMs } = this.#options
    for (const local of ledger.registry.locals.values()) {
      const state = ledger.registry.states.get(local.id)
      const manifest = state?.manifest?.value
      if (manifest === undefined || !isRefreshDue(manifest, now())) continue
      if (elapsedMs() < (this.#nextRefresh.get(local.id) ?? 0)) continue
      this.#nextRefresh.set(local.id, elapsedMs() + REFRESH_RETRY_MS)
      this.#inBackground(ledger.refresh(local.id))
    }
  }

  /** A peer says that its feed changed: pull now and say how it went. */
  async onPoke(link: Link): Promise<PokeResult> {
    if (!this.#mayPull(link))
      throw new FeedmeshError(
        'FORBIDDEN',
        'the replication is paused at this end; resume it with feedmesh replication resume',
      )
    this.#scheduleNext(link)
    const run = await this.#pull(link, { trigger: 'manual', signal: this.#stopping.signal })
    if (run.state === 'running') throw new FeedmeshError('INTERNAL', 'a run that ended is still running')
    return { state: run.state, items: run.fetched.items, bytes: run.fetched.bytes, message: run.message }
  }

  /** What a run would fetch, send and delete, over all links. @throws as a run would fail */
  async plan(replication: Replication): Promise<ReplicationPlan> {
    using limit = startTimeLimit(this.#options.setTimer, POKE_TIMEOUT_MS, this.#stopping.signal)
    const plan = { fetch: { items: 0, bytes: 0 }, send: { items: 0, bytes: 0 }, delete: { items: 0 } }
    for (const link of this.#options.book.linksOf(replication.id)) {
      if (link.revokedAt !== null) continue
      if (isSending(replication.mode)) addTo(plan.send, this.#unconfirmed(link))
      if (!isReceiving(replication.mode)) continue
      const pull = await this.#options.puller.plan(link, limit.signal)
      addTo(plan.fetch, pull.fetch)
      plan.delete.items += pull.delete.items
    }
    return plan
  }

  /** What the other end has not confirmed to hold of our feed. */
  #unconfirmed(link: Link): { readonly items: number; readonly bytes: number } {
    const totals = this.#options.ledger.registry.views.get(feedIdText(link.local))?.totals
    if (totals === undefined) return { items: 0, bytes: 0 }
    return link.confirmed === null
      ? { items: totals.entries, bytes: totals.bytes }
      : { items: Math.max(0, totals.entries - link.confirmed.entries), bytes: 0 }
  }

  /** One run of every link of a replication, in the directions its mode says. */
  async runNow(
    replication: Replication,
    options: {
      readonly signal?: AbortSignal
      readonly onProgress?: RunProgressListener
      readonly trigger?: RunTrigger
    },
  ): Promise<LinkOutcome[]> {
    const links = this.#options.book.linksOf(replication.id).filter((link) => link.revokedAt === null)
    const signal =
      options.signal === undefined ? this.#stopping.signal : AbortSignal.any([options.signal, this.#stopping.signal])
    const outcomes: LinkOutcome[] = []
    for (const link of links) outcomes.push(await this.#runLink(link, replication, { ...options, signal }))
    return outcomes
  }

  async #runLink(
    link: Link,
    replication: Replication,
    options: { readonly signal: AbortSignal; readonly onProgress?: RunProgressListener; readonly trigger?: RunTrigger },
  ): Promise<LinkOutcome> {
    this.#options.host.redialNow(link.peer)
    this.#scheduleNext(link)
    await this.#recoverOwn(link)
    const { onProgress, signal, trigger = 'manual' } = options
    const received = isReceiving(replication.mode)
      ? await this.#pull(link, { trigger, signal, ...(onProgress === undefined ? {} : { onProgress }) })
      : undefined
    if (!isSending(replication.mode)) return { link, received, sent: undefined, error: undefined }
    try {
      using limit = startTimeLimit(this.#options.setTimer, POKE_TIMEOUT_MS, signal)
      const sent = await this.#options.asker.poke(link, limit.signal)
      return { link, received, sent, error: undefined }
    } catch (thrown) {
      return { link, received, sent: undefined, error: asFeedmeshError(thrown) }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cancelTick()
    this.#unsubscribe()
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    await Promise.all(this.#background)
  }
}
