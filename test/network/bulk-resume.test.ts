/** Whole nodes over the bulk lane: a transfer that breaks goes on from where it was, over the lane again or without it. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { createFeed, linkFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'
import { openTcpProxy, type TcpProxy } from './tcp-proxy.ts'

const MIB = 1024 * 1024
const FAR_HOST = '127.0.0.2'

function portOf(multiaddr: string | undefined): number {
  return Number(multiaddr?.split('/')[4])
}

/** A hub that the spoke reaches at another loopback address, where proxies stand before it. */
async function linkThroughProxies(t: TestContext, hub: TestNode, spoke: TestNode): Promise<TcpProxy> {
  const lanePort = Number(hub.running.bulk?.split(':').at(-1))
  const meshPort = portOf(hub.running.listen[0])
  const lane = await openTcpProxy(t, { host: FAR_HOST, port: lanePort }, { host: '127.0.0.1', port: lanePort })
  await openTcpProxy(t, { host: FAR_HOST, port: meshPort }, { host: '127.0.0.1', port: meshPort })
  await createFeed(hub, 'packages')
  await createFeed(spoke, 'copies')
  const { token } = await offerFeed(hub, 'packages')
  const addresses = [`/ip4/${FAR_HOST}/tcp/${meshPort}/p2p/${hub.running.peerId}`]
  await linkFeed(spoke, 'copies', { addresses, token: token ?? '' })
  return lane
}

async function publish(hub: TestNode, version: string, bytes: number): Promise<Buffer> {
  const content = randomBytes(bytes)
  await publishRow(hub, 'packages', { unit: 'large', version, content })
  return content
}

async function arrived(spoke: TestNode, hub: TestNode): Promise<void> {
  const { digest } = await hub.operations.showFeed('packages')
  while ((await spoke.operations.showFeed('copies')).digest !== digest) {
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function readCopy(spoke: TestNode, version: string): Promise<Buffer> {
  const feed = spoke.operations.openFeed('copies')
  const row = (await feed.findUnit('large'))?.rows.find((each) => each.key === `v/${version}`)
  const [file] = row?.files ?? []
  assert.ok(row !== undefined && file !== undefined)
  const pieces: Buffer[] = []
  for await (const piece of await feed.open(row, file)) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

test('nodes move files over the lane, and without it when it is closed', async (t) => {
  await using hub = await startNode()
  await using spoke = await startNode()
  const lane = await linkThroughProxies(t, hub, spoke)
  const first = await publish(hub, '1.0.0', 3 * MIB)
  await arrived(spoke, hub)
  assert.ok(lane.passed() > 3 * MIB, `${lane.passed()} bytes went over the lane`)
  assert.ok((await readCopy(spoke, '1.0.0')).equals(first))
  lane.close()
  const before = lane.passed()
  const second = await publish(hub, '2.0.0', 3 * MIB)
  await arrived(spoke, hub)
  assert.equal(lane.passed(), before)
  assert.ok((await readCopy(spoke, '2.0.0')).equals(second))
})

test('a transfer whose connection is cut goes on from its offset', async (t) => {
  await using hub = await startNode()
  await using spoke = await startNode()
  const lane = await linkThroughProxies(t, hub, spoke)
  await publish(hub, '1.0.0', MIB)
  await arrived(spoke, hub)
  const before = lane.passed()
  lane.cutAfter(8 * MIB)
  const content = await publish(hub, '2.0.0', 48 * MIB)
  await arrived(spoke, hub)
  assert.ok(lane.passed() - before >= 8 * MIB && lane.passed() - before < 40 * MIB, `${lane.passed() - before} bytes`)
  assert.ok((await readCopy(spoke, '2.0.0')).equals(content))
})
