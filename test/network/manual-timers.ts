/** A clock and timers that move when a test says so. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

interface Timer {
  readonly at: number
  readonly run: () => void
}

export class ManualTimers {
  #now = 0
  readonly #timers = new Set<Timer>()

  readonly now = (): number => this.#now

  readonly setTimer: SetTimer = (run, delayMs) => {
    const timer = { at: this.#now + delayMs, run }
    this.#timers.add(timer)
    return () => {
      this.#timers.delete(timer)
    }
  }

  /** Delays of the timers that are set, shortest first. */
  get pending(): number[] {
    return [...this.#timers].map((timer) => timer.at - this.#now).sort((a, b) => a - b)
  }

  /** Runs what is due within the next `ms`, in order; timers set on the way too. */
  advance(ms: number): void {
    const until = this.#now + ms
    for (;;) {
      const [next] = [...this.#timers].filter((timer) => timer.at <= until).sort((a, b) => a.at - b.at)
      if (next === undefined) break
      this.#timers.delete(next)
      this.#now = Math.max(this.#now, next.at)
      next.run()
    }
    this.#now = until
  }
}
