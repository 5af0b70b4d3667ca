/** How long bytes are on their way between two simulated nodes: latency, bandwidth, slow links, one-way silence. */

import type { Random } from '../support/random.ts'
import type { SimulationOptions } from './options.ts'
import type { Timeline } from './timeline.ts'

/** One direction between two peers. */
interface Way {
  /** When the last byte sent so far arrives: nothing overtakes. */
  busyUntil: number
  silentUntil: number
  slowUntil: number
  /** Bandwidth is divided by this while it is slow. */
  slowness: number
}

/** A connection on which nothing arrives for longer is given up by its ends. */
const STUCK_MS = 60_000

export class NetworkWeather {
  readonly #timeline: Timeline
  readonly #options: SimulationOptions
  readonly #random: Random
  readonly #ways = new Map<string, Way>()
  readonly #latencies = new Map<string, number>()

  constructor(timeline: Timeline, options: SimulationOptions, random: Random) {
    this.#timeline = timeline
    this.#options = options
    this.#random = random
  }

  #way(from: string, to: string): Way {
    const name = `${from} ${to}`
    const known = this.#ways.get(name)
    if (known !== undefined) return known
    const way = { busyUntil: 0, silentUntil: 0, slowUntil: 0, slowness: 1 }
    this.#ways.set(name, way)
    return way
  }

  #latency(from: string, to: string): number {
    const name = from < to ? `${from} ${to}` : `${to} ${from}`
    const known = this.#latencies.get(name)
    if (known !== undefined) return known
    const latency = this.#random.logUniform(1, this.#options.latencyMs)
    this.#latencies.set(name, latency)
    return latency
  }

  readonly transitMs = (from: string, to: string, bytes: number): number => {
    const now = this.#timeline.now()
    const way = this.#way(from, to)
    const slowness = now < way.slowUntil ? way.slowness : 1
    // Silence is loss that the sender makes up for once it is over, as TCP does.
    const begin = Math.max(now, way.silentUntil)
    const jitter = this.#random.next() * 0.2 * this.#latency(from, to)
    const arrival = begin + this.#latency(from, to) + jitter + (bytes * slowness) / this.#options.bandwidth
    way.busyUntil = Math.max(way.busyUntil, arrival)
    return Math.max(0.001, way.busyUntil - now)
  }

  silence(from: string, to: string, forMs: number): void {
    this.#way(from, to).silentUntil = this.#timeline.now() + forMs
  }

  slow(from: string, to: string, { forMs, slowness }: { readonly forMs: number; readonly slowness: number }): void {
    Object.assign(this.#way(from, to), { slowUntil: this.#timeline.now() + forMs, slowness })
  }

  /**
   * What is on its way still takes as long as it was to take. Where that is longer than a connection outlives, its queue ends
   * with it: @returns these pairs, whose connection is to be broken.
   */
  clear(): readonly (readonly [from: string, to: string])[] {
    const now = this.#timeline.now()
    const stuck: (readonly [string, string])[] = []
    for (const [name, way] of this.#ways) {
      Object.assign(way, { silentUntil: 0, slowUntil: 0 })
      if (way.busyUntil <= now + STUCK_MS) continue
      way.busyUntil = now
      const [from = '', to = ''] = name.split(' ')
      stuck.push([from, to])
    }
    return stuck
  }
}
