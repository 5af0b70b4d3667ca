/** Parts that nobody is asked for at the moment, in the order in which they will be; some of them rest until a time. */

import type { Part } from './parts.ts'

export type Verdict = 'taken' | 'left' | 'stop' | { readonly restUntilMs: number }

export class PartQueue {
  #parts: Part[] = []
  readonly #resting = new Map<Part, number>()
  /** No part that rests is due before. */
  #nextDueMs = Number.POSITIVE_INFINITY

  /** When a part has rested; undefined when none does. */
  get nextDueMs(): number | undefined {
    return this.#resting.size === 0 ? undefined : this.#nextDueMs
  }

  add(parts: readonly Part[]): void {
    if (parts.length === 0) return
    for (const part of parts) this.#parts.push(part)
    this.sort()
  }

  /** The order of parts has changed. */
  sort(): void {
    this.#parts.sort((a, b) => a.order - b.order)
  }

  /** Those of `parts` that rest do so no longer. */
  wake(parts: readonly Part[]): void {
    this.add(parts.filter((part) => this.#resting.delete(part)))
  }

  /**
   * Goes through the parts that do not rest until `judge` says to stop; those it takes are gone, and those that are over.
   */
  take(nowMs: number, judge: (part: Part) => Verdict): void {
    if (this.#nextDueMs <= nowMs) this.#wakeDue(nowMs)
    const left: Part[] = []
    let at = 0
    for (; at < this.#parts.length; at += 1) {
      const part = this.#parts[at]!
      if (part.isOver) continue
      const verdict = judge(part)
      if (verdict === 'stop') break
      if (verdict === 'left') left.push(part)
      else if (verdict !== 'taken') this.#rest(part, verdict.restUntilMs)
    }
    if (at > left.length) this.#parts = left.concat(this.#parts.slice(at))
  }

  #rest(part: Part, untilMs: number): void {
    this.#resting.set(part, untilMs)
    this.#nextDueMs = Math.min(this.#nextDueMs, untilMs)
  }

  #wakeDue(nowMs: number): void {
    this.#nextDueMs = Number.POSITIVE_INFINITY
    const due: Part[] = []
    for (const [part, untilMs] of this.#resting) {
      if (untilMs <= nowMs || part.isOver) due.push(part)
      else this.#nextDueMs = Math.min(this.#nextDueMs, untilMs)
    }
    this.wake(due)
  }
}
