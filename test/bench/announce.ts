/** News in a mesh of fifty nodes: how long until all show it, and how often each node is told. */

import { ANNOUNCE_PROTOCOL } from '../../protocols/mesh/announce/messages.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { createFeed, linkFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { medianOf, spreadOf } from './samples.ts'

const NODES = 50
/** The hub's own; the others are theirs. */
const SECONDARIES = 7
const HOPS = 2
const ROUNDS = 5
const FEED = 'news'
const MAX_SECONDS = 2
const MAX_TOLD = 3
/** Longer than the benchmark: only announcements count. */
const NO_POLL_MS = 6 * 3_600_000

async function link(spoke: TestNode, source: TestNode, token: string): Promise<void> {
  await createFeed(spoke, FEED)
  const { id } = await linkFeed(spoke, FEED, { url: source.url, token, everyMs: NO_POLL_MS })
  const run = await spoke.operations.runReplication(id, {})
  if (run.state !== 'succeeded') throw new Error(`a spoke does not join: ${run.state}`)
}

/** A hub, secondary hubs, and spokes of these, each a whole node with its own database and sockets. */
async function startMesh(stack: AsyncDisposableStack, say: Lab['say']): Promise<TestNode[]> {
  const hub = stack.use(await startNode())
  await createFeed(hub, FEED)
  const nodes = [hub]
  const offers: string[] = []
  const offer = async (node: TestNode) => (await offerFeed(node, FEED)).token ?? ''
  const fromHub = await offer(hub)
  for (let at = 1; at < NODES; at += 1) {
    const node = stack.use(await startNode())
    const above = at <= SECONDARIES ? 0 : 1 + (at % SECONDARIES)
    await link(node, nodes[above]!, above === 0 ? fromHub : offers[above]!)
    if (at <= SECONDARIES) offers[at] = await offer(node)
    nodes.push(node)
    if (at % 10 === 0) say(`${at} nodes linked`)
  }
  return nodes
}

async function untilVisible(node: TestNode, unit: string): Promise<void> {
  const feed = node.operations.openFeed(FEED)
  while ((await feed.findUnit(unit)) === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
}

async function measureArrival(say: Lab['say']): Promise<Finding> {
  await using stack = new AsyncDisposableStack()
  const nodes = await startMesh(stack, say)
  const seconds: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    const unit = `news-${round}`
    const arrivals = nodes.slice(1).map((node) => untilVisible(node, unit))
    const started = performance.now()
    await publishRow(nodes[0]!, FEED, { unit, version: '1.0.0', content: Buffer.from(unit) })
    await Promise.all(arrivals)
    seconds.push((performance.now() - started) / 1000)
  }
  return {
    what: `one publish, until all of ${NODES} nodes show it`,
    ours: `${formatNumber(medianOf(seconds))} s`,
    peer: `${MAX_SECONDS} s`,
    ratio: medianOf(seconds) / MAX_SECONDS,
    target: { atMost: 1 },
    spread: spreadOf(seconds),
    note: `${HOPS} hops on loopback, all nodes in one process`,
  }
}

async function joinNode(source: MeshNode, node: MeshNode): Promise<void> {
  await node.createFeed(FEED)
  const { token } = await source.accept({ feed: FEED, mode: 'push' })
  await node.pull(await node.link(source, token, { feed: FEED, mode: 'pull' }))
}

/** The same mesh in memory, where every frame is seen. */
async function measureTold(): Promise<Finding> {
  await using stack = new AsyncDisposableStack()
  const told = new Map<string, number>()
  const network = createMemoryNetwork({
    onBytes: ({ to, protocol, bytes }) => {
      // A length of four bytes may travel apart from its frame.
      if (protocol === ANNOUNCE_PROTOCOL && bytes > 4) told.set(to, (told.get(to) ?? 0) + 1)
    },
  })
  const open = async () => stack.use(await openMeshNode(network, { isAutomatic: true, isAnnouncing: true }))
  const hub = await open()
  const feed = await hub.createFeed(FEED)
  const nodes = [hub]
  for (let at = 1; at < NODES; at += 1) {
    const node = await open()
    await joinNode(nodes[at <= SECONDARIES ? 0 : 1 + (at % SECONDARIES)]!, node)
    nodes.push(node)
  }
  told.clear()
  await publishVersion(feed, 'news', 'v/1.0.0', Buffer.from('news'))
  const { id } = hub.ledger.registry.getLocal(FEED)
  const newest = hub.ledger.registry.getState(id).manifest?.value.seq
  const isEverywhere = () => nodes.every(({ ledger }) => ledger.registry.states.get(id)?.manifest?.value.seq === newest)
  while (!isEverywhere()) await new Promise((resolve) => setTimeout(resolve, 1))
  await new Promise((resolve) => setTimeout(resolve, 500))
  const most = Math.max(...nodes.map((node) => told.get(node.peerId) ?? 0))
  return {
    what: 'one publish, announcements to one node',
    ours: `${most} at most`,
    peer: `${MAX_TOLD}`,
    ratio: most / MAX_TOLD,
    target: { atMost: 1 },
    spread: null,
    note: `${formatNumber([...told.values()].reduce((sum, one) => sum + one, 0) / NODES)} on the average`,
  }
}

async function run({ say }: Lab): Promise<Finding[]> {
  return [await measureArrival(say), await measureTold()]
}

export const announce: Bench = { name: 'announce', about: 'news in a mesh of fifty nodes', run }
