/** What a bulk lane refuses, and what it bounds: strangers, other certificates, and peers that do not keep to the rules. */

import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { connect as connectTcp, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { type ConnectionOptions, connect, createServer, type TLSSocket } from 'node:tls'
import { bulkOpening, MAX_CHUNK_BYTES } from '../../protocols/mesh/bulk/messages.ts'
import { encodeCbor } from '../../src/catalog/cbor.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { createBulkCertificate } from '../../src/network/bulk-certificate.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import { LaneDialler } from '../../src/network/lane-dialler.ts'
import { LaneListener } from '../../src/network/lane-listener.ts'
import { createLaneTls, verifyLanePeer } from '../../src/network/lane-security.ts'
import type { LaneSocket } from '../../src/network/lane-socket.ts'
import { type ListeningMeshHost, openLibp2pHost } from '../../src/network/libp2p-host.ts'
import { setUnrefTimer } from '../../src/network/timers.ts'
import { echo, never, peerEvent } from '../conformance/mesh-host-world.ts'
import { createForeignCertificate } from './foreign-certificate.ts'
import { ManualTimers } from './manual-timers.ts'

const LOOPBACK = '/ip4/127.0.0.1/tcp/0'
const PROTOCOL = '/feedmesh/test/1'
const LIMITS = { maxInboundStreams: 2, maxDurationMs: 60_000, bulk: true }
const log = createLog('silent')

/** A host with a lane, and the identity of a peer that is connected to it. */
async function openTarget(t: TestContext, more: { readonly setTimer?: ManualTimers['setTimer'] } = {}) {
  const identity = generateIdentity()
  const host = await openLibp2pHost({
    identity: generateIdentity(),
    listen: [LOOPBACK],
    announce: [],
    bulk: 'auto',
    log,
    drainMs: 50,
    ...more,
  })
  const peer = await openLibp2pHost({ identity, listen: [], announce: [], log, drainMs: 50 })
  t.after(async () => {
    await peer[Symbol.asyncDispose]()
    await host[Symbol.asyncDispose]()
  })
  await host.handle(PROTOCOL, LIMITS, echo)
  await peer.connect(host.peerId, host.addresses(), never)
  await peerEvent(host, 'connected', peer.peerId)
  return { host, identity, port: portOf(host) }
}

function portOf(host: ListeningMeshHost): number {
  return Number(host.bulk?.split(':')[1])
}

function dial(t: TestContext, port: number, options: ConnectionOptions): TLSSocket {
  const socket = connect({ host: '127.0.0.1', port, checkServerIdentity: () => undefined, ...options })
  socket.on('error', () => socket.destroy())
  t.after(() => socket.destroy())
  return socket
}

async function closed(socket: Socket): Promise<void> {
  if (!socket.closed) await once(socket, 'close')
}

function chunk(bytes: Uint8Array): Buffer {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

const OPENING = chunk(encodeCbor(bulkOpening, { protocol: PROTOCOL }))
const HELLO = chunk(Buffer.from('hello'))

/** What comes back for the bytes until the connection closes, or until `enough` bytes are here. */
async function answerTo(socket: TLSSocket, bytes: Uint8Array, enough = Infinity): Promise<Buffer> {
  const pieces: Buffer[] = []
  let length = 0
  const done = Promise.withResolvers<void>()
  socket.on('data', (piece: Buffer) => {
    pieces.push(piece)
    length += piece.length
    if (length >= enough) done.resolve()
  })
  socket.once('close', () => done.resolve())
  socket.write(bytes)
  await done.promise
  return Buffer.concat(pieces)
}

test('the certificate is X.509 that signs itself with the key of the node, the same every time', () => {
  const identity = generateIdentity()
  const certificate = new X509Certificate(createBulkCertificate(identity))
  assert.ok(certificate.verify(certificate.publicKey))
  assert.ok(certificate.checkIssued(certificate))
  assert.equal(certificate.subject, `CN=${identity.peerId}`)
  assert.equal(certificate.publicKey.asymmetricKeyType, 'ed25519')
  const key = certificate.publicKey.export({ type: 'spki', format: 'der' }).subarray(-32)
  assert.deepEqual(Uint8Array.from(key), identity.publicKey)
  assert.ok(Date.parse(certificate.validFrom) < 1 && Date.parse(certificate.validTo) > Date.parse('9000-01-01'))
  assert.deepEqual(createBulkCertificate(identity), createBulkCertificate(identity))
})

test('a connected peer with its certificate is answered', async (t) => {
  const { identity, port } = await openTarget(t)
  const socket = dial(t, port, createLaneTls(identity))
  assert.deepEqual(await answerTo(socket, Buffer.concat([OPENING, HELLO]), HELLO.length), HELLO)
})

/** As a node would dial, but for what a test leaves out or puts in its place. */
function tlsWithout(identity: Identity, ...names: readonly string[]): ConnectionOptions {
  return Object.fromEntries(Object.entries(createLaneTls(identity)).filter(([name]) => !names.includes(name)))
}

const REFUSED: Readonly<Record<string, (identity: Identity) => ConnectionOptions>> = {
  'no certificate': (identity) => tlsWithout(identity, 'key', 'cert'),
  'the certificate of a stranger': () => createLaneTls(generateIdentity()),
  'an RSA key': (identity) => ({ ...tlsWithout(identity, 'sigalgs'), ...createForeignCertificate('rsa') }),
  'a NIST key': (identity) => ({ ...tlsWithout(identity, 'sigalgs'), ...createForeignCertificate('ec') }),
  'no ALPN': (identity) => tlsWithout(identity, 'ALPNProtocols'),
  'another ALPN': (identity) => ({ ...createLaneTls(identity), ALPNProtocols: ['http/1.1'] }),
  'TLS 1.2': (identity) => ({
    ...tlsWithout(identity, 'sigalgs', 'ciphers'),
    minVersion: 'TLSv1.2',
    maxVersion: 'TLSv1.2',
  }),
}

for (const [what, options] of Object.entries(REFUSED)) {
  test(`${what} is refused before a byte is read`, async (t) => {
    const { identity, port } = await openTarget(t)
    const socket = dial(t, port, options(identity))
    assert.equal((await answerTo(socket, Buffer.concat([OPENING, HELLO]))).length, 0)
  })
}

test('a session cannot be resumed at a lane, and a resumed one proves nothing', async (t) => {
  const { identity, port } = await openTarget(t)
  const first = dial(t, port, createLaneTls(identity))
  const sessions: Buffer[] = []
  first.on('session', (session: Buffer) => sessions.push(session))
  assert.deepEqual(await answerTo(first, Buffer.concat([OPENING, HELLO]), HELLO.length), HELLO)
  assert.ok(sessions.length > 0)
  for (const session of sessions.slice(0, 1)) {
    const again = dial(t, port, { ...createLaneTls(identity), session })
    let isReused = false
    again.once('secureConnect', () => {
      isReused = again.isSessionReused()
    })
    const answer = await answerTo(again, Buffer.concat([OPENING, HELLO]), HELLO.length)
    assert.equal(answer.length, isReused ? 0 : HELLO.length)
  }
  // A server that does give tickets: its resumed sessions show no certificate at all.
  const server = createServer({ ...createLaneTls(generateIdentity()), secureOptions: 0 }, (socket) =>
    socket.end('hello'),
  )
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port: otherPort } = server.address() as { port: number }
  const giving = dial(t, otherPort, { ...createLaneTls(identity), secureOptions: 0 })
  const [ticket] = (await once(giving, 'session')) as [Buffer]
  assert.equal(verifyLanePeer(giving).startsWith('12D3KooW'), true)
  const resumed = dial(t, otherPort, { ...createLaneTls(identity), secureOptions: 0, session: ticket })
  await once(resumed, 'secureConnect')
  assert.equal(resumed.isSessionReused(), true)
  assert.throws(
    () => verifyLanePeer(resumed),
    (error) => isFeedmeshError(error, 'PEER_INVALID') && /resumed/.test(error.message),
  )
})

async function openListener(t: TestContext, identity: Identity, onSocket: (socket: LaneSocket) => void = () => {}) {
  const listener = await LaneListener.open(
    { host: '127.0.0.1', port: 0 },
    { tls: createLaneTls(identity), log, handshakeMs: 200, admits: () => true, onSocket },
  )
  t.after(() => listener[Symbol.asyncDispose]())
  return listener
}

function openDialler(t: TestContext, port: number): LaneDialler {
  const dialler = new LaneDialler({
    tls: createLaneTls(generateIdentity()),
    log,
    now: () => 0,
    random: () => 0.5,
    setTimer: setUnrefTimer,
    findLane: async () => ({ addresses: [{ host: '127.0.0.1', port }], protocols: [PROTOCOL] }),
  })
  t.after(() => dialler[Symbol.dispose]())
  return dialler
}

test('a dialler takes the peer it wanted and no other', async (t) => {
  const identity = generateIdentity()
  const { port } = await openListener(t, identity)
  const dialler = openDialler(t, port)
  assert.equal((await dialler.find(identity.peerId, PROTOCOL, never))?.remote, identity.peerId)
  assert.equal(await openDialler(t, port).find(generateIdentity().peerId, PROTOCOL, never), undefined)
})

test('a dialler does not read what comes before it has asked', async (t) => {
  const identity = generateIdentity()
  const server = createServer(createLaneTls(identity), (socket) => {
    socket.on('error', () => socket.destroy())
    socket.write(OPENING)
  })
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = await openDialler(t, (server.address() as { port: number }).port).find(
    identity.peerId,
    PROTOCOL,
    never,
  )
  await socket?.closed
  assert.equal(socket?.isOpen ?? false, false)
})

test('handshakes that never finish are bounded, and end', async (t) => {
  const identity = generateIdentity()
  const { port } = await openListener(t, identity)
  const silent = Array.from({ length: 100 }, () => connectTcp(port, '127.0.0.1').on('error', () => {}))
  t.after(() => {
    for (const socket of silent) socket.destroy()
  })
  await Promise.all(silent.map(closed))
  assert.equal((await openDialler(t, port).find(identity.peerId, PROTOCOL, never))?.remote, identity.peerId)
})

test('one peer has a bounded number of connections', async (t) => {
  const identity = generateIdentity()
  const sockets: LaneSocket[] = []
  const { port } = await openListener(t, identity, (socket) => sockets.push(socket))
  const peer = createLaneTls(generateIdentity())
  const dialled = Array.from({ length: 24 }, () => dial(t, port, peer))
  let refused = 0
  const bounded = Promise.withResolvers<void>()
  for (const socket of dialled) {
    socket.once('close', () => {
      refused += 1
      if (refused === 8) bounded.resolve()
    })
  }
  await bounded.promise
  assert.equal(sockets.length, 16)
})

const BAD_CHANNELS: Readonly<Record<string, Uint8Array>> = {
  'an opening that is too long': Buffer.concat([chunk(Buffer.alloc(257)), HELLO]),
  'an endless opening': Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0xfe), Buffer.alloc(1000)]),
  'an opening that is no CBOR': chunk(Buffer.from('hello')),
  'an opening without a protocol': chunk(Buffer.of(0xa0)),
  'a protocol that is not served': chunk(encodeCbor(bulkOpening, { protocol: '/feedmesh/unheard-of/1' })),
  'a protocol that is not for the lane': chunk(encodeCbor(bulkOpening, { protocol: '/feedmesh/ping/1' })),
  'an end before there is a channel': Buffer.alloc(4),
  'a reset before there is a channel': Buffer.alloc(4, 0xff),
  'a chunk that is too long': Buffer.concat([OPENING, Buffer.of(0, 0x10, 0, 1)]),
  'garbage after the opening': Buffer.concat([OPENING, Buffer.alloc(8, 0xee)]),
}

for (const [what, bytes] of Object.entries(BAD_CHANNELS)) {
  test(`${what} closes the connection`, async (t) => {
    const { identity, port } = await openTarget(t)
    const socket = dial(t, port, createLaneTls(identity))
    const answer = await answerTo(socket, bytes)
    assert.ok(answer.length === 0 || answer.equals(Buffer.alloc(4, 0xff)), answer.toString('hex'))
  })
}

test('an opening that drips, or never comes, is given up', async (t) => {
  const timers = new ManualTimers()
  const { identity, port } = await openTarget(t, { setTimer: timers.setTimer })
  const sockets = [Buffer.alloc(0), Buffer.of(0), OPENING.subarray(0, 6)].map((bytes) => {
    const socket = dial(t, port, createLaneTls(identity))
    socket.write(bytes)
    return socket
  })
  const gone = Promise.all(sockets.map(closed))
  const done = gone.then(() => true)
  for (let turn = 0; !(await Promise.race([done, new Promise((resolve) => setImmediate(resolve, false))])); turn += 1) {
    assert.ok(turn < 100_000)
    if (turn % 100 === 99) timers.advance(5000)
  }
})

test('one channel too many is reset, and the others go on', async (t) => {
  const { identity, port } = await openTarget(t)
  const sockets = [1, 2, 3].map(() => dial(t, port, createLaneTls(identity)))
  for (const socket of sockets.slice(0, 2)) {
    assert.deepEqual(await answerTo(socket, Buffer.concat([OPENING, HELLO]), HELLO.length), HELLO)
  }
  assert.deepEqual(await answerTo(sockets[2]!, Buffer.concat([OPENING, HELLO])), Buffer.alloc(4, 0xff))
  assert.deepEqual(await answerTo(sockets[0]!, HELLO, HELLO.length), HELLO)
})

test('a peer that stops reading holds up nobody, and is given up after the idle limit', async (t) => {
  const timers = new ManualTimers()
  const { identity, port, host } = await openTarget(t, { setTimer: timers.setTimer })
  const broken = Promise.withResolvers<unknown>()
  await host.handle('/feedmesh/flood/1', { ...LIMITS, idleMs: 1000 }, async (channel) => {
    try {
      for (;;) await channel.send(Buffer.alloc(MAX_CHUNK_BYTES))
    } catch (error) {
      broken.resolve(error)
      throw error
    }
  })
  const deaf = dial(t, port, createLaneTls(identity))
  deaf.pause()
  deaf.write(chunk(encodeCbor(bulkOpening, { protocol: '/feedmesh/flood/1' })))
  const isOver = broken.promise.then(() => true)
  for (
    let turn = 0;
    !(await Promise.race([isOver, new Promise((resolve) => setImmediate(resolve, false))]));
    turn += 1
  ) {
    // Long enough for the buffers of the kernel to fill.
    if (turn % 2000 === 1999) timers.advance(1000)
  }
  assert.ok(isFeedmeshError(await broken.promise, 'TIMEOUT'))
})

test('the end of one direction leaves the other open', async (t) => {
  const { identity, port } = await openTarget(t)
  const socket = dial(t, port, createLaneTls(identity))
  const answer = await answerTo(socket, Buffer.concat([OPENING, HELLO, Buffer.alloc(4)]), HELLO.length + 4)
  assert.deepEqual(answer, Buffer.concat([HELLO, Buffer.alloc(4)]))
  // And the connection serves the next channel.
  assert.deepEqual(await answerTo(socket, Buffer.concat([OPENING, HELLO]), HELLO.length), HELLO)
})
