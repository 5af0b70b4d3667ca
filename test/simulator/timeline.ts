/**
 * Simulated time: one heap of events, ties broken by the order in which they were set. Between two events everything that the
 * last one set going is run to its end; what would need the outside world to go on (I/O, real timers) never would.
 */

import type { SetTimer } from '../../src/network/timers.ts'

interface Event {
  readonly at: number
  readonly order: number
  /** undefined once cancelled. */
  run: (() => void) | undefined
}

function isBefore(a: Event, b: Event): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}

const MIN_DELAY_MS = 0.001

/** Microtasks and ticks are all run before the loop goes on, so this is when nothing is left to do. */
function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

export class Timeline {
  /** Ms since the simulation began. */
  #now = 0
  #order = 0
  #events = 0
  readonly #heap: Event[] = []
  /** Two lanes of FNV-1a over everything noted. */
  #trace: [number, number] = [0x811c9dc5, 0x01000193]
  #failure: unknown

  now(): number {
    return this.#now
  }

  /** Events run so far. */
  get events(): number {
    return this.#events
  }

  /** Of every event and every note so far: equal runs have equal digests. */
  get digest(): string {
    return this.#trace.map((lane) => (lane >>> 0).toString(16).padStart(8, '0')).join('')
  }

  note(value: number): void {
    const [a, b] = this.#trace
    this.#trace = [Math.imul(a ^ (value & 0xffff), 0x01000193), Math.imul(b ^ (value >>> 0), 0x85ebca6b) + a]
  }

  noteText(text: string): void {
    for (let at = 0; at < text.length; at += 1) this.note(text.charCodeAt(at))
  }

  readonly setTimer: SetTimer = (run, delayMs) => {
    // Time must go on: what is set again and again without delay would stop it.
    const event: Event = { at: this.#now + Math.max(MIN_DELAY_MS, delayMs), order: this.#order, run }
    this.#order += 1
    this.#push(event)
    return () => {
      event.run = undefined
    }
  }

  /** Ends the run with this error after the event that is under way. */
  fail(error: unknown): void {
    this.#failure ??= error
  }

  /** Runs what is set going now to its end, without an event. @throws what `fail` was given */
  async settle(): Promise<void> {
    await settle()
    if (this.#failure !== undefined) throw this.#failure
  }

  /** Runs events until `until` ms, then stands there; `afterEach` is called when an event has run to its end. */
  async advanceTo(until: number, afterEach: () => void | Promise<void> = () => {}): Promise<void> {
    await this.settle()
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.at > until) break
      this.#pop()
      const { run } = next
      if (run === undefined) continue
      this.#now = Math.max(this.#now, next.at)
      this.#events += 1
      this.note(next.at)
      this.note(next.order)
      run()
      await this.settle()
      await afterEach()
    }
    this.#now = until
  }

  /** Time goes on while all machines sleep: what was due meanwhile is late. */
  skip(ms: number): void {
    this.#now += ms
  }

  /** Runs events until `work` is done, or `withinMs` have passed, which is an error. */
  async runUntilDone<T>(work: Promise<T>, withinMs: number, afterEach?: () => void | Promise<void>): Promise<T> {
    const state = { isDone: false }
    const settled = work.finally(() => {
      state.isDone = true
    })
    settled.catch(() => {})
    const until = this.#now + withinMs
    await this.settle()
    while (!state.isDone) {
      const next = this.#heap.find((event) => event.run !== undefined)
      if (next === undefined || this.#heap[0]!.at > until) throw new Error(`not done after ${withinMs} simulated ms`)
      await this.advanceTo(this.#heap[0]!.at, afterEach)
    }
    return await settled
  }

  #push(event: Event): void {
    const heap = this.#heap
    let at = heap.push(event) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()!
    if (heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child += 1
      if (!isBefore(heap[child]!, last)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
  }
}
