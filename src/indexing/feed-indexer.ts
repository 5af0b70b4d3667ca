/**
 * Keeps the signed indexes of one feed as its view is: builds at once when the feed was quiet, then at most once a second,
 * and more seldom while changes keep coming.
 */

import type { IndexBuilder } from './index-builder.ts'

export type SetTimer = (run: () => void, delayMs: number) => () => void

export interface FeedIndexerOptions {
  readonly builder: Pick<IndexBuilder, 'build' | 'isCurrent'>
  readonly setTimer: SetTimer
  /** Monotonic, ms. */
  readonly elapsedMs: () => number
  /** Called with why a generation could not be built; it is tried again. */
  readonly onFailure: (error: unknown) => void
}

const MIN_PACE_MS = 1000
const MAX_PACE_MS = 10_000
const FIRST_RETRY_MS = 2000
const MAX_RETRY_MS = 60_000
/** From so many changed units on all of them are looked at: it costs less than one by one. */
const MAX_UNITS = 20_000

type Changed = Set<string> | 'all'

export class FeedIndexer implements AsyncDisposable {
  readonly #options: FeedIndexerOptions
  #pending: Changed | undefined
  #running: Promise<void> | undefined
  #cancel: (() => void) | undefined
  /** When the next build may begin. */
  #dueAtMs = 0
  #paceMs = MIN_PACE_MS
  #retryMs = FIRST_RETRY_MS
  #isStopped = false
  /** Told at the end of each build. */
  readonly #waiting = new Set<() => void>()

  constructor(options: FeedIndexerOptions) {
    this.#options = options
  }

  note(units: ReadonlySet<string> | 'all'): void {
    if (this.#isStopped) return
    this.#add(units)
    if (this.#running === undefined && this.#cancel === undefined) this.#begin()
  }

  /** Resolves when nothing is left to be done, after `limitMs`, or at once when it would take longer. */
  async settled(limitMs: number): Promise<void> {
    if (this.#running === undefined && this.#dueAtMs - this.#options.elapsedMs() >= limitMs) return
    const limit = new AbortController()
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const cancel = this.#options.setTimer(() => {
      limit.abort()
      resolve()
    }, limitMs)
    while (!limit.signal.aborted && !this.#isStopped && (this.#pending !== undefined || this.#running !== undefined)) {
      const { promise: built, resolve: tell } = Promise.withResolvers<void>()
      this.#waiting.add(tell)
      await Promise.race([late, built])
      this.#waiting.delete(tell)
    }
    cancel()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true
    this.#cancel?.()
    await this.#running
    this.#tellWaiting()
  }

  #add(units: ReadonlySet<string> | 'all'): void {
    if (units === 'all' || this.#pending === 'all') this.#pending = 'all'
    else this.#pending = (this.#pending ?? new Set()).union(units)
    if (this.#pending !== 'all' && this.#pending.size > MAX_UNITS) this.#pending = 'all'
  }

  #begin(): void {
    const changed = this.#pending
    if (changed === undefined || this.#isStopped) return
    this.#pending = undefined
    this.#running = this.#build(changed).finally(() => {
      this.#running = undefined
      this.#tellWaiting()
    })
  }

  async #build(changed: Changed): Promise<void> {
    const { builder, elapsedMs, onFailure } = this.#options
    const started = elapsedMs()
    try {
      if (changed !== 'all' || !(await builder.isCurrent())) await builder.build(changed)
      this.#retryMs = FIRST_RETRY_MS
      this.#pace(elapsedMs() - started)
    } catch (error) {
      if (this.#isStopped) return
      onFailure(error)
      this.#add(changed)
      this.#beginAfter(this.#retryMs)
      this.#retryMs = Math.min(MAX_RETRY_MS, this.#retryMs * 2)
    }
  }

  /** The next build begins no earlier; what kept coming while this one ran comes on. */
  #pace(tookMs: number): void {
    const isBusy = this.#pending !== undefined
    this.#beginAfter(isBusy ? this.#paceMs : Math.max(0, MIN_PACE_MS - tookMs))
    this.#paceMs = isBusy ? Math.min(MAX_PACE_MS, this.#paceMs * 2) : MIN_PACE_MS
  }

  #beginAfter(delayMs: number): void {
    if (this.#isStopped) return
    this.#dueAtMs = this.#options.elapsedMs() + delayMs
    this.#cancel = this.#options.setTimer(() => {
      this.#cancel = undefined
      if (this.#running === undefined) this.#begin()
    }, delayMs)
  }

  #tellWaiting(): void {
    for (const tell of this.#waiting) tell()
  }
}
