/** The conformance suite of mesh hosts over the bulk lane, and what is true of the lane beyond it. */

import assert from 'node:assert/strict'
import { type AddressInfo, createServer } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import { chooseLaneAddress } from '../../src/network/lane-address.ts'
import { type Libp2pHostOptions, type ListeningMeshHost, openLibp2pHost } from '../../src/network/libp2p-host.ts'
import { StreamChannel } from '../../src/network/stream-channel.ts'
import { TlsChannel } from '../../src/network/tls-channel.ts'
import { testMeshHost } from '../conformance/mesh-host.ts'
import { ask, echo, never, peerEvent, readAll } from '../conformance/mesh-host-world.ts'
import { openTcpProxy } from './tcp-proxy.ts'

const LOOPBACK = '/ip4/127.0.0.1/tcp/0'
const PROTOCOL = '/feedmesh/test/1'
const LIMITS = { maxInboundStreams: 8, maxDurationMs: 60_000, bulk: true }

function open(options: Partial<Libp2pHostOptions> = {}): Promise<ListeningMeshHost> {
  return openLibp2pHost({
    identity: generateIdentity(),
    listen: [LOOPBACK],
    announce: [],
    bulk: 'auto',
    log: createLog('silent'),
    drainMs: 50,
    ...options,
  })
}

/** A host all of whose protocols take the lane, also those that only its peers serve. */
async function openBulkOnly(identity: Identity, listen: string): Promise<MeshHost> {
  const host = await open({ identity, listen: [listen] })
  const handlers = new Map<string, Parameters<MeshHost['handle']>[2]>()
  const handle = async (protocol: string, limits: Parameters<MeshHost['handle']>[1]) => {
    await host.handle(protocol, { ...limits, bulk: true }, async (channel, signal) => {
      assert.ok(channel instanceof TlsChannel)
      await handlers.get(protocol)?.(channel, signal)
    })
  }
  return {
    peerId: host.peerId,
    addresses: () => host.addresses(),
    handle: async (protocol, limits, handler) => {
      if (handlers.has(protocol)) return host.handle(protocol, limits, handler)
      handlers.set(protocol, handler)
      await handle(protocol, limits)
    },
    connect: (peerId, addresses, signal) => host.connect(peerId, addresses, signal),
    open: async (peerId, protocol, signal, idleMs) => {
      const isServed = protocol === PROTOCOL
      if (isServed && !handlers.has(protocol)) {
        await host.handle(protocol, LIMITS, async () => assert.fail('nobody calls this end'))
        handlers.set(protocol, async () => {})
      }
      const channel = await host.open(peerId, protocol, signal, idleMs)
      if (isServed) assert.ok(channel instanceof TlsChannel)
      return channel
    },
    keep: (peerId, addresses) => host.keep(peerId, addresses),
    release: (peerId) => host.release(peerId),
    redialNow: (peerId) => host.redialNow(peerId),
    peers: () => host.peers(),
    onPeer: (listener) => host.onPeer(listener),
    [Symbol.asyncDispose]: () => host[Symbol.asyncDispose](),
  }
}

testMeshHost('bulk lane', () => ({
  open: (identity, address) => openBulkOnly(identity, address?.replace(/\/p2p\/.*$/, '') ?? LOOPBACK),
  deadAddress: '/ip4/127.0.0.1/tcp/1',
  // What the kernel takes for two sockets, and the blocks of one channel.
  maxInFlightBytes: 64 * 1024 * 1024,
}))

interface Hosts extends AsyncDisposable {
  readonly near: ListeningMeshHost
  readonly far: ListeningMeshHost
}

async function connectHosts(
  options: { readonly near?: Partial<Libp2pHostOptions>; readonly far?: Partial<Libp2pHostOptions> } = {},
  handler: (channel: Channel) => Promise<void> = echo,
): Promise<Hosts> {
  const near = await open(options.near)
  const far = await open(options.far)
  for (const host of [near, far]) await host.handle(PROTOCOL, LIMITS, handler)
  await near.connect(far.peerId, far.addresses(), never)
  await peerEvent(far, 'connected', near.peerId)
  return {
    near,
    far,
    async [Symbol.asyncDispose]() {
      await near[Symbol.asyncDispose]()
      await far[Symbol.asyncDispose]()
    },
  }
}

function laneAddress(host: ListeningMeshHost): { readonly host: string; readonly port: number } {
  const [name, port] = (host.bulk ?? '').split(':')
  return { host: name!, port: Number(port) }
}

test('channels go over the lane from both ends, whoever dialled the other', async () => {
  await using hosts = await connectHosts()
  const { near, far } = hosts
  for (const [from, to] of [
    [near, far],
    [far, near],
  ] as const) {
    const channel = await from.open(to.peerId, PROTOCOL, never)
    assert.ok(channel instanceof TlsChannel)
    assert.equal(channel.remote, to.peerId)
    assert.equal(await ask(channel, 'hello'), 'hello')
  }
})

test('a protocol that is not for the lane stays on streams', async () => {
  await using hosts = await connectHosts()
  await hosts.far.handle('/feedmesh/small/1', { ...LIMITS, bulk: false }, echo)
  const channel = await hosts.near.open(hosts.far.peerId, '/feedmesh/small/1', never)
  assert.ok(channel instanceof StreamChannel)
  assert.equal(await ask(channel, 'small'), 'small')
})

test('a protocol that the peer serves later is taken to the lane then', async () => {
  let now = 0
  await using near = await open({ now: () => now })
  await using far = await open()
  await near.handle(PROTOCOL, LIMITS, echo)
  await near.connect(far.peerId, far.addresses(), never)
  await peerEvent(far, 'connected', near.peerId)
  await assert.rejects(near.open(far.peerId, PROTOCOL, never), (error) => isFeedmeshError(error, 'PEER_INVALID'))
  await far.handle(PROTOCOL, LIMITS, echo)
  assert.ok((await near.open(far.peerId, PROTOCOL, never)) instanceof StreamChannel)
  now += 60_000
  assert.ok((await near.open(far.peerId, PROTOCOL, never)) instanceof TlsChannel)
})

test('a connection is used again for the next channel', async (t) => {
  let connections = 0
  await using hosts = await connectHosts({ far: { listen: ['/ip4/127.0.0.1/tcp/0'] } })
  const { near, far } = hosts
  const proxy = await proxyLane(t, near, far, () => (connections += 1))
  for (let at = 0; at < 20; at += 1) {
    const channel = await near.open(far.peerId, PROTOCOL, never)
    assert.equal(await ask(channel, `channel ${at}`), `channel ${at}`)
    assert.ok(channel instanceof TlsChannel)
    await channel.closed
  }
  assert.equal(connections, 1)
  proxy.cut()
})

/** Makes `near` reach the lane of `far` through a proxy: another loopback address with the same port. */
async function proxyLane(t: TestContext, near: ListeningMeshHost, far: ListeningMeshHost, onConnection = () => {}) {
  const lane = laneAddress(far)
  const proxy = await openTcpProxy(t, { host: '127.0.0.2', port: lane.port }, lane, onConnection)
  const [address] = far.addresses()
  const port = Number(address?.split('/')[4])
  await openTcpProxy(t, { host: '127.0.0.2', port }, { host: '127.0.0.1', port })
  await near.release(far.peerId)
  await peerEvent(near, 'disconnected', far.peerId)
  await near.connect(far.peerId, [`/ip4/127.0.0.2/tcp/${port}`], never)
  await peerEvent(far, 'connected', near.peerId)
  return proxy
}

test('bytes may be used again once they are sent, on the lane as on a stream', async () => {
  await using hosts = await connectHosts({}, async (channel) => {
    await channel.send(await readAll(channel))
  })
  for (const bulk of [true, false]) {
    if (!bulk)
      for (const host of [hosts.near, hosts.far]) await host.handle('/feedmesh/other/1', { ...LIMITS, bulk }, echo)
    const channel = await hosts.near.open(hosts.far.peerId, bulk ? PROTOCOL : '/feedmesh/other/1', never)
    const answered = readAll(channel)
    const bytes = Buffer.alloc(300_000)
    for (let round = 0; round < 8; round += 1) {
      bytes.fill(round)
      await channel.send(bytes)
    }
    bytes.fill(99)
    await channel.end()
    const expected = Buffer.concat(Array.from({ length: 8 }, (_, round) => Buffer.alloc(300_000, round)))
    assert.ok((await answered).equals(expected))
  }
})

test('what waits for a reader that does not read is bounded, at the dialling end and at the other', async () => {
  const inbound = Promise.withResolvers<Channel>()
  const over = Promise.withResolvers<void>()
  await using hosts = await connectHosts({}, async (channel) => {
    inbound.resolve(channel)
    // Until nobody takes any more.
    await flood(channel)
    await over.promise
  })
  const outbound = await hosts.near.open(hosts.far.peerId, PROTOCOL, never)
  await flood(outbound)
  for (const channel of [outbound, await inbound.promise]) {
    assert.ok(channel instanceof TlsChannel)
    assert.ok(channel.buffered >= 1024 * 1024 && channel.buffered < 1280 * 1024, `${channel.buffered} bytes wait`)
  }
  over.resolve()
})

/** Sends until sending takes so long that the other end can only have stopped. */
async function flood(channel: Channel): Promise<void> {
  const block = Buffer.alloc(1024 * 1024)
  for (let isTaken = true; isTaken; ) {
    const sent = channel.send(block).then(
      () => true,
      // The channel is given up in the end.
      () => false,
    )
    isTaken = await Promise.race([sent, manyTurns()])
  }
}

async function manyTurns(): Promise<boolean> {
  for (let turn = 0; turn < 2000; turn += 1) await new Promise(setImmediate)
  return false
}

test('a lane that is cut in the middle of a transfer is an error, and streams take its place', async (t) => {
  const block = Buffer.alloc(1024 * 1024)
  await using hosts = await connectHosts({}, async (channel) => {
    for (let sent = 0; sent < 64; sent += 1) await channel.send(block)
  })
  const { near, far } = hosts
  const proxy = await proxyLane(t, near, far)
  const channel = await near.open(far.peerId, PROTOCOL, never)
  assert.ok(channel instanceof TlsChannel)
  let got = 0
  await assert.rejects(
    async () => {
      for await (const piece of channel.receive()) {
        got += piece.length
        if (got > 2 * block.length) proxy.cut()
      }
    },
    (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'),
  )
  assert.ok(got < 64 * block.length)
  const next = await near.open(far.peerId, PROTOCOL, never)
  assert.ok(next instanceof StreamChannel)
  assert.equal((await readAll(next)).length, 64 * block.length)
  await next.end()
})

test('where the lane cannot be reached streams are used, at once after the first time, and the lane later again', async (t) => {
  let now = 0
  await using hosts = await connectHosts({ near: { now: () => now, random: () => 0.5 } })
  const { near, far } = hosts
  const proxy = await proxyLane(t, near, far)
  proxy.close()
  const opened = async (): Promise<Channel> => {
    const channel = await near.open(far.peerId, PROTOCOL, never)
    assert.equal(await ask(channel, 'over some way'), 'over some way')
    return channel
  }
  assert.ok((await opened()) instanceof StreamChannel)
  await proxy.reopen()
  assert.ok((await opened()) instanceof StreamChannel)
  now += 10_001
  for (let tries = 0; ; tries += 1) {
    // The attempt is made beside; nobody waits for it.
    if ((await opened()) instanceof TlsChannel) break
    assert.ok(tries < 500)
  }
})

test('a peer without a lane, and one that does not know of it, are spoken to over streams', async () => {
  for (const bulk of [null, 'auto']) {
    await using near = await open()
    // A host without address has no lane, but may dial others'.
    await using far = await open({ bulk, listen: [] })
    for (const host of [near, far]) await host.handle(PROTOCOL, LIMITS, echo)
    await far.connect(near.peerId, near.addresses(), never)
    await peerEvent(near, 'connected', far.peerId)
    assert.equal(far.bulk, null)
    const channel = await near.open(far.peerId, PROTOCOL, never)
    assert.ok(channel instanceof StreamChannel)
    assert.equal(await ask(channel, 'streams do'), 'streams do')
  }
})

/** A program that listens, and a host whose first address has the port before its. Other tests may be quicker to take that. */
async function openBesideTaken() {
  for (let attempt = 0; ; attempt += 1) {
    const taken = createServer()
    await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve))
    const takenPort = (taken.address() as AddressInfo).port
    try {
      return { taken, takenPort, other: await open({ listen: [`/ip4/127.0.0.1/tcp/${takenPort - 1}`] }) }
    } catch (error) {
      taken.close()
      if (attempt === 50 || !isFeedmeshError(error, 'BAD_INPUT')) throw error
    }
  }
}

test('the lane listens where it is told, beside the first address, or at a free port when that is taken', async () => {
  assert.deepEqual(chooseLaneAddress('auto', ['/ip4/127.0.0.1/tcp/4001', '/ip4/127.0.0.1/tcp/5001']), {
    host: '127.0.0.1',
    port: 4002,
    anyPort: true,
  })
  await using first = await open()
  assert.match(first.bulk ?? '', /^127\.0\.0\.1:[1-9]\d*$/)
  const { taken, takenPort, other } = await openBesideTaken()
  await using _ = other
  assert.notEqual(other.bulk, `127.0.0.1:${takenPort}`)
  assert.match(other.bulk ?? '', /^127\.0\.0\.1:[1-9]\d*$/)
  await assert.rejects(
    open({ bulk: `127.0.0.1:${takenPort}` }),
    (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.includes(String(takenPort)),
  )
  await assert.rejects(open({ bulk: 'nowhere' }), (error) => isFeedmeshError(error, 'BAD_INPUT'))
  taken.close()
})

test('a host that stops leaves no connection of the lane behind', async () => {
  const hosts = await connectHosts()
  const { near, far } = hosts
  const idle = await near.open(far.peerId, PROTOCOL, never)
  assert.equal(await ask(idle, 'soon idle'), 'soon idle')
  await near.open(far.peerId, PROTOCOL, never)
  await hosts[Symbol.asyncDispose]()
  const findSockets = () => process.getActiveResourcesInfo().filter((name) => /^(TCP|TLS)/.test(name))
  for (let turn = 0; turn < 500 && findSockets().length > 0; turn += 1) await delay(10)
  assert.deepEqual(findSockets(), [])
})
