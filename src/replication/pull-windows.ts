/** Runs that a replication begins by itself end with its window of time; what arrived stays for the next one. */

import { FeedmeshError } from '../errors.ts'
import type { Replication } from './book.ts'
import { isWindowOpen } from './time-window.ts'

interface WindowedRun {
  readonly controller: AbortController
  /** As it is now: it may be edited meanwhile. */
  readonly windowOf: () => string
}

export class PullWindows {
  readonly #now: () => number
  readonly #runs = new Set<WindowedRun>()

  /** `now`: Unix time, ms. */
  constructor(now: () => number) {
    this.#now = now
  }

  isOpen({ window }: Pick<Replication, 'window'>): boolean {
    return isWindowOpen(window, this.#now())
  }

  /** Runs `work` until its window closes. */
  async run<T>(windowOf: () => string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const run = { controller: new AbortController(), windowOf }
    this.#runs.add(run)
    try {
      return await work(run.controller.signal)
    } finally {
      this.#runs.delete(run)
    }
  }

  /** To be called every now and then: ends what has no time any more. */
  check(): void {
    for (const { controller, windowOf } of this.#runs) {
      const window = windowOf()
      if (isWindowOpen(window, this.#now())) continue
      controller.abort(
        new FeedmeshError(
          'ABORTED',
          `the window ${window} has closed; what arrived stays, and the next window goes on with it`,
        ),
      )
    }
  }
}
