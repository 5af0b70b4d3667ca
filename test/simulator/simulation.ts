/**
 * One seed: a mesh is set up, things go wrong for a while, everything is mended, and then all must be well. The same seed
 * runs the same way each time, which the digest of its trace shows.
 */

import assert from 'node:assert/strict'
import { isFeedmeshError } from '../../src/errors.ts'
import { Faults } from './faults.ts'
import { drawOptions, renderOptions, type SimulationOptions } from './options.ts'
import type { SimNode } from './sim-node.ts'
import { running, World } from './world.ts'

const MINUTE_MS = 60_000
/** Between whole looks at every disk. */
const AUDIT_EVERY_MS = 20 * MINUTE_MS
/** All back-offs are over after this long. */
const SETTLE_MS = 4 * MINUTE_MS
/** Peers forget the copy of a folder ten minutes after they heard it last, and the node itself ten after they told it so; both find out at a poll. */
const CLONE_SETTLE_MS = 25 * MINUTE_MS
const ACTOR = { name: 'operator', from: 'simulator' }

export interface SimulationResult {
  readonly seed: number
  readonly simulatedMs: number
  readonly cpuMs: number
  readonly events: number
  readonly checks: number
  readonly acknowledged: number
  readonly digest: string
  readonly firings: ReadonlyMap<string, number>
  readonly failure: unknown
}

export class Simulation {
  readonly world: World
  readonly #faults: Faults
  #isChaos = true

  constructor(options: SimulationOptions) {
    this.world = new World(options)
    this.#faults = new Faults(this.world)
  }

  async run(): Promise<void> {
    await this.world.setUp()
    await this.#chaos()
    await this.#heal()
    await this.#reclaim()
    await this.world.audit()
  }

  /** Runs `act` again and again, `everyMs` on the average. */
  #repeat(everyMs: number, act: () => void): void {
    const { timeline, random } = this.world
    const next = () => {
      timeline.setTimer(
        () => {
          if (!this.#isChaos) return
          act()
          next()
        },
        1 - Math.log(1 - random.next()) * everyMs,
      )
    }
    next()
  }

  #inBackground(work: Promise<unknown>): void {
    work.catch((error: unknown) => {
      this.world.timeline.fail(error)
    })
  }

  async #chaos(): Promise<void> {
    const { timeline, options, nodes, workload } = this.world
    for (const node of nodes) {
      const { changeEveryMs } = node.plan
      if (changeEveryMs !== undefined) this.#repeat(changeEveryMs, () => this.#inBackground(workload.act(node)))
      this.#repeat(options.gcEveryMs, () => this.#inBackground(this.#collectGarbage(node)))
    }
    this.#repeat(options.faultEveryMs, () => this.#faults.strike())
    const end = timeline.now() + options.chaosMs
    while (timeline.now() < end) {
      await timeline.advanceTo(Math.min(end, timeline.now() + AUDIT_EVERY_MS), this.world.verify)
      await this.world.audit()
    }
    this.#isChaos = false
  }

  async #collectGarbage(node: SimNode): Promise<number> {
    const { process } = node
    if (process?.node === undefined) return 0
    try {
      const { blobs } = await process.maintenance.reclaim({ isDryRun: false }, ACTOR)
      if (process.isAlive) this.world.safety.forgetFiles(node)
      return blobs
    } catch (error) {
      if (process.isAlive && !isFeedmeshError(error, 'STORAGE_FULL', 'STORAGE_IO', 'ABORTED')) throw error
      return 0
    }
  }

  /** Once nothing goes wrong any more, all become equal within three polls of the slowest, per hop. */
  async #heal(): Promise<void> {
    const { world } = this
    const { timeline, options } = world
    await world.run(this.#faults.mend(), 2 * 60 * MINUTE_MS)
    await this.#repairRestored()
    const settleMs = world.firings.has('folder cloned') ? CLONE_SETTLE_MS : SETTLE_MS
    const slowest = Math.max(...options.nodes.map((node) => node.everyMs))
    const until = timeline.now() + settleMs + 9 * slowest
    while (timeline.now() < until && (timeline.now() < until - 9 * slowest || world.differences().length > 0))
      await timeline.advanceTo(timeline.now() + 10_000, world.verify)
    assert.deepEqual(world.differences(), [], `not equal ${settleMs + 9 * slowest} ms after everything was mended`)
    await this.#verifyWritable()
  }

  /** More of a node's past may come back after the first look. */
  async #repairRestored(): Promise<void> {
    const { timeline, verify, nodes } = this.world
    const restored = nodes.filter((node) => node.wasRestored)
    for (let round = 0; round < 3 && restored.length > 0; round += 1) {
      await timeline.advanceTo(timeline.now() + 3 * MINUTE_MS, verify)
      for (const node of restored) await this.#repair(node)
    }
    for (const node of restored) node.wasRestored = false
  }

  /** What the operator of a restored node does: fetch the files that are missing, give up rows whose files nobody has. */
  async #repair(node: SimNode): Promise<void> {
    const { world } = this
    const { maintenance, feed, stopping } = running(node)
    const report = await world.run(maintenance.verify({ repair: true, signal: stopping.signal }, ACTOR))
    for (const { item, repaired } of report.damaged) {
      const [feedId, unit, key] = item.split(' ')
      if (repaired || unit === undefined || key === undefined || !node.feedId.startsWith(feedId ?? '')) continue
      const change = { unit, key, content: 'absent' }
      world.promises.begin(node, change)
      await world.run(feed.change(unit, () => ({ drop: [key] })))
      world.promises.keep(node, change)
    }
  }

  /** Whoever had to stop signing has taken it up again. */
  async #verifyWritable(): Promise<void> {
    const { world } = this
    const before = world.workload.refused
    for (const node of world.nodes)
      for (let attempt = 0; attempt < 3; attempt += 1) await world.run(world.workload.act(node))
    assert.equal(world.workload.refused, before, 'a node still refuses changes when everything is mended')
  }

  /** gc leaves nothing behind that nobody names. */
  async #reclaim(): Promise<void> {
    const { world } = this
    await world.timeline.advanceTo(world.timeline.now() + 11 * MINUTE_MS, world.verify)
    for (const node of world.nodes) {
      await world.run(this.#collectGarbage(node))
      const { process } = node
      assert.ok(process?.isAlive, `${node.name} has died in peace`)
      const left = await world.run(process.maintenance.reclaim({ isDryRun: true }, ACTOR))
      assert.equal(left.blobs, 0, `${node.name}: gc leaves ${left.blobs} blobs that nobody names`)
    }
  }
}

/** Runs a seed; a failure is in the result. */
export async function simulate(seed: number, only?: Partial<SimulationOptions>): Promise<SimulationResult> {
  const before = process.cpuUsage()
  const simulation = new Simulation(drawOptions(seed, only))
  const { world } = simulation
  let failure: unknown
  try {
    await simulation.run()
  } catch (error) {
    failure = error
  }
  const { user, system } = process.cpuUsage(before)
  return {
    seed,
    simulatedMs: world.timeline.now(),
    cpuMs: (user + system) / 1000,
    events: world.timeline.events,
    checks: world.safety.checks,
    acknowledged: world.workload.acknowledged,
    digest: world.timeline.digest,
    firings: world.firings,
    failure,
  }
}

export function replayLine(seed: number): string {
  return `npm run simulate -- --seed ${seed}`
}

/** What there is to say about a seed that failed, after it was run once more to see that it fails again. */
export async function describeFailure(first: SimulationResult, only?: Partial<SimulationOptions>): Promise<Error> {
  const again = await simulate(first.seed, only)
  const isSame = again.digest === first.digest && again.failure !== undefined
  const verdict = isSame ? 'It fails the same way again.' : 'NON-DETERMINISM: another run of the seed went another way.'
  const at = `after ${(first.simulatedMs / 60_000).toFixed(1)} simulated minutes, ${first.events} events`
  return new Error(
    `seed ${first.seed} fails ${at}. ${verdict}\n${replayLine(first.seed)}\n${renderOptions(drawOptions(first.seed, only))}`,
    { cause: first.failure },
  )
}
