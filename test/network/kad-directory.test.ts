/** The directory between real nodes on loopback, and what a node of it that lies can do to the others. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { identify } from '@libp2p/identify'
import type { Libp2p, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import type { FeedDirectory, FoundPeer } from '../../src/network/feed-directory.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { KAD_PROTOCOL } from '../../src/network/kad-directory.ts'
import { type ListeningMeshHost, openLibp2pHost } from '../../src/network/libp2p-host.ts'

const KEY = Buffer.alloc(32, 7)
const soon = () => AbortSignal.timeout(20_000)

function open(dht: boolean): Promise<ListeningMeshHost> {
  const listen = ['/ip4/127.0.0.1/tcp/0']
  return openLibp2pHost({
    identity: generateIdentity(),
    listen,
    announce: [],
    log: createLog('silent'),
    drainMs: 50,
    dht,
  })
}

function directoryOf({ directory }: ListeningMeshHost): FeedDirectory {
  assert.ok(directory)
  return directory
}

async function join(host: ListeningMeshHost, peerId: string, addresses: readonly string[]): Promise<void> {
  const signal = soon()
  await host.connect(peerId, addresses, signal)
  while (directoryOf(host).nodes === 0) {
    signal.throwIfAborted()
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function find(host: ListeningMeshHost, key = KEY, max = 64): Promise<FoundPeer[]> {
  const found: FoundPeer[] = []
  for await (const peer of directoryOf(host).find(key, { signal: soon(), max })) found.push(peer)
  return found
}

test('two who know a third find each other under a key, and nobody under another', async () => {
  await using middle = await open(true)
  await using giver = await open(true)
  await using seeker = await open(true)
  await join(giver, middle.peerId, middle.addresses())
  await join(seeker, middle.peerId, middle.addresses())
  await directoryOf(giver).announce(KEY, soon())
  const [found, ...more] = await find(seeker)
  assert.equal(found?.peerId, giver.peerId)
  assert.deepEqual(more, [])
  assert.deepEqual(
    found.addresses.map((address) => address.replace(/\/p2p\/.*/, '')),
    giver.addresses().map((address) => address.replace(/\/p2p\/.*/, '')),
  )
  assert.deepEqual(await find(seeker, Buffer.alloc(32, 8)), [])
  assert.deepEqual(await find(giver), [], 'never itself')
  await seeker.connect(found.peerId, found.addresses, soon())
})

test('a node alone can announce and find nothing, and its searches end in time', async () => {
  await using alone = await open(true)
  assert.equal(directoryOf(alone).nodes, 0)
  const signal = AbortSignal.timeout(100)
  await assert.rejects(directoryOf(alone).announce(KEY, signal), (error) => isFeedmeshError(error, 'TIMEOUT'))
  const searching = directoryOf(alone).find(KEY, { signal: AbortSignal.timeout(100), max: 64 })
  await assert.rejects(Array.fromAsync(searching), (error) => isFeedmeshError(error, 'TIMEOUT'))
  await directoryOf(alone).withdraw(KEY, soon())
})

test('a node takes part only where that is asked for', async () => {
  await using plain = await open(false)
  await using member = await open(true)
  assert.equal(plain.directory, undefined)
  await member.connect(plain.peerId, plain.addresses(), soon())
  await assert.rejects(member.open(plain.peerId, KAD_PROTOCOL, soon()), (error) =>
    isFeedmeshError(error, 'PEER_INVALID'),
  )
  assert.equal(directoryOf(member).nodes, 0)
})

function varint(value: number): Buffer {
  return value < 128
    ? Buffer.of(value)
    : Buffer.concat([Buffer.of((value % 128) + 128), varint(Math.floor(value / 128))])
}

function field(number: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([varint(number * 8 + 2), varint(bytes.length), bytes])
}

/** An answer to GET_PROVIDERS. */
function encodeProviders(peers: Iterable<{ readonly id: Uint8Array; readonly address: Uint8Array }>): Buffer {
  const encoded = [...peers].map(({ id, address }) => field(9, Buffer.concat([field(1, id), field(2, address)])))
  const message = Buffer.concat([Buffer.of(8, 3), field(2, KEY), ...encoded])
  return Buffer.concat([varint(message.length), message])
}

const ADDRESS = multiaddr('/ip4/127.0.0.1/tcp/1').bytes

function strangerIds(count: number): Uint8Array[] {
  const id = peerIdFromString(generateIdentity().peerId).toMultihash().bytes
  return Array.from({ length: count }, (_, index) => {
    const changed = Uint8Array.from(id)
    // No key that anybody has, but of the right form.
    new DataView(changed.buffer).setUint32(changed.length - 4, index)
    return changed
  })
}

/** A node that answers every question of the directory in its own way. */
async function openLiar(answer: (stream: Stream) => void): Promise<Libp2p & AsyncDisposable> {
  const privateKey = await generateKeyPair('Ed25519')
  assert.ok(peerIdFromPrivateKey(privateKey))
  const node = await createLibp2p({
    privateKey,
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: { identify: identify({ protocolPrefix: 'feedmesh' }), ping: ping({ protocolPrefix: 'feedmesh' }) },
  })
  await node.handle(KAD_PROTOCOL, (stream) => {
    stream.addEventListener('message', () => answer(stream))
  })
  return Object.assign(node, { [Symbol.asyncDispose]: () => node.stop() as Promise<void> })
}

const joinLiar = (host: ListeningMeshHost, liar: Libp2p) =>
  join(
    host,
    liar.peerId.toString(),
    liar.getMultiaddrs().map((address) => address.toString()),
  )

test('of a node that tells of very many peers no more are taken than were asked for', async () => {
  const told = encodeProviders(strangerIds(2000).map((id) => ({ id, address: ADDRESS })))
  await using liar = await openLiar((stream) => void stream.send(told))
  await using seeker = await open(true)
  await joinLiar(seeker, liar)
  const found = await find(seeker)
  assert.equal(found.length, 64)
  assert.deepEqual(found[0]?.addresses, ['/ip4/127.0.0.1/tcp/1'])
})

test('of an answer that is too large nothing is taken', async () => {
  const told = encodeProviders(strangerIds(10_000).map((id) => ({ id, address: ADDRESS })))
  assert.ok(told.length > 256 * 1024)
  await using liar = await openLiar((stream) => void stream.send(told))
  await using seeker = await open(true)
  await joinLiar(seeker, liar)
  assert.deepEqual(await find(seeker), [])
})

test('garbage in place of an answer, of a peer and of an address ends the search with nothing', async () => {
  const [id] = strangerIds(1)
  const answers = [
    Buffer.from('04ffffffff', 'hex'),
    encodeProviders([{ id: Buffer.from('nobody'), address: ADDRESS }]),
    encodeProviders([{ id: id!, address: Buffer.from('ffffffff', 'hex') }]),
  ]
  for (const answer of answers) {
    await using liar = await openLiar((stream) => void stream.send(answer))
    await using seeker = await open(true)
    await joinLiar(seeker, liar)
    assert.deepEqual(await find(seeker), [])
  }
})

test('a node that never answers holds up a search no longer than its limit', async () => {
  await using liar = await openLiar(() => {})
  await using seeker = await open(true)
  await joinLiar(seeker, liar)
  const searching = directoryOf(seeker).find(KEY, { signal: AbortSignal.timeout(500), max: 64 })
  const startedAt = performance.now()
  await assert.rejects(Array.fromAsync(searching), (error) => isFeedmeshError(error, 'TIMEOUT'))
  assert.ok(performance.now() - startedAt < 5000)
})
