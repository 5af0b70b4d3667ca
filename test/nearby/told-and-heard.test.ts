/** What nodes tell each other of what they have: bounded on both ends, and complete where nothing is too much. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  MAX_TOLD_BLOBS,
  MAX_TOLD_CHUNKS,
  MAX_TOLD_RUNS,
  type News,
  type ToldBlob,
} from '../../protocols/mesh/nearby/messages.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { type Digest, sha256Digest } from '../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { ChunkSet } from '../../src/nearby/chunk-set.ts'
import { HeardNews, MAX_HEARD_BLOBS, MAX_HEARD_PARTIAL, SIGN_OF_LIFE } from '../../src/nearby/heard-news.ts'
import { NewsDesk, WORK_REPEAT_MS } from '../../src/nearby/news-desk.ts'
import { MAX_KEPT_BLOBS, ToldBlobs } from '../../src/nearby/told-blobs.ts'
import type { FeedPosition } from '../../src/replication/nearby.ts'
import { ManualTimers } from '../network/manual-timers.ts'

const FEED = 'ab'.repeat(32)
const digestOf = (name: string | number): Digest => sha256Digest(Buffer.from(String(name)))

function news(blobs: readonly ToldBlob[], change: Partial<News> = {}): News {
  return { kind: 'news', feedId: feedIdBytes(FEED), at: null, isAtWork: false, blobs, ...change }
}

function part(name: string | number, first: number, count = 1): ToldBlob {
  return { digest: digestOf(name), isWhole: false, runs: [{ first, count }] }
}

test('a set of chunks tells runs, grows with its highest chunk and takes none twice', () => {
  const set = new ChunkSet()
  assert.deepEqual(
    [5, 0, 1, 5, 200, MAX_TOLD_CHUNKS - 1, MAX_TOLD_CHUNKS].map((index) => set.add(index)),
    [true, true, true, false, true, true, false],
  )
  assert.deepEqual(set.indexes(), [0, 1, 5, 200, MAX_TOLD_CHUNKS - 1])
  assert.deepEqual(set.runs().slice(0, 2), [
    { first: 0, count: 2 },
    { first: 5, count: 1 },
  ])
  const scattered = new ChunkSet()
  for (let index = 0; index < 4 * MAX_TOLD_RUNS; index += 2) scattered.add(index)
  assert.equal(scattered.runs().length, MAX_TOLD_RUNS)
})

test('who follows gets what changed since it was told, what was told last after all else', () => {
  const told = new ToldBlobs()
  assert.ok(told.tell(digestOf('a'), [0]))
  assert.ok(told.tell(digestOf('b'), 'all'))
  const first = told.since(0)
  assert.deepEqual(
    first.blobs.map(({ digest }) => digest),
    [digestOf('a'), digestOf('b')],
  )
  assert.deepEqual(told.since(first.turn).blobs, [])
  assert.ok(told.tell(digestOf('a'), [1, 4]))
  assert.deepEqual(told.since(first.turn).blobs, [
    {
      digest: digestOf('a'),
      isWhole: false,
      runs: [
        { first: 0, count: 2 },
        { first: 4, count: 1 },
      ],
    },
  ])
  assert.equal(told.tell(digestOf('a'), [1]), false, 'nothing new')
  assert.equal(told.tell(digestOf('b'), [1]), false, 'all of it was told')
  assert.ok(told.tell(digestOf('a'), 'all'))
  told.forgetWhole()
  assert.deepEqual(told.since(0).blobs, [])
})

test('what is told is bounded: the oldest is forgotten, and a message takes no more than it may', () => {
  const told = new ToldBlobs()
  for (let index = 0; index < MAX_KEPT_BLOBS + 10; index += 1) told.tell(digestOf(index), 'all')
  const digests: string[] = []
  let turn = 0
  for (let messages = 0; ; messages += 1) {
    const next = told.since(turn)
    assert.ok(next.blobs.length <= MAX_TOLD_BLOBS)
    digests.push(...next.blobs.map(({ digest }) => digest))
    turn = next.turn
    if (next.blobs.length === 0) break
    assert.ok(messages < 20)
  }
  assert.equal(digests.length, MAX_KEPT_BLOBS)
  assert.equal(digests[0], digestOf(10))
  assert.equal(digests.at(-1), digestOf(MAX_KEPT_BLOBS + 9))
})

test('only what is new of what is heard is passed on, and all of it is known later', () => {
  const heard = new HeardNews()
  assert.deepEqual(heard.hear(news([part('a', 0, 3)])), [{ digest: digestOf('a'), parts: [0, 1, 2] }])
  assert.deepEqual(heard.hear(news([part('a', 1, 3)])), [{ digest: digestOf('a'), parts: [3] }])
  assert.deepEqual(heard.hear(news([part('a', 1, 3)])), [])
  assert.deepEqual(heard.hear(news([part('a', 1)], { isAtWork: true })), [SIGN_OF_LIFE])
  assert.deepEqual(heard.hear(news([part('a', 9)], { isAtWork: true })), [{ digest: digestOf('a'), parts: [9] }])
  assert.deepEqual(heard.told(FEED), [{ digest: digestOf('a'), parts: [0, 1, 2, 3, 9] }])
  const whole = { digest: digestOf('a'), isWhole: true, runs: [] }
  assert.deepEqual(heard.hear(news([whole])), [{ digest: digestOf('a'), parts: 'all' }])
  assert.deepEqual(heard.hear(news([whole])), [])
  assert.deepEqual(heard.told(FEED), [{ digest: digestOf('a'), parts: 'all' }])
  heard.forget(FEED)
  assert.deepEqual(heard.told(FEED), [])
})

test('a neighbour that tells of ever more is forgotten of what it told first', () => {
  const heard = new HeardNews()
  for (let index = 0; index < MAX_HEARD_BLOBS + 100; index += 1)
    heard.hear(news([{ digest: digestOf(index), isWhole: true, runs: [] }]))
  assert.equal(heard.told(FEED).length, MAX_HEARD_BLOBS)
  for (let index = 0; index < MAX_HEARD_PARTIAL + 20; index += 1) heard.hear(news([part(`p${index}`, 60_000)]))
  assert.equal(heard.told(FEED).filter(({ parts }) => parts !== 'all').length, MAX_HEARD_PARTIAL)
  assert.throws(
    () => heard.hear(news([part('a', MAX_TOLD_CHUNKS - 1, 2)])),
    (error) => isFeedmeshError(error, 'PEER_INVALID'),
  )
})

test('a neighbour holds all of a state that is not later than its own, and of none that it does not claim', () => {
  const heard = new HeardNews()
  const holds = (epoch: number, seq: number) => heard.holdsAll(FEED, { epoch, seq })
  heard.hear(news([]))
  assert.deepEqual([holds(1, 1), heard.holdsAll(FEED, undefined)], [false, false])
  heard.hear(news([], { at: { epoch: 2, seq: 5 } }))
  assert.deepEqual([holds(2, 5), holds(2, 4), holds(1, 99), heard.holdsAll(FEED, undefined)], [true, true, true, true])
  assert.deepEqual([holds(2, 6), holds(3, 0)], [false, false])
  heard.hear(news([]))
  assert.equal(holds(1, 1), false, 'it claims nothing any more')
})

test('the desk tells of work again and again while there is some, and of each new whole state once', () => {
  const timers = new ManualTimers()
  let whole: FeedPosition | undefined
  const told: string[] = []
  using desk = new NewsDesk({
    setTimer: timers.setTimer,
    findWhole: () => whole,
    onNews: (feedId) => told.push(feedId),
  })
  const [first, second] = [desk.work(FEED), desk.work(FEED)]
  assert.equal(told.length, 1)
  timers.advance(WORK_REPEAT_MS)
  assert.equal(told.length, 2)
  assert.equal(desk.render(FEED, 0).news.isAtWork, true)
  first[Symbol.dispose]()
  first[Symbol.dispose]()
  assert.equal(desk.render(FEED, 0).news.isAtWork, true)
  second[Symbol.dispose]()
  assert.equal(told.length, 3)
  assert.equal(desk.render(FEED, 0).news.isAtWork, false)
  timers.advance(WORK_REPEAT_MS * 3)
  assert.equal(told.length, 3)
  desk.tell(FEED, digestOf('a'), 'all')
  desk.moved(FEED)
  whole = { epoch: 1, seq: 2 }
  desk.moved(FEED)
  desk.moved(FEED)
  assert.equal(told.length, 5)
  assert.deepEqual(desk.render(FEED, 0).news.at, whole)
  assert.deepEqual(desk.render(FEED, 0).news.blobs, [], 'the state names it')
})
