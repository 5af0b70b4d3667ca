/** Every vector of `protocols/mesh`, read from its files; what must be refused is refused for the reason that it names. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { announcement } from '../../protocols/mesh/announce/messages.ts'
import { blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { bulkOpening, bulkReply, bulkRequest } from '../../protocols/mesh/bulk/messages.ts'
import {
  encodeTranscript,
  hashHello,
  helloShape,
  linkReply,
  linkRequest,
  transcriptShape,
} from '../../protocols/mesh/link/messages.ts'
import { nearbyReply, nearbyRequest } from '../../protocols/mesh/nearby/messages.ts'
import { syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeNode } from '../../protocols/mesh/sync/node-form.ts'
import { decodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { compareVectors, readVectors, renderVectors } from '../../protocols/mesh/vectors/generate.ts'
import { decodeCbor, encodeCbor, type Shape } from '../../src/catalog/cbor.ts'
import {
  type Charter,
  charterShape,
  feedIdBytes,
  feedIdOf,
  feedIdText,
  openCharter,
  verifyFirstCharter,
  verifyNextCharter,
} from '../../src/catalog/charter.ts'
import { compareChains, openCharters } from '../../src/catalog/charter-chain.ts'
import { Closure } from '../../src/catalog/closure.ts'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { findFork, forkProofShape } from '../../src/catalog/fork-proof.ts'
import { type ChainQuestion, hashRevocations, revocationsShape, verifyGrantChain } from '../../src/catalog/grant.ts'
import { depsShape, hashDeps, manifestShape, openManifest, verifyManifest } from '../../src/catalog/manifest.ts'
import { decodeOperation, encodeOperation } from '../../src/catalog/operation.ts'
import { contentDigest, decodeRow, encodeRow, META_ROLE, placeOf, type Row, rowDigest } from '../../src/catalog/row.ts'
import { openObject, signMessage, verifyMessage } from '../../src/catalog/signed.ts'
import { deriveLinkSigner, parseJoinCode, parseToken, renderJoinCode, renderToken } from '../../src/catalog/token.ts'
import { buildTrie } from '../../src/catalog/trie.ts'
import { BLOCKED_DIGEST, decodeTombstone, encodeTombstone, mergeUnit, viewDigestOf } from '../../src/catalog/view.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { asWritten, readBytes, readRow, readStoredVectors, type StoredVector } from '../support/vector-reader.ts'

const SHAPES: Readonly<Record<string, Shape<never>>> = {
  'sync-request': syncRequest,
  'sync-reply': syncReply,
  'link-request': linkRequest,
  'link-reply': linkReply,
  'blob-request': blobRequest,
  'blob-reply': blobReply,
  announcement,
  'nearby-request': nearbyRequest,
  'nearby-reply': nearbyReply,
  'bulk-request': bulkRequest,
  'bulk-reply': bulkReply,
  'bulk-opening': bulkOpening,
  charter: charterShape,
  manifest: manifestShape,
} as unknown as Readonly<Record<string, Shape<never>>>

function shapeNamed(name: unknown): Shape<never> {
  const shape = SHAPES[String(name)]
  assert.ok(shape, `no shape ${String(name)}`)
  return shape
}

/** The bytes that are to be read; long ones are written as their start and what fills the rest. */
function input(vector: StoredVector, file = String(vector.facts.bytes)): Buffer {
  const start = vector.bytes(file)
  const fill = vector.facts.fill as { readonly byte: number; readonly count: number } | undefined
  return fill === undefined ? start : Buffer.concat([start, Buffer.alloc(fill.count, fill.byte)])
}

function rowWritten(row: Row): unknown {
  const written = asWritten(row) as { meta: string }
  const text = Buffer.from(row.meta).toString()
  const isText = row.meta.length > 0 && Buffer.from(text).equals(row.meta) && /^[\x20-\x7e\n]*$/.test(text)
  return isText ? { ...written, meta: text } : written
}

type Check = (vector: StoredVector) => void

const cbor: Check = (vector) => {
  const shape = shapeNamed(vector.facts.shape)
  const bytes = input(vector)
  const value = decodeCbor(shape, bytes, 'vector')
  assert.deepEqual(asWritten(value), vector.facts.value)
  if (vector.facts.isReadOnly !== true) assert.deepEqual(Buffer.from(encodeCbor(shape, value)), bytes)
}

const signed: Check = (vector) => {
  const domain = vector.facts.domain as 'manifest'
  const object = openObject(domain, shapeNamed(domain) as Shape<unknown>, input(vector))
  assert.deepEqual(asWritten(object.value), vector.facts.value)
  assert.deepEqual([asWritten(object.signer), asWritten(object.hash)], [vector.facts.signer, vector.facts.hash])
  const payload = encodeCbor(manifestShape, object.value as never)
  assert.ok(vector.bytes('signed.hex').equals(Buffer.concat([Buffer.from('feedmesh/manifest/1\0'), payload])))
}

const charterChain: Check = (vector) => {
  const charters = (vector.facts.charters as string[]).map((file) => openCharter(vector.bytes(file)))
  verifyFirstCharter(charters[0]!)
  for (const [index, next] of charters.slice(1).entries()) verifyNextCharter(charters[index]!, next)
  const last = charters.at(-1)!
  const { generation, epoch, version } = last.value
  const result = { feedId: feedIdOf(last), generation, epoch, version, hash: asWritten(last.hash) }
  assert.deepEqual(result, vector.facts.expected)
  assert.deepEqual(
    charters.map((one) => asWritten(one.value)),
    vector.facts.values,
  )
}

const manifestAccept: Check = (vector) => {
  const charter = openCharter(vector.bytes(String(vector.facts.charter)))
  const { floor: file } = vector.facts
  const floor = typeof file === 'string' ? { floor: openManifest(vector.bytes(file)) } : {}
  const manifest = openManifest(vector.bytes(String(vector.facts.manifest)))
  const result = verifyManifest(manifest, { charter, nowMs: Number(vector.facts.nowMs), ...floor })
  assert.equal(result, vector.facts.result)
  assert.deepEqual([asWritten(manifest.value), asWritten(manifest.hash)], [vector.facts.value, vector.facts.hash])
}

const forkProof: Check = (vector) => {
  const charters = (vector.facts.charters as string[]).map((file) => openCharter(vector.bytes(file)))
  const bytes = vector.bytes(String(vector.facts.proof))
  const proof = decodeCbor(forkProofShape, bytes, 'fork proof')
  const fork = findFork(proof, charters)
  const found = fork && {
    feedId: asWritten(feedIdBytes(fork.feedId)),
    generation: fork.generation,
    epoch: fork.epoch,
    number: fork.number,
  }
  assert.deepEqual(found ?? null, vector.facts.expected)
  assert.deepEqual(Buffer.from(encodeCbor(forkProofShape, proof)), bytes)
}

const charterChoice: Check = (vector) => {
  const feedId = String(vector.facts.feedId)
  const [known, offered] = [vector.facts.known, vector.facts.offered].map((files) =>
    openCharters(
      feedId,
      undefined,
      (files as string[]).map((file) => vector.bytes(file)),
    ),
  )
  const compared = compareChains(known!, offered!)
  assert.equal(compared.kind, vector.facts.result)
  if (compared.kind === 'newer') assert.equal(compared.charters[0]?.value.version, vector.facts.from)
  if (compared.kind === 'forked') assert.ok(compared.proof && findFork(compared.proof, known!))
}

const hashedList: Check = (vector) => {
  const bytes = input(vector)
  const isDeps = vector.facts.shape === 'deps'
  const deps = isDeps ? decodeCbor(depsShape, bytes, 'deps') : []
  const revocations = isDeps
    ? { feedId: Buffer.alloc(32), list: [] }
    : decodeCbor(revocationsShape, bytes, 'revocations')
  assert.deepEqual(asWritten(isDeps ? deps : revocations), vector.facts.value)
  assert.equal(asWritten(isDeps ? hashDeps(deps) : hashRevocations(revocations)), vector.facts.hash)
}

const grantChain: Check = (vector) => {
  const question = vector.facts.question as Record<string, unknown>
  const revoked = question.revocations as { list: { subject: string; notIssuedBefore: number }[] }
  const feedId = readBytes(question.feedId)
  verifyGrantChain(
    (vector.facts.links as string[]).map((file) => vector.bytes(file)),
    {
      feedId: feedIdText(feedId),
      owner: readBytes(question.owner),
      asker: readBytes(question.asker),
      verb: question.verb as ChainQuestion['verb'],
      nowMs: Number(question.nowMs),
      graceMs: Number(question.graceMs),
      revocations: { feedId, list: revoked.list.map((entry) => ({ ...entry, subject: readBytes(entry.subject) })) },
    },
  )
}

const token: Check = (vector) => {
  const text = String(vector.facts.text)
  if (vector.facts.form === 'join-code') {
    const code = parseJoinCode(text)
    assert.deepEqual([asWritten(code), renderJoinCode(code)], [vector.facts.value, text])
    return
  }
  const parsed = parseToken(text)
  assert.deepEqual([asWritten(parsed), renderToken(parsed)], [vector.facts.value, text])
  assert.equal(asWritten(deriveLinkSigner(parsed).publicKey), vector.facts.linkKey)
}

const linkProof: Check = (vector) => {
  const bytes = vector.bytes(String(vector.facts.transcript))
  const transcript = decodeCbor(transcriptShape, bytes, 'transcript')
  assert.deepEqual(asWritten(transcript), vector.facts.value)
  assert.deepEqual(Buffer.from(encodeTranscript(transcript)), bytes)
  for (const name of ['askerHello', 'answererHello'] as const) {
    const { bytes: file, hash } = vector.facts[name] as { bytes: string; hash: string }
    const hello = decodeCbor(helloShape, vector.bytes(file), 'hello')
    assert.deepEqual([asWritten(hashHello(hello)), asWritten(transcript[name])], [hash, hash])
  }
  const signer = deriveLinkSigner(parseToken(String(vector.facts.token)))
  verifyMessage('link', bytes, signer.publicKey, readBytes(vector.facts.proof))
  assert.equal(asWritten(signMessage('link', bytes, signer)), vector.facts.proof)
}

const row: Check = (vector) => {
  const bytes = input(vector)
  const value = decodeRow(bytes)
  assert.deepEqual(rowWritten(value), vector.facts.value)
  assert.deepEqual(Buffer.from(encodeRow(value)), bytes)
}

const rows: Check = (vector) => {
  const salt = readBytes(vector.facts.salt)
  const documents = (vector.facts.documents as string[]).map((file) => vector.bytes(file))
  for (const written of vector.facts.rows as Record<string, string>[]) {
    const bytes = vector.bytes(written.bytes ?? '')
    const value = decodeRow(bytes)
    assert.deepEqual(rowWritten(value), written.value)
    assert.deepEqual(Buffer.from(encodeRow(readRow(written.value))), bytes)
    const digests = [
      rowDigest(bytes),
      contentDigest(value),
      placeOf(salt, value.unit, value.key),
      placeOf(Buffer.alloc(0), value.unit, value.key),
    ]
    assert.deepEqual(digests.map(asWritten), [
      written.rowDigest,
      written.contentDigest,
      written.place,
      written.viewPlace,
    ])
    const meta = value.files.find((file) => file.role === META_ROLE)
    const isHere = documents.some(
      (document) => sha256Digest(document) === meta?.digest && document.length === meta.size,
    )
    assert.ok(meta === undefined || isHere)
  }
}

const operation: Check = (vector) => {
  const bytes = input(vector)
  const value = decodeOperation(bytes)
  assert.deepEqual(
    value.kind === 'put' ? { kind: 'put', row: rowWritten(value.row) } : asWritten(value),
    vector.facts.value,
  )
  assert.deepEqual(Buffer.from(encodeOperation(value)), bytes)
}

const tombstone: Check = (vector) => {
  const bytes = input(vector)
  const value = decodeTombstone(bytes)
  assert.deepEqual(asWritten(value), vector.facts.value)
  assert.deepEqual(Buffer.from(encodeTombstone(value)), bytes)
}

const trie: Check = (vector) => {
  const bytes = vector.bytes(String(vector.facts.entries))
  const entries = Array.from({ length: bytes.length / 64 }, (_, at) => ({
    place: bytes.subarray(at * 64, at * 64 + 32),
    digest: bytes.subarray(at * 64 + 32, at * 64 + 64),
  }))
  assert.deepEqual(asWritten(buildTrie(entries)), vector.facts.root)
}

const state: Check = (vector) => {
  const salt = readBytes(vector.facts.salt)
  const all = (vector.facts.rows as unknown[]).map(readRow)
  const entries = all.map((one) => ({ place: placeOf(salt, one.unit, one.key), digest: rowDigest(encodeRow(one)) }))
  const root = buildTrie(entries.sort((a, b) => a.place.compare(b.place)))
  assert.deepEqual([asWritten(root.hash), root.count], [vector.facts.stateRoot, vector.facts.entries])
  const bytes = all.flatMap((one) => one.files).reduce((sum, file) => sum + file.size, 0)
  assert.equal(bytes, vector.facts.bytes)
}

const node: Check = (vector) => assert.deepEqual(asWritten(decodeNode(input(vector))), vector.facts.value)

const segment: Check = (vector) => {
  const items = decodeSegment({
    data: vector.bytes(String(vector.facts.data)),
    rawBytes: Number(vector.facts.rawBytes),
  })
  assert.deepEqual(items.map(asWritten), vector.facts.items)
}

interface WrittenFeed {
  readonly feedId: string
  readonly charter: string
  readonly rows: readonly string[]
}

const view: Check = (vector) => {
  const feeds = vector.facts.feeds as WrittenFeed[]
  const charters = new Map<string, Charter>(
    feeds.map((feed) => [feed.feedId, decodeCbor(charterShape, vector.bytes(feed.charter), 'charter')]),
  )
  const closure = new Closure(String(vector.facts.viewing), (id) => charters.get(id))
  const members = [...closure.members.values()].map(({ feedId, level, absent }) => ({ feedId, level, absent }))
  assert.deepEqual(members, vector.facts.members)
  const sources = feeds.map((feed) => [feed.feedId, feed.rows.map((one) => decodeRow(readBytes(one)))] as const)
  const entries: { place: Buffer; digest: Buffer }[] = []
  for (const written of vector.facts.units as { unit: string; visible: unknown; blocked: unknown }[]) {
    const { unit } = written
    const merged = mergeUnit(
      closure,
      new Map(sources.map(([id, all]) => [id, all.filter((one) => one.unit === unit)])),
      unit,
    )
    const visible = merged.rows.map((one) => ({
      key: one.row.key,
      feedId: one.feedId,
      meta: Buffer.from(one.row.meta).toString(),
    }))
    assert.deepEqual({ unit, visible, blocked: merged.blocked }, written)
    const add = (key: string, digest: Buffer) => entries.push({ place: placeOf(Buffer.alloc(0), unit, key), digest })
    for (const one of merged.rows) add(one.row.key, viewDigestOf(one))
    for (const key of merged.blocked) add(key, BLOCKED_DIGEST)
  }
  assert.equal(asWritten(buildTrie(entries.sort((a, b) => a.place.compare(b.place))).hash), vector.facts.digest)
}

const CHECKS: Readonly<Record<string, Check>> = {
  cbor,
  signed,
  'charter-chain': charterChain,
  'manifest-accept': manifestAccept,
  'fork-proof': forkProof,
  'charter-choice': charterChoice,
  'hashed-list': hashedList,
  'grant-chain': grantChain,
  token,
  'link-proof': linkProof,
  row,
  rows,
  operation,
  tombstone,
  trie,
  state,
  node,
  segment,
  view,
}

const vectors = await readStoredVectors()

for (const vector of vectors) {
  test(`${vector.name}: ${String(vector.facts.what)}`, () => {
    const check = CHECKS[vector.kind]
    assert.ok(check, `no reader for the kind ${vector.kind}`)
    assert.equal('code' in vector.facts, vector.mustRefuse)
    if (!vector.mustRefuse) check(vector)
    else
      assert.throws(
        () => check(vector),
        (error) => isFeedmeshError(error) && error.code === vector.facts.code,
      )
  })
}

test('the formats are frozen: what the code writes today is what the vectors say', async () => {
  assert.deepEqual(compareVectors(renderVectors(), await readVectors()), [])
})

test('there are vectors of every kind, and both kinds of answer where bytes come from a peer', () => {
  for (const kind of Object.keys(CHECKS)) {
    const found = vectors.filter((vector) => vector.kind === kind)
    assert.ok(found.some((vector) => !vector.mustRefuse) || kind === 'link-proof', kind)
  }
  for (const kind of [
    'cbor',
    'signed',
    'charter-chain',
    'manifest-accept',
    'fork-proof',
    'grant-chain',
    'token',
    'row',
    'operation',
    'tombstone',
    'node',
    'segment',
  ])
    assert.ok(
      vectors.some((vector) => vector.kind === kind && vector.mustRefuse),
      kind,
    )
  assert.ok(vectors.filter((vector) => vector.mustRefuse).length >= 120)
})
