/** Many seeds, one after the other, until one fails or there are enough; and what they met. */

import { describeFailure, type SimulationResult, simulate } from './simulation.ts'

export interface CampaignOptions {
  readonly first: number
  readonly seeds: number
  /** Simulated. */
  readonly hours: number
  readonly onResult?: (result: SimulationResult) => void
}

const HOUR_MS = 3_600_000
/** Every so many seeds one is run twice, to see that nothing depends on anything but the seed. */
const REPEAT_EVERY = 10

export class Campaign {
  readonly #options: CampaignOptions
  readonly firings = new Map<string, number>()
  seeds = 0
  simulatedMs = 0
  cpuMs = 0
  events = 0
  checks = 0
  acknowledged = 0

  constructor(options: CampaignOptions) {
    this.#options = options
  }

  /** The first failure, described; undefined when there was none. */
  async run(): Promise<Error | undefined> {
    const { first, seeds, hours, onResult } = this.#options
    for (let seed = first; seed < first + seeds && this.simulatedMs < hours * HOUR_MS; seed += 1) {
      const result = await simulate(seed)
      this.#add(result)
      onResult?.(result)
      if (result.failure !== undefined) return await describeFailure(result)
      if (this.seeds % REPEAT_EVERY !== 2) continue
      const again = await simulate(seed)
      this.cpuMs += again.cpuMs
      if (again.digest !== result.digest)
        return new Error(`NON-DETERMINISM: two runs of seed ${seed} went different ways`)
    }
    return undefined
  }

  #add(result: SimulationResult): void {
    this.seeds += 1
    for (const part of ['simulatedMs', 'cpuMs', 'events', 'checks', 'acknowledged'] as const) this[part] += result[part]
    for (const [kind, count] of result.firings) this.firings.set(kind, (this.firings.get(kind) ?? 0) + count)
  }

  report(): string {
    const hours = this.simulatedMs / HOUR_MS
    const faults = [...this.firings].sort(([, a], [, b]) => b - a)
    const total = faults.reduce((sum, [, count]) => sum + count, 0)
    return [
      `${this.seeds} seeds, ${hours.toFixed(1)} simulated hours in ${(this.cpuMs / 1000).toFixed(1)} s of processor time: ${((hours * HOUR_MS) / this.cpuMs).toFixed(0)} simulated hours per core hour`,
      `${this.events} events, ${this.acknowledged} acknowledged changes, ${this.checks} checks, ${faults.length} kinds of faults × ${total} firings:`,
      ...faults.map(([kind, count]) => `  ${String(count).padStart(7)} ${kind}`),
    ].join('\n')
  }
}
