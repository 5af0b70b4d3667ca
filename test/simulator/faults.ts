/** Everything that can go wrong, each with its end: what a fault breaks it mends itself, after a time that the seed says. */

import type { Random } from '../support/random.ts'
import { DiskFaults } from './disk-faults.ts'
import { Mending } from './mending.ts'
import { NetworkFaults } from './network-faults.ts'
import { NodeFaults } from './node-faults.ts'
import { FAULT_KINDS, type FaultKind } from './options.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

type Deed = (node: SimNode) => Promise<void>

export class Faults {
  readonly #world: World
  readonly #random: Random
  readonly #mending: Mending
  readonly #kinds: readonly FaultKind[]
  readonly #deeds: Readonly<Record<FaultKind, Deed>>

  constructor(world: World) {
    this.#world = world
    this.#random = world.random.fork()
    this.#mending = new Mending(world.timeline)
    this.#kinds = FAULT_KINDS.filter((kind) => world.options.faults.has(kind))
    this.#deeds = { ...this.#networkDeeds(), ...this.#nodeDeeds() }
  }

  #networkDeeds() {
    const network = new NetworkFaults(this.#world, this.#mending)
    return {
      'pair cut': (node) => network.cut(node),
      partition: () => network.partition(),
      'one-way silence': (node) => network.silence(node),
      'slow link': (node) => network.slow(node),
      'connection reset': (node) => network.reset(node),
      'announcement lost': (node) => network.trouble(node, 'lost', 0.5),
      'announcement late': (node) => network.trouble(node, 'late', 0.5),
      'announcement doubled': (node) => network.trouble(node, 'doubled', 0.5),
      'peer stalls in a stream': (node) => network.trouble(node, 'stalled', 0.3),
      'bits flipped on the wire': (node) => network.trouble(node, 'flipped', 0.05),
      'relay lies': (node) => network.lie(node, 'relay lies'),
      'relay serves old heads': (node) => network.lie(node, 'relay serves old heads'),
    } satisfies Partial<Record<FaultKind, Deed>>
  }

  #nodeDeeds() {
    const faults = new NodeFaults(this.#world, this.#mending)
    const disks = new DiskFaults(this.#world, this.#mending, faults)
    /** One at a time, and only while the node runs. */
    const alone =
      (deed: Deed): Deed =>
      async (node) => {
        if (node.process?.node !== undefined) await this.#mending.hold(node, () => deed(node))
      }
    return {
      'clock skewed': (node) => faults.moveClock(node, 'clock skewed'),
      'clock ahead': (node) => faults.moveClock(node, 'clock ahead'),
      'clock behind': (node) => faults.moveClock(node, 'clock behind'),
      killed: alone((node) => faults.crash(node, 'killed')),
      'power cut': alone((node) => faults.crash(node, 'power cut')),
      'killed at a fault point': alone((node) => faults.crashAtFaultPoint(node)),
      restart: alone((node) => faults.restart(node)),
      'disk full': alone((node) => faults.failDisk(node, 'disk full')),
      'disk error': alone((node) => faults.failDisk(node, 'disk error')),
      'old floor file': alone((node) => faults.ageFloor(node)),
      'folder cloned': alone((node) => faults.clone(node)),
      'backup restored': alone((node) => disks.restore(node)),
      'records lost': alone((node) => disks.loseRecords(node)),
      'blob rotten': alone((node) => disks.rot(node)),
    } satisfies Partial<Record<FaultKind, Deed>>
  }

  /** One of the faults that this seed has. */
  strike(): void {
    if (this.#kinds.length === 0) return
    const kind = this.#random.pick(this.#kinds)
    const node = this.#random.pick(this.#world.nodes)
    if (!this.#mending.isHeld(node)) this.#mending.begin(this.#deeds[kind](node))
  }

  /** Resolves when nothing is broken any more and every node runs. */
  async mend(): Promise<void> {
    await this.#mending.mend()
    for (const [from, to] of this.#world.weather.clear()) this.#world.network.drop(from, to)
  }
}
