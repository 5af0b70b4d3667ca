import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { testMeshHost } from '../conformance/mesh-host.ts'
import { peerEvent, readAll } from '../conformance/mesh-host-world.ts'
import { ManualTimers } from './manual-timers.ts'

testMeshHost('memory', () => {
  const network = createMemoryNetwork()
  return {
    open: async (identity, address) => network.openHost(identity, address?.replace(/\/p2p\/.*$/, '')),
    deadAddress: '/memory/nobody',
    maxInFlightBytes: 2 * 1024 * 1024,
  }
})

testMeshHost('memory with latency', () => {
  const network = createMemoryNetwork({ latencyMs: 1 })
  return {
    open: async (identity, address) => network.openHost(identity, address?.replace(/\/p2p\/.*$/, '')),
    deadAddress: '/memory/nobody',
    maxInFlightBytes: 2 * 1024 * 1024,
  }
})

const PROTOCOL = '/feedmesh/test/1'
const never = new AbortController().signal

test('cut breaks streams and keeps peers apart until heal, when kept ones find each other', async () => {
  const network = createMemoryNetwork()
  await using a = network.openHost(generateIdentity())
  await using b = network.openHost(generateIdentity())
  await b.handle(PROTOCOL, { maxInboundStreams: 1, maxDurationMs: 1000 }, async (channel) => {
    await readAll(channel)
  })
  a.keep(b.peerId, b.addresses())
  await peerEvent(a, 'connected', b.peerId)
  const channel = await a.open(b.peerId, PROTOCOL, never)
  const lost = assert.rejects(readAll(channel), (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'))
  network.cut(a.peerId, b.peerId)
  await lost
  await assert.rejects(a.open(b.peerId, PROTOCOL, never), (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'))
  assert.equal(a.peers()[0]?.connected, false)
  network.heal(a.peerId, b.peerId)
  await peerEvent(a, 'connected', b.peerId)
})

test('a stopped peer vanishes and its kept neighbours reconnect when it is opened again', async () => {
  const network = createMemoryNetwork()
  const identity = generateIdentity()
  await using a = network.openHost(generateIdentity())
  const b = network.openHost(identity)
  a.keep(b.peerId, b.addresses())
  await peerEvent(a, 'connected', b.peerId)
  network.stop(b.peerId)
  await peerEvent(a, 'disconnected', b.peerId)
  await using _again = network.openHost(identity)
  await peerEvent(a, 'connected', b.peerId)
})

test('a handler that takes longer than its limit is aborted with TIMEOUT', async () => {
  const timers = new ManualTimers()
  const network = createMemoryNetwork({ setTimer: timers.setTimer })
  await using a = network.openHost(generateIdentity())
  await using b = network.openHost(generateIdentity())
  const seen = Promise.withResolvers<unknown>()
  await b.handle(PROTOCOL, { maxInboundStreams: 1, maxDurationMs: 1000 }, async (_channel, signal) => {
    const aborted = Promise.withResolvers<void>()
    signal.addEventListener('abort', () => {
      seen.resolve(signal.reason)
      aborted.resolve()
    })
    await aborted.promise
    throw new FeedmeshError('ABORTED', 'stopped')
  })
  await a.connect(b.peerId, b.addresses(), never)
  const channel = await a.open(b.peerId, PROTOCOL, never)
  timers.advance(999)
  timers.advance(1)
  assert.ok(isFeedmeshError(await seen.promise, 'TIMEOUT'))
  await assert.rejects(readAll(channel), (error) => isFeedmeshError(error, 'PEER_UNREACHABLE'))
})
