/** Peers of a fetch by chunks that do not do as they should: found out at the chunk, and the others go on. */

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
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { type Digest, sha256Digest } from '../../src/catalog/digest.ts'
import { CHUNK_BYTES } from '../../src/store/blobs.ts'
import { listOf } from '../conformance/blob-chunks.ts'
import { ManualTimers } from '../network/manual-timers.ts'
import { type Answer, chunkedContent, openSite, type Site, type SiteNode, verifyHolds } from './chunk-site.ts'

const MIB = 1024 * 1024
const SIZE = 20 * MIB

/** A spoke with two servers, both of which answer as they are told. */
async function openServers(stack: AsyncDisposableStack, options: Partial<Parameters<typeof openSite>[1]> = {}) {
  const site = await openSite(stack, { size: SIZE, nodes: 3, areNeighbours: false, ...options })
  const [spoke, honest, other] = site.nodes as [SiteNode, SiteNode, SiteNode]
  honest.answer = site.serveContent
  const servers = [honest.host.peerId, other.host.peerId]
  return { site, spoke, honest, other, servers }
}

const isChunk = (site: Site, digest: string) => digest === site.wanted.digest

/** Does `lie` when asked for chunks, and as it should for all else. */
function lieAboutChunks(site: Site, lie: Answer): Answer {
  return (exchange, request) => (isChunk(site, request.digest) ? lie : site.serveContent)(exchange, request)
}

/** Whatever can happen now has happened. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate)
}

const LIES: Readonly<Record<string, Answer>> = {
  'other bytes': async (exchange, { length }) => {
    await exchange.send({ kind: 'bytes', length: length ?? SIZE })
    await exchange.sendBytes(Buffer.alloc(length ?? SIZE, 0xee))
  },
  'a byte less than was asked for': async (exchange, { length }) => {
    await exchange.send({ kind: 'bytes', length: (length ?? SIZE) - 1 })
    await exchange.sendBytes(Buffer.alloc((length ?? SIZE) - 1))
  },
  'all of the file instead of a chunk': async (exchange) => {
    await exchange.send({ kind: 'bytes', length: SIZE })
    await exchange.sendBytes(Buffer.alloc(64 * 1024))
  },
  'bytes without end': async (exchange) => {
    await exchange.send({ kind: 'bytes', length: Number.MAX_SAFE_INTEGER })
  },
}

for (const [what, lie] of Object.entries(LIES)) {
  test(`a peer that sends ${what} is blamed for it, and the other one gives all`, async () => {
    await using stack = new AsyncDisposableStack()
    const { site, spoke, honest, other, servers } = await openServers(stack)
    other.answer = lieAboutChunks(site, lie)
    const { outcomes, lies } = await spoke.fetch(servers, [site.wanted])
    assert.deepEqual(
      outcomes.map(({ error }) => error),
      [undefined],
    )
    await verifyHolds(spoke, site)
    assert.ok(lies.length >= 1)
    for (const one of lies) assert.deepEqual([one.peer, one.error.code], [other.host.peerId, 'PEER_INVALID'])
    const asked = honest.asked.filter(({ digest }) => isChunk(site, digest))
    assert.deepEqual(
      asked.map(({ offset }) => offset).sort((a, b) => a - b),
      [0, 1, 2, 3, 4].map((index) => index * CHUNK_BYTES),
      'nothing that was right is asked for again',
    )
  })
}

test('a chunk that breaks off goes on elsewhere from where it was, and no byte comes twice', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, honest, other, servers } = await openServers(stack)
  const half = CHUNK_BYTES / 2
  other.answer = lieAboutChunks(site, async (exchange, { offset, length }) => {
    await exchange.send({ kind: 'bytes', length: length ?? SIZE })
    await exchange.sendBytes(site.content.subarray(offset, offset + half))
    await settle()
    site.network.stop(other.host.peerId)
  })
  const { outcomes, lies } = await spoke.fetch(servers, [site.wanted])
  assert.deepEqual([outcomes.map(({ error }) => error), lies], [[undefined], []])
  await verifyHolds(spoke, site)
  const asked = honest.asked.filter(({ digest }) => isChunk(site, digest))
  const given = asked.reduce((sum, { length }) => sum + (length ?? SIZE), 0)
  const fromOther = other.asked.some(({ digest }) => isChunk(site, digest)) ? half : 0
  assert.ok(fromOther > 0 && given <= SIZE && given >= SIZE - 4 * half, `${given}`)
  assert.ok(
    asked.some(({ offset }) => offset % CHUNK_BYTES !== 0),
    'it goes on in the middle of a chunk',
  )
})

test('a peer that drips is overtaken by another one within seconds', async () => {
  await using stack = new AsyncDisposableStack()
  const timers = new ManualTimers()
  const progress = { now: timers.now, setTimer: timers.setTimer }
  const { site, spoke, other, servers } = await openServers(stack, { progress })
  other.answer = lieAboutChunks(site, async (exchange, { offset, length }) => {
    await exchange.send({ kind: 'bytes', length: length ?? SIZE })
    for (let at = offset; ; at += 100) {
      await exchange.sendBytes(site.content.subarray(at, at + 100))
      await new Promise<void>((resolve) => timers.setTimer(resolve, 1000))
    }
  })
  const ends = new Set<string>()
  const fetching = spoke.fetch(servers, [site.wanted]).finally(() => {
    ends.add('fetch')
  })
  for (let half = 0; half < 240 && ends.size === 0; half += 1) {
    await settle()
    timers.advance(500)
  }
  assert.deepEqual(
    (await fetching).outcomes.map(({ error }) => error),
    [undefined],
  )
  await verifyHolds(spoke, site)
  assert.ok(timers.now() <= 15_000, `${timers.now()}`)
})

test('a peer that gives another chunk list is blamed, and the list comes from the next one', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, honest, other, servers } = await openServers(stack)
  const lie: Answer = async (exchange, request) => {
    if (isChunk(site, request.digest)) return await site.serveContent(exchange, request)
    await exchange.send({ kind: 'bytes', length: 5 * 32 })
    await exchange.sendBytes(Buffer.alloc(5 * 32, 7))
  }
  for (const liar of [other, honest]) liar.answer = lie
  // Whoever is asked first lies.
  const asked = Promise.withResolvers<SiteNode>()
  for (const [liar, next] of [
    [other, honest],
    [honest, other],
  ] as const)
    liar.answer = async (exchange, request) => {
      if (!isChunk(site, request.digest)) next.answer = site.serveContent
      asked.resolve(liar)
      await lie(exchange, request)
    }
  const { outcomes, lies } = await spoke.fetch(servers, [site.wanted])
  assert.deepEqual(
    outcomes.map(({ error }) => error),
    [undefined],
  )
  const liar = await asked.promise
  assert.deepEqual(
    lies.map(({ peer, wanted }) => [peer, wanted.digest]),
    [[liar.host.peerId, site.wanted.chunkRoot]],
  )
  await verifyHolds(spoke, site)
})

for (const [what, list] of [
  ['of another content', listOf(chunkedContent(SIZE, 2))],
  ['shorter than the file', listOf(chunkedContent(SIZE - 5 * MIB))],
] as const) {
  test(`a publisher's chunk list that is ${what} makes the file come whole, and nobody is blamed`, async () => {
    await using stack = new AsyncDisposableStack()
    const { site, spoke, honest, other, servers } = await openServers(stack)
    const chunkRoot: Digest = sha256Digest(list)
    // The publisher's peers give what the list says; who is asked for the file whole gives what its digest says.
    const wrong = chunkedContent(SIZE, 2)
    const answer: Answer = async (exchange, request) => {
      const { digest, offset, length } = request
      if (digest === chunkRoot) {
        await exchange.send({ kind: 'bytes', length: list.length })
        return await exchange.sendBytes(list)
      }
      if (length === null) return await site.serveContent(exchange, request)
      await exchange.send({ kind: 'bytes', length })
      await exchange.sendBytes(wrong.subarray(offset, offset + length))
    }
    for (const node of [honest, other]) node.answer = answer
    const { outcomes, lies } = await spoke.fetch(servers, [{ ...site.wanted, chunkRoot }])
    assert.deepEqual([outcomes.map(({ error }) => error), lies], [[undefined], []])
    assert.equal(await spoke.blobs.verifyBlob(site.wanted.digest), 'ok')
    const whole = [...honest.asked, ...other.asked].filter(
      ({ length, digest }) => length === null && digest === site.wanted.digest,
    )
    assert.equal(whole.length, 1)
  })
}

test('a node gives of a file that it has in part what lies within its verified chunks, and else says the same as if it had nothing', async () => {
  await using stack = new AsyncDisposableStack()
  const site = await openSite(stack, { size: SIZE, nodes: 2, areNeighbours: false })
  const [half, asker] = site.nodes as [SiteNode, SiteNode]
  const { digest, size, chunkRoot, feedId, unit, key } = site.wanted
  await using staged = await half.blobs.stageChunks({ digest, size, chunkRoot, chunkList: listOf(site.content) })
  for (const index of [1, 2]) {
    await staged.write(index, site.content.subarray(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES))
    await staged.verify(index)
  }
  await staged.write(3, site.content.subarray(3 * CHUNK_BYTES, 4 * CHUNK_BYTES))
  const ask = async (offset: number, length: number | null, of: Partial<BlobRequest> = {}) => {
    const channel = await asker.host.open(half.host.peerId, BLOB_PROTOCOL, new AbortController().signal)
    const shapes = { out: blobRequest, in: blobReply, what: BLOB_PROTOCOL }
    await using exchange = new Exchange<BlobRequest, BlobReply>(channel, shapes)
    await exchange.send({ kind: 'get', feedId: feedIdBytes(feedId), unit, key, digest, offset, length, ...of })
    const reply = await exchange.receive()
    if (reply.kind === 'error') return `${reply.code}: ${reply.message}`
    const pieces: Buffer[] = []
    for await (const piece of exchange.receiveBytes(reply.length)) pieces.push(Buffer.from(piece))
    return Buffer.concat(pieces)
  }
  for (const [offset, length] of [
    [CHUNK_BYTES, CHUNK_BYTES],
    [CHUNK_BYTES + 5, 2 * CHUNK_BYTES - 5],
    [3 * CHUNK_BYTES - 1, 1],
  ] as const) {
    const given = await ask(offset, length)
    assert.ok(typeof given !== 'string' && given.equals(site.content.subarray(offset, offset + length)), `${offset}`)
  }
  const nothing = await ask(0, CHUNK_BYTES, { unit: 'nowhere' })
  assert.match(String(nothing), /^NOT_FOUND: /)
  for (const [offset, length] of [
    [0, null],
    [CHUNK_BYTES, null],
    [0, CHUNK_BYTES],
    [CHUNK_BYTES - 1, 2],
    [3 * CHUNK_BYTES - 1, 2],
    [3 * CHUNK_BYTES, CHUNK_BYTES],
    [CHUNK_BYTES, 0],
    [SIZE, null],
  ] as const)
    assert.equal(await ask(offset, length), nothing, `${offset} ${length}`)
  for (const [offset, length] of [
    [SIZE, 1],
    [SIZE + 1, null],
    [1, SIZE],
    [CHUNK_BYTES, Number.MAX_SAFE_INTEGER],
  ] as const)
    assert.match(String(await ask(offset, length)), /^RANGE: /, `${offset} ${length}`)
})
