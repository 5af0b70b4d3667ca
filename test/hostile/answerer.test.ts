/** Peers that ask for what they may not have, against a node that serves sync and blobs. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOB_PROTOCOL, type BlobRequest, blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { SYNC_PROTOCOL, type SyncRequest, syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256, sha256Digest } from '../../src/catalog/digest.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { HostilePeer, splitFrames } from '../support/hostile-peer.ts'
import { type MeshNode, openHubAndSpoke, openMeshNode, publishVersion, readContent } from '../support/mesh-node.ts'

const UNKNOWN_FEED = Buffer.alloc(32, 0xee)
const CONTENT = Buffer.alloc(100_000, 7)
const DIGEST = sha256Digest(CONTENT)

interface Scene {
  readonly hub: MeshNode
  readonly hubFeed: LedgerFeed
  readonly feedId: Uint8Array
  readonly stateRoot: Uint8Array
  /** A peer that may read the hub's feed, and says what the test wants. */
  readonly reader: HostilePeer
  /** What the hub holds now is what it is to hold in the end. */
  readonly mark: () => Promise<void>
  /** The hub holds what it held and serves an honest peer. */
  readonly verifyUnharmed: () => Promise<void>
}

async function openScene(network: MemoryNetwork, stack: AsyncDisposableStack): Promise<Scene> {
  const { hub, spoke, hubFeed, spokeFeed, replication, token } = await openHubAndSpoke(network, stack)
  await publishVersion(hubFeed, 'left', 'v/1.0.0', CONTENT)
  const thief = await openMeshNode(network)
  await thief.createFeed('packages')
  await thief.link(hub, token, { feed: 'packages', mode: 'pull' })
  await thief[Symbol.asyncDispose]()
  const reader = stack.use(new HostilePeer(network, thief.parts.identity))
  const state = hub.ledger.registry.getState(hub.ledger.registry.getLocal('packages').id)
  let before = await readContent(hub.parts.records)
  const mark = async () => {
    before = await readContent(hub.parts.records)
  }
  const verifyUnharmed = async () => {
    assert.deepEqual(await readContent(hub.parts.records), before)
    assert.equal((await spoke.pull(replication)).state, 'succeeded')
    assert.equal((await spokeFeed.findUnit('left'))?.rows.length, 1)
  }
  return { hub, hubFeed, feedId: feedIdBytes(state.feedId), stateRoot: state.root.hash, reader, mark, verifyUnharmed }
}

function syncRequests(feedId: Uint8Array, stateRoot: Uint8Array): SyncRequest[] {
  return [
    {
      kind: 'head',
      feedId,
      charterVersion: 0,
      charter: null,
      epoch: 0,
      seq: 0,
      refresh: 0,
      manifest: null,
      logSize: null,
    },
    { kind: 'nodes', feedId, stateRoot, paths: [''], wide: 0 },
    { kind: 'rows', feedId, stateRoot, wants: [{ path: '', hints: Buffer.alloc(8) }] },
    { kind: 'subtree', feedId, stateRoot, path: '', after: null },
    { kind: 'tail', feedId, stateRoot, epoch: 1, from: 0, to: 1 },
  ]
}

function blobGet(feedId: Uint8Array, change: Partial<Extract<BlobRequest, { kind: 'get' }>> = {}): BlobRequest {
  return { kind: 'get', feedId, unit: 'left', key: 'v/1.0.0', digest: DIGEST, offset: 0, length: null, ...change }
}

function replyOf(shape: typeof syncReply | typeof blobReply, bytes: Buffer): { kind: string; code?: string } {
  const [frame] = splitFrames(bytes)
  assert.ok(frame)
  return decodeCbor<{ kind: string; code?: string }>(shape, frame, 'reply')
}

test('a stranger learns from no request whether a feed or a file is here', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, feedId, stateRoot, verifyUnharmed } = await openScene(network, stack)
  const stranger = stack.use(new HostilePeer(network))
  for (const [index, request] of syncRequests(feedId, stateRoot).entries()) {
    const unknown = syncRequests(UNKNOWN_FEED, stateRoot)[index]!
    const [here, nowhere] = [
      await stranger.ask(hub.host, SYNC_PROTOCOL, { shape: syncRequest, value: request }),
      await stranger.ask(hub.host, SYNC_PROTOCOL, { shape: syncRequest, value: unknown }),
    ]
    assert.ok(here.bytes.equals(nowhere.bytes), request.kind)
    const reply = replyOf(syncReply, here.bytes)
    assert.deepEqual([reply.kind, reply.code], ['error', 'NOT_FOUND'], request.kind)
  }
  const answers = await Promise.all(
    [blobGet(feedId), blobGet(UNKNOWN_FEED), blobGet(feedId, { digest: sha256Digest(Buffer.of(1)) })].map((value) =>
      stranger.ask(hub.host, BLOB_PROTOCOL, { shape: blobRequest, value }),
    ),
  )
  assert.equal(new Set(answers.map((answer) => answer.bytes.toString('hex'))).size, 1)
  assert.equal(replyOf(blobReply, answers[0]!.bytes).code, 'NOT_FOUND')
  await verifyUnharmed()
})

test('a peer whose link only offers content cannot read', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, feedId, stateRoot, mark, verifyUnharmed } = await openScene(network, stack)
  const offerer = stack.use(await openMeshNode(network))
  await offerer.createFeed('offered')
  const { token } = await hub.accept({ feed: 'packages', mode: 'pull', scope: ['offered-*'] })
  await offerer.link(hub, token, { feed: 'offered', mode: 'push' })
  await offerer.host[Symbol.asyncDispose]()
  const peer = stack.use(new HostilePeer(network, offerer.parts.identity))
  await mark()
  for (const request of syncRequests(feedId, stateRoot)) {
    const answer = await peer.ask(hub.host, SYNC_PROTOCOL, { shape: syncRequest, value: request })
    assert.equal(replyOf(syncReply, answer.bytes).code, 'NOT_FOUND', request.kind)
  }
  const blob = await peer.ask(hub.host, BLOB_PROTOCOL, { shape: blobRequest, value: blobGet(feedId) })
  assert.equal(replyOf(blobReply, blob.bytes).code, 'NOT_FOUND')
  await verifyUnharmed()
})

test('a reader cannot write: no message does, and unknown ones end the stream', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, reader, feedId, verifyUnharmed } = await openScene(network, stack)
  for (const protocol of [SYNC_PROTOCOL, BLOB_PROTOCOL]) {
    for (let kind = 6; kind < 24; kind += 1) {
      const message = Buffer.concat([Buffer.of(0xa2, 0, kind, 1, 0x58, 0x20), feedId])
      const answer = await reader.send(hub.host, protocol, [encodeFrame(message)])
      assert.equal(answer.broken?.code, 'PEER_UNREACHABLE', `${protocol} ${kind}`)
      assert.equal(answer.bytes.length, 0)
    }
  }
  await verifyUnharmed()
})

test('a file is given only under the feed and the row that name it', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, reader, hubFeed, feedId, mark, verifyUnharmed } = await openScene(network, stack)
  await publishVersion(hubFeed, 'right', 'v/2.0.0', Buffer.alloc(50_000, 9))
  const secret = await hub.createFeed('secret')
  await publishVersion(secret, 'hidden', 'v/1.0.0', Buffer.alloc(70_000, 3))
  const secretId = feedIdBytes(hub.ledger.registry.getLocal('secret').id)
  const secretDigest = sha256Digest(Buffer.alloc(70_000, 3))
  await mark()
  const refused = [
    blobGet(feedId, { unit: 'right', key: 'v/2.0.0' }),
    blobGet(feedId, { key: 'v/9.9.9' }),
    blobGet(feedId, { unit: 'nowhere' }),
    blobGet(feedId, { digest: secretDigest }),
    blobGet(feedId, { unit: 'hidden', digest: secretDigest }),
    blobGet(secretId, { unit: 'hidden', digest: secretDigest }),
    blobGet(feedId, { digest: `sha512:${'0'.repeat(128)}` }),
    blobGet(feedId, { digest: '../../etc/passwd' }),
    blobGet(feedId, { digest: '' }),
  ]
  const answers: Buffer[] = []
  for (const value of refused)
    answers.push((await reader.ask(hub.host, BLOB_PROTOCOL, { shape: blobRequest, value })).bytes)
  for (const [index, bytes] of answers.entries()) assert.ok(bytes.equals(answers[0]!), `request ${index}`)
  assert.equal(replyOf(blobReply, answers[0]!).code, 'NOT_FOUND')
  const beyond = await reader.ask(hub.host, BLOB_PROTOCOL, {
    shape: blobRequest,
    value: blobGet(feedId, { offset: CONTENT.length + 1 }),
  })
  assert.equal(replyOf(blobReply, beyond.bytes).code, 'RANGE')
  const given = await reader.ask(hub.host, BLOB_PROTOCOL, { shape: blobRequest, value: blobGet(feedId) })
  assert.ok(given.bytes.subarray(-CONTENT.length).equals(CONTENT))
  await verifyUnharmed()
})

test('requests for more of the trie than a leaf, or for places that are none, are refused', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, reader, hubFeed, feedId, mark, verifyUnharmed } = await openScene(network, stack)
  await hubFeed.change('many', () => ({
    put: Array.from({ length: 100 }, (_, index) => ({
      key: `v/${index}`,
      rowClass: 'immutable' as const,
      meta: Buffer.alloc(1),
      files: [],
    })),
  }))
  const { stateRoot } = hub.ledger.registry.getState(Buffer.from(feedId).toString('hex')).manifest!.value
  await mark()
  const whole = await reader.ask(hub.host, SYNC_PROTOCOL, {
    shape: syncRequest,
    value: { kind: 'rows', feedId, stateRoot, wants: [{ path: '', hints: Buffer.alloc(8) }] },
  })
  assert.equal(replyOf(syncReply, whole.bytes).code, 'BAD_INPUT')
  for (const path of ['zz', '0G', 'F', 'ü']) {
    const answer = await reader.ask(hub.host, SYNC_PROTOCOL, {
      shape: syncRequest,
      value: { kind: 'nodes', feedId, stateRoot, paths: [path], wide: 0 },
    })
    assert.equal(answer.broken?.code, 'PEER_UNREACHABLE', path)
    assert.equal(answer.bytes.length, 0)
  }
  const old = await reader.ask(hub.host, SYNC_PROTOCOL, {
    shape: syncRequest,
    value: { kind: 'nodes', feedId, stateRoot: sha256('another state'), paths: [''], wide: 0 },
  })
  assert.equal(replyOf(syncReply, old.bytes).code, 'CONFLICT')
  await verifyUnharmed()
})

test('a frame that announces more than the limit, is no message or is cut off ends the stream', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, verifyUnharmed } = await openScene(network, stack)
  const stranger = stack.use(new HostilePeer(network))
  const good = encodeCbor(syncRequest, syncRequests(UNKNOWN_FEED, UNKNOWN_FEED)[0]!)
  const bad: Record<string, Uint8Array[]> = {
    'four GiB announced': [Buffer.from('ffffffff', 'hex'), Buffer.alloc(64 * 1024)],
    'one byte over': [Buffer.from('00100001', 'hex'), Buffer.alloc(1024 * 1024 + 1)],
    'empty frame': [Buffer.alloc(4)],
    'half a length': [Buffer.from('0000', 'hex')],
    'half a frame': [encodeFrame(good).subarray(0, 40)],
    garbage: [encodeFrame(Buffer.alloc(1000, 0x5f))],
    'a million empty maps': [
      encodeFrame(Buffer.concat([Buffer.from('9a000fff00', 'hex'), Buffer.alloc(0xfff00, 0xa0)])),
    ],
    'nested too deep': [encodeFrame(Buffer.alloc(100_000, 0x81))],
    'not the shortest form': [encodeFrame(Buffer.concat([Buffer.from('b80600', 'hex'), good.subarray(2)]))],
  }
  for (const [what, pieces] of Object.entries(bad)) {
    for (const protocol of [SYNC_PROTOCOL, BLOB_PROTOCOL]) {
      const answer = await stranger.send(hub.host, protocol, pieces)
      assert.equal(answer.broken?.code, 'PEER_UNREACHABLE', `${what} on ${protocol}`)
      assert.equal(answer.bytes.length, 0, what)
    }
  }
  await verifyUnharmed()
})

test('an endless row of requests is answered one by one and stores nothing', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, verifyUnharmed } = await openScene(network, stack)
  const stranger = stack.use(new HostilePeer(network))
  const [request] = syncRequests(UNKNOWN_FEED, UNKNOWN_FEED)
  const frame = encodeFrame(encodeCbor(syncRequest, request!))
  const answer = await stranger.send(
    hub.host,
    SYNC_PROTOCOL,
    Array.from({ length: 2000 }, () => frame),
  )
  assert.equal(answer.broken, undefined)
  const frames = splitFrames(answer.bytes)
  assert.equal(frames.length, 2000)
  assert.equal(new Set(frames.map((one) => one.toString('hex'))).size, 1)
  await verifyUnharmed()
})

test('half a frame and then silence is ended by the time limit of the protocol', async () => {
  const timers = new ManualTimers()
  const network = createMemoryNetwork({ setTimer: timers.setTimer, now: timers.now })
  await using stack = new AsyncDisposableStack()
  const { hub, verifyUnharmed } = await openScene(network, stack)
  const stranger = stack.use(new HostilePeer(network))
  await stranger.connect(hub.host)
  const channel = await stranger.host.open(hub.peerId, SYNC_PROTOCOL, new AbortController().signal)
  await channel.send(Buffer.from('000000ff00', 'hex'))
  const broken = assert.rejects(async () => {
    for await (const _ of channel.receive()) assert.fail('nothing was to be answered')
  })
  timers.advance(7 * 3_600_000)
  await broken
  await verifyUnharmed()
})

test('of ten thousand streams only as many are served as one connection may have, and others are served beside', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, verifyUnharmed } = await openScene(network, stack)
  const stranger = stack.use(new HostilePeer(network))
  await stranger.connect(hub.host)
  const signal = new AbortController().signal
  const channels = []
  for (let index = 0; index < 10_000; index += 1)
    channels.push(await stranger.host.open(hub.peerId, SYNC_PROTOCOL, signal))
  const results = await Promise.allSettled(channels.map((channel) => channel.send(Buffer.of(0))))
  assert.equal(results.filter((result) => result.status === 'fulfilled').length, 16)
  await verifyUnharmed()
  for (const channel of channels) channel.abort(new Error('done'))
  const answer = await stranger.ask(hub.host, SYNC_PROTOCOL, {
    shape: syncRequest,
    value: syncRequests(UNKNOWN_FEED, UNKNOWN_FEED)[0]!,
  })
  assert.equal(replyOf(syncReply, answer.bytes).code, 'NOT_FOUND')
})
