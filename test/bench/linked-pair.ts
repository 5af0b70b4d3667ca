/** A hub with a filled feed and a spoke of it, in two processes, with a proxy between them that counts. */

import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import type { Lab } from './findings.ts'
import type { Arrival } from './node-methods.ts'
import { type BenchNode, openNodeProcess, startNode } from './node-process.ts'
import { WireProxy } from './wire-proxy.ts'

/** Longer than any benchmark: runs happen when they are asked for. */
const NO_POLL_MS = 6 * 3_600_000
export const HUB_FEED = 'hub-feed'
export const SPOKE_FEED = 'spoke-feed'

/** A data folder whose feed has `entries` entries; made once a run and size. */
export async function filledFolder({ folder, say }: Lab, entries: number): Promise<string> {
  const filled = join(folder, '..', `filled-${entries}`)
  await using child = openNodeProcess(filled)
  const opened = await child.call('open', filled)
  if (opened.isNew) {
    say(`writing ${entries} entries`)
    await child.call('createFeed', filled, HUB_FEED, 'npm')
    await child.call('write', filled, HUB_FEED, { kind: 'all', count: entries, of: entries }, 1)
  }
  await child.call('close', filled)
  return filled
}

export async function copyFolder(from: string, to: string): Promise<string> {
  await cp(from, to, { recursive: true })
  return to
}

export interface Pair extends AsyncDisposable {
  readonly hub: BenchNode
  readonly spoke: BenchNode
  readonly proxy: WireProxy
}

export interface LinkedPair extends Pair {
  readonly replication: string
}

/** The port of a node's first address. */
export function meshPort(node: { readonly listen: readonly string[] }): number {
  return Number(/^\/ip4\/127\.0\.0\.1\/tcp\/(\d+)/.exec(node.listen[0] ?? '')?.[1])
}

/** All that these two say to each other is to go through the one proxy that counts. */
const WITHOUT_LANE = { bulk: null }

/** Two nodes that know nothing of each other yet. */
export async function startPair(hubFolder: string, spokeFolder: string): Promise<Pair> {
  await using stack = new AsyncDisposableStack()
  const proxy = stack.use(await WireProxy.open())
  const hub = stack.use(await startNode(hubFolder, WITHOUT_LANE))
  proxy.setTarget('127.0.0.1', meshPort(hub))
  const spoke = stack.use(await startNode(spokeFolder, WITHOUT_LANE))
  await spoke.child.call('createFeed', spoke.folder, SPOKE_FEED, 'npm')
  const moved = stack.move()
  return { hub, spoke, proxy, [Symbol.asyncDispose]: () => moved.disposeAsync() }
}

/** The first run begins by itself. @returns the id of the spoke's replication */
export async function linkPair({ hub, spoke, proxy }: Pair): Promise<string> {
  const token = await hub.child.call('offer', hub.folder, HUB_FEED)
  const addresses = [`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${hub.peerId}`]
  return await spoke.child.call('link', spoke.folder, SPOKE_FEED, { addresses, token, everyMs: NO_POLL_MS })
}

/** Resolves when the spoke's feed equals the hub's. */
export async function awaitEqual({ hub, spoke }: Pair): Promise<Arrival> {
  const digest = await hub.child.call('digestOf', hub.folder, HUB_FEED)
  return await spoke.child.call('awaitDigest', spoke.folder, SPOKE_FEED, digest)
}

/** A pair whose spoke has all that the hub has. */
export async function startEqualPair(hubFolder: string, spokeFolder: string): Promise<LinkedPair> {
  await using stack = new AsyncDisposableStack()
  const pair = stack.use(await startPair(hubFolder, spokeFolder))
  const replication = await linkPair(pair)
  await awaitEqual(pair)
  await pair.spoke.child.call('run', pair.spoke.folder, replication)
  const moved = stack.move()
  return { ...pair, replication, [Symbol.asyncDispose]: () => moved.disposeAsync() }
}
