/**
 * A hub and eight spokes on two sites, each site behind a line of its own to the hub: what the hub sends over a line for a new
 * blob is little more than one copy, however many spokes are behind it. SITE_MIB is the size of the blob.
 */

import assert from 'node:assert/strict'
import { randomFillSync } from 'node:crypto'
import { test } from 'node:test'
import { WireProxy } from '../bench/wire-proxy.ts'
import { ACTOR, createFeed, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

const BYTES = Number(process.env.SITE_MIB ?? 64) * 1024 ** 2
const SPOKES = 4
const MAX_COPIES = 1.3

/** The line of a site: the hub's ports, at another address of this machine. */
class Line implements AsyncDisposable {
  readonly host: string
  readonly #proxies: readonly WireProxy[]

  private constructor(host: string, proxies: readonly WireProxy[]) {
    this.host = host
    this.#proxies = proxies
  }

  static async open(host: string, hub: TestNode): Promise<Line> {
    const proxies: WireProxy[] = []
    for (const port of [meshPort(hub), Number(hub.running.bulk?.split(':').at(-1))]) {
      const proxy = await WireProxy.open({ host, port })
      proxy.setTarget('127.0.0.1', port)
      proxies.push(proxy)
    }
    return new Line(host, proxies)
  }

  /** Bytes from the hub since the last call. */
  take(): number {
    return this.#proxies.reduce((sum, proxy) => sum + proxy.take().down, 0)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const proxy of this.#proxies) await proxy[Symbol.asyncDispose]()
  }
}

function meshPort(node: TestNode): number {
  return Number(/\/tcp\/(\d+)/.exec(node.running.listen[0] ?? '')?.[1])
}

async function until(what: string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + 300_000
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, `not after five minutes: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

async function openSite(hub: TestNode, token: string, at: { site: string; line: Line }): Promise<TestNode[]> {
  const spokes: TestNode[] = []
  const addresses = [`/ip4/${at.line.host}/tcp/${meshPort(hub)}/p2p/${hub.running.peerId}`]
  for (let index = 0; index < SPOKES; index += 1) {
    const spoke = await startNode({ site: at.site })
    spokes.push(spoke)
    await createFeed(spoke, 'files', 'assets')
    const { id } = await linkFeed(spoke, 'files', { addresses, token, everyMs: 3_600_000 })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  }
  return spokes
}

async function untilAcquainted(spokes: readonly TestNode[]): Promise<void> {
  const ids = spokes.map((spoke) => spoke.running.peerId)
  await until('all spokes of a site know each other', async () => {
    const known = await Promise.all(spokes.map((spoke) => spoke.operations.peers()))
    return known.every(
      (peers) => peers.filter((peer) => peer.connected && ids.includes(peer.peerId)).length === SPOKES - 1,
    )
  })
}

test(`a blob of ${BYTES / 1024 ** 2} MiB crosses the line of each of two sites about once, for four spokes on each`, {
  timeout: 600_000,
}, async () => {
  await using stack = new AsyncDisposableStack()
  const hub = stack.use(await startNode())
  await createFeed(hub, 'files', 'assets')
  const { token = '' } = await offerFeed(hub, 'files')
  const lines = [stack.use(await Line.open('127.0.0.2', hub)), stack.use(await Line.open('127.0.0.3', hub))]
  const sites: TestNode[][] = []
  for (const [index, line] of lines.entries()) {
    const spokes = await openSite(hub, token, { site: `site-${index}`, line })
    for (const spoke of spokes) stack.use(spoke)
    await untilAcquainted(spokes)
    sites.push(spokes)
  }
  for (const line of lines) line.take()

  const block = randomFillSync(Buffer.alloc(1024 ** 2))
  async function* content() {
    for (let at = 0; at < BYTES; at += block.length) {
      block.writeDoubleBE(at)
      yield Buffer.from(block)
    }
  }
  await hub.operations.publishFile('files', { name: 'large.bin', size: BYTES, open: content }, ACTOR)
  const { digest } = await hub.operations.showFeed('files')
  await until('all spokes have the blob', async () => {
    const feeds = await Promise.all(sites.flat().map((spoke) => spoke.operations.showFeed('files')))
    return feeds.every((feed) => feed.digest === digest)
  })
  const copies = lines.map((line) => line.take() / BYTES)
  for (const each of copies)
    assert.ok(each <= MAX_COPIES, `copies over the lines: ${copies.map((n) => n.toFixed(2)).join(', ')}`)
})
