/** The simulated mesh: nodes, the network between them, clients, and a watch over all of it. */

import { FeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { createRandom, type Random } from '../support/random.ts'
import { NetworkWeather } from './network-weather.ts'
import type { FaultKind, SimulationOptions } from './options.ts'
import { Promises } from './promises.ts'
import { Safety } from './safety.ts'
import { EPOCH_MS, FEED, type Process, SimNode } from './sim-node.ts'
import { Timeline } from './timeline.ts'
import { Workload } from './workload.ts'

/** Everything is linked within this, ms. */
const SETUP_MS = 600_000

export class World {
  readonly options: SimulationOptions
  readonly random: Random
  readonly timeline = new Timeline()
  readonly network: MemoryNetwork
  readonly weather: NetworkWeather
  readonly promises = new Promises()
  readonly safety: Safety
  readonly workload: Workload
  readonly nodes: SimNode[] = []
  /** Firings by kind of fault. */
  readonly firings = new Map<string, number>()
  /** Payload bytes by protocol. */
  readonly sent = new Map<string, number>()
  /** Nodes whose state changed in the event that is under way. */
  readonly #dirty = new Map<SimNode, Set<string>>()

  constructor(options: SimulationOptions) {
    this.options = options
    this.random = createRandom(options.seed ^ 0x5eed)
    this.weather = new NetworkWeather(this.timeline, options, this.random.fork())
    const randoms = this.random.fork()
    this.network = createMemoryNetwork({
      now: () => EPOCH_MS + this.timeline.now(),
      setTimer: this.timeline.setTimer,
      random: () => randoms.next(),
      transitMs: this.weather.transitMs,
      onBytes: ({ protocol, bytes }) => {
        this.timeline.note(bytes)
        this.sent.set(protocol, (this.sent.get(protocol) ?? 0) + bytes)
      },
    })
    this.safety = new Safety(() => EPOCH_MS + this.timeline.now())
    this.workload = new Workload(options, this.promises, this.random.fork())
    for (const [index, plan] of options.nodes.entries()) {
      const name = `n${index}`
      this.nodes.push(
        new SimNode(name, { around: this.#around, plan, random: this.random.fork(), troubles: this.troubles() }),
      )
    }
  }

  get #around() {
    const { timeline, network, options } = this
    return {
      timeline,
      network,
      options,
      onSigned: (node: SimNode, message: Uint8Array, signature: Uint8Array) => {
        try {
          this.safety.onSigned(node, message, signature)
        } catch (error) {
          timeline.fail(error)
        }
      },
      onStarted: (node: SimNode, process: Process) => this.#watch(node, process),
    }
  }

  troubles() {
    const none = { lost: 0, late: 0, doubled: 0, stalled: 0, flipped: 0 }
    const names: Record<string, FaultKind> = { stalled: 'peer stalls in a stream', flipped: 'bits flipped on the wire' }
    return { ...none, count: (kind: string) => this.count(names[kind] ?? kind) }
  }

  /** A second process behind the identity of a node, on a copy of its folder. */
  createTwin(of: SimNode): SimNode {
    const twin = new SimNode(`${of.name}-twin-${of.starts}`, {
      around: this.#around,
      plan: of.plan,
      random: this.random.fork(),
      troubles: this.troubles(),
      twin: of,
    })
    twin.image = of.image.copy()
    twin.feedId = of.feedId
    return twin
  }

  count(kind: string): void {
    this.firings.set(kind, (this.firings.get(kind) ?? 0) + 1)
  }

  #watch(node: SimNode, process: Process): void {
    const { ledger } = process.node
    const { registry } = ledger
    for (const state of registry.states.values()) this.safety.verifyState(node, state)
    ledger.onChange((feedId) => {
      if (!process.isAlive) return
      const dirty = this.#dirty.get(node) ?? new Set()
      this.#dirty.set(node, dirty.add(feedId))
    })
  }

  /** After each event: whatever has changed is looked at. */
  readonly verify = (): void => {
    if (this.#dirty.size === 0) return
    const dirty = [...this.#dirty]
    this.#dirty.clear()
    for (const [node, feedIds] of dirty) {
      this.safety.verifyFloor(node)
      for (const feedId of feedIds) {
        const state = node.process?.node?.ledger.registry.states.get(feedId)
        if (state === undefined) continue
        this.timeline.noteText(state.root.hash.toString('hex', 0, 8))
        this.safety.verifyState(node, state)
        this.safety.verifyFiles(node, state)
      }
    }
  }

  /** Runs work of this end on simulated time. */
  async run<T>(work: Promise<T>, withinMs = SETUP_MS): Promise<T> {
    return await this.timeline.runUntilDone(work, withinMs, this.verify)
  }

  /** All nodes run, have their feed and are linked. */
  async setUp(): Promise<void> {
    for (const node of this.nodes) {
      const process = await this.run(node.start())
      await this.run(process.node.createFeed(FEED))
      node.openFeed(process)
      this.safety.own(node)
    }
    for (const node of this.nodes) await this.link(node)
  }

  /** Links a node with its parent, as its plan says. */
  async link(node: SimNode): Promise<void> {
    const { parent: parentIndex, link, isOffering, availability, everyMs } = node.plan
    const parent = parentIndex === undefined ? undefined : this.nodes[parentIndex]
    if (parent === undefined) return
    const [from, to] = [running(node), running(parent)]
    const habits = { feed: FEED, availability, everyMs }
    const theirs = link === 'mirror' ? 'mirror' : 'push'
    const { token } = await this.run(to.node.accept({ feed: FEED, mode: theirs, everyMs }))
    node.replication = await this.run(from.node.link(to.node, token, { ...habits, mode: link }))
    if (!isOffering || link === 'mirror') return
    const offer = await this.run(to.node.accept({ feed: FEED, mode: 'pull', scope: [`${node.name}-*`], everyMs }))
    await this.run(from.node.link(to.node, offer.token, { feed: FEED, mode: 'push' }))
  }

  /** Pairs of ends with content flowing from the first to the second. */
  flows(): (readonly [from: SimNode, to: SimNode])[] {
    return this.nodes.flatMap((node) => {
      const parent = this.parentOf(node)
      if (parent === undefined) return []
      const isUpward = node.plan.link === 'mirror' || node.plan.isOffering
      return isUpward ? [[parent, node] as const, [node, parent] as const] : [[parent, node] as const]
    })
  }

  parentOf(node: SimNode): SimNode | undefined {
    return node.plan.parent === undefined ? undefined : this.nodes[node.plan.parent]
  }

  /** Whether nobody has anything of the node. */
  isLeaf(node: SimNode): boolean {
    const isParent = this.nodes.some((other) => this.parentOf(other) === node)
    return !isParent && !node.plan.isOffering && node.plan.link !== 'mirror'
  }

  /** Why the two ends of a flow do not show the same of the feed that flows; undefined when they do. */
  findDifference(from: SimNode, to: SimNode): string | undefined {
    if (!isServing(from) || !isServing(to)) return `${from.name} or ${to.name} does not run`
    const [theirs, mine] = [from, to].map(
      (node) => running(node).node.ledger.registry.views.get(from.feedId)?.totals.root,
    )
    if (theirs !== undefined && mine?.hash.equals(theirs.hash) === true) return undefined
    const link = running(to)
      .node.book.links.all()
      .find((each) => Buffer.from(each.remote).toString('hex') === from.feedId)
    const { code, message } = link?.lastError ?? { code: 'no error', message: '' }
    const counts = `${mine?.count ?? 'none'} of ${theirs?.count ?? 'no'}`
    return `${to.name} shows ${counts} rows of ${from.name} (${code}: ${message})`
  }

  differences(): string[] {
    return this.flows().flatMap(([from, to]) => this.findDifference(from, to) ?? [])
  }

  async audit(): Promise<void> {
    for (const node of this.nodes) await this.safety.auditDisk(node, this.promises)
  }
}

function isServing(node: SimNode): boolean {
  return node.process?.feed !== undefined
}

export function running(node: SimNode): Process {
  const { process } = node
  if (process?.node === undefined) throw new FeedmeshError('INTERNAL', `${node.name} does not run`)
  return process
}
