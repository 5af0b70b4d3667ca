/**
 * A limit on bytes a second for all that takes from it together: no clock and no timer of its own.
 *
 * What is taken may be more than there is; then nothing more is given until the debt is paid. So each piece goes whole, and
 * the total over any time is at most the rate times that time, the burst, and one piece.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

export interface RateClock {
  /** Ms that have passed since some moment. */
  readonly now: () => number
  readonly setTimer: SetTimer
}

/** What may go at once after a pause, as time at full rate. */
const BURST_MS = 250

interface Taker {
  readonly bytes: number
  readonly resolve: () => void
}

export class RateBucket {
  readonly #clock: RateClock
  /** Bytes a second. */
  #rate: number
  #tokens: number
  #filledAtMs: number
  /** Those for whom a client waits are served first, each kind in the order it came. */
  readonly #waited: Taker[] = []
  readonly #background: Taker[] = []
  #cancelTimer: (() => void) | undefined

  constructor(clock: RateClock, rate: number) {
    this.#clock = clock
    this.#rate = rate
    this.#tokens = this.#burst
    this.#filledAtMs = clock.now()
  }

  get rate(): number {
    return this.#rate
  }

  /** Counts from now on. */
  set rate(rate: number) {
    if (rate === this.#rate) return
    this.#fill()
    this.#rate = rate
    this.#tokens = Math.min(this.#tokens, this.#burst)
    this.#serve()
  }

  /** Whether nobody is in line. */
  get isIdle(): boolean {
    return this.#waited.length === 0 && this.#background.length === 0
  }

  get #burst(): number {
    return (this.#rate * BURST_MS) / 1000
  }

  /** Resolves when the bytes may go. undefined: at once. Rejects, and takes nothing, when `signal` is aborted before. */
  take(bytes: number, isWaited: boolean, signal?: AbortSignal): Promise<void> | undefined {
    this.#fill()
    if (this.isIdle && this.#tokens > 0) {
      this.#tokens -= bytes
      return undefined
    }
    return new Promise((resolve, reject) => {
      const line = isWaited ? this.#waited : this.#background
      const leave = () => {
        line.splice(line.indexOf(taker), 1)
        reject(signal?.reason as Error)
      }
      const done = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
      const taker: Taker = { bytes, resolve: done }
      if (signal?.aborted === true) return reject(signal.reason as Error)
      signal?.addEventListener('abort', leave, { once: true })
      line.push(taker)
      this.#serve()
    })
  }

  #fill(): void {
    const nowMs = this.#clock.now()
    const passedMs = Math.max(0, nowMs - this.#filledAtMs)
    this.#filledAtMs = nowMs
    this.#tokens = Math.min(this.#burst, this.#tokens + (passedMs * this.#rate) / 1000)
  }

  #serve(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#fill()
    while (this.#tokens > 0) {
      const next = this.#waited.shift() ?? this.#background.shift()
      if (next === undefined) return
      this.#tokens -= next.bytes
      next.resolve()
    }
    if (this.isIdle) return
    const waitMs = Math.max(1, Math.ceil((-this.#tokens * 1000) / this.#rate) + 1)
    this.#cancelTimer = this.#clock.setTimer(() => this.#serve(), waitMs)
  }
}
