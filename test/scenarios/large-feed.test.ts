/** A feed of more rows than a pull holds in memory: gathered on disk, taken up again where it broke off, visible all at once. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type MeshNode, openHubAndSpoke } from '../support/mesh-node.ts'

const UNITS = 60
const ROWS_OF_UNIT = 200

async function fill(feed: LedgerFeed, version = 'v'): Promise<void> {
  const put = Array.from({ length: ROWS_OF_UNIT }, (_, at) => ({
    key: `${version}/${at}`,
    rowClass: 'register' as const,
    meta: Buffer.from(`${version} ${at}`),
    files: [],
  }))
  await Promise.all(Array.from({ length: UNITS }, (_, at) => feed.change(`unit-${at}`, () => ({ put }))))
}

function digestOf({ ledger }: MeshNode, of: MeshNode): string | undefined {
  const { id } = of.ledger.registry.getLocal('packages')
  return ledger.registry.views.get(id)?.totals.root.hash.toString('hex')
}

async function openLarge(stack: AsyncDisposableStack) {
  const scene = await openHubAndSpoke(createMemoryNetwork(), stack)
  await fill(scene.hubFeed)
  return scene
}

test('a newcomer takes it whole, in parts', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, replication, spokeFeed } = await openLarge(stack)
  const asked: string[] = []
  hub.answerSync = (source, request) => {
    asked.push(request.kind)
    return answerSync(source, request)
  }
  const run = await spoke.pull(replication)
  assert.equal(run.state, 'succeeded', run.message)
  const parts = asked.filter((kind) => kind === 'subtree').length
  assert.ok(parts > 8 && parts <= 16, `${parts}`)
  assert.equal(digestOf(spoke, hub), digestOf(hub, hub))
  assert.equal((await spokeFeed.findUnit('unit-7'))?.rows.length, ROWS_OF_UNIT)
})

test('what arrived before the connection broke is not asked for again, nor seen before all is there', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, replication, spokeFeed } = await openLarge(stack)
  let left = 6
  hub.answerSync = async function* breaking(source, request) {
    if (request.kind === 'subtree' && left-- <= 0) throw new FeedmeshError('BUSY', 'enough for today')
    yield* answerSync(source, request)
  }
  assert.equal((await spoke.pull(replication)).state, 'failed')
  assert.equal(await spokeFeed.findUnit('unit-7'), undefined)
  let parts = 0
  hub.answerSync = (source, request) => {
    if (request.kind === 'subtree') parts += 1
    return answerSync(source, request)
  }
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  assert.ok(parts <= 16 - 6, `${parts}`)
  assert.equal(digestOf(spoke, hub), digestOf(hub, hub))
})

test('a feed that moves on while a newcomer reads it costs what has changed', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, replication, hubFeed } = await openLarge(stack)
  let parts = 0
  hub.answerSync = async function* moving(source, request) {
    if (request.kind === 'subtree') {
      parts += 1
      if (parts === 8)
        await hubFeed.change('unit-3', () => ({
          put: [{ key: 'new', rowClass: 'register', meta: new Uint8Array(0), files: [] }],
        }))
    }
    yield* answerSync(source, request)
  }
  const run = await spoke.pull(replication)
  assert.equal(run.state, 'succeeded', run.message)
  assert.ok(parts <= 16 + 4, `${parts}`)
  assert.equal(digestOf(spoke, hub), digestOf(hub, hub))
})

test('a difference that grows too large to be held goes on where it is', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, replication, hubFeed, spokeFeed } = await openLarge(stack)
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  await fill(hubFeed, 'w')
  const dropped = Array.from({ length: ROWS_OF_UNIT }, (_, at) => `v/${at}`)
  await hubFeed.change('unit-5', () => ({ drop: dropped }))
  const run = await spoke.pull(replication)
  assert.equal(run.state, 'succeeded', run.message)
  assert.equal((await spokeFeed.findUnit('unit-5'))?.rows.length, ROWS_OF_UNIT)
  assert.equal((await spokeFeed.findUnit('unit-6'))?.rows.length, 2 * ROWS_OF_UNIT)
  assert.equal(digestOf(spoke, hub), digestOf(hub, hub))
})
