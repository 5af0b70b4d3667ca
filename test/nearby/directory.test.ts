/** What a neighbourhood asks of the directory, when, and what it makes of the answers, whoever gives them. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FeedId } from '../../src/catalog/charter.ts'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import { AnnouncedFeeds } from '../../src/nearby/announced-feeds.ts'
import { BootstrapPeers } from '../../src/nearby/bootstrap-peers.ts'
import { directoryKey } from '../../src/nearby/directory-key.ts'
import { KnownPeers } from '../../src/nearby/known-peers.ts'
import { SearchedFeeds } from '../../src/nearby/searched-feeds.ts'
import { isTcpAddressOf } from '../../src/network/dialable.ts'
import type { FeedDirectory, FindOptions, FoundPeer } from '../../src/network/feed-directory.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { ManualTimers } from '../network/manual-timers.ts'

const FEED: FeedId = 'ab'.repeat(32)
const SALT = Buffer.alloc(16, 1)
const KEY = directoryKey(FEED, SALT)
const MINUTE = 60_000
const HOUR = 60 * MINUTE

/** Lets everything run that waits for nothing but promises. */
const settle = () => new Promise<void>((resolve) => setImmediate(resolve))

class FakeDirectory implements FeedDirectory {
  nodes = 1
  readonly announced: string[] = []
  readonly withdrawn: string[] = []
  searches = 0
  isTaken = true
  answer: (options: FindOptions) => AsyncIterable<FoundPeer> = async function* () {}

  async announce(key: Uint8Array): Promise<void> {
    if (!this.isTaken) throw new FeedmeshError('PEER_UNREACHABLE', 'nobody took it')
    this.announced.push(Buffer.from(key).toString('hex'))
  }

  async withdraw(key: Uint8Array): Promise<void> {
    this.withdrawn.push(Buffer.from(key).toString('hex'))
  }

  find(_: Uint8Array, options: FindOptions): AsyncIterable<FoundPeer> {
    this.searches += 1
    return this.answer(options)
  }
}

function openWorld(t: { after(run: () => void): void }) {
  const timers = new ManualTimers()
  const stopping = new AbortController()
  t.after(() => stopping.abort(new FeedmeshError('ABORTED', 'the test is over')))
  const directory = new FakeDirectory()
  const known = new KnownPeers()
  const host = { peerId: generateIdentity().peerId }
  const parts = { directory, log: createLog('silent'), setTimer: timers.setTimer, elapsedMs: timers.now }
  const ports = { ...parts, random: () => 0.5, signal: stopping.signal }
  const searched = new SearchedFeeds({ ...ports, host, known, isAddressOf: isTcpAddressOf, onFound: () => {} })
  const announced = new AnnouncedFeeds(ports)
  const alone = new Map([[FEED, KEY]])
  const act = async (feeds: ReadonlyMap<FeedId, Uint8Array> = alone) => {
    searched.act(feeds)
    await settle()
    searched.act(feeds)
  }
  return { timers, directory, known, host, ports, searched, announced, act, stopping }
}

function strangers(count: number): FoundPeer[] {
  return Array.from({ length: count }, () => ({
    peerId: generateIdentity().peerId,
    addresses: ['/ip4/192.0.2.7/tcp/4001'],
  }))
}

async function* tell(peers: Iterable<FoundPeer>): AsyncGenerator<FoundPeer> {
  yield* peers
}

test('the key of a feed follows from its id and from what only its readers know', () => {
  assert.equal(KEY.length, 32)
  assert.deepEqual(directoryKey(FEED, Buffer.alloc(16, 1)), KEY)
  assert.notDeepEqual(directoryKey(FEED, Buffer.alloc(16, 2)), KEY, 'who does not know the salt')
  assert.notDeepEqual(directoryKey('cd'.repeat(32), SALT), KEY)
})

test('a feed that nobody gives is looked up at once, then ever less often, and no more once somebody gives it', async (t) => {
  const { timers, directory, act } = openWorld(t)
  await act()
  assert.equal(directory.searches, 1)
  const waits: number[] = []
  for (let last = 0; waits.length < 7; ) {
    timers.advance(MINUTE / 4)
    const before = directory.searches
    await act()
    if (directory.searches > before) {
      waits.push((timers.now() - last) / MINUTE)
      last = timers.now()
    }
  }
  assert.ok(
    waits.every((wait) => wait >= 1 && wait <= 30.25),
    waits.join(' '),
  )
  assert.ok(waits[0]! <= 2 && waits.at(-1)! > 20, waits.join(' '))
  timers.advance(HOUR)
  const before = directory.searches
  await act(new Map())
  assert.equal(directory.searches, before)
  await act()
  assert.equal(directory.searches, before + 1)
})

test('nothing is asked of a directory of which no node is connected', async (t) => {
  const { directory, announced, act } = openWorld(t)
  directory.nodes = 0
  await act()
  announced.want(new Map([[FEED, KEY]]))
  announced.act()
  await settle()
  assert.deepEqual([directory.searches, directory.announced], [0, []])
})

test('however many are found, 64 count, four at a time for a minute each, unless they prove something', async (t) => {
  const { timers, directory, known, act } = openWorld(t)
  let told = 0
  directory.answer = async function* () {
    for (const peer of strangers(100)) {
      told += 1
      yield peer
    }
  }
  await act()
  assert.equal(told, 64)
  const first = known.of(FEED).map(({ peerId }) => peerId)
  assert.equal(first.length, 4)
  known.prove(FEED, first[0]!)
  timers.advance(MINUTE)
  await act()
  const second = known.of(FEED).map(({ peerId }) => peerId)
  assert.equal(second.length, 5)
  assert.deepEqual(
    second.filter((peer) => first.includes(peer)),
    [first[0]],
  )
  const seen = new Set(second)
  for (let minutes = 0; minutes < 15; minutes += 1) {
    timers.advance(MINUTE)
    await act()
    for (const { peerId } of known.of(FEED)) seen.add(peerId)
    assert.ok(known.of(FEED).length <= 5)
  }
  assert.ok(directory.searches >= 1 && seen.size >= 60 && seen.size <= 64 * directory.searches)
})

test('what is no PeerId, is this node, or has no address to be dialled is left out', async (t) => {
  const { directory, known, host, act } = openWorld(t)
  const [good] = strangers(1)
  const other = generateIdentity().peerId
  directory.answer = () =>
    tell([
      { peerId: 'nobody', addresses: ['/ip4/192.0.2.7/tcp/4001'] },
      { peerId: host.peerId, addresses: ['/ip4/192.0.2.7/tcp/4001'] },
      { peerId: generateIdentity().peerId, addresses: [] },
      { peerId: generateIdentity().peerId, addresses: ['/unix/tmp/x', '/ip4/192.0.2.7/udp/53', 'garbage', ''] },
      { peerId: generateIdentity().peerId, addresses: [`/ip4/192.0.2.7/tcp/4001/p2p/${other}`] },
      { peerId: good!.peerId, addresses: ['/ip4/192.0.2.7/udp/53', ...good!.addresses] },
    ])
  await act()
  assert.deepEqual(
    known.of(FEED).map(({ peerId, addresses }) => ({ peerId, addresses })),
    [good],
  )
})

test('a slow answer is waited for half a minute, and what came until then counts', async (t) => {
  const { timers, directory, known, act } = openWorld(t)
  directory.answer = async function* ({ signal }) {
    yield* strangers(1)
    await new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(new FeedmeshError('TIMEOUT', 'no answer in time')))
    })
  }
  await act()
  assert.equal(known.of(FEED).length, 0)
  timers.advance(30_000)
  await act()
  assert.equal(known.of(FEED).length, 1)
})

test('what a stranger tells of a peer that is known does not displace what is known of it', async (t) => {
  const { directory, known, act } = openWorld(t)
  const [friend] = strangers(1)
  const place = { site: 'berlin', region: 'eu', availability: 'full' } as const
  known.mention(FEED, { ...friend!, ...place }, 0)
  known.prove(FEED, friend!.peerId)
  directory.answer = () => tell([{ peerId: friend!.peerId, addresses: ['/ip4/198.51.100.1/tcp/1'] }])
  await act()
  const found = known.find(FEED, friend!.peerId)
  assert.deepEqual(found?.addresses, ['/ip4/192.0.2.7/tcp/4001', '/ip4/198.51.100.1/tcp/1'])
  assert.deepEqual([found.site, found.availability, found.isProven], ['berlin', 'full', true])
})

test('feeds are announced, again after half a day, sooner after a bootstrap peer came back, and withdrawn', async (t) => {
  const { timers, directory, announced } = openWorld(t)
  const act = async () => {
    announced.act()
    await settle()
  }
  announced.want(new Map([[FEED, KEY]]))
  directory.isTaken = false
  await act()
  assert.equal(directory.announced.length, 0)
  directory.isTaken = true
  await act()
  assert.equal(directory.announced.length, 0, 'not at once after a failure')
  timers.advance(MINUTE)
  await act()
  assert.deepEqual(directory.announced, [KEY.toString('hex')])
  timers.advance(10 * HOUR)
  await act()
  assert.equal(directory.announced.length, 1)
  timers.advance(2 * HOUR)
  await act()
  assert.equal(directory.announced.length, 2)
  announced.repeatSoon()
  timers.advance(5 * MINUTE)
  await act()
  assert.equal(directory.announced.length, 2, 'it was announced a moment ago')
  timers.advance(5 * MINUTE)
  await act()
  assert.equal(directory.announced.length, 3)
  announced.want(new Map())
  await act()
  assert.deepEqual(directory.withdrawn, [KEY.toString('hex')])
  timers.advance(24 * HOUR)
  await act()
  assert.equal(directory.announced.length, 3)
})

test('bootstrap peers are dialled until they are there, ever less often; the own address in the list is left out', async (t) => {
  const { timers, host, ports } = openWorld(t)
  const [peerId, own] = [generateIdentity().peerId, host.peerId]
  const dials: { peer: string; addresses: readonly string[] }[] = []
  const connect = async (peer: string, addresses: readonly string[]) => {
    dials.push({ peer, addresses })
    throw new FeedmeshError('PEER_UNREACHABLE', 'nobody is there')
  }
  const list = [`/ip4/192.0.2.1/tcp/1/p2p/${peerId}`, `/ip4/192.0.2.2/tcp/2/p2p/${own}`, `/ip6/::1/tcp/3/p2p/${peerId}`]
  const bootstrap = new BootstrapPeers(list, { ...ports, host: { ...host, connect } })
  assert.deepEqual([bootstrap.has(peerId), bootstrap.has(own)], [true, false])
  const dialsIn = async (ms: number, connected: ReadonlySet<string> = new Set()) => {
    const before = dials.length
    for (const end = timers.now() + ms; timers.now() < end; timers.advance(1000)) {
      bootstrap.act(connected)
      await settle()
    }
    return dials.length - before
  }
  const early = await dialsIn(MINUTE)
  assert.ok(early >= 4 && early <= 7, String(early))
  assert.deepEqual(dials[0], { peer: peerId, addresses: [list[0], list[2]] })
  await dialsIn(HOUR)
  const late = await dialsIn(HOUR)
  assert.ok(late >= 12 && late <= 24, String(late))
  assert.equal(await dialsIn(MINUTE, new Set([peerId])), 0)
  assert.ok((await dialsIn(MINUTE)) >= 4, 'from the beginning after it was there')
  assert.throws(
    () => new BootstrapPeers(['/ip4/192.0.2.1/tcp/1/p2p/nobody'], { ...ports, host: { ...host, connect } }),
    (error) => isFeedmeshError(error, 'BAD_INPUT') && error.message.includes('/p2p/nobody'),
  )
})
