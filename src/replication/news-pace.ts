/**
 * How often hints of a peer may lead to a pull at once. An honest peer announces what it has, so every pull brings something;
 * one that lies may cost a pull a second, not one a hint.
 */

/** Pulls at once after a quiet time. */
const BURST = 20
/** A further one comes after so many ms. */
const EVERY_MS = 1000

interface Bucket {
  /** Pulls that may follow at once. */
  readonly left: number
  readonly at: number
}

export class NewsPace {
  readonly #buckets = new Map<string, Bucket>()

  /** Takes one pull of the link; how long it has to wait, 0 when it may begin at once and then counts. */
  take(link: string, elapsedMs: number): number {
    const bucket = this.#buckets.get(link)
    const passed = bucket === undefined ? 0 : elapsedMs - bucket.at
    const left = bucket === undefined ? BURST : Math.min(BURST, bucket.left + passed / EVERY_MS)
    if (left < 1) {
      this.#buckets.set(link, { left, at: elapsedMs })
      return Math.ceil((1 - left) * EVERY_MS)
    }
    this.#buckets.set(link, { left: left - 1, at: elapsedMs })
    return 0
  }
}
