/** Runs pulls: one at a time a link, with history, the grant renewed before and both ends told of the outcome after. */

import { fitMessage } from '../../protocols/mesh/exchange.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { feedIdText } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { asFeedmeshError, FeedmeshError, isErrorCode } from '../errors.ts'
import type { Log } from '../log.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { Book, Link } from './book.ts'
import type { LinkAsker } from './link-asker.ts'
import type { LinkPolicy } from './link-policy.ts'
import { Pull, type PullContext, type PullPlan } from './pull.ts'
import type { Run, RunLog, RunProgressListener, RunTrigger } from './runs.ts'

export interface PullerOptions {
  readonly context: PullContext
  readonly book: Book
  readonly runs: RunLog
  readonly policy: LinkPolicy
  readonly asker: LinkAsker
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
}

export interface PullRequest {
  readonly trigger: RunTrigger
  readonly signal: AbortSignal
  readonly onProgress?: RunProgressListener
}

/** What the last attempt on a link found, for status and lag. */
export interface LinkHealth {
  readonly checkedAt: number
  readonly error: FeedmeshError | undefined
  /** Items and bytes that a run set out to fetch and did not. */
  readonly missing: { readonly items: number; readonly bytes: number }
}

/** Of what is told to the peer and shown in lists, bytes. */
const MAX_PROBLEM_BYTES = 1000

const EXCHANGE_TIMEOUT_MS = 30_000
/** A poll that found nothing new is told to the peer, and written down, this often only. */
const SAME_AGAIN_MS = 5 * 60_000

const NOTHING_WRONG = { code: '', message: '' }
const INCOMPLETE = { code: '', message: 'some items could not be fetched; nothing of this state is visible yet' }

/** Never NOT_FOUND, which says that the peer does not know the feed at all. */
function incompleteError(first: { readonly code: string; readonly message: string } | undefined): FeedmeshError {
  const code = isErrorCode(first?.code) && first.code !== 'NOT_FOUND' ? first.code : 'CONFLICT'
  return new FeedmeshError(code, `${INCOMPLETE.message}: ${first?.message ?? ''}`)
}

export class Puller {
  readonly #options: PullerOptions
  readonly #running = new Map<string, Promise<Run>>()
  readonly #health = new Map<string, LinkHealth>()
  readonly #pulls = new Map<string, Pull>()
  /** What each link's peer was told last, and when. */
  readonly #told = new Map<string, { readonly what: string; readonly at: number }>()

  constructor(options: PullerOptions) {
    this.#options = options
  }

  healthOf(link: string): LinkHealth | undefined {
    return this.#health.get(link)
  }

  /** Blobs that running pulls hold for rows that are not adopted yet. */
  pinned(): Digest[] {
    return [...this.#pulls.values()].flatMap((pull) => pull.pinned)
  }

  isRunning(link: string): boolean {
    return this.#running.has(link)
  }

  /** Joins a pull of the link that is under way; otherwise starts one. Never throws: the run says how it went. */
  async pull(link: Link, request: PullRequest): Promise<Run> {
    const running = this.#running.get(link.id)
    // A manual run must see what was published just before it was asked for, so it waits and runs anew.
    if (running !== undefined && request.trigger !== 'manual') return await running
    if (running !== undefined) await running
    const started = this.#start(link, request).finally(() => this.#running.delete(link.id))
    this.#running.set(link.id, started)
    return await started
  }

  /** Takes over what the peer holds of this node's own feed and is newer than what is here. @throws as a pull fails */
  async recoverOwn(link: Link, signal: AbortSignal): Promise<void> {
    const { book, runs, context } = this.#options
    const run = runs.start(link.replication, link.peer, 'connect')
    try {
      const complete = await new Pull(context, {
        link,
        replication: book.getReplication(link.replication),
        run,
        signal,
        isOwnPast: true,
      }).run()
      await run.end(complete ? 'succeeded' : 'partial', complete ? NOTHING_WRONG : INCOMPLETE)
      if (!complete) throw incompleteError(run.failures[0])
    } catch (error) {
      if (run.run.state === 'running') await run.end('failed', asFeedmeshError(error))
      throw error
    }
  }

  /** What a pull of the link would fetch and delete now. @throws as a pull would fail */
  async plan(link: Link, signal: AbortSignal): Promise<PullPlan> {
    const { book, runs, context } = this.#options
    const run = runs.rehearse(link.replication, link.peer)
    return await new Pull(context, { link, replication: book.getReplication(link.replication), run, signal }).plan()
  }

  async #start(link: Link, request: PullRequest): Promise<Run> {
    const { book, runs, context } = this.#options
    const run = runs.start(link.replication, link.peer, request.trigger)
    if (request.onProgress !== undefined) run.onProgress(request.onProgress)
    let error: FeedmeshError | undefined
    try {
      await this.#renewGrant(link, request.signal)
      const replication = book.getReplication(link.replication)
      const pull = new Pull(context, { link, replication, run, signal: request.signal })
      this.#pulls.set(link.id, pull)
      const complete = await pull.run()
      await run.end(complete ? 'succeeded' : 'partial', complete ? NOTHING_WRONG : INCOMPLETE)
    } catch (thrown) {
      error = asFeedmeshError(thrown)
      if (error.code === 'INTERNAL') this.#options.log.error({ err: thrown, peer: link.peer }, 'a pull failed')
      await run.end('failed', error)
    } finally {
      this.#pulls.delete(link.id)
    }
    this.#note(link, run.run, error)
    await this.#confirm(link, run.run, error)
    return run.run
  }

  #note(link: Link, run: Run, error: FeedmeshError | undefined): void {
    const { planned, fetched } = run
    const missing = {
      items: Math.max(0, planned.items - fetched.items),
      bytes: Math.max(0, planned.bytes - fetched.bytes),
    }
    this.#health.set(link.id, {
      checkedAt: this.#options.context.now(),
      error,
      missing: run.state === 'succeeded' ? { items: 0, bytes: 0 } : missing,
    })
  }

  async #renewGrant(link: Link, signal: AbortSignal): Promise<void> {
    const { policy, asker, book, setTimer, log } = this.#options
    if (!policy.isRenewalDue(link)) return
    using limit = startTimeLimit(setTimer, EXCHANGE_TIMEOUT_MS, signal)
    const grant = await asker.fetchGrant(link, limit.signal)
    if (!policy.isFit(grant, feedIdText(link.remote))) {
      log.warn({ peer: link.peer }, 'the peer gave a grant that does not verify; the one that is held stays')
      return
    }
    const current = book.links.find(link.id)
    if (current !== undefined) await book.commit({ links: [{ ...current, grant }] })
  }

  /** Writes the outcome into the link and tells the peer; a peer that cannot be told learns it with the next run. */
  async #confirm(link: Link, run: Run, error: FeedmeshError | undefined): Promise<void> {
    const { book, asker, context, log, setTimer, elapsedMs } = this.#options
    const now = context.now()
    const current = book.links.find(link.id)
    if (current === undefined || current.revokedAt !== null) return
    const failed =
      error ??
      (run.state === 'succeeded'
        ? undefined
        : { code: 'NOT_FOUND', message: `${run.failed} items could not be fetched` })
    const problem =
      failed === undefined ? null : { code: failed.code, message: fitMessage(failed.message, MAX_PROBLEM_BYTES) }
    let next: Link = {
      ...current,
      lastError: problem === null ? null : { ...problem, at: now },
      equalAt: problem === null ? now : current.equalAt,
    }
    const view = context.ledger.registry.views.get(feedIdText(link.remote))
    const what = JSON.stringify([view?.totals.root.hash.toString('hex'), problem])
    if (run.trigger === 'schedule' && !asker.isClockDoubted && this.#isToldAlready(link.id, what)) return
    if (view !== undefined) {
      try {
        const held = { digest: view.totals.root.hash, entries: view.totals.entries, problem }
        using limit = startTimeLimit(setTimer, EXCHANGE_TIMEOUT_MS)
        const theirs = await asker.confirm(link, held, limit.signal)
        next = { ...next, confirmed: { digest: theirs.digest, entries: theirs.entries, at: now } }
        this.#told.set(link.id, { what, at: elapsedMs() })
      } catch (unconfirmed) {
        log.debug({ err: unconfirmed, peer: link.peer }, 'the peer could not be told the outcome of a run')
      }
    }
    await book.commit({ links: [next] })
  }

  #isToldAlready(link: string, what: string): boolean {
    const told = this.#told.get(link)
    return told?.what === what && this.#options.elapsedMs() - told.at < SAME_AGAIN_MS
  }
}
