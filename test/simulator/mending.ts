/** What every fault needs: an end, which comes by itself after a while, or at once when everything is to be mended. */

import type { SimNode } from './sim-node.ts'
import type { Timeline } from './timeline.ts'

export class Mending {
  readonly #timeline: Timeline
  readonly #ends = new Set<() => void>()
  readonly #work = new Set<Promise<void>>()
  /** Nodes that something is being done to which must end before the next thing begins. */
  readonly #held = new Set<SimNode>()

  constructor(timeline: Timeline) {
    this.#timeline = timeline
  }

  /** Waits, but no longer than until everything is mended; then undoes. */
  async during(ms: number, undo: () => void = () => {}): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const end = () => {
      this.#ends.delete(end)
      undo()
      resolve()
    }
    this.#ends.add(end)
    this.#timeline.setTimer(() => {
      if (this.#ends.has(end)) end()
    }, ms)
    await promise
  }

  async wait(ms: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#timeline.setTimer(resolve, ms)
    })
  }

  isHeld(node: SimNode): boolean {
    return this.#held.has(node)
  }

  async hold(node: SimNode, work: () => Promise<void>): Promise<void> {
    this.#held.add(node)
    try {
      await work()
    } finally {
      this.#held.delete(node)
    }
  }

  /** A fault that goes on until it has mended itself. */
  begin(work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      this.#timeline.fail(error)
    })
    this.#work.add(guarded)
    void guarded.finally(() => this.#work.delete(guarded))
  }

  /** Everything ends now; resolves when nothing is broken any more. */
  async mend(): Promise<void> {
    for (const end of this.#ends) end()
    while (this.#work.size > 0) await Promise.all(this.#work)
  }
}
