/** When to try again what failed. Pure. */

export interface RetryPace {
  /** Wait after the first failure; doubles with each further one. */
  readonly firstMs: number
  readonly maxMs: number
}

export class Retries {
  readonly #pace: RetryPace
  #failures = 0
  #dueAtMs: number
  #notBeforeMs = 0

  constructor(pace: RetryPace, dueAtMs: number) {
    this.#pace = pace
    this.#dueAtMs = dueAtMs
  }

  get failures(): number {
    return this.#failures
  }

  isDue(nowMs: number): boolean {
    return nowMs >= this.#dueAtMs && nowMs >= this.#notBeforeMs
  }

  /** `random` in [0, 1): of the wait, a random half is left out. */
  fail(nowMs: number, random: number): void {
    const ceiling = Math.min(this.#pace.maxMs, this.#pace.firstMs * 2 ** Math.min(this.#failures, 20))
    this.#failures += 1
    this.#dueAtMs = nowMs + ceiling * (0.5 + random / 2)
  }

  /** Not before then, whatever happens. */
  putOff(untilMs: number): void {
    this.#notBeforeMs = untilMs
  }

  succeed(): void {
    this.#failures = 0
  }

  /** What happened makes a try worth while now. */
  hurry(nowMs: number): void {
    this.#dueAtMs = Math.min(this.#dueAtMs, nowMs)
  }
}
