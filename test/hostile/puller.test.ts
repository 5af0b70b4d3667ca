/** A hub that turns hostile, against a spoke that pulls from it: after an honest start every answer it gives may be a lie. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { answerSync } from '../../protocols/mesh/sync/answerer.ts'
import type { HeadReply, SyncReply, SyncRequest } from '../../protocols/mesh/sync/messages.ts'
import { encodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { sha256 } from '../../src/catalog/digest.ts'
import { type Manifest, openManifest, signManifest } from '../../src/catalog/manifest.ts'
import { encodeOperation } from '../../src/catalog/operation.ts'
import { encodeRow, type Row } from '../../src/catalog/row.ts'
import { stampAt } from '../../src/catalog/stamp.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import type { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type AnswerSync, type MeshNode, openHubAndSpoke, publishVersion, readContent } from '../support/mesh-node.ts'

interface Scene {
  readonly hub: MeshNode
  readonly spoke: MeshNode
  readonly hubFeed: LedgerFeed
  readonly replication: string
  /** The hub's manifest before its last change, as it was signed. */
  readonly olderManifest: Uint8Array
  readonly current: Manifest
}

/** Hub and spoke are equal; then the hub publishes once more and goes over to `answer`. */
async function openScene(stack: AsyncDisposableStack, rows = 1): Promise<Scene> {
  const { hub, spoke, hubFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
  const state = () => hub.ledger.registry.getState(hub.ledger.registry.getLocal('packages').id)
  await publishVersion(hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const olderManifest = state().manifest!.bytes
  await publishMany(hubFeed, rows)
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  await publishVersion(hubFeed, 'left', 'v/2.0.0', Buffer.from('two'))
  return { hub, spoke, hubFeed, replication, olderManifest, current: state().manifest!.value }
}

async function publishMany(feed: LedgerFeed, rows: number): Promise<void> {
  const put = Array.from({ length: rows }, (_, index) => ({
    key: `v/1.1.${index}`,
    rowClass: 'immutable' as const,
    meta: Buffer.from(`${index}`),
    files: [],
  }))
  await feed.change('many', () => ({ put }))
}

/** The lie is refused with `code`, leaves the spoke as it was, and the truth is taken afterwards. */
async function verifyRefused(scene: Scene, lie: AnswerSync, code: string): Promise<void> {
  const { hub, spoke, replication } = scene
  const before = await readContent(spoke.parts.records)
  hub.answerSync = lie
  const run = await spoke.pull(replication)
  assert.deepEqual([run.state, run.errorCode], ['failed', code], run.message)
  assert.deepEqual(await readContent(spoke.parts.records), before)
  hub.answerSync = answerSync
  assert.equal((await spoke.pull(replication)).state, 'succeeded')
  const [one, two] = [hub, spoke].map(
    (node) => node.ledger.registry.getView(hub.ledger.registry.getLocal('packages').id).totals.root.hash,
  )
  assert.deepEqual(two, one)
}

/** Honest but for the replies that `change` replaces. */
function tamper(change: (reply: SyncReply, request: SyncRequest) => SyncReply | readonly SyncReply[]): AnswerSync {
  return async function* tampered(source, request) {
    for await (const reply of answerSync(source, request)) {
      const changed = change(reply, request)
      if (Array.isArray(changed)) yield* changed as readonly SyncReply[]
      else yield changed as SyncReply
    }
  }
}

function tamperHead(change: (head: HeadReply) => Partial<HeadReply>): AnswerSync {
  return tamper((reply) => (reply.kind === 'head' ? { ...reply, ...change(reply) } : reply))
}

/** Answers that make the spoke compare tries, not replay the log. */
function withoutTail(lie: AnswerSync): AnswerSync {
  return async function* noTail(source, request) {
    for await (const reply of lie(source, request))
      yield reply.kind === 'head' ? { ...reply, logFrom: Number.MAX_SAFE_INTEGER } : reply
  }
}

function resign(scene: Scene, change: Partial<Manifest>): Uint8Array {
  return signManifest({ ...scene.current, ...change }, scene.hub.parts.signer).bytes
}

function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = Uint8Array.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ 1
  return copy
}

const HEAD_LIES: Record<string, readonly [code: string, (scene: Scene, head: HeadReply) => Partial<HeadReply>]> = {
  'a manifest whose signature is forged': [
    'FORGED',
    (_, head) => ({ manifest: flipped(head.manifest!, head.manifest!.length - 1) }),
  ],
  'a manifest of another signer': [
    'FORGED',
    (scene) => ({ manifest: signManifest(scene.current, createSeedSigner(Buffer.alloc(32, 5))).bytes }),
  ],
  'a manifest that is older than what is here': ['ROLLED_BACK', (scene) => ({ manifest: scene.olderManifest })],
  'a manifest of another feed of the same owner': [
    'FORGED',
    (scene) => ({ manifest: resign(scene, { feedId: Buffer.alloc(32, 9) }) }),
  ],
  'a manifest under a charter that is not here': [
    'FORGED',
    (scene) => ({ manifest: resign(scene, { charter: sha256('charter') }) }),
  ],
  'a manifest of another epoch than the charter': [
    'FORGED',
    (scene) => ({ manifest: resign(scene, { epoch: 2, seq: 99 }) }),
  ],
  'a manifest from the future': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { issuedAt: scene.current.issuedAt + 3_600_000, expiresAt: 9e15 }) }),
  ],
  'a manifest from after the end of time': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { issuedAt: 9e15, expiresAt: 9e15 }) }),
  ],
  'a manifest that expires before it is issued': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { expiresAt: 1 }) }),
  ],
  'a manifest whose stamps are from the future': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { clock: stampAt(scene.current.issuedAt + 3_600_000) }) }),
  ],
  'a manifest without its revocations': ['PEER_INVALID', () => ({ revocations: null })],
  'other revocations than signed': [
    'FORGED',
    (_, head) => ({
      revocations: { ...head.revocations!, list: [{ subject: Buffer.alloc(32, 1), notIssuedBefore: 5 }] },
    }),
  ],
  'other deps than signed': [
    'FORGED',
    () => ({ deps: [{ feedId: Buffer.alloc(32, 1), epoch: 1, seq: 1, stateRoot: Buffer.alloc(32) }] }),
  ],
  'bytes that are no manifest': ['PEER_INVALID', () => ({ manifest: Buffer.from('a0', 'hex') })],
  'bytes that are no charter': ['PEER_INVALID', () => ({ charters: [Buffer.from('a0', 'hex')] })],
  'a state whose root no rows lead to': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { stateRoot: sha256('lie') }) }),
  ],
  'a wrong number of entries': [
    'PEER_INVALID',
    (scene) => ({ manifest: resign(scene, { entries: scene.current.entries + 1 }) }),
  ],
}

for (const [what, [code, lie]] of Object.entries(HEAD_LIES)) {
  test(`a pull refuses ${what}`, async () => {
    await using stack = new AsyncDisposableStack()
    const scene = await openScene(stack)
    const answer = tamperHead((head) => lie(scene, head))
    // The state root that is asked for is a lie here; the answer is about the state that is there.
    const aboutTheTruth: AnswerSync = (source, request) =>
      answer(source, request.kind === 'head' ? request : { ...request, stateRoot: scene.current.stateRoot })
    await verifyRefused(scene, aboutTheTruth, code)
  })
}

test('a pull refuses charter and manifest of another feed', async () => {
  for (const withManifest of [false, true]) {
    await using stack = new AsyncDisposableStack()
    const scene = await openScene(stack)
    await scene.hub.createFeed('other')
    const { registry } = scene.hub.ledger
    const { charter, manifest } = registry.getState(registry.getLocal('other').id)
    const lie = { charters: [charter.bytes], ...(withManifest ? { manifest: manifest!.bytes } : {}) }
    await verifyRefused(
      scene,
      tamperHead(() => lie),
      'FORGED',
    )
  }
})

function extraRow(unit: string): Row {
  return { rowClass: 'immutable', stamp: 1n, unit, key: 'v/1', meta: new Uint8Array(0), files: [] }
}

function segmentOf(rows: readonly Row[], more: 0 | 1 = 0): SyncReply {
  return { kind: 'segment', ...encodeSegment(rows.map(encodeRow)), more }
}

/** Rows nobody signed, for ever. */
async function* endlessRows(): AsyncGenerator<SyncReply> {
  for (let index = 0; ; index += 1) yield segmentOf([extraRow(`extra-${index}`)], 1)
}

async function* endlessNothing(): AsyncGenerator<SyncReply> {
  for (;;) yield segmentOf([], 1)
}

const STATE_LIES: Record<string, AnswerSync> = {
  'rows that nobody signed': tamper((reply, request) =>
    request.kind === 'rows' ? segmentOf([extraRow('evil')]) : reply,
  ),
  'more rows than signed, without end': (source, request) =>
    request.kind === 'head' || request.kind === 'nodes' ? answerSync(source, request) : endlessRows(),
  'empty segments without end': (source, request) =>
    request.kind === 'head' || request.kind === 'nodes' ? answerSync(source, request) : endlessNothing(),
  'no rows at all': tamper((reply, request) =>
    request.kind === 'head' || request.kind === 'nodes' ? reply : segmentOf([]),
  ),
  'a segment that unpacks to more than it says': tamper((reply) =>
    reply.kind === 'segment' ? { ...reply, ...encodeSegment([Buffer.alloc(1 << 20)]), rawBytes: 100 } : reply,
  ),
  'a segment that is no zstd': tamper((reply) =>
    reply.kind === 'segment' ? { ...reply, data: Buffer.alloc(100, 1), rawBytes: 100 } : reply,
  ),
  'nodes that are none': tamper((reply) => (reply.kind === 'nodes' ? { ...reply, nodes: [Buffer.of(9)] } : reply)),
  'fewer nodes than asked for': tamper((reply) => (reply.kind === 'nodes' ? { ...reply, nodes: [] } : reply)),
  'nodes in place of rows': tamper((reply, request) =>
    request.kind === 'rows' ? { kind: 'nodes', nodes: [Buffer.of(0)] } : reply,
  ),
  'rows in place of a head': tamper((reply, request) => (request.kind === 'head' ? segmentOf([]) : reply)),
  'a trie whose counts do not add up': async function* endless(source, request) {
    if (request.kind !== 'nodes') yield* answerSync(source, request)
    else yield { kind: 'nodes', nodes: request.paths.map(deeper) }
  },
}

/** An inner node just below `slot`, with two children of the largest count a node can say. */
function deeper(slot: string): Uint8Array {
  const path = Buffer.from(slot.length % 2 === 0 ? slot : `${slot}0`, 'hex')
  const child = (nibble: number) =>
    Buffer.concat([Buffer.of(nibble * 2), Buffer.alloc(6, 0x33), Buffer.alloc(8, nibble)])
  return Buffer.concat([Buffer.of(2, slot.length), path, child(1), child(2)])
}

for (const [what, lie] of Object.entries(STATE_LIES)) {
  test(`a pull refuses ${what}`, async () => {
    await using stack = new AsyncDisposableStack()
    const scene = await openScene(stack, 200)
    await verifyRefused(scene, withoutTail(lie), 'PEER_INVALID')
  })
}

const NEWCOMER_LIES: Record<string, AnswerSync> = {
  'more rows than signed, without end': (source, request) =>
    request.kind === 'head' ? answerSync(source, request) : endlessRows(),
  'one row too few': tamper((reply, request) => (request.kind === 'head' ? reply : segmentOf([extraRow('a')]))),
  'rows stamped after the manifest': tamper((reply, request) =>
    request.kind === 'head' ? reply : segmentOf([{ ...extraRow('a'), stamp: stampAt(9e12) }]),
  ),
}

for (const [what, lie] of Object.entries(NEWCOMER_LIES)) {
  test(`a newcomer refuses ${what}`, async () => {
    await using stack = new AsyncDisposableStack()
    const { hub, spoke, hubFeed, spokeFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
    await publishMany(hubFeed, 5)
    hub.answerSync = lie
    const run = await spoke.pull(replication)
    assert.deepEqual([run.state, run.errorCode], ['failed', 'PEER_INVALID'], run.message)
    assert.equal((await readContent(spoke.parts.records, 'rnlvwubc')).size, 0)
    hub.answerSync = answerSync
    assert.equal((await spoke.pull(replication)).state, 'succeeded')
    assert.equal((await spokeFeed.findUnit('many'))?.rows.length, 5)
  })
}

/** The honest head, but for the operations that come along with it. */
async function* withTail(tail: HeadReply['tail'], ...asked: Parameters<typeof answerSync>): AsyncGenerator<SyncReply> {
  for await (const reply of answerSync(...asked)) yield reply.kind === 'head' ? { ...reply, tail } : reply
}

test('news comes along with the head', async () => {
  await using stack = new AsyncDisposableStack()
  const scene = await openScene(stack, 100)
  const asked: string[] = []
  scene.hub.answerSync = (source, request) => {
    asked.push(request.kind)
    return answerSync(source, request)
  }
  assert.equal((await scene.spoke.pull(scene.replication)).state, 'succeeded')
  assert.deepEqual(asked, ['head'])
})

test('a log that does not lead to the signed state is not believed: the tries decide', async () => {
  await using stack = new AsyncDisposableStack()
  const scene = await openScene(stack, 100)
  const asked: string[] = []
  scene.hub.answerSync = (source, request) => {
    asked.push(request.kind)
    if (request.kind === 'tail') return answerSync(source, { ...request, from: request.from - 1, to: request.to - 1 })
    return withTail(null, source, request)
  }
  assert.equal((await scene.spoke.pull(scene.replication)).state, 'succeeded')
  assert.deepEqual(asked.slice(0, 3), ['head', 'tail', 'nodes'])
})

test('operations that come along with a head and do not lead to its state are not believed either', async () => {
  const drop = { kind: 'drop', unit: 'left', key: 'v/1.0.0' } as const
  const garbage = { data: Buffer.from('no zstd'), rawBytes: 9 }
  for (const tail of [garbage, encodeSegment([encodeOperation(drop)]), encodeSegment([Buffer.from('no operation')])]) {
    await using stack = new AsyncDisposableStack()
    const scene = await openScene(stack, 100)
    scene.hub.answerSync = (source, request) => withTail(tail, source, request)
    assert.equal((await scene.spoke.pull(scene.replication)).state, 'succeeded')
  }
})

test('an answer full of control characters reaches the operator without them, and a long one whole enough', async () => {
  await using stack = new AsyncDisposableStack()
  const scene = await openScene(stack)
  const message = `\u001b[31m${'é\u0007'.repeat(600)}`
  scene.hub.answerSync = async function* refuse() {
    yield { kind: 'error', code: 'NO_SUCH_CODE', message }
  }
  const run = await scene.spoke.pull(scene.replication)
  assert.equal(run.errorCode, 'PEER_INVALID')
  // oxlint-disable-next-line no-control-regex
  assert.doesNotMatch(run.message, /[\u0000-\u001f\u007f-\u009f]/)
  assert.match(run.message, /é é é/)
})

test('a feed that moves on while it is read is read again from its new head', async () => {
  await using stack = new AsyncDisposableStack()
  const scene = await openScene(stack, 100)
  let moves = 2
  scene.hub.answerSync = async function* moving(source, request) {
    if (request.kind !== 'head' && moves > 0) {
      moves -= 1
      await publishVersion(scene.hubFeed, 'left', `v/3.0.${moves}`, Buffer.of(moves))
    }
    yield* withTail(null, source, request)
  }
  assert.equal((await scene.spoke.pull(scene.replication)).state, 'succeeded')
  assert.equal(moves, 0)
  const feedId = scene.hub.ledger.registry.getLocal('packages').id
  const { manifest } = scene.spoke.ledger.registry.getState(feedId)
  assert.deepEqual(manifest?.bytes, scene.hub.ledger.registry.getState(feedId).manifest?.bytes)
  assert.equal(openManifest(manifest!.bytes).value.feedId.length, feedIdBytes(feedId).length)
})
