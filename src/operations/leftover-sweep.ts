/** Removes generations of rows and indexes that count no more: when the node starts, and every few minutes. */

import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'

const PERIOD_MS = 5 * 60_000

export interface LeftoverSweepOptions {
  readonly ledger: Pick<Ledger, 'clearLeftovers'>
  /** Calls `run` once after the delay; returns the function that cancels it. */
  readonly setTimer: (run: () => void, delayMs: number) => () => void
  /** Told why a sweep failed; the next one tries again. */
  readonly onFailure: (error: FeedmeshError) => void
}

export class LeftoverSweep implements AsyncDisposable {
  readonly #options: LeftoverSweepOptions
  readonly #stopping = new AbortController()
  #cancel: () => void = () => {}
  #sweeping: Promise<void> = Promise.resolve()

  constructor(options: LeftoverSweepOptions) {
    this.#options = options
  }

  start(): void {
    this.#sweeping = this.#sweep()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    this.#cancel()
    await this.#sweeping
  }

  async #sweep(): Promise<void> {
    const { ledger, onFailure, setTimer } = this.#options
    try {
      await ledger.clearLeftovers(this.#stopping.signal)
    } catch (error) {
      if (!this.#stopping.signal.aborted) onFailure(asFeedmeshError(error))
    }
    if (!this.#stopping.signal.aborted) this.#cancel = setTimer(() => this.start(), PERIOD_MS)
  }
}
