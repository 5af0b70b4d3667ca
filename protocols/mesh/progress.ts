/** The rule that keeps a peer from holding a reader up by sending a byte now and then. */

import { FeedmeshError } from '../../src/errors.ts'

/** Calls `run` once after `delayMs`; the returned function cancels that. */
export type SetTimer = (run: () => void, delayMs: number) => () => void

export interface ProgressRule {
  readonly now: () => number
  readonly setTimer: SetTimer
  /** The source is to give this many bytes … */
  readonly minBytes?: number
  /** … in every period of this many ms … */
  readonly perMs?: number
  /** … on the average of this many ms. Only time spent waiting for the source counts, not what its reader takes. */
  readonly judgedOverMs?: number
}

/**
 * `source`, until it gives too little. Its reader then has to abort the channel behind it.
 * @throws TIMEOUT when the rule is broken
 */
export async function* withProgress(
  source: AsyncIterable<Uint8Array>,
  rule: ProgressRule,
  watch = new ProgressWatch(rule),
): AsyncGenerator<Uint8Array, void, void> {
  const iterator = source[Symbol.asyncIterator]()
  let stoppedByReader = true
  try {
    for (;;) {
      stoppedByReader = false
      const next = await watch.waitFor(iterator.next())
      if (next.done === true) return
      stoppedByReader = true
      yield next.value
    }
  } finally {
    watch.stop()
    if (stoppedByReader) await iterator.return?.()
  }
}

/** Judges one source. */
export class ProgressWatch {
  readonly #rule: ProgressRule
  readonly #minBytes: number
  readonly #perMs: number
  readonly #periods: number
  /** Bytes of the last full periods, oldest first, at most `#periods`. */
  #past: number[] = []
  #bytes = 0
  /** Ms of waiting in the period that runs. */
  #waitedMs = 0
  #waitingSince: number | undefined
  #cancelTimer: (() => void) | undefined
  #fail: ((error: Error) => void) | undefined

  constructor(rule: ProgressRule) {
    this.#rule = rule
    this.#minBytes = rule.minBytes ?? 16 * 1024
    this.#perMs = rule.perMs ?? 5000
    this.#periods = Math.max(1, Math.round((rule.judgedOverMs ?? 15_000) / this.#perMs))
  }

  /** Settles as `next` does, or fails when the rule is broken before. */
  async waitFor(next: Promise<IteratorResult<Uint8Array>>): Promise<IteratorResult<Uint8Array>> {
    this.#waitingSince = this.#rule.now()
    this.#arm()
    const result = await new Promise<IteratorResult<Uint8Array>>((resolve, reject) => {
      this.#fail = reject
      next.then(resolve, reject)
    })
    this.#tick()
    this.#waitingSince = undefined
    this.#fail = undefined
    if (result.done !== true) this.#bytes += result.value.byteLength
    return result
  }

  /** Something new was asked for: what came before does not count, for or against the source. */
  restart(): void {
    this.#past = []
    this.#bytes = 0
    this.#waitedMs = 0
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    if (this.#waitingSince === undefined) return
    this.#waitingSince = this.#rule.now()
    this.#arm()
  }

  stop(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#fail = undefined
  }

  /** One timer at a time, left running over quick answers, so that a fast stream sets hardly any. */
  #arm(): void {
    this.#cancelTimer ??= this.#rule.setTimer(() => {
      this.#cancelTimer = undefined
      if (this.#waitingSince === undefined) return
      this.#tick()
      if (this.#isTooSlow()) this.#fail?.(this.#tooSlow())
      else this.#arm()
    }, this.#perMs - this.#waitedMs)
  }

  #tick(): void {
    const now = this.#rule.now()
    this.#waitedMs += Math.max(0, now - (this.#waitingSince ?? now))
    this.#waitingSince = now
    while (this.#waitedMs >= this.#perMs) {
      this.#waitedMs -= this.#perMs
      this.#past = [...this.#past, this.#bytes].slice(-this.#periods)
      this.#bytes = 0
    }
  }

  #isTooSlow(): boolean {
    return this.#past.length === this.#periods && this.#sum() < this.#minBytes * this.#periods
  }

  #sum(): number {
    return this.#past.reduce((total, bytes) => total + bytes, 0)
  }

  #tooSlow(): FeedmeshError {
    const seconds = (this.#perMs * this.#periods) / 1000
    const wanted = this.#minBytes * this.#periods
    return new FeedmeshError(
      'TIMEOUT',
      `the peer sent ${this.#sum()} bytes in ${seconds} s; at least ${wanted} are expected`,
    )
  }
}
