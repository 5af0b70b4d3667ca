/** What can go wrong between nodes, and what nodes say of others that is not true. */

import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import type { Random } from '../support/random.ts'
import { lyingAnswers, oldHeads } from './liars.ts'
import type { Mending } from './mending.ts'
import type { HostTroubles } from './node-host.ts'
import type { FaultKind } from './options.ts'
import type { SimNode } from './sim-node.ts'
import type { World } from './world.ts'

const MINUTE_MS = 60_000
/** Pings find out that a peer is silent. */
const NOTICED_MS = 45_000

export class NetworkFaults {
  readonly #world: World
  readonly #mending: Mending
  readonly #random: Random

  constructor(world: World, mending: Mending) {
    this.#world = world
    this.#mending = mending
    this.#random = world.random.fork()
  }

  #other(node: SimNode): SimNode {
    const { nodes } = this.#world
    return this.#world.parentOf(node) ?? this.#random.pick(nodes.filter((each) => each !== node))
  }

  #someWay(node: SimNode): readonly [from: SimNode, to: SimNode] {
    const other = this.#other(node)
    return this.#random.chance(0.5) ? [node, other] : [other, node]
  }

  #while(): number {
    return this.#random.logUniform(1000, 20 * MINUTE_MS)
  }

  async reset(node: SimNode): Promise<void> {
    this.#world.count('connection reset')
    this.#world.network.drop(node.peerId, this.#other(node).peerId)
  }

  async slow(node: SimNode): Promise<void> {
    this.#world.count('slow link')
    const [from, to] = this.#someWay(node)
    const forMs = this.#while()
    this.#world.weather.slow(from.peerId, to.peerId, { forMs, slowness: this.#random.logUniform(2, 500) })
  }

  async silence(node: SimNode): Promise<void> {
    this.#world.count('one-way silence')
    const { weather, network, timeline } = this.#world
    const [from, to] = this.#someWay(node)
    const forMs = this.#while()
    weather.silence(from.peerId, to.peerId, forMs)
    if (forMs > NOTICED_MS) timeline.setTimer(() => network.drop(from.peerId, to.peerId), NOTICED_MS)
  }

  async cut(node: SimNode): Promise<void> {
    this.#world.count('pair cut')
    await this.#apart([[node, this.#other(node)]])
  }

  async partition(): Promise<void> {
    this.#world.count('partition')
    const { nodes } = this.#world
    const left = new Set(nodes.filter(() => this.#random.chance(0.5)))
    await this.#apart(
      nodes.flatMap((a) => nodes.flatMap((b) => (left.has(a) && !left.has(b) ? [[a, b] as const] : []))),
    )
  }

  async #apart(pairs: readonly (readonly [SimNode, SimNode])[]): Promise<void> {
    const { network } = this.#world
    for (const [a, b] of pairs) network.cut(a.peerId, b.peerId)
    await this.#mending.during(this.#while(), () => {
      for (const [a, b] of pairs) network.heal(a.peerId, b.peerId)
    })
  }

  async trouble(node: SimNode, name: keyof Omit<HostTroubles, 'count'>, share: number): Promise<void> {
    node.troubles[name] = share
    await this.#mending.during(this.#random.logUniform(MINUTE_MS / 2, 15 * MINUTE_MS), () => {
      node.troubles[name] = 0
    })
  }

  async lie(node: SimNode, kind: FaultKind & `relay ${string}`): Promise<void> {
    const { process } = node
    if (process?.node === undefined) return
    const onLie = () => this.#world.count(kind)
    // A restored node believes its peers when they say that they have nothing newer of its own feed.
    const mayLie = (feedId: string) => !this.#world.nodes.some((each) => each.feedId === feedId && each.wasRestored)
    process.node.answerSync = kind === 'relay lies' ? lyingAnswers(this.#random.fork(), onLie) : oldHeads(mayLie, onLie)
    await this.#mending.during(this.#random.logUniform(MINUTE_MS, 20 * MINUTE_MS), () => {
      process.node.answerSync = answerSync
    })
  }
}
