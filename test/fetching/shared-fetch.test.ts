/** Several fetches of one node that want the same blob: it comes once, and a client does not wait behind the background. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import type { BlobFollower, FollowedStaging } from '../../src/replication/growing-blob.ts'
import { type Answer, openSite, type SiteNode, verifyHolds } from './chunk-site.ts'

const MIB = 1024 * 1024

async function openPair(stack: AsyncDisposableStack, size: number) {
  const site = await openSite(stack, { size, nodes: 3, areNeighbours: false })
  const [spoke, server, other] = site.nodes as [SiteNode, SiteNode, SiteNode]
  return { site, spoke, server, other }
}

/** Answers once it is let go. */
function held(answer: Answer): { readonly answer: Answer; readonly asked: Promise<void>; release(): void } {
  const [asked, released] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  return {
    asked: asked.promise,
    release: released.resolve,
    answer: async (exchange, request) => {
      asked.resolve()
      await released.promise
      await answer(exchange, request)
    },
  }
}

test('two fetches of one blob at the same time bring it once, and both are told', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, server } = await openPair(stack, 9 * MIB)
  const gate = held(site.serveContent)
  server.answer = gate.answer
  const peers = [server.host.peerId]
  const first = spoke.fetch(peers, [site.wanted])
  await gate.asked
  const second = spoke.fetch(peers, [site.wanted])
  gate.release()
  for (const { outcomes } of await Promise.all([first, second]))
    assert.deepEqual(
      outcomes.map(({ error }) => error),
      [undefined],
    )
  await verifyHolds(spoke, site)
  assert.equal(server.asked.length, 1)
})

test('what another fetch could not bring is fetched from the peers of one’s own', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, server, other } = await openPair(stack, 9 * MIB)
  const gate = held(async (exchange) => {
    await exchange.send({ kind: 'error', code: 'NOT_FOUND', message: 'not here' })
  })
  server.answer = gate.answer
  other.answer = site.serveContent
  const first = spoke.fetch([server.host.peerId], [site.wanted])
  await gate.asked
  const second = spoke.fetch([other.host.peerId], [site.wanted])
  gate.release()
  assert.equal((await first).outcomes[0]?.error?.code, 'NOT_FOUND')
  assert.deepEqual(
    (await second).outcomes.map(({ error }) => error),
    [undefined],
  )
  await verifyHolds(spoke, site)
})

test('when the fetch that has a blob under way is stopped the one that waits goes on with it', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, server } = await openPair(stack, 9 * MIB)
  const gate = held(site.serveContent)
  server.answer = gate.answer
  const stopping = new AbortController()
  const first = spoke.fetch([server.host.peerId], [site.wanted], { signal: stopping.signal })
  await gate.asked
  const second = spoke.fetch([server.host.peerId], [site.wanted])
  stopping.abort(new FeedmeshError('ABORTED', 'stopped'))
  gate.release()
  await assert.rejects(first, { code: 'ABORTED' })
  assert.deepEqual(
    (await second).outcomes.map(({ error }) => error),
    [undefined],
  )
  await verifyHolds(spoke, site)
})

test('a fetch that only waits for another one can be stopped', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, server } = await openPair(stack, 9 * MIB)
  const gate = held(site.serveContent)
  server.answer = gate.answer
  const first = spoke.fetch([server.host.peerId], [site.wanted])
  await gate.asked
  const stopping = new AbortController()
  const second = spoke.fetch([server.host.peerId], [site.wanted], { signal: stopping.signal })
  stopping.abort(new FeedmeshError('ABORTED', 'stopped'))
  await assert.rejects(second, { code: 'ABORTED' })
  gate.release()
  assert.equal((await first).outcomes.length, 1)
})

test('a client that waits for the last of many blobs is not behind them', async () => {
  await using stack = new AsyncDisposableStack()
  const { site, spoke, server } = await openPair(stack, 9 * MIB)
  // Nobody gives the others before the one that is waited for has come.
  const [here, busy] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  let stuck = 0
  server.answer = async (exchange, request) => {
    if (request.digest === site.wanted.digest) return await site.serveContent(exchange, request)
    stuck += 1
    if (stuck === 4) busy.resolve()
    await here.promise
    await exchange.send({ kind: 'error', code: 'NOT_FOUND', message: 'not here' })
  }
  const others = Array.from({ length: 40 }, (_, at) => ({
    ...site.wanted,
    digest: `sha256:${at.toString(16).padStart(64, '0')}` as const,
  }))
  const peers = [server.host.peerId]
  const background = spoke.fetch(peers, [...others, site.wanted])
  await busy.promise
  const { outcomes } = await spoke.fetch(peers, [site.wanted], { isWaited: true })
  assert.deepEqual(
    outcomes.map(({ error }) => error),
    [undefined],
  )
  here.resolve()
  const all = (await background).outcomes
  assert.equal(all.length, 41)
  assert.equal(all.filter(({ error }) => error === undefined).length, 1)
  await verifyHolds(spoke, site)
})

/** Notes what it is told. */
class NotedFollower implements BlobFollower {
  readonly begun: (FollowedStaging | 'by chunks')[] = []
  grownTimes = 0

  async begin(staged: FollowedStaging | 'by chunks'): Promise<void> {
    this.begun.push(staged)
  }

  grown(): void {
    this.grownTimes += 1
  }
}

for (const [how, peerCount] of [
  ['in order', 1],
  ['by chunks', 2],
] as const) {
  test(`a client that comes while a blob arrives ${how} reads along from then on`, async () => {
    await using stack = new AsyncDisposableStack()
    const { site, spoke, server, other } = await openPair(stack, 16 * MIB)
    const gates = [held(site.serveContent), held(site.serveContent)]
    const isFirst = (request: { readonly offset: number; readonly digest: string }) =>
      request.digest === site.wanted.digest && request.offset < 8 * MIB
    for (const [at, node] of [server, other].entries())
      node.answer = (exchange, request) => (isFirst(request) ? gates[at]!.answer : site.serveContent)(exchange, request)
    const peers = [server.host.peerId, other.host.peerId].slice(0, peerCount)
    const background = spoke.fetch(peers, [site.wanted])
    await Promise.race(gates.map(({ asked }) => asked))
    const follower = new NotedFollower()
    const waited = spoke.fetch(peers, [site.wanted], { isWaited: true, follower })
    while (follower.begun.length === 0) await new Promise(setImmediate)
    for (const gate of gates) gate.release()
    assert.equal((await background).outcomes[0]?.error, undefined)
    assert.equal((await waited).outcomes[0]?.error, undefined)
    assert.deepEqual(
      follower.begun.map((staged) => staged === 'by chunks'),
      [how === 'by chunks'],
    )
    assert.ok(follower.grownTimes > 0)
    await verifyHolds(spoke, site)
  })
}
