/** Who is introduced to whom, whom a node keeps up with, and when it tries again. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { choosePeers } from '../../src/nearby/choose-peers.ts'
import { type Introduction, Introductions } from '../../src/nearby/introductions.ts'
import { KnownPeers, MAX_KNOWN_PEERS } from '../../src/nearby/known-peers.ts'
import { Retries } from '../../src/nearby/retries.ts'
import { isTcpAddressOf } from '../../src/network/dialable.ts'

const FEED = 'ab'.repeat(32)
const MINUTE = 60_000
const BERLIN = { site: 'berlin', region: 'eu' }
const PARIS = { site: 'paris', region: 'eu' }
const TOKYO = { site: 'tokyo', region: 'asia' }

function reader(peerId: string, change: Partial<Introduction> = {}): Introduction {
  return { peerId, addresses: [`/memory/${peerId}`], ...BERLIN, serve: 'site', availability: 'full', ...change }
}

const name = (index: number) => `peer-${String(index).padStart(4, '0')}`

test('readers are named nearest first, those alone that serve the asker, and never the asker', () => {
  const introductions = new Introductions()
  introductions.note(FEED, reader('far', { ...TOKYO, serve: 'any' }), 0)
  introductions.note(FEED, reader('far-for-its-site', { ...TOKYO }), 0)
  introductions.note(FEED, reader('near', { ...PARIS, serve: 'region' }), 0)
  introductions.note(FEED, reader('here'), 0)
  introductions.note(FEED, reader('here-for-nobody', { serve: 'none' }), 0)
  introductions.note(FEED, reader('own', { serve: 'none' }), 0)
  const named = introductions.othersFor(FEED, 'own', 1)
  assert.deepEqual(
    named.map(({ peerId }) => peerId),
    ['here', 'near', 'far'],
  )
  assert.deepEqual(introductions.othersFor(FEED, 'unknown', 1), [])
  assert.deepEqual(introductions.toTell(FEED, 'here', 1).sort(), ['here-for-nobody', 'own'])
  assert.deepEqual(introductions.toTell(FEED, 'own', 1), [], 'who serves nobody is of use to nobody')
})

test('an introduction is news once, or when it says something else, and is forgotten with its peer or with time', () => {
  const introductions = new Introductions()
  introductions.note(FEED, reader('own'), 0)
  assert.equal(introductions.note(FEED, reader('a'), 0), true)
  assert.equal(introductions.note(FEED, reader('a'), 5 * MINUTE), false)
  assert.equal(introductions.note(FEED, reader('a', { serve: 'any' }), 5 * MINUTE), true)
  const others = (now: number) => {
    introductions.note(FEED, reader('own'), now)
    return introductions.othersFor(FEED, 'own', now).length
  }
  assert.equal(others(14 * MINUTE), 1)
  assert.equal(others(15 * MINUTE), 0)
  assert.equal(introductions.note(FEED, reader('a', { serve: 'any' }), 15 * MINUTE), true)
  assert.equal(others(16 * MINUTE), 1)
  introductions.drop('a')
  assert.equal(others(16 * MINUTE), 0)
})

test('of a large site each gets as many, nobody is chosen by all, and who chooses is chosen', () => {
  const peers = Array.from({ length: 200 }, (_, index) => ({ peerId: name(index), ...BERLIN }))
  const counts = { site: 32, region: 4, elsewhere: 4 }
  const chosenBy = new Map<string, Set<string>>(peers.map(({ peerId }) => [peerId, new Set()]))
  for (const own of peers) {
    const chosen = choosePeers(own, peers, counts)
    assert.equal(chosen.length, 32)
    assert.equal(new Set(chosen).size, 32)
    for (const { peerId } of chosen) chosenBy.get(peerId)!.add(own.peerId)
  }
  for (const own of peers) {
    assert.equal(chosenBy.get(own.peerId)!.size, 32)
    for (const { peerId } of choosePeers(own, peers, counts)) assert.ok(chosenBy.get(own.peerId)!.has(peerId))
  }
})

test('a reader of a large feed is told of at most 64, some of them of its region and of elsewhere', () => {
  const introductions = new Introductions()
  for (let index = 0; index < 3000; index += 1) {
    const place = [BERLIN, PARIS, TOKYO][index % 3]!
    introductions.note(FEED, reader(name(index), { ...place, serve: 'any' }), 0)
  }
  const named = introductions.othersFor(FEED, name(2998), 0)
  const count = (site: string) => named.filter((peer) => peer.site === site).length
  assert.deepEqual([named.length, count('paris'), count('berlin'), count('tokyo')], [64, 40, 12, 12])
})

test('known peers are bounded, and those that were reached stay longest', () => {
  const known = new KnownPeers()
  const { serve: _, ...first } = reader('proven')
  known.mention(FEED, first, 0)
  known.prove(FEED, 'proven')
  for (let index = 0; index < 2 * MAX_KNOWN_PEERS; index += 1)
    known.mention(FEED, { ...first, peerId: name(index) }, index)
  assert.equal(known.of(FEED).length, MAX_KNOWN_PEERS)
  assert.equal(known.find(FEED, 'proven')?.isProven, true)
  assert.equal(known.find(FEED, name(0)), undefined)
  const { revision } = known
  known.mention(FEED, { ...first, addresses: [] }, 1)
  assert.deepEqual(known.find(FEED, 'proven')?.addresses, first.addresses, 'what is not told stays')
  assert.equal(known.revision, revision)
})

test('who cannot be reached is forgotten once nobody mentions it; who was reached, only while somebody could', () => {
  const known = new KnownPeers()
  const { serve: _, ...one } = reader('a')
  for (const peerId of ['a', 'proven']) known.mention(FEED, { ...one, peerId }, 0)
  known.prove(FEED, 'proven')
  const later = { ms: 11 * MINUTE, isInformed: false }
  known.noteFailures('a', 7, later)
  assert.ok(known.find(FEED, 'a'))
  known.noteFailures('a', 8, { ...later, ms: 9 * MINUTE })
  assert.ok(known.find(FEED, 'a'))
  known.noteFailures('a', 8, later)
  assert.equal(known.find(FEED, 'a'), undefined)
  known.noteFailures('proven', 80, later)
  assert.ok(known.find(FEED, 'proven'), 'the hub is gone')
  known.noteFailures('proven', 8, { ...later, isInformed: true })
  assert.equal(known.find(FEED, 'proven'), undefined)
})

test('what fails is tried again ever later, what breaks the rules not before its time, whatever happens', () => {
  const retries = new Retries({ firstMs: 1000, maxMs: 8000 }, 0)
  assert.ok(retries.isDue(0))
  const waits = Array.from({ length: 6 }, () => {
    retries.fail(0, 0.999)
    return [400, 600, 1100, 2100, 4100, 8100].find((ms) => retries.isDue(ms))
  })
  assert.deepEqual(waits, [1100, 2100, 4100, 8100, 8100, 8100])
  retries.hurry(10)
  assert.ok(retries.isDue(10))
  retries.putOff(60_000)
  retries.hurry(10)
  assert.equal(retries.isDue(59_999), false)
  assert.ok(retries.isDue(60_000))
})

test('an address is worth a dial when it is TCP and of the peer', () => {
  const peer = '12D3KooWLJGSBwceBF7TtzcomUVb12n1gmUZvSX7QnEb7RCp2AE4'
  for (const address of [
    '/ip4/192.168.1.7/tcp/8625',
    `/ip4/192.0.2.7/tcp/8625/p2p/${peer}`,
    '/ip6/2001:db8::1/tcp/8625',
    '/dns4/spoke.example.net/tcp/443',
    '/dns/spoke.example.net/tcp/443',
  ])
    assert.ok(isTcpAddressOf(address, peer), address)
  for (const address of [
    '',
    '/ip4/192.0.2.7/udp/8625',
    '/ip4/192.0.2.7/tcp/0',
    '/ip4/192.0.2.7/tcp/8625/ws',
    '/ip4/192.0.2.7/tcp/8625/p2p/12D3KooWother',
    '/unix/tmp/socket',
    '/memory/1',
    'http://192.0.2.7:8625',
    `/dns4/${'x'.repeat(300)}/tcp/1`,
  ])
    assert.equal(isTcpAddressOf(address, peer), false, address)
})
