/** Every decoder of bytes that come from elsewhere: random ones and mutated good ones give a value or the declared error. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { announcement } from '../../protocols/mesh/announce/messages.ts'
import { blobReply, blobRequest } from '../../protocols/mesh/blob/messages.ts'
import { bulkOpening, bulkReply, bulkRequest } from '../../protocols/mesh/bulk/messages.ts'
import { FrameReader } from '../../protocols/mesh/frames.ts'
import { helloShape, linkReply, linkRequest, transcriptShape } from '../../protocols/mesh/link/messages.ts'
import { nearbyReply, nearbyRequest } from '../../protocols/mesh/nearby/messages.ts'
import { syncReply, syncRequest } from '../../protocols/mesh/sync/messages.ts'
import { decodeNode } from '../../protocols/mesh/sync/node-form.ts'
import { decodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { decodeCbor, encodeCbor, type Shape } from '../../src/catalog/cbor.ts'
import { MAX_CBOR_ITEMS } from '../../src/catalog/cbor-decoder.ts'
import { charterShape, openCharter } from '../../src/catalog/charter.ts'
import { grantShape, revocationsShape } from '../../src/catalog/grant.ts'
import { depsShape, manifestShape, openManifest } from '../../src/catalog/manifest.ts'
import { decodeOperation, encodeOperation } from '../../src/catalog/operation.ts'
import { decodeRow, encodeRow } from '../../src/catalog/row.ts'
import { envelopeShape } from '../../src/catalog/signed.ts'
import { joinCodeShape, parseJoinCode, parseToken, tokenShape } from '../../src/catalog/token.ts'
import { decodeTombstone, encodeTombstone } from '../../src/catalog/view.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { runsOf } from '../support/fuzz-runs.ts'
import { readStoredVectors } from '../support/vector-reader.ts'

const vectors = await readStoredVectors()

/** Good bytes of a kind, to be mutated. */
function seedsOf(kind: string, shape?: string): Buffer[] {
  const found = vectors.filter(
    (vector) => vector.kind === kind && !vector.mustRefuse && (shape === undefined || vector.facts.shape === shape),
  )
  return found.flatMap((vector) => {
    if (kind === 'rows') return (vector.facts.rows as { bytes: string }[]).map((row) => vector.bytes(row.bytes))
    if (kind === 'charter-chain') return (vector.facts.charters as string[]).map((file) => vector.bytes(file))
    return [
      vector.bytes(
        String(vector.facts[kind === 'segment' ? 'data' : kind === 'manifest-accept' ? 'manifest' : 'bytes']),
      ),
    ]
  })
}

/** What is under the signature. */
function payloadsOf(kind: string): Buffer[] {
  return seedsOf(kind).map((bytes) => Buffer.from(decodeCbor(envelopeShape, bytes, 'seed').payload))
}

interface Mutation {
  readonly at: number
  readonly byte: number
  readonly length: number
  readonly kind: 'flip' | 'set' | 'insert' | 'delete' | 'cut' | 'repeat' | 'fill'
}

const mutation: fc.Arbitrary<Mutation> = fc.record({
  at: fc.nat(100_000),
  byte: fc.nat(255),
  length: fc.integer({ min: 1, max: 40 }),
  kind: fc.constantFrom('flip', 'set', 'insert', 'delete', 'cut', 'repeat', 'fill'),
})

function mutate(bytes: Buffer, { at, byte, length, kind }: Mutation): Buffer {
  const place = bytes.length === 0 ? 0 : at % bytes.length
  const [before, after] = [bytes.subarray(0, place), bytes.subarray(place)]
  if (kind === 'insert') return Buffer.concat([before, Buffer.of(byte), after])
  if (kind === 'delete') return Buffer.concat([before, after.subarray(length)])
  if (kind === 'cut') return Buffer.from(before)
  if (kind === 'repeat') return Buffer.concat([before, after.subarray(0, length), after])
  if (kind === 'fill')
    return Buffer.concat([before, Buffer.alloc(Math.min(length, after.length), byte), after.subarray(length)])
  const copy = Buffer.from(bytes)
  if (copy.length > 0) copy[place] = kind === 'set' ? byte : copy[place]! ^ (1 << (byte % 8))
  return copy
}

function inputsFrom(seeds: readonly Buffer[]): fc.Arbitrary<Buffer> {
  const random = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes))
  if (seeds.length === 0) return random
  const mutated = fc
    .tuple(fc.constantFrom(...seeds), fc.array(mutation, { minLength: 1, maxLength: 4 }))
    .map(([seed, changes]) => changes.reduce(mutate, seed))
  return fc.oneof({ arbitrary: mutated, weight: 4 }, { arbitrary: random, weight: 1 })
}

const DECLARED = ['PEER_INVALID', 'FORGED', 'TOKEN_MISTYPED', 'BAD_INPUT'] as const

/** What is taken has one form: it is encoded to the same bytes again. */
function verifyDecoder(decode: (bytes: Buffer) => Uint8Array | undefined, input: Buffer): boolean {
  let again: Uint8Array | undefined
  try {
    again = decode(input)
  } catch (error) {
    assert.ok(isFeedmeshError(error, ...DECLARED), `${input.toString('hex')}: ${String(error)}`)
    return false
  }
  if (again !== undefined) assert.deepEqual(Buffer.from(again), input)
  return true
}

function testDecoder(name: string, seeds: readonly Buffer[], decode: (bytes: Buffer) => Uint8Array | undefined): void {
  test(`${name}: whatever comes is a value in its one form or a declared error`, () => {
    let taken = 0
    for (const seed of seeds) assert.ok(verifyDecoder(decode, seed), `the seed ${seed.toString('hex')} is refused`)
    fc.assert(
      fc.property(inputsFrom(seeds), (input) => {
        if (verifyDecoder(decode, input)) taken += 1
      }),
      runsOf(5000),
    )
    if (seeds.length > 0 && !name.startsWith('signed'))
      assert.ok(taken > 0, 'nothing was ever taken: the inputs are too wild')
  })
}

testDecoder('row', seedsOf('rows'), (bytes) => encodeRow(decodeRow(bytes)))
testDecoder('operation', seedsOf('operation'), (bytes) => encodeOperation(decodeOperation(bytes)))
testDecoder('tombstone', seedsOf('tombstone'), (bytes) => encodeTombstone(decodeTombstone(bytes)))
testDecoder('trie node', seedsOf('node'), (bytes) => {
  decodeNode(bytes)
  return undefined
})
testDecoder('signed charter', seedsOf('charter-chain'), (bytes) => openCharter(bytes).bytes)
testDecoder('signed manifest', seedsOf('manifest-accept'), (bytes) => openManifest(bytes).bytes)

const SHAPES: Readonly<Record<string, readonly [shape: unknown, seeds: readonly Buffer[]]>> = {
  envelope: [envelopeShape, seedsOf('charter-chain')],
  charter: [charterShape, payloadsOf('charter-chain')],
  manifest: [manifestShape, payloadsOf('manifest-accept')],
  grant: [grantShape, []],
  deps: [depsShape, seedsOf('hashed-list', 'deps')],
  revocations: [revocationsShape, seedsOf('hashed-list', 'revocations')],
  token: [tokenShape, []],
  'join code': [joinCodeShape, []],
  hello: [helloShape, []],
  transcript: [transcriptShape, []],
  announcement: [announcement, seedsOf('cbor', 'announcement')],
  'sync request': [syncRequest, seedsOf('cbor', 'sync-request')],
  'sync reply': [syncReply, seedsOf('cbor', 'sync-reply')],
  'link request': [linkRequest, seedsOf('cbor', 'link-request')],
  'link reply': [linkReply, seedsOf('cbor', 'link-reply')],
  'blob request': [blobRequest, seedsOf('cbor', 'blob-request')],
  'nearby request': [nearbyRequest, seedsOf('cbor', 'nearby-request')],
  'nearby reply': [nearbyReply, seedsOf('cbor', 'nearby-reply')],
  'bulk request': [bulkRequest, seedsOf('cbor', 'bulk-request')],
  'bulk reply': [bulkReply, seedsOf('cbor', 'bulk-reply')],
  'bulk opening': [bulkOpening, seedsOf('cbor', 'bulk-opening')],
  // One of the seeds has a key of a later version.
  'blob reply': [blobReply, seedsOf('cbor', 'blob-reply')],
}

/** Keys that are not known are skipped, so what is taken need not be encoded to all that was sent. */
for (const [name, [shape, seeds]] of Object.entries(SHAPES)) {
  testDecoder(name, seeds, (bytes) => {
    const value = decodeCbor(shape as Shape<unknown>, bytes, name)
    const again = encodeCbor(shape as Shape<unknown>, value)
    assert.ok(again.length <= bytes.length)
    assert.deepEqual(decodeCbor(shape as Shape<unknown>, again, name), value)
    return undefined
  })
}

test('segment: whatever comes gives no more than it declares, or a declared error', () => {
  const seeds = vectors.filter((vector) => vector.kind === 'segment' && !vector.mustRefuse)
  const sizes = seeds.map((vector) => Number(vector.facts.rawBytes))
  const inputs = fc.tuple(inputsFrom(seedsOf('segment')), fc.oneof(fc.constantFrom(...sizes), fc.nat(4096)))
  fc.assert(
    fc.property(inputs, ([data, rawBytes]) => {
      verifyDecoder((bytes) => {
        const items = decodeSegment({ data: bytes, rawBytes })
        assert.equal(
          items.reduce((sum, item) => sum + item.length + 4, 0),
          rawBytes,
        )
        return undefined
      }, data)
    }),
    runsOf(5000),
  )
})

test('token and join code: whatever is typed is one or is mistyped', () => {
  const texts = vectors
    .filter((vector) => vector.kind === 'token' && !vector.mustRefuse)
    .map((vector) => String(vector.facts.text))
  const typed = fc.oneof(
    fc.string({ unit: 'binary' }),
    inputsFrom(texts.map((text) => Buffer.from(text))).map((bytes) => bytes.toString('latin1')),
    inputsFrom(texts.map((text) => Buffer.from(text))).map((bytes) => bytes.toString()),
  )
  fc.assert(
    fc.property(typed, (text) => {
      for (const parse of [parseToken, parseJoinCode]) {
        try {
          parse(text)
        } catch (error) {
          assert.ok(isFeedmeshError(error, ...DECLARED), String(error))
        }
      }
    }),
    runsOf(5000),
  )
})

test('frames: whatever comes in whatever pieces is frames or an error, and never more than was sent', async () => {
  async function* piecesOf(pieces: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
    yield* pieces
  }
  const pieces = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 })
  await fc.assert(
    fc.asyncProperty(pieces, async (sent) => {
      const total = sent.reduce((sum, piece) => sum + piece.length, 0)
      const reader = new FrameReader(piecesOf(sent))
      let read = 0
      try {
        for (let frame = await reader.read(1000); frame !== undefined; frame = await reader.read(1000))
          read += frame.length + 4
        assert.equal(read, total)
      } catch (error) {
        assert.ok(isFeedmeshError(error, 'PEER_INVALID'), String(error))
        assert.ok(read <= total)
      }
    }),
    runsOf(5000),
  )
})

test('a frame of more values than a message can have is refused before they are made', () => {
  for (const byte of [0xa0, 0x80, 0x40, 0x60, 0x00]) {
    const frame = Buffer.concat([Buffer.from('9a000fff00', 'hex'), Buffer.alloc(0xfff00, byte)])
    const before = process.memoryUsage().heapUsed
    assert.throws(
      () => decodeCbor(syncRequest, frame, 'frame'),
      (error) => isFeedmeshError(error, 'PEER_INVALID') && error.message.includes(`more than ${MAX_CBOR_ITEMS} values`),
    )
    assert.ok(process.memoryUsage().heapUsed - before < 64 * 1024 * 1024)
  }
})
