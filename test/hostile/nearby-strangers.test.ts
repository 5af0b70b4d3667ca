/** Peers without a link that want in: with chains of grants that hold, and with others. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOB_PROTOCOL, blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  NEARBY_PROTOCOL,
  type NearbyReply,
  type NearbyRequest,
  nearbyReply,
  nearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import { SYNC_PROTOCOL, syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeCbor, encodeCbor, type Shape } from '../../src/catalog/cbor.ts'
import { type FeedId, feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { type Grant, MAX_GRANT_MS, signGrant, VERBS } from '../../src/catalog/grant.ts'
import { publicKeyFromPeerId } from '../../src/catalog/peer-id.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { LinkAsker } from '../../src/replication/link-asker.ts'
import { Presence } from '../../src/replication/presence.ts'
import { BERLIN, CONTENT, type NearNodes, openSite, SLOW_PORTS } from '../nearby/near-nodes.ts'
import { type Answer, HostilePeer, splitFrames } from '../support/hostile-peer.ts'
import { type MeshNode, type MeshNodeOptions } from '../support/mesh-node.ts'

const HOUR = 3_600_000
const DIGEST = sha256Digest(CONTENT)
const never = new AbortController().signal

function frame<T>(shape: Shape<T>, value: T): Uint8Array {
  return encodeFrame(encodeCbor(shape, value))
}

function repliesOf({ bytes }: Answer): NearbyReply[] {
  return splitFrames(bytes).map((one) => decodeCbor(nearbyReply, one, 'reply'))
}

/** A peer that says hello as one of Berlin, and then what it likes. */
class Stranger {
  readonly peer: HostilePeer
  readonly #to: MeshNode

  constructor(nodes: NearNodes, to: MeshNode, stack: AsyncDisposableStack) {
    this.peer = stack.use(new HostilePeer(nodes.network))
    this.#to = to
  }

  async greet(site = 'berlin'): Promise<void> {
    const { identity, host } = this.peer
    const { now, randomBytes } = this.#to.parts
    const presence = new Presence(now, { buildTimeMs: 0, elapsedMs: now, isLinked: () => false })
    const software = 'stranger'
    const hello = { software, instance: identity.publicKey.subarray(0, 16), site, region: '', now, randomBytes }
    await this.peer.connect(this.#to.host)
    await new LinkAsker({ host, hello, presence, publicKey: identity.publicKey }).greet(this.#to.peerId, never)
  }

  async ask(...requests: readonly NearbyRequest[]): Promise<NearbyReply[]> {
    const frames = requests.map((request) => frame(nearbyRequest, request))
    return repliesOf(await this.peer.send(this.#to.host, NEARBY_PROTOCOL, frames))
  }

  show(feedId: FeedId, chain: readonly Uint8Array[]): Promise<NearbyReply[]> {
    return this.ask({ kind: 'show', feedId: feedIdBytes(feedId), chain })
  }

  async fetch(feedId: FeedId): Promise<string> {
    const asked = { feedId: feedIdBytes(feedId), unit: 'left', key: 'v/1.0.0', digest: DIGEST, offset: 0, length: null }
    const value = { kind: 'get', ...asked } as const
    const { bytes } = await this.peer.ask(this.#to.host, BLOB_PROTOCOL, { shape: blobRequest, value })
    const size = bytes.readUInt32BE(0)
    const reply = decodeCbor(blobReply, bytes.subarray(4, 4 + size), 'reply')
    return reply.kind === 'error' ? reply.code : bytes.subarray(4 + size).toString()
  }
}

async function openStranger(stack: AsyncDisposableStack, options: MeshNodeOptions = {}) {
  const { nodes, spoke, feedId } = await openSite(stack, {}, options)
  const stranger = new Stranger(nodes, spoke.node, stack)
  await stranger.greet()
  const owner = nodes.hub.parts.signer
  const subject = stranger.peer.identity.publicKey
  const notBefore = nodes.clock.now - 1000
  const good: Grant = {
    feedId: feedIdBytes(feedId),
    subject,
    verbs: VERBS.read,
    notBefore,
    expiresAt: notBefore + MAX_GRANT_MS,
    id: Buffer.alloc(16, 1),
  }
  return { nodes, spoke, feedId, stranger, owner, good }
}

test('a chain that holds opens the blobs of its feed, and nothing else', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack)
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND')
  assert.deepEqual(
    (await stranger.show(feedId, [signGrant(good, owner).bytes])).map(({ kind }) => kind),
    ['shown'],
  )
  assert.equal(await stranger.fetch(feedId), 'one')
  assert.ok(spoke.node.parts.policy.isProven(stranger.peer.identity.peerId))
  const head = {
    kind: 'head',
    feedId: feedIdBytes(feedId),
    charterVersion: 0,
    epoch: 0,
    seq: 0,
    refresh: 0,
    charter: null,
    manifest: null,
    logSize: null,
  } as const
  const synced = await stranger.peer.ask(spoke.node.host, SYNC_PROTOCOL, { shape: syncRequest, value: head })
  const [reply] = splitFrames(synced.bytes).map((one) => decodeCbor(syncReply, one, 'reply'))
  assert.equal(reply?.kind === 'error' && reply.code, 'NOT_FOUND')
  const introduce = { ...BERLIN, addresses: [], serve: 'site', availability: 'full' } as const
  const [refused] = await stranger.ask({ kind: 'introduce', feedId: feedIdBytes(feedId), ...introduce })
  assert.equal(refused?.kind === 'error' && refused.code, 'NOT_FOUND')
  assert.throws(() => spoke.node.parts.policy.issueGrant(stranger.peer.identity.peerId, feedId))
  assert.equal(nodes.hub.parts.policy.isProven(stranger.peer.identity.peerId), false)
})

test('chains that do not hold, and feeds that are not here, get one and the same answer', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack)
  const thief = createSeedSigner(Buffer.alloc(32, 7))
  const now = nodes.clock.now
  const other = generateIdentity().publicKey
  const spokesOwn = spoke.node.book.links.all().find(({ grant }) => grant.length > 0)!.grant
  const sign = (change: Partial<Grant>, by = owner) => signGrant({ ...good, ...change }, by).bytes
  const forged = Uint8Array.from(sign({}))
  forged[forged.length - 1]! ^= 1
  const chains: Record<string, readonly Uint8Array[]> = {
    'of nobody': [],
    'of another peer, replayed': spokesOwn,
    'of another peer': [sign({ subject: other })],
    'expired while the owner speaks': [sign({ notBefore: now - 25 * HOUR, expiresAt: now - HOUR })],
    'not valid yet': [sign({ notBefore: now + HOUR, expiresAt: now + 2 * HOUR })],
    'longer than a day': [sign({ expiresAt: good.expiresAt + 1 })],
    'of another feed': [sign({ feedId: Buffer.alloc(32, 1) })],
    'without the right to read': [sign({ verbs: VERBS.offer })],
    'signed by a stranger': [sign({}, thief)],
    'handed on without the right to': [sign({ subject: thief.publicKey }), sign({}, thief)],
    forged: [forged],
    'of bytes': [Buffer.from('a0', 'hex')],
    'of no bytes': [new Uint8Array(0)],
  }
  const [unknown] = await stranger.show('ab'.repeat(32), [sign({ feedId: Buffer.alloc(32, 0xab) })])
  assert.equal(unknown?.kind === 'error' && unknown.code, 'NOT_FOUND')
  for (const [what, chain] of Object.entries(chains)) {
    assert.deepEqual(await stranger.show(feedId, chain), [unknown], what)
    assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', what)
  }
  for (const id of [feedId, 'ab'.repeat(32)])
    assert.deepEqual(await stranger.ask({ kind: 'follow', feedId: feedIdBytes(id) }), [unknown])
})

test('a chain of nine links, and frames that are no messages, reset the stream', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack)
  const grant = signGrant(good, owner).bytes
  const chain = Array.from({ length: 9 }, () => grant)
  const nine = frame(nearbyRequest, { kind: 'show', feedId: feedIdBytes(feedId), chain })
  const huge = Buffer.alloc(4)
  huge.writeUInt32BE(300_000)
  for (const bytes of [nine, encodeFrame(Buffer.from('ff', 'hex')), encodeFrame(new Uint8Array(0)), huge]) {
    const answer = await stranger.peer.send(spoke.node.host, NEARBY_PROTOCOL, [bytes])
    assert.equal(answer.broken?.code, 'PEER_UNREACHABLE')
    assert.equal(answer.bytes.length, 0)
  }
  assert.ok(nodes.hub.ledger.registry.states.has(feedId))
})

test('a right that was shown ends with a revocation, with another owner, with time, and with the setting', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack)
  await stranger.show(feedId, [signGrant(good, owner).bytes])
  assert.equal(await stranger.fetch(feedId), 'one')
  const { states } = spoke.node.ledger.registry
  const state = states.get(feedId)!
  const replaced = { ...state.charter, value: { ...state.charter.value, owner: generateIdentity().publicKey } }
  states.set(feedId, { ...state, charter: replaced })
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', 'the issuer owns the feed no more')
  states.set(feedId, state)
  assert.equal(await stranger.fetch(feedId), 'one')
  const edit = (serve: 'none' | 'site') =>
    spoke.node.replication.operations.edit(spoke.replication, { serve }, { name: 'test', from: 'test' })
  await edit('none')
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', 'nobody is served')
  await edit('site')
  nodes.clock.now += 25 * HOUR
  assert.equal(await stranger.fetch(feedId), 'one', 'the owner is silent: the grace counts')
  nodes.clock.now += 31 * 24 * HOUR
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', 'the grace is over')
  nodes.clock.now -= 31 * 24 * HOUR
  // The hub hears that the clock of the spoke is as late.
  await spoke.node.pull(spoke.replication)
  await nodes.hub.ledger.refresh(feedId)
  assert.equal((await spoke.node.pull(spoke.replication)).state, 'succeeded')
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', 'the owner is back')
  const renewed = { ...good, notBefore: nodes.clock.now - 1000, expiresAt: nodes.clock.now + HOUR }
  await stranger.show(feedId, [signGrant(renewed, owner).bytes])
  assert.equal(await stranger.fetch(feedId), 'one')
  await nodes.hub.ledger.revoke(feedId, [{ subject: good.subject, notIssuedBefore: nodes.clock.now + 1 }])
  assert.equal((await spoke.node.pull(spoke.replication)).state, 'succeeded')
  assert.equal(await stranger.fetch(feedId), 'NOT_FOUND', 'it was revoked')
})

test('who follows is told when the right has ended', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack)
  const channel = await stranger.peer.host.open(spoke.node.peerId, NEARBY_PROTOCOL, never)
  const id = feedIdBytes(feedId)
  await channel.send(frame(nearbyRequest, { kind: 'show', feedId: id, chain: [signGrant(good, owner).bytes] }))
  await channel.send(frame(nearbyRequest, { kind: 'follow', feedId: id }))
  const frames = new FrameReader(channel.receive())
  const next = async () => decodeCbor(nearbyReply, (await frames.read(1 << 20))!, 'reply')
  assert.equal((await next()).kind, 'shown')
  assert.equal((await next()).kind, 'followed')
  const news = await next()
  assert.ok(news.kind === 'news' && news.at !== null)
  await nodes.hub.ledger.revoke(feedId, [{ subject: good.subject, notIssuedBefore: nodes.clock.now + 1 }])
  await spoke.node.pull(spoke.replication)
  assert.equal((await next()).kind, 'gone')
  channel.abort(new Error('done'))
})

test('one of another site, or of none, shows a chain in vain', async () => {
  await using stack = new AsyncDisposableStack()
  const { feedId, stranger, owner, good } = await openStranger(stack)
  for (const site of ['paris', '']) {
    await stranger.greet(site)
    const [reply] = await stranger.show(feedId, [signGrant(good, owner).bytes])
    assert.equal(reply?.kind === 'error' && reply.code, 'NOT_FOUND')
    assert.equal(await stranger.fetch(feedId), 'NOT_FOUND')
  }
})

test('a stream with too many requests, or too many refused ones, is reset', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, spoke, feedId, stranger, owner, good } = await openStranger(stack, { ports: SLOW_PORTS })
  const id = feedIdBytes(feedId)
  const refused = frame(nearbyRequest, { kind: 'follow', feedId: id })
  const first = await stranger.peer.send(
    spoke.node.host,
    NEARBY_PROTOCOL,
    Array.from({ length: 70 }, () => refused),
  )
  assert.equal(first.broken?.code, 'PEER_UNREACHABLE')
  assert.equal(repliesOf(first).length, 64)
  await stranger.show(feedId, [signGrant(good, owner).bytes])
  const many = await stranger.peer.send(
    spoke.node.host,
    NEARBY_PROTOCOL,
    Array.from({ length: 300 }, () => refused),
  )
  assert.equal(many.broken?.code, 'PEER_UNREACHABLE')
  assert.ok(nodes.hub.ledger.registry.states.has(feedId))
})

test('what a follower does not read is not kept for it', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, feedId, stranger, owner, good } = await openStranger(stack)
  const id = feedIdBytes(feedId)
  const channel = await stranger.peer.host.open(spoke.node.peerId, NEARBY_PROTOCOL, never)
  await channel.send(frame(nearbyRequest, { kind: 'show', feedId: id, chain: [signGrant(good, owner).bytes] }))
  await channel.send(frame(nearbyRequest, { kind: 'follow', feedId: id }))
  const digests = Array.from({ length: 20_000 }, (_, index) => sha256Digest(Buffer.from(String(index))))
  for (const digest of digests) spoke.near.tell(feedId, digest, [1])
  const heard = new Set<string>()
  const frames = new FrameReader(channel.receive())
  while (!heard.has(digests.at(-1)!)) {
    const reply = decodeCbor(nearbyReply, (await frames.read(1 << 20))!, 'reply')
    if (reply.kind === 'news') for (const { digest } of reply.blobs) heard.add(digest)
  }
  assert.ok(heard.size <= 1024 + 128, `${heard.size} blobs`)
  channel.abort(new Error('done'))
})

test('a peer that is no neighbour gets no bulk lane, one that proved its right does', async () => {
  await using stack = new AsyncDisposableStack()
  const { spoke, feedId, stranger, owner, good } = await openStranger(stack)
  const { policy, book } = spoke.node.parts
  const { peerId } = stranger.peer.identity
  assert.equal(book.linksWith(peerId).length, 0)
  assert.equal(policy.isProven(peerId), false)
  await stranger.show(feedId, [signGrant(good, owner).bytes])
  assert.equal(policy.isProven(peerId), true)
  assert.deepEqual(Buffer.from(publicKeyFromPeerId(peerId)), Buffer.from(good.subject))
})
