/** What can happen to the machine of a node: its process, clock and disk. */

import { FAULT_POINTS } from '../../src/fault-points.ts'
import type { Random } from '../support/random.ts'
import type { Mending } from './mending.ts'
import type { FaultKind } from './options.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000
/** What a peer said of its clock holds for an hour, the fault lasts half of one. */
const HEARD_MS = 20 * MINUTE_MS
/** What nodes take for a right clock. */
const MAX_SKEW_MS = 5 * MINUTE_MS

/** Who has not met anybody since it started, or met one whose clock was ahead, cannot know that its own is wrong. */
function knowsTime({ process }: SimNode): boolean {
  if (process?.node === undefined) return false
  const { book, presence, now } = process.node.parts
  const heard = book.links.all().flatMap((link) => presence.find(link.peer) ?? [])
  return heard.some(({ heardAt }) => heardAt > now() - HEARD_MS) && heard.every(({ skewMs }) => skewMs < MAX_SKEW_MS)
}

export class NodeFaults {
  readonly #world: World
  readonly #mending: Mending
  readonly #random: Random

  constructor(world: World, mending: Mending) {
    this.#world = world
    this.#mending = mending
    this.#random = world.random.fork()
  }

  async moveClock(node: SimNode, kind: FaultKind & `clock ${string}`): Promise<void> {
    const usual = node.plan.skewMs
    // Where all clocks around are wrong nobody can tell that one's own is.
    if (kind === 'clock ahead' && this.#world.nodes.some((other) => other.clockOffsetMs > MAX_SKEW_MS)) return
    if (kind === 'clock ahead' && !knowsTime(node)) return
    this.#world.count(kind)
    if (kind === 'clock skewed') node.setClock(usual + this.#random.below(200_000) - 100_000)
    else if (kind === 'clock behind') node.setClock(-this.#random.logUniform(MINUTE_MS, 60 * DAY_MS))
    else node.setClock(this.#random.logUniform(8 * MINUTE_MS, 4 * 365 * DAY_MS))
    await this.#mending.during(this.#random.logUniform(MINUTE_MS, 30 * MINUTE_MS), () => node.setClock(usual))
  }

  async crash(node: SimNode, kind: 'killed' | 'power cut'): Promise<void> {
    this.#world.count(kind)
    node.crash(kind === 'killed' ? 'kill' : 'power')
    await this.startAgain(node)
  }

  async crashAtFaultPoint(node: SimNode): Promise<void> {
    const process = node.process!
    process.doom = { point: this.#random.pick(FAULT_POINTS), after: this.#random.below(3) }
    await this.#mending.during(this.#random.logUniform(MINUTE_MS, 20 * MINUTE_MS))
    process.doom = undefined
    if (process.isAlive) return
    this.#world.count('killed at a fault point')
    await this.startAgain(node)
  }

  async restart(node: SimNode): Promise<void> {
    this.#world.count('restart')
    await node.stop()
    await this.startAgain(node)
  }

  /** Starts a node that has ended, some time later and after what is done to its disk meanwhile. */
  async startAgain(node: SimNode, change: () => void = () => {}): Promise<void> {
    this.#world.workload.forget(node)
    await this.#mending.during(this.#random.logUniform(1000, 20 * MINUTE_MS))
    change()
    await node.start()
  }

  async failDisk(node: SimNode, kind: 'disk full' | 'disk error'): Promise<void> {
    const { disk } = node.process!
    disk.failure = kind === 'disk full' ? 'STORAGE_FULL' : 'STORAGE_IO'
    await this.#mending.during(this.#random.logUniform(1000, 10 * MINUTE_MS), () => {
      disk.failure = undefined
      if (disk.failed > 0) this.#world.count(kind)
    })
  }

  /** The floor file of a while ago is put back. */
  async ageFloor(node: SimNode): Promise<void> {
    const { floor } = node.image
    await this.#mending.during(this.#random.logUniform(1000, 20 * MINUTE_MS))
    if (node.process === undefined) return
    this.#world.count('old floor file')
    node.crash('power')
    await this.startAgain(node, () => {
      node.image.floor = floor
      this.#world.safety.forgetFloor(node)
    })
  }

  /** A copy of a folder is started beside the node it was copied from, which peers must notice. */
  async clone(node: SimNode): Promise<void> {
    if (!this.#world.isLeaf(node)) return
    await node.stop()
    this.#world.workload.forget(node)
    const twin = this.#world.createTwin(node)
    await node.start()
    await twin.start()
    this.#world.count('folder cloned')
    await this.#mending.during(this.#random.logUniform(5 * MINUTE_MS, 15 * MINUTE_MS))
    await twin.stop()
  }
}
