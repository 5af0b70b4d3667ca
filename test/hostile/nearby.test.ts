/** Introducers and neighbours that break the rules. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { blobReply } from '../../protocols/mesh/blob/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  NEARBY_PROTOCOL,
  type NearbyRequest,
  nearbyReply,
  nearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import { bytes, decodeCbor, encodeCbor, list, record, type Shape, text, uint, word } from '../../src/catalog/cbor.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import {
  BERLIN,
  CONTENT,
  knows,
  NEAR_PORTS,
  NearNodes,
  nearOf,
  openSite,
  SLOW_PORTS,
  until,
} from '../nearby/near-nodes.ts'
import { type MeshNode, type MeshNodeOptions, publishVersion } from '../support/mesh-node.ts'

const HOUR = 3_600_000
const DIGEST = sha256Digest(CONTENT)
const never = new AbortController().signal

function frame<T>(shape: Shape<T>, value: T): Uint8Array {
  return encodeFrame(encodeCbor(shape, value))
}

/** What a hub answers in place of the truth, one message a request. */
type Lie = (request: NearbyRequest) => readonly Uint8Array[]

async function answerWith(node: MeshNode, lie: Lie): Promise<{ asked: number }> {
  const counts = { asked: 0 }
  await node.host.handle(NEARBY_PROTOCOL, { maxInboundStreams: 4, maxDurationMs: HOUR }, async (channel: Channel) => {
    const frames = new FrameReader(channel.receive())
    for (;;) {
      const request = await frames.read(1 << 20)
      if (request === undefined) return
      counts.asked += 1
      for (const bytes of lie(decodeCbor(nearbyRequest, request, 'request'))) await channel.send(bytes)
    }
  })
  return counts
}

const anyPeer = record({
  peerId: [1, text(64)],
  addresses: [2, list(text(1 << 21), 8)],
  site: [3, text(128)],
  region: [4, text(128)],
  availability: [5, word(['full', 'on-demand'])],
})
/** Like the honest reply, without its limits. */
const unlimited = record({
  kind: [0, uint()],
  feedId: [1, bytes({ size: 32 })],
  peers: [2, list(anyPeer, 100_000)],
})

function invented(count: number, address = '/memory/PEER') {
  return Array.from({ length: count }, () => {
    const { peerId } = generateIdentity()
    const addresses = [address.replace('PEER', peerId)]
    return { peerId, addresses, ...BERLIN, availability: 'full' } as const
  })
}

const INTRODUCTIONS: Record<string, (feedId: Uint8Array) => Uint8Array[]> = {
  'ten thousand peers': (feedId) => [frame(unlimited, { kind: 1, feedId, peers: Array(10_000).fill(invented(1)[0]) })],
  'one peer too many': (feedId) => [frame(unlimited, { kind: 1, feedId, peers: invented(65) })],
  'an address of a megabyte': (feedId) => [
    frame(unlimited, { kind: 1, feedId, peers: invented(1, `/memory/${'x'.repeat(1 << 20)}`) }),
  ],
  'an address of a kilobyte': (feedId) => [
    frame(unlimited, { kind: 1, feedId, peers: invented(1, `/memory/${'x'.repeat(1 << 10)}`) }),
  ],
  'peers that are none': (feedId) => [
    frame(nearbyReply, { kind: 'introduced', feedId, peers: [{ ...invented(1)[0]!, peerId: 'nobody' }] }),
  ],
  'another feed': () => [frame(nearbyReply, { kind: 'introduced', feedId: Buffer.alloc(32), peers: [] })],
  'news that nobody asked for': (feedId) => [
    frame(nearbyReply, { kind: 'news', feedId, at: null, isAtWork: false, blobs: [] }),
  ],
  'two answers to one question': (feedId) => [
    frame(nearbyReply, { kind: 'introduced', feedId, peers: [] }),
    frame(nearbyReply, { kind: 'introduced', feedId, peers: [] }),
  ],
  bytes: () => [encodeFrame(Buffer.from('ff', 'hex'))],
}

for (const [what, lie] of Object.entries(INTRODUCTIONS)) {
  test(`an introducer that answers with ${what} is left alone for a while, and pulls go on`, async () => {
    await using stack = new AsyncDisposableStack()
    const nodes = await NearNodes.open(stack, { hasNeighbours: false })
    const counts = await answerWith(nodes.hub, ({ feedId }) => lie(feedId))
    const spoke = await nodes.addSpoke({}, { ports: SLOW_PORTS })
    await until(() => counts.asked > 0, 'an introduction')
    await publishVersion(nodes.hubFeed, 'left', 'v/1.0.0', CONTENT)
    assert.equal((await spoke.node.pull(spoke.replication)).state, 'succeeded')
    assert.deepEqual(nearOf(spoke.node).peersFor(nodes.feedId), [])
    assert.ok(counts.asked <= 2, `asked ${counts.asked} times`)
  })
}

test('an introducer that invents peers costs a bounded number of dials', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack, { hasNeighbours: false })
  await answerWith(nodes.hub, ({ feedId }) => {
    const pushes = Array.from({ length: 20 }, () =>
      frame(nearbyReply, { kind: 'newcomers', feedId, peers: invented(64) }),
    )
    return [frame(nearbyReply, { kind: 'introduced', feedId, peers: invented(64) }), ...pushes]
  })
  const dialled = new Set<string>()
  let dials = 0
  const wrapHost: NonNullable<MeshNodeOptions['ports']>['wrapHost'] = (host) => {
    const connect: typeof host.connect = (peer, addresses, signal) => {
      if (peer !== nodes.hub.peerId) {
        dialled.add(peer)
        dials += 1
      }
      return host.connect(peer, addresses, signal)
    }
    return new Proxy(host, {
      get: (target, name) => {
        if (name === 'connect') return connect
        const value: unknown = Reflect.get(target, name)
        return typeof value === 'function' ? value.bind(target) : value
      },
    })
  }
  const spoke = await nodes.addSpoke({}, { ports: { ...NEAR_PORTS, wrapHost } })
  await until(() => dialled.size >= 32, 'as many dials as there are places')
  await publishVersion(nodes.hubFeed, 'left', 'v/1.0.0', CONTENT)
  assert.equal((await spoke.node.pull(spoke.replication)).state, 'succeeded')
  assert.ok(dialled.size <= 256 && dials <= 512, `${dials} dials of ${dialled.size} peers`)
})

/** A peer that reads the feed like any other, and answers those who follow it as it likes. */
async function openBadNeighbour(stack: AsyncDisposableStack, lie: Lie, options: MeshNodeOptions = {}) {
  const { nodes, spoke, feedId } = await openSite(stack, {}, options)
  const bad = await nodes.openNode({ hasNeighbours: false })
  await bad.createFeed('packages')
  const { token } = await nodes.hub.accept({ feed: 'packages', mode: 'push' })
  const replication = await bad.link(nodes.hub, token, { feed: 'packages', mode: 'pull' })
  assert.equal((await bad.pull(replication)).state, 'succeeded')
  const counts = await answerWith(bad, lie)
  const chain = bad.parts.policy.findChainToShow(feedId)!
  await bad.host.connect(spoke.node.peerId, spoke.node.host.addresses(), never)
  await bad.replication.asker.greet(spoke.node.peerId, never)
  const channel = await bad.host.open(spoke.node.peerId, NEARBY_PROTOCOL, never)
  await channel.send(frame(nearbyRequest, { kind: 'show', feedId: feedIdBytes(feedId), chain }))
  return { nodes, spoke, feedId, bad, counts }
}

const WELCOME = (request: NearbyRequest): Uint8Array =>
  request.kind === 'show'
    ? frame(nearbyReply, { kind: 'shown', feedId: request.feedId })
    : frame(nearbyReply, { kind: 'followed', feedId: request.feedId, availability: 'full' })

function newsOf(feedId: Uint8Array, runs: readonly { first: number; count: number }[], digest: string = DIGEST) {
  return frame(nearbyReply, {
    kind: 'news',
    feedId,
    at: null,
    isAtWork: true,
    blobs: [{ digest, isWhole: false, runs }],
  })
}

const BAD_NEWS: Record<string, (feedId: Uint8Array) => readonly Uint8Array[]> = {
  'a flood of news': (feedId) =>
    Array.from({ length: 1100 }, (_, index) => newsOf(feedId, [{ first: index, count: 1 }])),
  'runs that overlap': (feedId) => [
    newsOf(feedId, [
      { first: 0, count: 3 },
      { first: 2, count: 2 },
    ]),
  ],
  'a run of nothing': (feedId) => [newsOf(feedId, [{ first: 0, count: 0 }])],
  'a run beyond the end': (feedId) => [newsOf(feedId, [{ first: 65_535, count: 65_536 }])],
  'news of what is no digest': (feedId) => [newsOf(feedId, [{ first: 0, count: 1 }], '../../etc/passwd')],
  newcomers: (feedId) => [frame(nearbyReply, { kind: 'newcomers', feedId, peers: [] })],
  bytes: () => [encodeFrame(Buffer.from('00', 'hex'))],
}

for (const [what, news] of Object.entries(BAD_NEWS)) {
  test(`a neighbour that sends ${what} is let go of, and not asked again for a while`, async () => {
    await using stack = new AsyncDisposableStack()
    const lie: Lie = (request) =>
      request.kind === 'follow' ? [WELCOME(request), ...news(request.feedId)] : [WELCOME(request)]
    const { spoke, feedId, bad, counts } = await openBadNeighbour(stack, lie, { ports: SLOW_PORTS })
    await until(() => counts.asked >= 2, 'show and follow')
    await until(() => !knows(spoke, feedId, bad), 'the neighbour let go of')
    const { asked } = counts
    await spoke.node.pull(spoke.replication)
    assert.ok(!knows(spoke, feedId, bad))
    assert.ok(counts.asked <= asked + 2, `asked ${counts.asked} times`)
  })
}

test('a neighbour that never ends its answer is given up', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, feedId, bad, counts } = await openBadNeighbour(stack, () => [Buffer.of(0, 0, 1, 0, 1)])
  await until(() => counts.asked >= 1, 'a question')
  await until(() => counts.asked >= 2, 'a second try, after the first ran out of time')
  assert.ok(!knows(spoke, feedId, bad))
})

test('a neighbour that tells of what it does not have costs a request that is refused', async () => {
  await using stack = new AsyncDisposableStack()
  const content = Buffer.alloc(70_000, 3)
  const { nodes, spoke, feedId, bad } = await openBadNeighbour(stack, (request) => {
    if (request.kind !== 'follow') return [WELCOME(request)]
    const blobs = [{ digest: sha256Digest(content), isWhole: true, runs: [] }]
    const news = { kind: 'news', feedId: request.feedId, at: null, isAtWork: false, blobs } as const
    return [WELCOME(request), frame(nearbyReply, news)]
  })
  await until(() => knows(spoke, feedId, bad), 'the neighbour')
  let asked = 0
  bad.answerBlobs = async (channel) => {
    const frames = new FrameReader(channel.receive())
    while ((await frames.read(1 << 20)) !== undefined) {
      asked += 1
      await channel.send(frame(blobReply, { kind: 'error', code: 'NOT_FOUND', message: 'not here' }))
    }
  }
  await publishVersion(nodes.hubFeed, 'right', 'v/1.0.0', content)
  assert.equal((await spoke.node.pull(spoke.replication)).state, 'succeeded')
  assert.ok(asked <= 1, `asked ${asked} times`)
})
