/** The endless redial of one kept peer. No socket and no clock in here: dialling, timers, time and chance are handed in. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'

const MIN_DELAY_MS = 1000
const MAX_DELAY_MS = 60_000
/** A connection that held for less counts as a failed attempt: a peer that drops us at once must not be dialled each second. */
const STABLE_MS = 30_000

export interface RedialOptions {
  /** Connects to the peer; its failure leads to the next attempt and is reported by whoever dials. */
  readonly dial: (signal: AbortSignal) => Promise<void>
  readonly isConnected: () => boolean
  readonly setTimer: SetTimer
  readonly now: () => number
  /** In [0, 1). */
  readonly random: () => number
}

/** Wait before attempt number `failures` + 1: doubles from 2 s to 60 s, of which a random half is left out. */
export function backoffMs(failures: number, random: number): number {
  const ceiling = Math.min(MAX_DELAY_MS, MIN_DELAY_MS * 2 ** Math.min(failures + 1, 16))
  return Math.max(MIN_DELAY_MS, Math.round(ceiling * (0.5 + random / 2)))
}

export class Redial implements Disposable {
  readonly #options: RedialOptions
  readonly #stopping = new AbortController()
  #failures = 0
  #dialling = false
  #again = false
  #connectedAt: number | undefined
  #cancelTimer: (() => void) | undefined

  /** Starts dialling at once unless connected. */
  constructor(options: RedialOptions) {
    this.#options = options
    if (options.isConnected()) this.connected()
    else this.#attempt()
  }

  /** Forgets the back-off and dials now unless connected. */
  dialNow(): void {
    this.#failures = 0
    this.#clearTimer()
    if (this.#dialling) this.#again = true
    else this.#attempt()
  }

  /** To be called when the first connection to the peer is there, whoever dialled it. */
  connected(): void {
    this.#connectedAt = this.#options.now()
    this.#clearTimer()
  }

  /** To be called when the last connection to the peer is gone. */
  disconnected(): void {
    const heldMs = this.#options.now() - (this.#connectedAt ?? this.#options.now())
    this.#connectedAt = undefined
    this.#failures = heldMs >= STABLE_MS ? 0 : this.#failures + 1
    if (!this.#dialling) this.#schedule()
  }

  [Symbol.dispose](): void {
    this.#stopping.abort()
    this.#clearTimer()
  }

  #attempt(): void {
    if (this.#stopping.signal.aborted || this.#options.isConnected()) return
    void this.#dial()
  }

  async #dial(): Promise<void> {
    this.#dialling = true
    try {
      await this.#options.dial(this.#stopping.signal)
    } catch {
      // Why it failed is in the address book; here it only counts.
      this.#failures += 1
    }
    this.#dialling = false
    if (!this.#again) {
      this.#schedule()
      return
    }
    this.#again = false
    this.#failures = 0
    this.#attempt()
  }

  #schedule(): void {
    if (this.#stopping.signal.aborted || this.#options.isConnected()) return
    this.#clearTimer()
    this.#cancelTimer = this.#options.setTimer(
      () => {
        this.#cancelTimer = undefined
        this.#attempt()
      },
      backoffMs(Math.max(0, this.#failures - 1), this.#options.random()),
    )
  }

  #clearTimer(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }
}
