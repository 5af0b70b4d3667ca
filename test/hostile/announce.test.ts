/** Peers that announce what is not so, too much, or too slowly, to a node that listens. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ANNOUNCE_PROTOCOL, type Announcement, announcement } from '../../protocols/mesh/announce/messages.ts'
import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { SYNC_PROTOCOL } from '../../protocols/mesh/sync/messages.ts'
import { encodeCbor } from '../../src/catalog/cbor.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { signManifest } from '../../src/catalog/manifest.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { HostilePeer } from '../support/hostile-peer.ts'
import { type MeshNode, openMeshNode, publishVersion, readContent } from '../support/mesh-node.ts'

interface Scene {
  readonly network: MemoryNetwork
  readonly spoke: MeshNode
  readonly hubId: string
  /** The hub's key in hostile hands. */
  readonly peer: HostilePeer
  /** Counts what the spoke asks this peer for, too, and connects it. */
  readonly listen: (served: HostilePeer) => Promise<void>
  readonly timers: ManualTimers
  /** Times that the spoke asked the peer for a head. */
  readonly asked: () => number
  /** What the honest hub signed last, as it would announce it. */
  readonly current: Announcement
  /** The spoke holds what it held. */
  readonly verifyUnharmed: () => Promise<void>
}

/** A spoke that has all of its hub, before the hub turns hostile. */
async function openScene(stack: AsyncDisposableStack): Promise<Scene> {
  const network = createMemoryNetwork()
  const timers = new ManualTimers()
  const hub = await openMeshNode(network)
  const hubFeed = await hub.createFeed('packages')
  await publishVersion(hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const ports = { setTimer: timers.setTimer, progress: { now: timers.now, setTimer: timers.setTimer } }
  const spoke = stack.use(await openMeshNode(network, { isAnnouncing: true, ports }))
  await spoke.createFeed('packages')
  const replication = await spoke.link(hub, token, { feed: 'packages', mode: 'pull', everyMs: 3_600_000 })
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  const state = hub.ledger.registry.getState(hub.ledger.registry.getLocal('packages').id)
  const { epoch, seq, refresh } = state.manifest!.value
  const order = { epoch, seq, refresh }
  const current = { feedId: feedIdBytes(state.feedId), ...order, hash: state.manifest!.hash, manifest: null }
  await hub[Symbol.asyncDispose]()
  const peer = stack.use(new HostilePeer(network, hub.parts.identity))
  let asked = 0
  const listen = async (served: HostilePeer) => {
    await served.host.handle(SYNC_PROTOCOL, { maxInboundStreams: 16, maxDurationMs: 60_000 }, async (channel) => {
      asked += 1
      channel.abort(new Error('nothing to be had here'))
    })
    await served.connect(spoke.host)
  }
  await listen(peer)
  const before = await readContent(spoke.parts.records)
  const verifyUnharmed = async () => assert.deepEqual(await readContent(spoke.parts.records), before)
  return { network, spoke, hubId: state.feedId, peer, listen, timers, asked: () => asked, current, verifyUnharmed }
}

function frameOf(heard: Announcement): Uint8Array {
  return encodeFrame(encodeCbor(announcement, heard))
}

/** Lets what was triggered run to its end. */
async function settle(spoke: MeshNode): Promise<void> {
  const isRunning = () => spoke.book.links.all().some((link) => spoke.replication.puller.isRunning(link.id))
  for (let quiet = 0; quiet < 20; quiet = isRunning() ? 0 : quiet + 1)
    await new Promise((resolve) => setImmediate(resolve))
}

const never = new AbortController().signal

test('frames that are no announcements end their stream, and nothing else', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, peer, current, asked, verifyUnharmed } = await openScene(stack)
  const good = frameOf(current)
  const bad: Record<string, Uint8Array> = {
    'a frame of 4 GiB': Buffer.from('ffffffff', 'hex'),
    'a frame a byte too long': Buffer.from('00100001', 'hex'),
    'no CBOR': encodeFrame(Buffer.from('garbage')),
    'an empty frame': encodeFrame(new Uint8Array(0)),
    'fields missing': encodeFrame(Buffer.from('a10141ff', 'hex')),
    'CBOR that is not the shortest': encodeFrame(Buffer.concat([Buffer.from('b806', 'hex'), good.subarray(5)])),
    'half a frame': good.subarray(0, -3),
  }
  for (const [what, bytes] of Object.entries(bad)) {
    const answer = await peer.send(spoke.host, ANNOUNCE_PROTOCOL, [good, bytes])
    assert.equal(answer.bytes.length, 0, what)
    assert.notEqual(answer.broken, undefined, what)
  }
  assert.equal((await peer.send(spoke.host, ANNOUNCE_PROTOCOL, [good, good])).broken, undefined)
  await settle(spoke)
  assert.equal(asked(), 0, 'nobody asks for what is here')
  await verifyUnharmed()
})

test('what is older, of a feed that is not linked, or from a stranger, leads to nothing', async () => {
  await using stack = new AsyncDisposableStack()
  const { network, spoke, peer, listen, current, asked, verifyUnharmed } = await openScene(stack)
  const own = feedIdBytes(spoke.ledger.registry.getLocal('packages').id)
  const ignored: Announcement[] = [
    current,
    { ...current, seq: 1 },
    { ...current, refresh: 0, epoch: 0, seq: 99 },
    { ...current, feedId: sha256('unknown'), seq: 99 },
    { ...current, feedId: own, epoch: 99 },
  ]
  await peer.send(spoke.host, ANNOUNCE_PROTOCOL, ignored.map(frameOf))
  const stranger = stack.use(new HostilePeer(network))
  await listen(stranger)
  const news = { ...current, seq: 99 }
  await stranger.send(spoke.host, ANNOUNCE_PROTOCOL, Array<Uint8Array>(600).fill(frameOf(news)))
  await settle(spoke)
  assert.equal(asked(), 0)
  await verifyUnharmed()
})

test('a forged or contradicting manifest in an announcement is a hint like any other: nothing of it is believed', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, peer, hubId, current, asked, verifyUnharmed } = await openScene(stack)
  const { manifest } = spoke.ledger.registry.getState(hubId)
  const sign = (change: object, seed: number) =>
    signManifest({ ...manifest!.value, ...change }, createSeedSigner(Buffer.alloc(32, seed)))
  const forged = sign({ seq: current.seq + 1 }, 5)
  const fork = sign({ stateRoot: sha256('fork') }, 6)
  const lies: Announcement[] = [
    { ...current, seq: forged.value.seq, hash: forged.hash, manifest: forged.bytes },
    { ...current, seq: current.seq + 2, hash: sha256('x'), manifest: Buffer.alloc(200_000, 1) },
    { ...current, refresh: 5, hash: fork.hash, manifest: fork.bytes },
  ]
  await peer.send(spoke.host, ANNOUNCE_PROTOCOL, lies.map(frameOf))
  await settle(spoke)
  assert.ok(asked() >= 1 && asked() <= 3, `${asked()}`)
  assert.deepEqual(spoke.ledger.registry.getState(hubId).manifest?.bytes, manifest?.bytes)
  assert.equal(spoke.ledger.registry.forks.find(hubId), undefined)
  await verifyUnharmed()
})

test('a flood of news that is none costs a burst of pulls, then one a second, and ends its stream', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, peer, timers, current, asked, verifyUnharmed } = await openScene(stack)
  spoke.replication.replicator.start()
  let seq = current.seq
  const flood = async (count: number): Promise<void> => {
    const channel = await peer.host.open(spoke.peerId, ANNOUNCE_PROTOCOL, never)
    try {
      for (let sent = 0; sent < count; sent += 1) {
        seq += 1
        await channel.send(frameOf({ ...current, seq, hash: sha256(`${seq}`) }))
        if (sent % 4 === 0) await settle(spoke)
      }
      await channel.end()
    } catch {
      channel.abort(new Error('cut off'))
    }
    await settle(spoke)
  }
  await flood(3000)
  const burst = asked()
  assert.ok(burst >= 10 && burst <= 30, `${burst}`)
  for (let second = 0; second < 10; second += 1) {
    await flood(30)
    timers.advance(1000)
    await settle(spoke)
  }
  assert.ok(asked() - burst <= 25, `${asked()} pulls after ${burst}`)
  await verifyUnharmed()
})

test('streams without end or beginning: only a few are held, each with one frame at most, and an honest one still gets through', async () => {
  await using stack = new AsyncDisposableStack()
  const { network, spoke, peer, listen, current, asked, verifyUnharmed } = await openScene(stack)
  const half = encodeFrame(Buffer.alloc(500_000)).subarray(0, 200_000)
  const before = process.memoryUsage.rss()
  let refused = 0
  for (let index = 0; index < 10_000; index += 1) {
    try {
      const channel = await peer.host.open(spoke.peerId, ANNOUNCE_PROTOCOL, never)
      if (index < 4) await channel.send(half)
      else if (index % 2 === 0) channel.abort(new Error('gone again'))
      else await channel.send(Buffer.of(0))
    } catch {
      refused += 1
    }
  }
  assert.ok(refused > 4000, `${refused} streams were refused`)
  const grown = process.memoryUsage.rss() - before
  assert.ok(grown < 300e6, `${Math.round(grown / 1e6)} MB more`)
  assert.equal(asked(), 0)
  await peer.host[Symbol.asyncDispose]()
  await verifyUnharmed()
  const again = stack.use(new HostilePeer(network, peer.identity))
  await listen(again)
  await again.send(spoke.host, ANNOUNCE_PROTOCOL, [frameOf({ ...current, seq: current.seq + 1 })])
  await settle(spoke)
  assert.ok(asked() >= 1, 'who says something new is asked')
})
