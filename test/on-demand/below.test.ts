/** Nodes below one that fetches on demand, and nodes that have nothing and ask each other. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type SetTimer, setUnrefTimer } from '../../src/network/timers.ts'
import { createDemandFetch, type DemandFetch } from '../../src/replication/demand-fetch.ts'
import { FetchThrough } from '../../src/replication/fetch-through.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'
import { Faucet, findFile } from './faucet.ts'

const SIZES = [0, 1000, 100_000, 1_500_000]
const FEED = 'packages'

/** Fetches for clients and for peers. */
function serveThrough(node: MeshNode, stack: AsyncDisposableStack): DemandFetch {
  const { ledger, blobs, book } = node.parts
  // What is waited for in vain takes less time here.
  const setTimer: SetTimer = (run, delayMs) => setUnrefTimer(run, delayMs / 50)
  const stopping = new AbortController()
  const { fetcher } = node.replication
  const { registry } = ledger
  const fetchBlob = createDemandFetch({ book, registry, fetcher, blobs, setTimer, stopping: stopping.signal })
  node.through = new FetchThrough(book, fetchBlob)
  stack.defer(async () => {
    stopping.abort()
    await fetchBlob.whenIdle()
  })
  return fetchBlob
}

async function tie(upper: MeshNode, lower: MeshNode, availability: 'full' | 'on-demand', name = FEED): Promise<string> {
  const { token } = await upper.accept({ feed: FEED, mode: 'push' })
  return await lower.link(upper, token, { feed: name, mode: 'pull', availability })
}

async function pull(node: MeshNode, replication: string): Promise<void> {
  const run = await node.pull(replication)
  assert.equal(run.state, 'succeeded', run.message)
}

async function openChain(stack: AsyncDisposableStack, depth: number) {
  const network = createMemoryNetwork()
  const nodes: MeshNode[] = []
  for (let index = 0; index < depth; index += 1) nodes.push(stack.use(await openMeshNode(network)))
  const feeds: LedgerFeed[] = []
  for (const node of nodes) feeds.push(await node.createFeed(FEED))
  const [hub, hubFeed] = [nodes[0] ?? assert.fail(), feeds[0] ?? assert.fail()]
  const contents = SIZES.map((size) => randomBytes(size))
  for (const [index, content] of contents.entries()) await publishVersion(hubFeed, `unit-${index}`, 'v/1', content)
  return { network, nodes, feeds, hub, hubFeed, contents }
}

async function readAll(feed: LedgerFeed): Promise<Buffer[]> {
  const read: Buffer[] = []
  for (const index of SIZES.keys()) {
    const { row, file } = await findFile(feed, `unit-${index}`)
    read.push(await buffer(await feed.open(row, file)))
  }
  return read
}

test('a full copy below a node that fetches on demand becomes visible, and leaves its files on the way', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, feeds, contents } = await openChain(stack, 3)
  const [hub, upper, child] = nodes as [MeshNode, MeshNode, MeshNode]
  await pull(upper, await tie(hub, upper, 'on-demand'))
  serveThrough(upper, stack)
  await pull(child, await tie(upper, child, 'full'))
  const childFeed = feeds[2] ?? assert.fail()
  assert.deepEqual(await readAll(childFeed), contents)
  const { file } = await findFile(childFeed, 'unit-2')
  assert.deepEqual(await upper.parts.blobs.has([file.digest]), [true])
})

test('without anybody to fetch for it the copy below stays invisible and says why', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes } = await openChain(stack, 3)
  const [hub, upper, child] = nodes as [MeshNode, MeshNode, MeshNode]
  await pull(upper, await tie(hub, upper, 'on-demand'))
  serveThrough(upper, stack)
  const replication = await tie(upper, child, 'full')
  hub.answerBlobs = async (channel) => channel.abort(new Error('gone'))
  const run = await child.pull(replication)
  assert.equal(run.state, 'partial')
  const items = await child.parts.runs.items(run.id)
  const failed = items.filter(({ action }) => action === 'failed')
  assert.deepEqual([failed.length, new Set(failed.map(({ code }) => code))], [3, new Set(['NOT_FOUND'])])
  assert.ok(!JSON.stringify(failed).includes(hub.peerId))
  hub.answerBlobs = undefined
})

test('a copy gets its first bytes while the node above still fetches', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, feeds, contents } = await openChain(stack, 3)
  const [hub, upper, lower] = nodes as [MeshNode, MeshNode, MeshNode]
  await pull(upper, await tie(hub, upper, 'on-demand'))
  await pull(lower, await tie(upper, lower, 'on-demand'))
  serveThrough(upper, stack)
  const fetchBlob = serveThrough(lower, stack)
  const faucet = new Faucet(contents[3] ?? assert.fail())
  hub.answerBlobs = faucet.answer
  faucet.letOut(600_000)
  const { row, file } = await findFile(feeds[2] ?? assert.fail(), 'unit-3')
  const feedId = upper.ledger.registry.states.get(hub.ledger.registry.getLocal(FEED).id)?.feedId ?? assert.fail()
  const stream = await fetchBlob.open({ feedId, unit: row.unit, key: row.key, file }, { start: 0, end: file.size })
  const iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>
  const first = await iterator.next()
  assert.ok(first.done !== true && first.value.length > 0)
  faucet.letOut(file.size)
  const rest: Uint8Array[] = [first.value]
  for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) rest.push(next.value)
  assert.deepEqual(Buffer.concat(rest), contents[3])
  assert.deepEqual(faucet.asked, [0])
})

test('nodes that fetch on demand from each other in a ring end with NOT_FOUND when the source is gone', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes, feeds, hub } = await openChain(stack, 4)
  const [, a, b, c] = nodes as [MeshNode, MeshNode, MeshNode, MeshNode]
  for (const node of [a, b, c]) await pull(node, await tie(hub, node, 'on-demand'))
  for (const [upper, lower] of [
    [a, b],
    [b, c],
    [c, a],
  ] as const)
    await pull(lower, await tie(upper, lower, 'on-demand'))
  const fetches = [a, b, c].map((node) => serveThrough(node, stack))
  let asked = 0
  hub.answerBlobs = async (channel) => {
    asked += 1
    channel.abort(new Error('gone'))
  }
  const { row, file } = await findFile(feeds[1] ?? assert.fail(), 'unit-2')
  const feedId = hub.ledger.registry.getLocal(FEED).id
  const wanted = { feedId, unit: row.unit, key: row.key, file }
  const outcomes = await Promise.allSettled(fetches.map((fetchBlob) => fetchBlob(wanted)))
  for (const outcome of outcomes)
    assert.ok(outcome.status === 'rejected' && isFeedmeshError(outcome.reason, 'NOT_FOUND'), JSON.stringify(outcome))
  assert.ok(asked <= 40, String(asked))
})

test('a peer has a few files fetched for it at once, and is told to come back for more', async () => {
  await using stack = new AsyncDisposableStack()
  const { nodes } = await openChain(stack, 2)
  const [hub, peer] = nodes as [MeshNode, MeshNode]
  await pull(peer, await tie(hub, peer, 'on-demand'))
  const pending: ((error: Error) => void)[] = []
  const openFor: DemandFetch['openFor'] = () => new Promise((_, reject) => pending.push(reject))
  const through = new FetchThrough(hub.book, { openFor })
  const wanted = { feedId: hub.ledger.registry.getLocal(FEED).id, unit: 'u', key: 'k', file: {} as never }
  const range = { start: 0, end: 1 }
  const open = () => through.openPieces(peer.peerId, wanted, range)
  const running = [1, 2, 3, 4].map(open)
  await assert.rejects(open(), (error) => isFeedmeshError(error, 'BUSY'))
  pending[0]?.(new Error('ended'))
  await assert.rejects(running[0] ?? assert.fail(), /ended/)
  const next = open()
  for (const reject of pending) reject(new Error('ended'))
  for (const one of [...running, next]) await assert.rejects(one, /ended/)
  await assert.rejects(through.openPieces('stranger', wanted, range), (error) => isFeedmeshError(error, 'NOT_FOUND'))
})
