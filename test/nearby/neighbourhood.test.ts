/** Spokes of one site find each other through their hub, and go on without it. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOB_PROTOCOL, blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { PartNews } from '../../src/replication/nearby.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import { HostilePeer, splitFrames } from '../support/hostile-peer.ts'
import { type MeshNode, type MeshNodeOptions, publishVersion } from '../support/mesh-node.ts'
import { FEED, knows, NearNodes, nearOf, type Spoke, until, untilAcquainted } from './near-nodes.ts'

const CONTENT = Buffer.from('one')
const DIGEST = sha256Digest(CONTENT)
/** Of a blob that nobody has published. */
const OTHER = sha256Digest(Buffer.from('other'))

async function openSite(stack: AsyncDisposableStack, count: number, options: MeshNodeOptions = {}) {
  const nodes = await NearNodes.open(stack)
  await publishVersion(nodes.hubFeed, 'left', 'v/1.0.0', CONTENT)
  const spokes: Spoke[] = []
  for (let index = 0; index < count; index += 1) spokes.push(await nodes.addSpoke({}, index === 0 ? options : {}))
  return { nodes, spokes, feedId: nodes.feedId }
}

test('spokes of a site are introduced to each other, prove their right, and hear what the others have', async () => {
  await using stack = new AsyncDisposableStack()
  const { spokes, feedId } = await openSite(stack, 3)
  await untilAcquainted(spokes, feedId)
  const [first, second, third] = spokes as [Spoke, Spoke, Spoke]
  const { epoch, seq } = first.node.ledger.registry.getState(feedId).manifest!.value
  await until(
    () => first.near.peersFor(feedId, { epoch, seq }).every(({ holds }) => holds === 'all'),
    'the first hearing that the others have everything',
  )
  for (const peer of first.near.peersFor(feedId, { epoch, seq: seq + 1 })) {
    assert.deepEqual({ ...peer, id: '' }, { id: '', site: 'berlin', region: 'eu', holds: 'told', isFetching: true })
  }
  const heard: PartNews[] = []
  using _listening = first.near.listen(feedId, (news) => news.digest === OTHER && heard.push(news))
  second.near.tell(feedId, OTHER, [0, 1, 5])
  third.near.tell(feedId, OTHER, 'all')
  await until(() => heard.length === 2, 'news of both')
  assert.deepEqual(
    new Map(heard.map(({ peer, parts }) => [peer, parts])),
    new Map<string, PartNews['parts']>([
      [second.node.peerId, [0, 1, 5]],
      [third.node.peerId, 'all'],
    ]),
  )
  second.near.tell(feedId, OTHER, [1, 2])
  await until(() => heard.length === 3, 'what is new')
  assert.deepEqual(heard[2], { peer: second.node.peerId, digest: OTHER, parts: [2] })
  const again: PartNews[] = []
  using _late = first.near.listen(feedId, (news) => news.digest === OTHER && again.push(news))
  assert.deepEqual(
    new Map(again.map(({ peer, parts }) => [peer, parts])),
    new Map<string, PartNews['parts']>([
      [second.node.peerId, [0, 1, 2, 5]],
      [third.node.peerId, 'all'],
    ]),
  )
})

test('who is at work says so again and again, as long as it is', async () => {
  await using stack = new AsyncDisposableStack()
  const { spokes, feedId } = await openSite(stack, 2)
  await untilAcquainted(spokes, feedId)
  const [first, second] = spokes as [Spoke, Spoke]
  const heard: PartNews[] = []
  using _listening = first.near.listen(feedId, (news) => heard.push(news))
  const work = second.near.work(feedId)
  await until(() => heard.filter(({ parts }) => parts.length === 0).length >= 3, 'signs of life')
  assert.ok(heard.every(({ peer }) => peer === second.node.peerId))
  work[Symbol.dispose]()
})

test('a spoke that comes later is of use to the others at once, and they to it', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spokes, feedId } = await openSite(stack, 2)
  await untilAcquainted(spokes, feedId)
  spokes[0]!.near.tell(feedId, OTHER, [2])
  const newcomer = await nodes.addSpoke()
  const heard: PartNews[] = []
  using _listening = newcomer.near.listen(feedId, (news) => news.digest === OTHER && heard.push(news))
  await untilAcquainted([...spokes, newcomer], feedId)
  await until(() => heard.length > 0, 'what was told before it came')
  assert.deepEqual(heard, [{ peer: spokes[0]!.node.peerId, digest: OTHER, parts: [2] }])
})

/** Asks as the node would, on a stream of its own. */
async function askForBlob(asker: MeshNode, to: MeshNode, feedId: string): Promise<string> {
  const channel = await asker.host.open(to.peerId, BLOB_PROTOCOL, new AbortController().signal)
  const value = {
    kind: 'get',
    feedId: feedIdBytes(feedId),
    unit: 'left',
    key: 'v/1.0.0',
    digest: DIGEST,
    offset: 0,
    length: null,
  } as const
  await channel.send(encodeFrame(encodeCbor(blobRequest, value)))
  await channel.end()
  const pieces: Uint8Array[] = []
  for await (const piece of channel.receive()) pieces.push(Uint8Array.from(piece))
  const bytes = Buffer.concat(pieces)
  const reply = decodeCbor(blobReply, bytes.subarray(4, 4 + bytes.readUInt32BE(0)), 'reply')
  return reply.kind === 'error' ? reply.code : bytes.subarray(4 + bytes.readUInt32BE(0)).toString()
}

test('neighbours give each other blobs, with the hub and without it, and after a restart without it', async () => {
  await using stack = new AsyncDisposableStack()
  const records = stack.use(createMemoryRecords())
  const { nodes, spokes, feedId } = await openSite(stack, 3, { records })
  await untilAcquainted(spokes, feedId)
  const [first, second, third] = spokes as [Spoke, Spoke, Spoke]
  assert.equal(await askForBlob(first.node, second.node, feedId), 'one')
  nodes.stopHub()
  await until(() => !first.node.host.peers().some((one) => one.peerId === nodes.hub.peerId && one.connected), 'no hub')
  assert.ok(knows(first, feedId, second.node) && knows(first, feedId, third.node))
  assert.equal(await askForBlob(first.node, third.node, feedId), 'one')
  const { identity, blobs, floor } = first.node.parts
  await first.node[Symbol.asyncDispose]()
  await until(() => !knows(second, feedId, first.node), 'the first gone')
  const restarted = await nodes.openNode({ identity, records, blobs, floor })
  const near = { node: restarted, feed: first.feed, near: nearOf(restarted), replication: first.replication }
  await untilAcquainted([near, second, third], feedId)
  assert.equal(await askForBlob(restarted, second.node, feedId), 'one')
  assert.equal(await askForBlob(second.node, restarted, feedId), 'one')
})

test('a stranger gets the same answer for a feed that is here and one that is not', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spokes, feedId } = await openSite(stack, 1)
  const stranger = stack.use(new HostilePeer(nodes.network))
  const ask = async (id: string) => {
    const value = {
      kind: 'get',
      feedId: feedIdBytes(id),
      unit: 'left',
      key: 'v/1.0.0',
      digest: DIGEST,
      offset: 0,
      length: null,
    } as const
    const { bytes } = await stranger.ask(spokes[0]!.node.host, BLOB_PROTOCOL, { shape: blobRequest, value })
    return splitFrames(bytes).map((frame) => decodeCbor(blobReply, frame, 'reply'))
  }
  const [here] = await ask(feedId)
  assert.equal(here?.kind === 'error' && here.code, 'NOT_FOUND')
  assert.deepEqual(await ask('ab'.repeat(32)), [here])
})

test('spokes of other sites are neighbours only where the serve settings say so', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spokes, feedId } = await openSite(stack, 1)
  const berlin = spokes[0]!
  const far = await nodes.addSpoke({ serve: 'region' }, { place: { site: 'paris', region: 'eu' } })
  await until(() => knows(berlin, feedId, far.node), 'the far one, which serves its region')
  assert.equal(await askForBlob(berlin.node, far.node, feedId), 'one')
  assert.equal(knows(far, feedId, berlin.node), false)
  assert.equal(await askForBlob(far.node, berlin.node, feedId), 'NOT_FOUND')
  await berlin.node.replication.operations.edit(berlin.replication, { serve: 'any' }, { name: 'test', from: 'test' })
  await until(() => knows(far, feedId, berlin.node), 'the one that serves all now')
})

test('who serves nobody gives nothing, and still gets from the others', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spokes, feedId } = await openSite(stack, 1)
  const giver = spokes[0]!
  const taker = await nodes.addSpoke({ serve: 'none' })
  await until(() => knows(taker, feedId, giver.node), 'the one that serves its site')
  assert.equal(await askForBlob(taker.node, giver.node, feedId), 'one')
  assert.equal(await askForBlob(giver.node, taker.node, feedId), 'NOT_FOUND')
  assert.equal(knows(giver, feedId, taker.node), false)
})

test('a spoke that leaves the feed is no neighbour any more, and remembers none', async () => {
  await using stack = new AsyncDisposableStack()
  const { spokes, feedId } = await openSite(stack, 2)
  await untilAcquainted(spokes, feedId)
  const [stays, leaves] = spokes as [Spoke, Spoke]
  await leaves.node.replication.operations.remove(leaves.replication, { name: 'test', from: 'test' })
  await until(() => !knows(leaves, feedId, stays.node), 'nobody known')
  assert.equal(await askForBlob(stays.node, leaves.node, feedId), 'NOT_FOUND')
  assert.ok(stays.node.ledger.registry.locals.has(FEED))
})

test('what the hub itself gets from elsewhere comes from neighbours, too, as far as its owner lets the hub pass it on', async () => {
  await using stack = new AsyncDisposableStack()
  const nodes = await NearNodes.open(stack)
  const source = await nodes.openNode({ hasNeighbours: false })
  const sourceFeed = await source.createFeed(FEED)
  await publishVersion(sourceFeed, 'left', 'v/1.0.0', CONTENT)
  const accepted = await source.accept({ feed: FEED, mode: 'push' })
  const up = await nodes.hub.link(source, accepted.token, { feed: FEED, mode: 'pull' })
  assert.equal((await nodes.hub.pull(up)).state, 'succeeded')
  const spokes = [await nodes.addSpoke(), await nodes.addSpoke()]
  const feedId = source.ledger.registry.getLocal(FEED).id
  assert.notEqual(feedId, nodes.feedId)
  await untilAcquainted(spokes, feedId)
  const [first, second] = spokes as [Spoke, Spoke]
  assert.equal(await askForBlob(first.node, second.node, feedId), 'one')
  const chain = nodes.hub.parts.policy.issueGrant(first.node.peerId, feedId)
  const mayStill = () => nodes.hub.parts.policy.acceptChain(first.node.peerId, feedId, chain)
  mayStill()
  await nodes.hub.replication.operations.revokePeer(first.node.peerId, { name: 'test', from: 'test' })
  assert.throws(mayStill, (error) => isFeedmeshError(error, 'NOT_FOUND'), 'its links with the hub were ended')
})

test('spokes get what one of them has made from its maker', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spokes } = await openSite(stack, 1)
  const maker = await nodes.openNode()
  const made = await maker.createFeed(FEED)
  const { token } = await nodes.hub.accept({ feed: FEED, mode: 'mirror' })
  const mirror = await maker.link(nodes.hub, token, { feed: FEED, mode: 'mirror' })
  await publishVersion(made, 'left', 'v/1.0.0', CONTENT)
  const outcomes = await maker.replication.replicator.runNow(maker.book.getReplication(mirror), {})
  assert.equal(outcomes[0]?.sent?.state, 'succeeded')
  const reader = spokes[0]!
  assert.equal((await reader.node.pull(reader.replication)).state, 'succeeded')
  const feedId = maker.ledger.registry.getLocal(FEED).id
  await until(() => knows(reader, feedId, maker), 'the maker')
  assert.equal(await askForBlob(reader.node, maker, feedId), 'one')
})
