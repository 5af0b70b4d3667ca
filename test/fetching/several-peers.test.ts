/** A spoke that is linked to a hub and to a mirror of it, and the first of the two that it asks does not do as it should. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import { Exchange } from '../../protocols/mesh/exchange.ts'
import { createMemoryNetwork, type SentBytes } from '../../src/network/memory-network.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { type MeshNode, type MeshNodeOptions, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { createRandom } from '../support/random.ts'

const SIZE = 3_000_000
const CONTENT = createRandom(1).bytes(SIZE)

type Answer = (exchange: Exchange<BlobReply, BlobRequest>, offset: number) => Promise<void>

function answerBlobs(answer: Answer): NonNullable<MeshNode['answerBlobs']> {
  return async (channel) => {
    const shapes = { out: blobReply, in: blobRequest, what: BLOB_PROTOCOL }
    const exchange = new Exchange<BlobReply, BlobRequest>(channel, shapes)
    for (let request = await exchange.find(); request !== undefined; request = await exchange.find())
      await answer(exchange, request.offset)
  }
}

/** The spoke knows of the hub's feed from both, and has nothing of the version yet. */
async function openWorld(stack: AsyncDisposableStack, options: MeshNodeOptions = {}) {
  const sent: SentBytes[] = []
  const network = createMemoryNetwork({ onBytes: (one) => sent.push(one) })
  const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  const hub = stack.use(await openMeshNode(network, { clock }))
  const mirror = stack.use(await openMeshNode(network, { clock }))
  const spoke = stack.use(await openMeshNode(network, { ...options, clock }))
  const feed = await hub.createFeed('packages')
  await mirror.createFeed('packages')
  const spokeFeed = await spoke.createFeed('packages')
  const link = async (from: MeshNode, to: MeshNode) => {
    const { token } = await to.accept({ feed: 'packages', mode: 'push' })
    return await from.link(to, token, { feed: 'packages', mode: 'pull' })
  }
  const toMirror = await link(mirror, hub)
  await publishVersion(feed, 'first', 'v/1.0.0', Buffer.from('small'))
  assert.equal((await mirror.pull(toMirror)).state, 'succeeded')
  const [fromHub, fromMirror] = [await link(spoke, hub), await link(spoke, mirror)]
  for (const replication of [fromHub, fromMirror]) assert.equal((await spoke.pull(replication)).state, 'succeeded')
  await publishVersion(feed, 'large', 'v/1.0.0', CONTENT)
  assert.equal((await mirror.pull(toMirror)).state, 'succeeded')
  sent.length = 0
  /** What a peer sent the spoke of blobs. */
  const blobBytes = (peer: MeshNode) =>
    sent
      .filter(({ from, to, protocol }) => from === peer.peerId && to === spoke.peerId && protocol === BLOB_PROTOCOL)
      .reduce((sum, { bytes }) => sum + bytes, 0)
  const verifyHere = async () => {
    const digest = (await spokeFeed.findUnit('large'))?.rows[0]?.files[0]?.digest
    assert.ok(digest)
    assert.ok(CONTENT.equals(Buffer.from(await spoke.parts.blobs.read(digest, SIZE))))
  }
  return { network, hub, mirror, spoke, fromHub, blobBytes, verifyHere }
}

/** Whatever can happen now has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate)
}

/** Frames of the replies. */
const OVERHEAD = 1000

test('a blob that breaks when a peer is killed goes on at the next one from where it was, and no byte comes twice', async () => {
  await using stack = new AsyncDisposableStack()
  const { network, hub, mirror, spoke, fromHub, blobBytes, verifyHere } = await openWorld(stack)
  const half = SIZE / 2
  hub.answerBlobs = answerBlobs(async (exchange, offset) => {
    assert.equal(offset, 0)
    await exchange.send({ kind: 'bytes', length: SIZE })
    await exchange.sendBytes(CONTENT.subarray(0, half))
    // What the spoke has not taken when the peer dies is lost.
    await settle()
    network.stop(hub.peerId)
  })
  const run = await spoke.pull(fromHub)
  assert.equal(run.state, 'succeeded', run.message)
  await verifyHere()
  assert.ok(blobBytes(hub) <= half + OVERHEAD, `${blobBytes(hub)}`)
  assert.ok(blobBytes(mirror) <= SIZE - half + OVERHEAD, `${blobBytes(mirror)}`)
  assert.ok(blobBytes(mirror) >= SIZE - half, `${blobBytes(mirror)}`)
})

test('a peer that sends wrong bytes is dropped, the next one gives the blob, and the run names the liar', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, mirror, spoke, fromHub, blobBytes, verifyHere } = await openWorld(stack)
  let asked = 0
  hub.answerBlobs = answerBlobs(async (exchange, offset) => {
    asked += 1
    await exchange.send({ kind: 'bytes', length: SIZE - offset })
    await exchange.sendBytes(Buffer.alloc(SIZE - offset, 0xee))
  })
  const run = await spoke.pull(fromHub)
  assert.equal(run.state, 'succeeded', run.message)
  await verifyHere()
  assert.equal(asked, 1)
  assert.ok(blobBytes(mirror) <= SIZE + OVERHEAD)
  const blamed = (await spoke.parts.runs.items(run.id)).filter(({ action }) => action === 'failed')
  assert.deepEqual(
    blamed.map(({ item, code }) => [item, code]),
    [['large v/1.0.0', 'PEER_INVALID']],
  )
  assert.match(blamed[0]?.message ?? '', new RegExp(hub.peerId))
})

test('where the bytes of two are wrong together neither is blamed for it, and one of them gives all of it anew', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, mirror, spoke, fromHub, verifyHere } = await openWorld(stack)
  const third = SIZE / 3
  // Whenever it is asked it gives a third, which is wrong, and breaks off.
  hub.answerBlobs = answerBlobs(async (exchange) => {
    await exchange.send({ kind: 'bytes', length: SIZE })
    await exchange.sendBytes(Buffer.alloc(third, 0xee))
    await settle()
    await exchange[Symbol.asyncDispose]()
  })
  const run = await spoke.pull(fromHub)
  assert.equal(run.state, 'succeeded', run.message)
  await verifyHere()
  const blamed = (await spoke.parts.runs.items(run.id)).filter(({ action }) => action === 'failed')
  assert.ok(blamed.every(({ message }) => !message.includes(mirror.peerId)))
})

test('a peer that drips is overtaken by another one within seconds', async () => {
  await using stack = new AsyncDisposableStack()
  const timers = new ManualTimers()
  const ports = { setTimer: timers.setTimer, progress: { now: timers.now, setTimer: timers.setTimer } }
  const { hub, mirror, spoke, fromHub, blobBytes, verifyHere } = await openWorld(stack, { ports })
  const ends = new Set<string>()
  hub.answerBlobs = answerBlobs(async (exchange, offset) => {
    await exchange.send({ kind: 'bytes', length: SIZE - offset })
    try {
      for (let at = offset; ; at += 100) {
        await exchange.sendBytes(CONTENT.subarray(at, at + 100))
        await new Promise<void>((resolve) => timers.setTimer(resolve, 1000))
      }
    } finally {
      ends.add('dripping')
    }
  })
  const pull = spoke.pull(fromHub)
  void pull.finally(() => ends.add('pull'))
  for (let half = 0; half < 240 && ends.size < 2; half += 1) {
    await settle()
    timers.advance(500)
  }
  const run = await pull
  assert.equal(run.state, 'succeeded', run.message)
  assert.ok(timers.now() <= 8000, `${timers.now()}`)
  assert.deepEqual([...ends].sort(), ['dripping', 'pull'])
  await verifyHere()
  assert.ok(blobBytes(mirror) >= SIZE - 1000)
  assert.ok(blobBytes(mirror) <= SIZE + OVERHEAD)
})
