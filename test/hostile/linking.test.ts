/** Peers that try to link with what is not theirs, and to use links for more than they are. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  encodeTranscript,
  type Hello,
  hashHello,
  LINK_PROTOCOL,
  type LinkReply,
  type LinkRequest,
  type LinkTerms,
  linkReply,
  linkRequest,
} from '../../protocols/mesh/link/messages.ts'
import { decodeCbor, encodeCbor } from '../../src/catalog/cbor.ts'
import { signMessage } from '../../src/catalog/signed.ts'
import { deriveLinkSigner, parseToken, renderToken, type SyncToken } from '../../src/catalog/token.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { createHello } from '../../src/replication/hello.ts'
import { HostilePeer } from '../support/hostile-peer.ts'
import { type MeshNode, openHubAndSpoke, openMeshNode, publishVersion, readContent } from '../support/mesh-node.ts'

const FEED = Buffer.alloc(32, 0xab)
const ALL_TABLES = 'fFhsrnlVvwubcpkt'

/** A greeted stream of the link protocol on which anything may be said. */
class LinkStream {
  readonly peer: HostilePeer
  readonly to: MeshNode
  readonly #channel: Channel
  readonly #frames: FrameReader
  mine: Hello | undefined
  theirs: Hello | undefined

  private constructor(peer: HostilePeer, to: MeshNode, channel: Channel) {
    this.peer = peer
    this.to = to
    this.#channel = channel
    this.#frames = new FrameReader(channel.receive())
  }

  static async open(peer: HostilePeer, to: MeshNode, change: Partial<Hello> = {}): Promise<LinkStream> {
    await peer.connect(to.host)
    const stream = new LinkStream(
      peer,
      to,
      await peer.host.open(to.peerId, LINK_PROTOCOL, new AbortController().signal),
    )
    const options = { ...to.replication.hello, instance: Buffer.alloc(16, 3) }
    stream.mine = { ...createHello(options), ...change }
    const reply = await stream.ask({ kind: 'hello', ...stream.mine })
    if (reply.kind === 'hello') stream.theirs = reply
    return stream
  }

  async askRaw(request: LinkRequest): Promise<Buffer> {
    await this.#channel.send(encodeFrame(encodeCbor(linkRequest, request)))
    const frame = await this.#frames.read(1 << 20)
    assert.ok(frame, 'the other end hung up')
    return Buffer.from(frame)
  }

  async ask(request: LinkRequest): Promise<LinkReply> {
    return decodeCbor(linkReply, await this.askRaw(request), 'reply')
  }

  prove(step: 'describe' | 'link', token: SyncToken, terms: LinkTerms | null, change = {}): Uint8Array {
    const transcript = {
      step,
      askerHello: hashHello(this.mine!),
      answererHello: hashHello(this.theirs!),
      asker: this.peer.identity.publicKey,
      answerer: this.to.parts.identity.publicKey,
      tokenId: token.id,
      terms,
      ...change,
    }
    return signMessage('link', encodeTranscript(transcript), deriveLinkSigner(token))
  }
}

async function openScene(network: MemoryNetwork, stack: AsyncDisposableStack) {
  const scene = await openHubAndSpoke(network, stack)
  await publishVersion(scene.hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const feedId = scene.hub.ledger.registry.getLocal('packages').feedId
  const peer = stack.use(new HostilePeer(network))
  let before = await readContent(scene.hub.parts.records, ALL_TABLES)
  const mark = async () => {
    before = await readContent(scene.hub.parts.records, ALL_TABLES)
  }
  const verifyUnharmed = async () => {
    assert.deepEqual(await readContent(scene.hub.parts.records, ALL_TABLES), before)
    assert.equal((await scene.spoke.pull(scene.replication)).state, 'succeeded')
  }
  return { ...scene, secret: parseToken(scene.token), feedId, peer, mark, verifyUnharmed }
}

function termsFor(feedId: Uint8Array, change: Partial<LinkTerms> = {}): LinkTerms {
  const pair = { remote: feedId, local: FEED, feedType: 'npm', localName: 'thief' }
  return { communication: 'outgoing', mode: 'pull', pairs: [pair], scope: [], ...change }
}

function codeOf(reply: LinkReply): string {
  return reply.kind === 'error' ? reply.code : reply.kind
}

test('a token id that exists and one that does not are answered alike without the secret', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, secret, feedId, peer, verifyUnharmed } = await openScene(createMemoryNetwork(), stack)
  const guessed = { ...secret, secret: Buffer.alloc(32, 1) }
  const stream = await LinkStream.open(peer, hub)
  const answers = new Set<string>()
  const terms = termsFor(feedId)
  for (const id of [secret.id, Buffer.alloc(8, 0xff), Buffer.alloc(8)]) {
    const token = { ...guessed, id }
    for (const proof of [stream.prove('describe', token, null), Buffer.alloc(64), null])
      answers.add((await stream.askRaw({ kind: 'describe', tokenId: id, proof })).toString('hex'))
    for (const proof of [stream.prove('link', token, terms), null])
      answers.add((await stream.askRaw({ kind: 'link', tokenId: id, terms, proof })).toString('hex'))
  }
  assert.equal(answers.size, 1)
  const [only = ''] = answers
  assert.equal(codeOf(decodeCbor(linkReply, Buffer.from(only, 'hex'), 'reply')), 'TOKEN_UNKNOWN')
  await verifyUnharmed()
})

test('a proof seen on one connection is worth nothing on another, by anyone or for anything else', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, secret, feedId, peer, verifyUnharmed } = await openScene(network, stack)
  const terms = termsFor(feedId)
  const first = await LinkStream.open(peer, hub)
  const describe = first.prove('describe', secret, null)
  const link = first.prove('link', secret, terms)
  const refused: [LinkStream, LinkRequest][] = []
  const sameHello = { nonce: first.mine!.nonce, clock: first.mine!.clock }
  const again = await LinkStream.open(peer, hub, sameHello)
  const thief = await LinkStream.open(stack.use(new HostilePeer(network)), hub, sameHello)
  for (const stream of [again, thief]) {
    refused.push([stream, { kind: 'describe', tokenId: secret.id, proof: describe }])
    refused.push([stream, { kind: 'link', tokenId: secret.id, terms, proof: link }])
  }
  refused.push([first, { kind: 'describe', tokenId: secret.id, proof: link }])
  refused.push([first, { kind: 'link', tokenId: secret.id, terms, proof: describe }])
  const otherTerms = [
    termsFor(feedId, { mode: 'mirror' }),
    termsFor(feedId, { scope: ['*'] }),
    termsFor(feedId, { communication: 'incoming' }),
    termsFor(Buffer.alloc(32, 7)),
  ]
  for (const other of otherTerms) refused.push([first, { kind: 'link', tokenId: secret.id, terms: other, proof: link }])
  const forOther = first.prove('link', secret, terms, { answerer: Buffer.alloc(32, 5) })
  refused.push([first, { kind: 'link', tokenId: secret.id, terms, proof: forOther }])
  for (const [stream, request] of refused) assert.equal(codeOf(await stream.ask(request)), 'TOKEN_UNKNOWN')
  assert.equal(codeOf(await first.ask({ kind: 'describe', tokenId: secret.id, proof: describe })), 'described')
  await verifyUnharmed()
})

test('a token of another hub, and one used against another feed, type or mode, is refused with the reason', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, secret, feedId, peer, mark, verifyUnharmed } = await openScene(network, stack)
  const other = stack.use(await openMeshNode(network))
  await other.createFeed('packages')
  const foreign = parseToken((await other.accept({ feed: 'packages', mode: 'push' })).token)
  await hub.createFeed('private')
  await mark()
  const hidden = hub.ledger.registry.getLocal('private').feedId
  const pair = (change: object) => ({ pairs: [{ ...termsFor(feedId).pairs[0]!, ...change }] })
  const cases: [SyncToken, LinkTerms, string][] = [
    [foreign, termsFor(feedId), 'TOKEN_UNKNOWN'],
    [secret, termsFor(hidden), 'NOT_FOUND'],
    [secret, termsFor(Buffer.alloc(32, 9)), 'NOT_FOUND'],
    [secret, termsFor(feedId, pair({ feedType: 'assets' })), 'TYPE_MISMATCH'],
    [secret, termsFor(feedId, { mode: 'push' }), 'MODE_MISMATCH'],
    [secret, termsFor(feedId, { mode: 'mirror' }), 'MODE_MISMATCH'],
    [secret, termsFor(feedId, { communication: 'incoming' }), 'MODE_MISMATCH'],
    [secret, termsFor(feedId, { pairs: [] }), 'BAD_INPUT'],
  ]
  const stream = await LinkStream.open(peer, hub)
  const messages = new Map<string, string>()
  for (const [token, terms, code] of cases) {
    const reply = await stream.ask({
      kind: 'link',
      tokenId: token.id,
      terms,
      proof: stream.prove('link', token, terms),
    })
    assert.equal(codeOf(reply), code)
    if (reply.kind === 'error') messages.set(Buffer.from(terms.pairs[0]?.remote ?? []).toString('hex'), reply.message)
  }
  assert.equal(messages.get(Buffer.from(hidden).toString('hex')), messages.get('09'.repeat(32)))
  assert.equal(hub.refusals.length, cases.length)
  await verifyUnharmed()
})

test('expired, used-up and revoked tokens and revoked links do not link', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, feedId, peer, clock } = await openScene(network, stack)
  const make = async (options: object) =>
    parseToken((await hub.accept({ feed: 'packages', mode: 'push', ...options })).token)
  const [expired, once, revoked] = [
    await make({ tokenExpiresInMs: 1000 }),
    await make({ tokenUses: 1 }),
    await make({}),
  ]
  const id = Buffer.from(revoked.id).toString('hex')
  await hub.book.tokens.put(id, { ...hub.book.tokens.find(id)!, revokedAt: 1 })
  clock.now += 2000
  const linkWith = async (token: SyncToken, who: HostilePeer) => {
    const stream = await LinkStream.open(who, hub)
    const terms = termsFor(feedId)
    return codeOf(
      await stream.ask({ kind: 'link', tokenId: token.id, terms, proof: stream.prove('link', token, terms) }),
    )
  }
  const second = stack.use(new HostilePeer(network))
  assert.equal(await linkWith(expired, peer), 'TOKEN_EXPIRED')
  assert.equal(await linkWith(revoked, peer), 'TOKEN_REVOKED')
  assert.equal(await linkWith(once, peer), 'linked')
  assert.equal(await linkWith(once, second), 'TOKEN_USED_UP')
  assert.equal(await linkWith(once, peer), 'linked', 'the same link again is no further use')
  const link = hub.book.linksWith(peer.identity.peerId)[0]!
  await hub.book.links.put(link.id, { ...link, revokedAt: 1 })
  assert.equal(await linkWith(once, peer), 'TOKEN_REVOKED')
  const stream = await LinkStream.open(peer, hub)
  assert.equal(codeOf(await stream.ask({ kind: 'grant', feedId })), 'TOKEN_REVOKED')
})

test('a stranger gets nothing from confirm, grant and poke, and the same for feeds that are here and are not', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, feedId, peer, verifyUnharmed } = await openScene(createMemoryNetwork(), stack)
  const stream = await LinkStream.open(peer, hub)
  for (const kind of ['confirm', 'grant', 'poke'] as const) {
    const ask = (id: Uint8Array) =>
      stream.askRaw(
        kind === 'confirm'
          ? { kind, feedId: id, digest: Buffer.alloc(32), entries: 0, problem: null }
          : { kind, feedId: id },
      )
    const [here, nowhere] = [await ask(feedId), await ask(FEED)]
    assert.ok(here.equals(nowhere), kind)
    assert.equal(codeOf(decodeCbor(linkReply, here, 'reply')), 'NOT_FOUND')
  }
  const byPeer = await stream.ask({ kind: 'describe', tokenId: null, proof: null })
  assert.equal(codeOf(byPeer), 'FORBIDDEN')
  await verifyUnharmed()
})

test('a stream that does not begin with a hello, or says it twice, is refused', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, feedId, peer, verifyUnharmed } = await openScene(createMemoryNetwork(), stack)
  const answer = await peer.ask(hub.host, LINK_PROTOCOL, { shape: linkRequest, value: { kind: 'grant', feedId } })
  assert.deepEqual([answer.bytes.length, answer.broken?.code], [0, 'PEER_UNREACHABLE'])
  const stream = await LinkStream.open(peer, hub)
  assert.equal(codeOf(await stream.ask({ kind: 'hello', ...stream.mine! })), 'PEER_INVALID')
  const old = await LinkStream.open(peer, hub, { protocols: ['/feedmesh/link/1'] })
  assert.equal(old.theirs, undefined)
  await verifyUnharmed()
})

test('a spoke that only reads cannot have the hub pull from it', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, spoke } = await openScene(network, stack)
  const feedId = spoke.ledger.registry.getLocal('packages').feedId
  await spoke.host[Symbol.asyncDispose]()
  const stream = await LinkStream.open(stack.use(new HostilePeer(network, spoke.parts.identity)), hub)
  assert.equal(codeOf(await stream.ask({ kind: 'poke', feedId })), 'NOT_FOUND')
})

test('a copied data folder is noticed, and reads nothing until it is gone', async () => {
  const network = createMemoryNetwork()
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, feedId } = await openScene(network, stack)
  await spoke.host[Symbol.asyncDispose]()
  const copy = stack.use(new HostilePeer(network, spoke.parts.identity))
  const greet = (instance: number) => LinkStream.open(copy, hub, { instance: Buffer.alloc(16, instance) })
  await greet(1)
  await greet(2)
  assert.equal((await greet(1)).theirs, undefined)
  assert.throws(
    () => hub.parts.policy.verifyMay(spoke.peerId, 'read', Buffer.from(feedId).toString('hex')),
    (error) => isFeedmeshError(error, 'IDENTITY_DUPLICATED'),
  )
})

test('every change of one character makes a token unusable before it is sent anywhere', () => {
  const token = renderToken({
    id: Buffer.alloc(8, 1),
    incoming: Buffer.alloc(32, 2),
    feedIds: [FEED],
    secret: Buffer.alloc(32, 3),
  })
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  for (let at = 0; at < token.length; at += 1) {
    for (const letter of [alphabet[(alphabet.indexOf(token[at]!) + 1) % 64]!, '!', '=', ' x', '']) {
      const changed = token.slice(0, at) + letter + token.slice(at + 1)
      assert.throws(
        () => parseToken(changed),
        (error) => isFeedmeshError(error, 'TOKEN_MISTYPED'),
        changed,
      )
    }
  }
  assert.deepEqual(parseToken(` ${token.slice(0, 20)}\n${token.slice(20)} `), parseToken(token))
})
