/** Says in the directory of which feeds this node has files, and says it again before that is forgotten. One feed at a time. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import type { FeedId } from '../catalog/charter.ts'
import { asFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { FeedDirectory } from '../network/feed-directory.ts'
import { startTimeLimit } from '../network/timers.ts'
import { Retries } from './retries.ts'

const REPEAT_MS = 12 * 3_600_000
const TIMEOUT_MS = 30_000
const RETRY = { firstMs: 60_000, maxMs: 30 * 60_000 }
/** A bootstrap peer that comes back may have forgotten everything; it takes a moment until it takes part. */
const SETTLE_MS = 5000
const SPACING_MS = 10 * 60_000

export interface AnnouncedFeedsOptions {
  readonly directory: FeedDirectory
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly signal: AbortSignal
}

interface Announced {
  readonly key: Uint8Array
  readonly retries: Retries
  atMs: number | undefined
}

export class AnnouncedFeeds implements AsyncDisposable {
  readonly #options: AnnouncedFeedsOptions
  readonly #feeds = new Map<FeedId, Announced>()
  /** No longer to be announced. */
  readonly #gone = new Map<FeedId, Uint8Array>()
  #working: Promise<void> | undefined

  constructor(options: AnnouncedFeedsOptions) {
    this.#options = options
  }

  /** These are to be announced, under these keys, and no others. */
  want(wanted: ReadonlyMap<FeedId, Uint8Array>): void {
    const now = this.#options.elapsedMs()
    for (const [feedId, { key, atMs }] of this.#feeds) {
      if (wanted.has(feedId)) continue
      this.#feeds.delete(feedId)
      if (atMs !== undefined) this.#gone.set(feedId, key)
    }
    for (const [feedId, key] of wanted) {
      this.#gone.delete(feedId)
      if (!this.#feeds.has(feedId)) this.#feeds.set(feedId, { key, retries: new Retries(RETRY, now), atMs: undefined })
    }
  }

  /** A node that everybody asks is there again. */
  repeatSoon(): void {
    const soon = this.#options.elapsedMs() + SETTLE_MS
    for (const { retries, atMs } of this.#feeds.values())
      if (atMs !== undefined) retries.putOff(Math.max(soon, atMs + SPACING_MS))
  }

  /** Does what is due. */
  act(): void {
    const { directory, elapsedMs, signal } = this.#options
    if (this.#working !== undefined || signal.aborted) return
    const now = elapsedMs()
    const [gone] = this.#gone
    const due = [...this.#feeds].find(([, { retries }]) => retries.isDue(now))
    if (gone !== undefined) this.#work(this.#withdraw(...gone))
    else if (due !== undefined && directory.nodes > 0) this.#work(this.#announce(...due))
  }

  #work(work: Promise<void>): void {
    this.#working = work.finally(() => {
      this.#working = undefined
    })
  }

  async #announce(feedId: FeedId, announced: Announced): Promise<void> {
    const { directory, log, setTimer, elapsedMs, random, signal } = this.#options
    try {
      using limit = startTimeLimit(setTimer, TIMEOUT_MS, signal)
      await directory.announce(announced.key, limit.signal)
      const now = elapsedMs()
      announced.atMs = now
      announced.retries.succeed()
      announced.retries.putOff(now + REPEAT_MS * (0.9 + random() / 10))
      log.debug({ feedId }, 'the feed is announced in the directory')
    } catch (error) {
      announced.retries.fail(elapsedMs(), random())
      if (!signal.aborted) log.debug({ err: asFeedmeshError(error), feedId }, 'the feed cannot be announced now')
    }
  }

  async #withdraw(feedId: FeedId, key: Uint8Array): Promise<void> {
    const { directory, log, setTimer, signal } = this.#options
    this.#gone.delete(feedId)
    try {
      using limit = startTimeLimit(setTimer, TIMEOUT_MS, signal)
      await directory.withdraw(key, limit.signal)
    } catch (error) {
      if (!signal.aborted) log.debug({ err: asFeedmeshError(error), feedId }, 'the announcement is not withdrawn')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#working
  }
}
