/** Whole subtrees over several streams: who breaks or lies costs the others nothing. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Ask, Target } from '../../protocols/mesh/sync/asker.ts'
import { compareState } from '../../protocols/mesh/sync/comparison.ts'
import type { SyncRequest } from '../../protocols/mesh/sync/messages.ts'
import { encodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { encodeRow } from '../../src/catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import { rowOf } from '../support/feed-graph.ts'
import { askOf, FEED_ID, learn, MemoryState } from '../support/memory-state.ts'

const ROWS = Array.from({ length: 12_000 }, (_, index) => rowOf(`v/${index % 6}`, { unit: `unit-${(index / 6) | 0}` }))
const remote = await MemoryState.of(ROWS)
const target: Target = { feedId: FEED_ID, stateRoot: remote.stateRoot, entries: remote.count }
const lost = new FeedmeshError('PEER_UNREACHABLE', 'the connection broke')

/** What each stream was asked for. */
function watched(ask: Ask): { readonly ask: Ask; readonly requests: SyncRequest[] } {
  const requests: SyncRequest[] = []
  return {
    requests,
    ask: (request) => {
      requests.push(request)
      return ask(request)
    },
  }
}

/** Gives `replies` honest replies, then breaks in the middle of a part. */
function breakingAfter(replies: number): Ask {
  const honest = askOf(remote)
  let left = replies
  return async function* ask(request) {
    left -= 1
    if (request.kind !== 'subtree' || left >= 0) return yield* honest(request)
    const rows = await Array.fromAsync(remote.rows(request.path, request.after))
    yield { kind: 'segment', ...encodeSegment(rows.slice(0, 100).map(([, row]) => row)), more: 1 }
    throw lost
  }
}

/** Sends well-formed rows of another place. */
const lying: Ask = async function* lie(request) {
  assert.equal(request.kind, 'subtree')
  yield { kind: 'segment', ...encodeSegment([encodeRow(ROWS[0]!)]), more: 0 }
}

async function learnAll(main: Ask, more: readonly Ask[]): Promise<MemoryState> {
  const local = new MemoryState()
  await local.change(await learn(compareState, { ask: main, local, target, more }))
  return local
}

test('come over all streams there are, each part once', async () => {
  const streams = Array.from({ length: 3 }, () => watched(askOf(remote)))
  const [main, ...more] = streams
  const local = await learnAll(
    main!.ask,
    more.map(({ ask }) => ask),
  )
  assert.deepEqual(local.stateRoot, remote.stateRoot)
  const parts = streams.flatMap(({ requests }) => requests.flatMap((one) => (one.kind === 'subtree' ? one.path : [])))
  assert.equal(new Set(parts).size, parts.length)
  for (const { requests } of streams) assert.ok(requests.length > 1)
})

test('a stream that breaks in the middle of a part leaves what it brought, and another goes on behind it', async () => {
  const main = watched(askOf(remote))
  const local = await learnAll(main.ask, [breakingAfter(2)])
  assert.deepEqual(local.stateRoot, remote.stateRoot)
  const resumed = main.requests.filter((request) => request.kind === 'subtree' && request.after !== null)
  assert.equal(resumed.length, 1)
})

test('when the first stream breaks the others finish', async () => {
  const local = await learnAll(breakingAfter(1), [askOf(remote)])
  assert.deepEqual(local.stateRoot, remote.stateRoot)
})

test('a stream that lies is done with, and what it began is asked for anew', async () => {
  const local = await learnAll(askOf(remote), [lying])
  assert.deepEqual(local.stateRoot, remote.stateRoot)
})

test('rows of two streams that do not fit together blame nobody: the part is asked for once more', async () => {
  const honest = askOf(remote)
  /** Begins a part with rows that are in order and not in the trie, and breaks. */
  const poisoning: Ask = async function* poison(request) {
    assert.equal(request.kind, 'subtree')
    const [, row] = (await remote.rows(request.path, null).next()).value!
    const forged = Buffer.from(row)
    forged[5] = forged[5]! ^ 1
    yield { kind: 'segment', ...encodeSegment([forged]), more: 1 }
    throw lost
  }
  const local = await learnAll(honest, [poisoning])
  assert.deepEqual(local.stateRoot, remote.stateRoot)
})

test('when nobody is left the last failure is told', async () => {
  await assert.rejects(learnAll(breakingAfter(1), [lying]), (error) =>
    isFeedmeshError(error, 'PEER_UNREACHABLE', 'PEER_INVALID'),
  )
})

test('a peer that claims a million rows and sends garbage is found out at the first part', async () => {
  let sent = 0
  const garbage: Ask = async function* claim(request) {
    if (request.kind !== 'subtree') return yield* askOf(remote)(request)
    for (let at = 0; at < 1000; at += 1) {
      sent += 1
      yield { kind: 'segment', ...encodeSegment([encodeRow(rowOf(`g/${at}`, { unit: 'garbage' }))]), more: 1 }
    }
  }
  await assert.rejects(learnAll(garbage, []), (error) => isFeedmeshError(error, 'PEER_INVALID'))
  assert.ok(sent <= 2, `${sent}`)
})

test('the way down to the parts is proved by the signed root', async () => {
  const other = await MemoryState.of(ROWS.slice(6).concat(Array.from({ length: 6 }, (_, at) => rowOf(`w/${at}`))))
  const lie: Ask = (request) =>
    askOf(other)(request.kind === 'head' ? request : { ...request, stateRoot: other.stateRoot })
  await assert.rejects(
    learnAll(lie, []),
    (error) => isFeedmeshError(error, 'PEER_INVALID') && /not the trie node/.test(error.message),
  )
})

test('a part too heavy to be held is asked for in smaller ones', async () => {
  const files = Array.from({ length: 400 }, (_, at) => ({
    role: `r${'x'.repeat(50)}${at}`,
    digest: `sha256:${'ab'.repeat(32)}` as const,
    size: 1,
  }))
  const heavy = await MemoryState.of(Array.from({ length: 700 }, (_, at) => ({ ...rowOf(`v/${at}`), files })))
  const main = watched(askOf(heavy))
  const local = new MemoryState()
  const wanted = { feedId: FEED_ID, stateRoot: heavy.stateRoot, entries: heavy.count }
  await local.change(await learn(compareState, { ask: main.ask, local, target: wanted }))
  assert.deepEqual(local.stateRoot, heavy.stateRoot)
  assert.deepEqual(
    main.requests.slice(0, 2).map((request) => request.kind),
    ['subtree', 'nodes'],
  )
})
