/** The part of the conformance suite of mesh hosts about who can be reached, and how it goes on being so. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { generateIdentity } from '../../src/network/identity.ts'
import {
  ask,
  type CreateWorld,
  connectedPair,
  echo,
  failsWith,
  LIMITS,
  never,
  PROTOCOL,
  peerEvent,
} from './mesh-host-world.ts'

export function testConnections(createWorld: CreateWorld): void {
  testDialling(createWorld)
  testKeeping(createWorld)
}

function testDialling(createWorld: CreateWorld): void {
  test('a protocol the peer does not speak is PEER_INVALID', async (t) => {
    await using pair = await connectedPair(await createWorld(t))
    await assert.rejects(
      pair.near.open(pair.far.peerId, '/feedmesh/unheard-of/1', never),
      failsWith('PEER_INVALID', pair.far.peerId, '/feedmesh/unheard-of/1'),
    )
    assert.equal(await ask(await pair.open(), 'fine'), 'fine')
  })

  test('an unreachable peer is PEER_UNREACHABLE naming each address, and is remembered as such', async (t) => {
    const world = await createWorld(t)
    await using host = await world.open(generateIdentity())
    const { peerId } = generateIdentity()
    const nonsense = 'not an address'
    await assert.rejects(
      host.connect(peerId, [world.deadAddress, nonsense], never),
      failsWith('PEER_UNREACHABLE', peerId, world.deadAddress, nonsense),
    )
    const [state] = host.peers()
    assert.equal(state?.peerId, peerId)
    assert.equal(state.connected, false)
    assert.ok(state.lastDialError?.message.includes(world.deadAddress))
    await assert.rejects(host.open(generateIdentity().peerId, PROTOCOL, never), failsWith('PEER_UNREACHABLE'))
  })

  test('an address where another node answers is PEER_UNREACHABLE saying which', async (t) => {
    const world = await createWorld(t)
    await using pair = await connectedPair(world)
    await using host = await world.open(generateIdentity())
    const { peerId } = generateIdentity()
    const [address] = pair.far.addresses().map((each) => each.replace(/\/p2p\/.*$/, ''))
    assert.ok(address !== undefined)
    await assert.rejects(
      host.connect(peerId, [address], never),
      failsWith('PEER_UNREACHABLE', peerId, address, pair.far.peerId),
    )
    assert.equal(
      host.peers().some((peer) => peer.connected),
      false,
    )
  })

  test('of several addresses one that works is enough, and clears the error', async (t) => {
    const world = await createWorld(t)
    await using host = await world.open(generateIdentity())
    await using other = await world.open(generateIdentity())
    await assert.rejects(host.connect(other.peerId, [world.deadAddress], never), failsWith('PEER_UNREACHABLE'))
    await host.connect(other.peerId, [world.deadAddress, ...other.addresses()], never)
    const state = host.peers().find((peer) => peer.peerId === other.peerId)
    assert.equal(state?.connected, true)
    assert.equal(state.lastDialError, undefined)
  })

  test('a PeerId that is none, the own one and an aborted signal are refused', async (t) => {
    const world = await createWorld(t)
    await using host = await world.open(generateIdentity())
    await assert.rejects(host.connect('12D3KooWnonsense', [], never), failsWith('BAD_INPUT'))
    await assert.rejects(host.connect(host.peerId, host.addresses(), never), failsWith('BAD_INPUT'))
    const { peerId } = generateIdentity()
    await assert.rejects(host.connect(peerId, [world.deadAddress], AbortSignal.abort()), failsWith('ABORTED'))
  })

  test('two hosts with one identity can both open streams to a third, which sees two connections', async (t) => {
    const world = await createWorld(t)
    const identity = generateIdentity()
    await using third = await world.open(generateIdentity())
    await third.handle(PROTOCOL, LIMITS, echo)
    await using original = await world.open(identity)
    await using clone = await world.open(identity)
    await original.connect(third.peerId, third.addresses(), never)
    await clone.connect(third.peerId, third.addresses(), never)
    const one = await original.open(third.peerId, PROTOCOL, never)
    const two = await clone.open(third.peerId, PROTOCOL, never)
    assert.equal(await ask(one, 'original'), 'original')
    assert.equal(await ask(two, 'clone'), 'clone')
    assert.equal(third.peers().find((peer) => peer.peerId === identity.peerId)?.connections, 2)
  })
}

function testKeeping(createWorld: CreateWorld): void {
  test('a kept peer that restarts at its address is connected again, until it is released', async (t) => {
    const world = await createWorld(t)
    const identity = generateIdentity()
    await using near = await world.open(generateIdentity())
    const far = await world.open(identity)
    const [address] = far.addresses()
    assert.ok(address !== undefined)
    near.keep(identity.peerId, [address])
    await peerEvent(near, 'connected', identity.peerId)
    const lost = peerEvent(near, 'disconnected', identity.peerId)
    await far[Symbol.asyncDispose]()
    await lost
    await using again = await world.open(identity, address)
    near.redialNow(identity.peerId)
    await peerEvent(near, 'connected', identity.peerId)
    await peerEvent(again, 'connected', near.peerId)

    const released = peerEvent(again, 'disconnected', near.peerId)
    await near.release(identity.peerId)
    await released
    near.redialNow(identity.peerId)
    await assert.rejects(
      near.open(identity.peerId, PROTOCOL, never),
      failsWith('PEER_INVALID'),
      'a released peer can still be dialled on demand',
    )
  })

  test('a peer that is kept before it is there is connected when it comes', async (t) => {
    const world = await createWorld(t)
    const identity = generateIdentity()
    await using near = await world.open(generateIdentity())
    const first = await world.open(identity)
    const [address] = first.addresses()
    assert.ok(address !== undefined)
    await first[Symbol.asyncDispose]()
    near.keep(identity.peerId, [address])
    await using _far = await world.open(identity, address)
    near.redialNow(identity.peerId)
    await peerEvent(near, 'connected', identity.peerId)
  })

  test('repeating keep replaces the addresses', async (t) => {
    const world = await createWorld(t)
    await using near = await world.open(generateIdentity())
    await using far = await world.open(generateIdentity())
    near.keep(far.peerId, [world.deadAddress])
    near.keep(far.peerId, far.addresses())
    await peerEvent(near, 'connected', far.peerId)
    assert.deepEqual(near.peers().find((peer) => peer.peerId === far.peerId)?.addresses, far.addresses())
  })
}
