import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import { type Libp2pHostOptions, openLibp2pHost } from '../../src/network/libp2p-host.ts'
import { MAX_STREAM_WINDOW_BYTES } from '../../src/network/libp2p-node.ts'
import { StreamChannel } from '../../src/network/stream-channel.ts'
import { testMeshHost } from '../conformance/mesh-host.ts'
import { peerEvent, readAll } from '../conformance/mesh-host-world.ts'
import { ManualTimers } from './manual-timers.ts'

const LOOPBACK = '/ip4/127.0.0.1/tcp/0'
const PROTOCOL = '/feedmesh/test/1'
const LIMITS = { maxInboundStreams: 8, maxDurationMs: 60_000 }
const never = new AbortController().signal

function open(identity: Identity, options: Partial<Libp2pHostOptions> = {}): Promise<MeshHost> {
  return openLibp2pHost({
    identity,
    listen: [LOOPBACK],
    announce: [],
    log: createLog('silent'),
    drainMs: 50,
    ...options,
  })
}

testMeshHost('libp2p', () => ({
  open: (identity, address) => open(identity, { listen: [address?.replace(/\/p2p\/.*$/, '') ?? LOOPBACK] }),
  deadAddress: '/ip4/127.0.0.1/tcp/1',
  maxInFlightBytes: 2 * MAX_STREAM_WINDOW_BYTES + 2 * 1024 * 1024,
}))

test('a channel on which nothing moves is aborted with TIMEOUT, one that moves is not', async () => {
  await using near = await open(generateIdentity(), { idleMs: 100 })
  await using far = await open(generateIdentity())
  await far.handle(PROTOCOL, LIMITS, async (channel) => {
    for await (const piece of channel.receive()) await channel.send(piece)
  })
  await near.connect(far.peerId, far.addresses(), never)
  const idle = await near.open(far.peerId, PROTOCOL, never)
  const busy = await near.open(far.peerId, PROTOCOL, never)
  const idleIsOver = new AbortController()
  const busyWork = (async () => {
    const echoes = busy.receive()[Symbol.asyncIterator]()
    while (!idleIsOver.signal.aborted) {
      await busy.send(Buffer.from('x'))
      await echoes.next()
    }
    await busy.end()
    assert.equal((await echoes.next()).done, true)
  })()
  await assert.rejects(readAll(idle), (error) => isFeedmeshError(error, 'TIMEOUT'))
  idleIsOver.abort()
  await busyWork
})

test('a handler that takes longer than its limit is aborted', async () => {
  await using near = await open(generateIdentity())
  await using far = await open(generateIdentity())
  const reasons: unknown[] = []
  await far.handle(PROTOCOL, { maxInboundStreams: 1, maxDurationMs: 50 }, async (channel, signal) => {
    await readAll(channel).catch((error: unknown) => {
      reasons.push(error, signal.reason)
      throw error
    })
  })
  await near.connect(far.peerId, far.addresses(), never)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  await assert.rejects(readAll(channel), (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'))
  assert.ok(reasons.length > 0 && isFeedmeshError(reasons[0], 'TIMEOUT'))
})

test('the round trip is measured soon after connecting', async () => {
  await using near = await open(generateIdentity())
  await using far = await open(generateIdentity())
  await near.connect(far.peerId, far.addresses(), never)
  let rttMs: number | undefined
  while (rttMs === undefined) {
    await new Promise(setImmediate)
    rttMs = near.peers()[0]?.rttMs
  }
  assert.ok(rttMs > 0 && rttMs < 10_000, String(rttMs))
})

test('addresses are the announced ones if there are any, else those listened on', async () => {
  await using announced = await open(generateIdentity(), { announce: ['/dns4/hub.example/tcp/4001'] })
  assert.deepEqual(announced.addresses(), [`/dns4/hub.example/tcp/4001/p2p/${announced.peerId}`])
  await using wildcard = await open(generateIdentity(), { listen: ['/ip4/0.0.0.0/tcp/0'] })
  assert.ok(wildcard.addresses().length > 0)
  for (const address of wildcard.addresses()) {
    assert.match(address, /^\/ip4\/(?!0\.0\.0\.0)[\d.]+\/tcp\/[1-9]\d*\/p2p\/12D3KooW/)
  }
  await using silent = await open(generateIdentity(), { listen: [] })
  assert.deepEqual(silent.addresses(), [])
})

test('a port in use and a listen address that is none are BAD_INPUT', async () => {
  await using first = await open(generateIdentity())
  const [address] = first.addresses().map((each) => each.replace(/\/p2p\/.*$/, ''))
  assert.ok(address !== undefined)
  await assert.rejects(
    open(generateIdentity(), { listen: [address] }),
    (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.includes(address) && /port/.test(error.message),
  )
  await assert.rejects(open(generateIdentity(), { listen: ['4001'] }), (error) => isFeedmeshError(error, 'BAD_INPUT'))
})

test('what was ended is not truncated by stopping the host right after', async () => {
  const bytes = Buffer.alloc(8 * 1024 * 1024, 7)
  const far = await open(generateIdentity(), { drainMs: 10_000 })
  await using near = await open(generateIdentity())
  await far.handle(PROTOCOL, LIMITS, async (channel) => {
    await channel.send(bytes)
  })
  await near.connect(far.peerId, far.addresses(), never)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  const received = channel.receive()[Symbol.asyncIterator]()
  let total = (await received.next()).value?.byteLength ?? 0
  const stopped = far[Symbol.asyncDispose]()
  for (let next = await received.next(); next.done !== true; next = await received.next())
    total += next.value.byteLength
  assert.equal(total, bytes.byteLength)
  await channel.end()
  await stopped
})

test('a connection cut by its other end is noticed, and a kept peer is dialled again by itself', async () => {
  await using near = await open(generateIdentity(), { random: () => 0 })
  await using far = await open(generateIdentity())
  near.keep(far.peerId, far.addresses())
  await peerEvent(near, 'connected', far.peerId)
  await peerEvent(far, 'connected', near.peerId)
  const lost = peerEvent(near, 'disconnected', far.peerId)
  await far.release(near.peerId)
  await lost
  await peerEvent(near, 'connected', far.peerId)
  assert.equal(near.peers()[0]?.connected, true)
})

test('what arrived before the connection went is read to its end', async () => {
  const bytes = Buffer.alloc(3 * 1024 * 1024, 9)
  await using near = await open(generateIdentity())
  const far = await open(generateIdentity())
  await far.handle(PROTOCOL, LIMITS, async (channel) => {
    await channel.send(bytes)
  })
  await near.connect(far.peerId, far.addresses(), never)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  assert.ok(channel instanceof StreamChannel)
  while (channel.buffered < bytes.byteLength) await new Promise(setImmediate)
  const lost = peerEvent(near, 'disconnected', far.peerId)
  await far[Symbol.asyncDispose]()
  await lost
  assert.ok((await readAll(channel)).equals(bytes))
})

/** A TCP proxy before the host, which can break or freeze what goes through it. */
async function openProxy(host: MeshHost, t: TestContext): Promise<{ address: string; cut(): void; freeze(): void }> {
  const [target] = host.addresses()
  const sockets = new Set<Socket>()
  const server = createServer((incoming) => {
    const outgoing = connect(Number(target?.split('/')[4]), '127.0.0.1')
    for (const socket of [incoming, outgoing]) sockets.add(socket.on('error', () => socket.destroy()))
    incoming.pipe(outgoing).pipe(incoming)
  })
  const cut = (): void => {
    for (const socket of sockets) socket.destroy()
  }
  const freeze = (): void => {
    for (const socket of sockets) socket.unpipe().pause()
  }
  t.after(() => {
    cut()
    server.close()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { address: `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}`, cut, freeze }
}

test('a connection that is cut in the middle of a transfer is an error, never an end', async (t) => {
  await using near = await open(generateIdentity())
  await using far = await open(generateIdentity())
  const proxy = await openProxy(far, t)
  const total = 64 * 1024 * 1024
  await far.handle(PROTOCOL, LIMITS, async (channel) => {
    const block = Buffer.alloc(1024 * 1024)
    for (let sent = 0; sent < total; sent += block.byteLength) await channel.send(block)
  })
  await near.connect(far.peerId, [proxy.address], never)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  let got = 0
  await assert.rejects(
    async () => {
      for await (const piece of channel.receive()) {
        got += piece.byteLength
        if (got > 2 * 1024 * 1024) proxy.cut()
      }
    },
    (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'),
  )
  assert.ok(got < total)
})

/** Resolves once this process has no TCP handle; they close a turn or two after a host has stopped. */
async function noSockets(): Promise<void> {
  const findSockets = () => process.getActiveResourcesInfo().filter((name) => name.startsWith('TCP'))
  for (let turn = 0; turn < 500 && findSockets().length > 0; turn += 1) await delay(10)
  assert.deepEqual(findSockets(), [])
}

test('a stopped host leaves no socket, though streams were open and the other end is deaf', async () => {
  await noSockets()
  await using near = await open(generateIdentity())
  await using far = await open(generateIdentity())
  const deaf = Promise.withResolvers<void>()
  await far.handle(PROTOCOL, LIMITS, () => deaf.promise)
  await near.connect(far.peerId, far.addresses(), never)
  const channels = await Promise.all([1, 2, 3].map(() => near.open(far.peerId, PROTOCOL, never)))
  const results = Promise.allSettled(channels.map((channel) => channel.send(Buffer.alloc(32 * 1024 * 1024))))
  await near[Symbol.asyncDispose]()
  await far[Symbol.asyncDispose]()
  for (const result of await results) assert.equal(result.status, 'rejected')
  await noSockets()
  deaf.resolve()
})

test('a defect in a handler is logged with its protocol and peer', async () => {
  const lines = new PassThrough()
  await using near = await open(generateIdentity())
  await using far = await open(generateIdentity(), { log: createLog('error', lines) })
  await far.handle(PROTOCOL, LIMITS, async () => {
    throw new TypeError('a defect')
  })
  await near.connect(far.peerId, far.addresses(), never)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  const [line] = (await once(lines, 'data')) as [Buffer]
  const entry = JSON.parse(line.toString()) as Record<string, unknown>
  assert.equal(entry['level'], 'error')
  assert.equal(entry['protocol'], PROTOCOL)
  assert.equal(entry['peer'], near.peerId)
  assert.match(JSON.stringify(entry['err']), /a defect/)
  await assert.rejects(readAll(channel), (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'))
})

test('a connection on which the peer no longer answers is given up within two minutes', async (t) => {
  const timers = new ManualTimers()
  await using near = await open(generateIdentity(), { setTimer: timers.setTimer })
  await using far = await open(generateIdentity())
  const proxy = await openProxy(far, t)
  await near.connect(far.peerId, [proxy.address], never)
  while (near.peers()[0]?.rttMs === undefined) await new Promise(setImmediate)
  proxy.freeze()
  let seconds = 0
  for (; near.peers()[0]?.connected === true; seconds += 1) {
    timers.advance(1000)
    await new Promise(setImmediate)
  }
  assert.ok(seconds > 40 && seconds < 120, `${seconds} s`)
})
