/** An owner that signs two things under one number: nobody follows it, everybody can prove it, and nobody else is held up. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import type { HeadReply } from '../../protocols/mesh/sync/messages.ts'
import { signCharter, succeedCharter } from '../../src/catalog/charter.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { createForkProof } from '../../src/catalog/fork-proof.ts'
import { signManifest } from '../../src/catalog/manifest.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork, type MemoryNetwork } from '../../src/network/memory-network.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records, Write } from '../../src/store/records.ts'
import { type AnswerSync, type MeshNode, openHubAndSpoke, openMeshNode, publishVersion } from '../support/mesh-node.ts'

async function copyRecords(from: Records): Promise<Records> {
  const copy = createMemoryRecords()
  const writes: Write[] = []
  for await (const [key, value] of from.scan({ gte: new Uint8Array(0), lt: Buffer.alloc(64, 0xff) }))
    writes.push({ type: 'put', key, value })
  await copy.write(writes)
  return copy
}

/** Starts a node again over `records`, as its own past or its present. */
async function reopen(network: MemoryNetwork, node: MeshNode, records: Records): Promise<MeshNode> {
  const { identity, clock, floor } = node.parts
  await node[Symbol.asyncDispose]()
  return await openMeshNode(network, { identity, clock, floor, records, blobs: createMemoryBlobs({ records }) })
}

function stateOf(node: MeshNode, feedId: string) {
  return node.ledger.registry.getState(feedId)
}

function idOf(node: MeshNode, name = 'packages'): string {
  return node.ledger.registry.getLocal(name).id
}

/** Honest but for what `change` does to heads of one feed. */
function tamperHead(feedId: string, change: (head: HeadReply) => Partial<HeadReply>): AnswerSync {
  return async function* tampered(source, request) {
    const isMeant = request.kind === 'head' && Buffer.from(request.feedId).toString('hex') === feedId
    for await (const reply of answerSync(source, request))
      yield isMeant && reply.kind === 'head' ? { ...reply, ...change(reply) } : reply
  }
}

/** hub → middle → leaf: the leaf reads the middle's feed, which includes the hub's. */
async function openChain(stack: AsyncDisposableStack) {
  const network = createMemoryNetwork()
  const scene = await openHubAndSpoke(network, stack)
  const { hub, spoke: middle, hubFeed, spokeFeed: middleFeed, replication, clock } = scene
  const leaf = stack.use(await openMeshNode(network, { clock }))
  const leafFeed = await leaf.createFeed('packages')
  await publishVersion(hubFeed, 'left', 'v/1', Buffer.from('one'))
  assert.equal((await middle.pull(replication)).state, 'succeeded')
  const { token } = await middle.accept({ feed: 'packages', mode: 'push' })
  const leafReplication = await leaf.link(middle, token, { feed: 'packages', mode: 'pull' })
  assert.equal((await leaf.pull(leafReplication)).state, 'succeeded')
  return { network, hub, middle, leaf, hubFeed, middleFeed, leafFeed, replication, leafReplication, hubId: idOf(hub) }
}

type Chain = Awaited<ReturnType<typeof openChain>>

/** The middle has the hub's newest state when the hub shows it another one under the same number. */
async function forkStates({ hub, middle, hubFeed, replication, hubId }: Chain): Promise<void> {
  await publishVersion(hubFeed, 'left', 'v/2', Buffer.from('two'))
  assert.equal((await middle.pull(replication)).state, 'succeeded')
  const { manifest } = stateOf(hub, hubId)
  const other = signManifest({ ...manifest!.value, stateRoot: sha256('fork'), refresh: 1 }, hub.parts.signer)
  hub.answerSync = tamperHead(hubId, () => ({
    manifest: other.bytes,
    revocations: { feedId: other.value.feedId, list: [] },
  }))
  const run = await middle.pull(replication)
  hub.answerSync = answerSync
  assert.deepEqual([run.state, run.errorCode], ['failed', 'FORKED'], run.message)
}

async function versions(feed: LedgerFeed, unit = 'left'): Promise<string[]> {
  return (await feed.findUnit(unit))?.rows.map((row) => row.key) ?? []
}

test('who has one side of a fork keeps it and takes nothing more of the epoch, also after a restart', async () => {
  await using stack = new AsyncDisposableStack()
  const chain = await openChain(stack)
  const { network, hub, hubFeed, replication, hubId } = chain
  await forkStates(chain)
  assert.deepEqual(await versions(chain.middleFeed), ['v/1', 'v/2'])
  await publishVersion(hubFeed, 'left', 'v/3', Buffer.from('three'))
  assert.equal((await chain.middle.pull(replication)).errorCode, 'FORKED')
  const middle = stack.use(await reopen(network, chain.middle, await copyRecords(chain.middle.parts.records)))
  await middle.host.connect(hub.peerId, hub.host.addresses(), AbortSignal.timeout(5000))
  const seq = stateOf(middle, hubId).manifest?.value.seq
  const fork = middle.ledger.registry.forks.find(hubId)
  assert.deepEqual([fork?.epoch, fork?.number], [1, seq])
  const run = await middle.pull(replication)
  assert.deepEqual([run.state, run.errorCode], ['failed', 'FORKED'])
  assert.equal(stateOf(middle, hubId).manifest?.value.seq, seq)
  const link = hub.book.links.all().find((one) => one.peer === middle.peerId)
  assert.equal(link?.lastError?.code, 'FORKED', 'the owner is told')
})

test('a relay hands the proof on: a third node stays below the fork, and everything else flows on', async () => {
  await using stack = new AsyncDisposableStack()
  const chain = await openChain(stack)
  const { leaf, leafFeed, leafReplication, hubId } = chain
  await forkStates(chain)
  await publishVersion(chain.middleFeed, 'own', 'v/1', Buffer.from('of the middle'))
  assert.ok(stateOf(chain.middle, idOf(chain.middle)).deps.length > 0, 'its state depends on the forked one')
  const before = stateOf(leaf, hubId).manifest?.bytes
  const run = await leaf.pull(leafReplication)
  assert.equal(run.state, 'partial')
  const items = await leaf.parts.runs.items(run.id)
  assert.deepEqual(
    items.filter((item) => item.action === 'failed').map(({ item, code }) => [item, code]),
    [[`feed ${hubId}`, 'FORKED']],
  )
  assert.deepEqual(stateOf(leaf, hubId).manifest?.bytes, before)
  assert.deepEqual(await versions(leafFeed), ['v/1'])
  assert.deepEqual(await versions(leafFeed, 'own'), ['v/1'])
  assert.deepEqual(leaf.ledger.registry.forks.find(hubId), chain.middle.ledger.registry.forks.find(hubId))
})

test('two nodes on two sides of a fork find out when they meet, though both have the same number', async () => {
  await using stack = new AsyncDisposableStack()
  const network = createMemoryNetwork()
  const { hub, spoke, hubFeed, replication, clock, token } = await openHubAndSpoke(network, stack)
  const other = stack.use(await openMeshNode(network, { clock }))
  await other.createFeed('packages')
  const otherReplication = await other.link(hub, token, { feed: 'packages', mode: 'pull' })
  await publishVersion(hubFeed, 'left', 'v/1', Buffer.from('one'))
  for (const [node, id] of [
    [spoke, replication],
    [other, otherReplication],
  ] as const)
    assert.equal((await node.pull(id)).state, 'succeeded')
  const past = await copyRecords(hub.parts.records)
  await publishVersion(hubFeed, 'left', 'v/2', Buffer.from('two'))
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  const hubId = idOf(hub)
  const again = stack.use(await reopen(network, hub, past))
  const draft = { key: 'v/2', rowClass: 'immutable', meta: Buffer.from('another two'), files: [] } as const
  await again.ledger.change(hubId, { unit: 'left', plan: () => ({ put: [draft] }) })
  assert.equal((await other.pull(otherReplication)).state, 'succeeded')
  const [one, two] = [spoke, other].map((node) => stateOf(node, hubId).manifest!.value)
  assert.deepEqual([one?.epoch, one?.seq, one?.refresh], [two?.epoch, two?.seq, two?.refresh])
  const run = await spoke.pull(replication)
  assert.deepEqual([run.state, run.errorCode], ['failed', 'FORKED'], run.message)
  assert.equal(spoke.ledger.registry.forks.find(hubId)?.number, one?.seq)
})

test('two charters of one version are a fork of everything under them', async () => {
  await using stack = new AsyncDisposableStack()
  const chain = await openChain(stack)
  const { hub, middle, leaf, hubFeed, replication, leafReplication, hubId } = chain
  const { charter } = stateOf(hub, hubId)
  const forked = signCharter(succeedCharter(charter, charter.value.issuedAt + 1), hub.parts.signer)
  await hub.ledger.amendCharter(hubId, () => ({ freshness: charter.value.freshness }))
  assert.equal((await middle.pull(replication)).state, 'succeeded')
  hub.answerSync = tamperHead(hubId, () => ({ charters: [forked.bytes], manifest: null }))
  const run = await middle.pull(replication)
  assert.deepEqual([run.state, run.errorCode], ['failed', 'FORKED'], run.message)
  hub.answerSync = answerSync
  const fork = middle.ledger.registry.forks.find(hubId)
  assert.deepEqual([fork?.proof.of, fork?.number], ['charter', 2])
  await publishVersion(hubFeed, 'left', 'v/2', Buffer.from('two'))
  assert.equal((await middle.pull(replication)).errorCode, 'FORKED')
  assert.equal((await leaf.pull(leafReplication)).state, 'partial')
  assert.equal(stateOf(leaf, hubId).charter.value.version, 1)
})

test('proofs that prove nothing are refused, and bar nothing', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, spoke, hubFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
  await publishVersion(hubFeed, 'left', 'v/1', Buffer.from('one'))
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  const hubId = idOf(hub)
  const { manifest } = stateOf(hub, hubId)
  const sign = (change: object, signer = hub.parts.signer) => signManifest({ ...manifest!.value, ...change }, signer)
  const stranger = spoke.parts.signer
  const lies = {
    'a refresh': createForkProof('manifest', manifest!, sign({ refresh: 9 })),
    'the next state': createForkProof('manifest', manifest!, sign({ seq: 99, stateRoot: sha256('next') })),
    'another feed': createForkProof(
      'manifest',
      sign({ feedId: sha256('f') }),
      sign({ feedId: sha256('f'), bytes: 1, logSize: 99 }),
    ),
    'the signature of a stranger': createForkProof(
      'manifest',
      sign({}, stranger),
      sign({ stateRoot: sha256('x') }, stranger),
    ),
  }
  for (const [what, fork] of Object.entries(lies)) {
    hub.answerSync = tamperHead(hubId, () => ({ fork }))
    const run = await spoke.pull(replication)
    assert.deepEqual([run.state, run.errorCode], ['failed', 'FORGED'], what)
    assert.equal(spoke.ledger.registry.forks.find(hubId), undefined, what)
  }
  hub.answerSync = tamperHead(hubId, () => ({
    fork: { of: 'manifest', first: Buffer.of(0xa0), second: Buffer.of(0xa0) },
  }))
  assert.equal((await spoke.pull(replication)).errorCode, 'PEER_INVALID')
  hub.answerSync = answerSync
  await publishVersion(hubFeed, 'left', 'v/2', Buffer.from('two'))
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
})
