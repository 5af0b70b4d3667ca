/** Bytes per second as an exponentially decaying average: what was long ago counts little, and nothing has to be stored. */

const TIME_CONSTANT_MS = 5000

export class RateMeter {
  readonly #now: () => number
  #perSecond = 0
  #at: number

  constructor(now: () => number) {
    this.#now = now
    this.#at = now()
  }

  add(bytes: number): void {
    this.#decay()
    this.#perSecond += (bytes * 1000) / TIME_CONSTANT_MS
  }

  get bytesPerSecond(): number {
    this.#decay()
    return this.#perSecond < 1 ? 0 : Math.round(this.#perSecond)
  }

  #decay(): void {
    const now = this.#now()
    const elapsedMs = now - this.#at
    if (elapsedMs <= 0) return
    this.#perSecond *= Math.exp(-elapsedMs / TIME_CONSTANT_MS)
    this.#at = now
  }
}
