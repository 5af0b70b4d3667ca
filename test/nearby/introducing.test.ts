/** What a hub answers to linked readers of its feed that introduce themselves, and what stays of that. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  type Introduce,
  NEARBY_PROTOCOL,
  type NearbyReply,
  nearbyReply,
  nearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { keys } from '../../src/store/keys.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { type MeshNode } from '../support/mesh-node.ts'
import { BERLIN, FEED, knows, NearNodes, type Spoke, until, untilAcquainted } from './near-nodes.ts'

const never = new AbortController().signal

/** A linked reader whose end of the protocol is the test. */
class Reader {
  readonly node: MeshNode
  readonly #nodes: NearNodes
  readonly #frames: FrameReader
  readonly #send: (bytes: Uint8Array) => Promise<void>

  private constructor(nodes: NearNodes, node: MeshNode, channel: Awaited<ReturnType<MeshNode['host']['open']>>) {
    this.node = node
    this.#nodes = nodes
    this.#frames = new FrameReader(channel.receive())
    this.#send = (bytes) => channel.send(bytes)
  }

  static async open(nodes: NearNodes): Promise<Reader> {
    const node = await nodes.openNode({ hasNeighbours: false })
    await node.createFeed(FEED)
    const { token } = await nodes.hub.accept({ feed: FEED, mode: 'push' })
    await node.link(nodes.hub, token, { feed: FEED, mode: 'pull' })
    return new Reader(nodes, node, await node.host.open(nodes.hub.peerId, NEARBY_PROTOCOL, never))
  }

  async next(): Promise<NearbyReply> {
    return decodeCbor(nearbyReply, (await this.#frames.read(1 << 20))!, 'reply')
  }

  async introduce(change: Partial<Introduce> = {}): Promise<NearbyReply> {
    const addresses = this.node.host.addresses()
    const about = { ...BERLIN, addresses, serve: 'site', availability: 'full' } as const
    const request: Introduce = { kind: 'introduce', feedId: feedIdBytes(this.#nodes.feedId), ...about, ...change }
    await this.#send(encodeFrame(encodeCbor(nearbyRequest, request)))
    return await this.next()
  }
}

function peersOf(reply: NearbyReply): string[] {
  return reply.kind === 'introduced' || reply.kind === 'newcomers' ? reply.peers.map(({ peerId }) => peerId) : []
}

test('who was introduced before is told of newcomers and of what changes, unless they serve nobody there', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack)
  const [first, second, third] = [await Reader.open(nodes), await Reader.open(nodes), await Reader.open(nodes)]
  assert.deepEqual(await first.introduce(), { ...(await first.introduce()), kind: 'introduced', peers: [] })
  assert.deepEqual(peersOf(await third.introduce({ serve: 'none' })), [first.node.peerId])
  assert.deepEqual(peersOf(await second.introduce()), [first.node.peerId])
  const told = await first.next()
  assert.equal(told.kind, 'newcomers')
  assert.deepEqual(peersOf(told), [second.node.peerId])
  assert.equal((await third.next()).kind, 'newcomers')
  await second.introduce({
    addresses: ['/memory/elsewhere', ...second.node.host.addresses()],
    availability: 'on-demand',
  })
  const changed = await first.next()
  assert.ok(changed.kind === 'newcomers')
  assert.deepEqual(changed.peers, [
    { peerId: second.node.peerId, addresses: second.node.host.addresses(), ...BERLIN, availability: 'on-demand' },
  ])
  await second.node[Symbol.asyncDispose]()
  await until(() => !nodes.hub.host.peers().some((peer) => peer.peerId === second.node.peerId && peer.connected), 'end')
  assert.deepEqual(peersOf(await first.introduce()), [])
})

test('a node whose notes of its neighbours are damaged starts without them, and hears of them again', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack)
  const records = stack.use(createMemoryRecords())
  const other = await nodes.addSpoke()
  const damaged = await nodes.addSpoke({}, { records })
  await untilAcquainted([damaged, other], nodes.feedId)
  const { identity, blobs, floor } = damaged.node.parts
  await damaged.node[Symbol.asyncDispose]()
  const key = keys.neighbours(nodes.feedId)
  assert.ok((await records.find(key)) !== undefined, 'they were kept')
  await records.write([{ type: 'put', key, value: Buffer.from('ff', 'hex') }])
  const node = await nodes.openNode({ identity, records, blobs, floor })
  await node.host.connect(nodes.hub.peerId, nodes.hub.host.addresses(), never)
  const again: Spoke = { ...damaged, node, near: node.replication.nearby! }
  await until(() => knows(again, nodes.feedId, other.node), 'the neighbour')
})

test('what is kept of neighbours goes with the replication that brought the feed', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack)
  const records = stack.use(createMemoryRecords())
  const other = await nodes.addSpoke()
  const spoke = await nodes.addSpoke({}, { records })
  await untilAcquainted([spoke, other], nodes.feedId)
  await spoke.node.replication.operations.remove(spoke.replication, { name: 'test', from: 'test' })
  await until(() => !knows(spoke, nodes.feedId, other.node), 'nobody')
  await spoke.node[Symbol.asyncDispose]()
  assert.equal(await records.find(keys.neighbours(nodes.feedId)), undefined)
})
