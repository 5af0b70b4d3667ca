/** A hub and spokes of one site that replicate its feed, on a memory network where time runs a hundred times as fast. */

import assert from 'node:assert/strict'
import type { FeedId } from '../../src/catalog/charter.ts'
import type { Place } from '../../src/catalog/policy.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { NewReplication } from '../../src/http/operations.ts'
import type { Neighbourhood } from '../../src/nearby/neighbourhood.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { type SetTimer, setUnrefTimer } from '../../src/network/timers.ts'
import { type MeshNode, type MeshNodeOptions, openMeshNode, publishVersion } from '../support/mesh-node.ts'

const SPEED = 100
export const BERLIN: Place = { site: 'berlin', region: 'eu' }
export const FEED = 'packages'

const setTimer: SetTimer = (run, delayMs) => setUnrefTimer(run, delayMs / SPEED)
const elapsedMs = () => performance.now() * SPEED

/** What a node takes from its surroundings here. */
export const NEAR_PORTS = { setTimer, progress: { now: elapsedMs, setTimer } } as const

/** The same at the usual speed, for what is counted by time. */
export const SLOW_PORTS = {
  setTimer: setUnrefTimer,
  progress: { now: () => performance.now(), setTimer: setUnrefTimer },
} as const

/** Waits for what the nodes do by themselves. */
export async function until(isSo: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + 60_000
  while (!isSo()) {
    assert.ok(performance.now() < deadline, `${what} did not come to be`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

export interface Spoke {
  readonly node: MeshNode
  readonly feed: LedgerFeed
  readonly near: Neighbourhood
  readonly replication: string
}

export class NearNodes {
  readonly network: MemoryNetwork
  readonly clock: { now: number }
  readonly hub: MeshNode
  readonly hubFeed: LedgerFeed
  readonly #stack: AsyncDisposableStack

  private constructor(parts: Pick<NearNodes, 'network' | 'clock' | 'hub' | 'hubFeed'>, stack: AsyncDisposableStack) {
    this.network = parts.network
    this.clock = parts.clock
    this.hub = parts.hub
    this.hubFeed = parts.hubFeed
    this.#stack = stack
  }

  static async open(stack: AsyncDisposableStack, options: MeshNodeOptions = {}): Promise<NearNodes> {
    const network = createMemoryNetwork()
    const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
    const hub = stack.use(await openMeshNode(network, { ...nearOptions(clock, BERLIN), ...options }))
    return new NearNodes({ network, clock, hub, hubFeed: await hub.createFeed(FEED) }, stack)
  }

  get feedId(): FeedId {
    return this.hub.ledger.registry.getLocal(FEED).id
  }

  async openNode(options: MeshNodeOptions = {}): Promise<MeshNode> {
    return this.#stack.use(await openMeshNode(this.network, { ...nearOptions(this.clock, BERLIN), ...options }))
  }

  /** A spoke that has pulled the hub's feed. */
  async addSpoke(wanted: Partial<NewReplication> = {}, options: MeshNodeOptions = {}): Promise<Spoke> {
    const node = await this.openNode(options)
    const feed = await node.createFeed(FEED)
    const { token } = await this.hub.accept({ feed: FEED, mode: 'push' })
    const replication = await node.link(this.hub, token, { feed: FEED, mode: 'pull', ...wanted })
    assert.equal((await node.pull(replication)).state, 'succeeded')
    return { node, feed, near: nearOf(node), replication }
  }

  /** As if the hub's process was killed. */
  stopHub(): void {
    this.network.stop(this.hub.peerId)
  }
}

export function nearOptions(clock: { now: number }, place: Place): MeshNodeOptions {
  return { clock, place, ports: NEAR_PORTS }
}

export function nearOf(node: MeshNode): Neighbourhood {
  const { nearby } = node.replication
  assert.ok(nearby)
  return nearby
}

export function knows({ near }: { readonly near: Neighbourhood }, feedId: FeedId, other: MeshNode): boolean {
  return near.peersFor(feedId).some(({ id }) => id === other.peerId)
}

/** Waits until each knows each. */
export async function untilAcquainted(spokes: readonly Spoke[], feedId: FeedId): Promise<void> {
  for (const one of spokes)
    for (const { node } of spokes)
      if (node !== one.node) await until(() => knows(one, feedId, node), `${one.node.peerId} knowing ${node.peerId}`)
}

/** The content of the one version that the hub of `openSite` has. */
export const CONTENT = Buffer.from('one')

/** A hub with a version, and one spoke. */
export async function openSite(
  stack: AsyncDisposableStack,
  hubOptions: MeshNodeOptions = {},
  spokeOptions: MeshNodeOptions = {},
) {
  const nodes = await NearNodes.open(stack, hubOptions)
  await publishVersion(nodes.hubFeed, 'left', 'v/1.0.0', CONTENT)
  const spoke = await nodes.addSpoke({}, spokeOptions)
  return { nodes, spoke, feedId: nodes.feedId }
}
