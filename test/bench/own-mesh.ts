/** A hub and spokes of one site that are linked to it, each in a process of its own; over proxies when the hub is to be far. */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { meshPort } from './linked-pair.ts'
import { type BenchNode, startNode } from './node-process.ts'
import { Uplink, WireProxy } from './wire-proxy.ts'

export const FEED = 'files'
/** The same ports as at 127.0.0.1: a peer that is reached there finds the lane's port there, too. */
export const FAR_HOST = '127.0.0.2'
/** Longer than any benchmark: runs happen when there is news. */
const NO_POLL_MS = 6 * 3_600_000
const MIB = 1024 ** 2

export interface MeshPlan {
  readonly spokes: number
  /** Half a round trip between the hub and each spoke. */
  readonly delayMs?: number
  /** Of the hub's uplink, all spokes together. */
  readonly bytesPerSecond?: number
}

export class OwnMesh implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  readonly hub: BenchNode
  readonly spokes: BenchNode[] = []
  readonly #proxies: readonly WireProxy[]
  /** Of each spoke, in their order. */
  readonly #replications: string[] = []
  #files = 0

  private constructor(hub: BenchNode, proxies: readonly WireProxy[]) {
    this.hub = this.#stack.use(hub)
    for (const proxy of proxies) this.#stack.use(proxy)
    this.#proxies = proxies
  }

  static async open(folder: string, plan: MeshPlan): Promise<OwnMesh> {
    await mkdir(folder, { recursive: true })
    const hub = await startNode(join(folder, 'hub'))
    const isFar = plan.delayMs !== undefined || plan.bytesPerSecond !== undefined
    const mesh = new OwnMesh(hub, isFar ? await openProxies(hub) : [])
    await hub.child.call('createFeed', hub.folder, FEED, 'assets')
    const token = await hub.child.call('offer', hub.folder, FEED)
    const addresses = [`/ip4/${isFar ? FAR_HOST : '127.0.0.1'}/tcp/${meshPort(hub)}/p2p/${hub.peerId}`]
    for (let at = 0; at < plan.spokes; at += 1) {
      const spoke = mesh.#stack.use(await startNode(join(folder, `spoke-${at}`), { site: 'shop' }))
      mesh.spokes.push(spoke)
      await spoke.child.call('createFeed', spoke.folder, FEED, 'assets')
      const habits = { addresses, token, everyMs: NO_POLL_MS }
      mesh.#replications.push(await spoke.child.call('link', spoke.folder, FEED, habits))
    }
    // The links are warm: the peers know each other, and where the lane is.
    await mesh.take(MIB)
    for (const proxy of mesh.#proxies) proxy.delayMs = plan.delayMs ?? 0
    await mesh.take(MIB)
    const { bytesPerSecond } = plan
    const uplink = bytesPerSecond === undefined ? undefined : new Uplink(bytesPerSecond)
    for (const proxy of mesh.#proxies) proxy.uplink = uplink
    mesh.takeSent()
    return mesh
  }

  /** Publishes a file, of which the spokes are told. @returns s of the longest run that brings it, visible and durable */
  async take(bytes: number): Promise<number> {
    this.#files += 1
    const { hub } = this
    await hub.child.call('publishAsset', hub.folder, FEED, { name: `file-${this.#files}.bin`, bytes })
    return await this.awaitEqual()
  }

  /** Spokes that are paused hear of nothing. */
  async pause(paused: boolean): Promise<void> {
    for (const [at, spoke] of this.spokes.entries())
      await spoke.child.call('pause', spoke.folder, this.#replications[at]!, paused)
  }

  async awaitEqual(): Promise<number> {
    const { hub, spokes } = this
    const digest = await hub.child.call('digestOf', hub.folder, FEED)
    await Promise.all(spokes.map((spoke) => spoke.child.call('awaitDigest', spoke.folder, FEED, digest)))
    return Math.max(...(await Promise.all(spokes.map((spoke) => spoke.child.call('lastRunSeconds', spoke.folder)))))
  }

  /** Bytes that the hub has sent over the proxies since the last call, with everything around the files. */
  takeSent(): number {
    return this.#proxies.reduce((sum, proxy) => sum + proxy.take().down, 0)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }
}

async function openProxies(hub: BenchNode): Promise<WireProxy[]> {
  const ports = [meshPort(hub), Number(hub.bulk?.split(':').at(-1))]
  return await Promise.all(
    ports.map(async (port) => {
      const proxy = await WireProxy.open({ host: FAR_HOST, port })
      proxy.setTarget('127.0.0.1', port)
      return proxy
    }),
  )
}
