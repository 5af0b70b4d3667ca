/** Harm that reaches a node through somebody it did link with, or from somebody it did not. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { LINK_PROTOCOL, linkReply, linkRequest } from '../../protocols/mesh/link/messages.ts'
import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { feedIdText } from '../../src/catalog/charter.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { createHello } from '../../src/replication/hello.ts'
import { HostilePeer, splitFrames } from '../support/hostile-peer.ts'
import { type MeshNode, openHubAndSpoke, openMeshNode, publishVersion } from '../support/mesh-node.ts'

/** A hub that itself includes the feed of a third node, and a spoke of the hub. */
async function openThree(stack: AsyncDisposableStack) {
  const network = createMemoryNetwork()
  const scene = await openHubAndSpoke(network, stack)
  const third = stack.use(await openMeshNode(network, { clock: scene.clock }))
  const thirdFeed = await third.createFeed('packages')
  await publishVersion(thirdFeed, 'third', 'v/1.0.0', Buffer.from('three'))
  await publishVersion(scene.hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const { token } = await third.accept({ feed: 'packages', mode: 'push' })
  const upstream = await scene.hub.link(third, token, { feed: 'packages', mode: 'pull' })
  assert.equal((await scene.hub.pull(upstream)).state, 'succeeded')
  return { ...scene, third, thirdFeed, upstream, thirdId: third.ledger.registry.getLocal('packages').id }
}

test('a spoke sees through its hub what a third node has published', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, spokeFeed, replication } = await openThree(stack)
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  for (const unit of ['left', 'third']) assert.equal((await spokeFeed.findUnit(unit))?.rows.length, 1, unit)
})

test('a third feed that does not verify does not keep the hub’s own content away', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, spokeFeed, replication, thirdId } = await openThree(stack)
  hub.answerSync = async function* lie(source, request) {
    for await (const reply of answerSync(source, request)) {
      const isThird = reply.kind === 'head' && feedIdText(request.feedId) === thirdId
      yield isThird ? { ...reply, charters: [Buffer.from('a0', 'hex')] } : reply
    }
  }
  await spoke.pull(replication)
  assert.equal((await spokeFeed.findUnit('left'))?.rows.length, 1)
})

function helloFrame(to: MeshNode, clock?: number): Uint8Array {
  const hello = createHello({ ...to.replication.hello, instance: Buffer.alloc(16, 9) })
  return encodeFrame(encodeCbor(linkRequest, { kind: 'hello', ...hello, clock: clock ?? hello.clock }))
}

test('a stranger’s clock does not keep a node from signing', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const hub = stack.use(await openMeshNode(network))
  const feed = await hub.createFeed('packages')
  const stranger = stack.use(new HostilePeer(network))
  await stranger.send(hub.host, LINK_PROTOCOL, [helloFrame(hub, 1)])
  await publishVersion(feed, 'left', 'v/1.0.0', Buffer.from('one'))
  assert.equal((await feed.findUnit('left'))?.rows.length, 1)
})

test('a peer that only offers content is not told the digest of the hub’s view', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const hub = stack.use(await openMeshNode(network))
  const hubFeed = await hub.createFeed('packages')
  await publishVersion(hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const offerer = await openMeshNode(network)
  await offerer.createFeed('offered')
  const { token } = await hub.accept({ feed: 'packages', mode: 'pull', scope: ['offered-*'] })
  await offerer.link(hub, token, { feed: 'offered', mode: 'push' })
  await offerer[Symbol.asyncDispose]()
  const peer = stack.use(new HostilePeer(network, offerer.parts.identity))
  const { feedId } = hub.ledger.registry.getLocal('packages')
  const confirm = encodeFrame(
    encodeCbor(linkRequest, { kind: 'confirm', feedId, digest: Buffer.alloc(32), entries: 0, problem: null }),
  )
  const answer = await peer.send(hub.host, LINK_PROTOCOL, [helloFrame(hub), confirm])
  const [, reply] = splitFrames(answer.bytes)
  assert.ok(reply)
  assert.notEqual(decodeCbor(linkReply, reply, 'reply').kind, 'confirmed')
})
