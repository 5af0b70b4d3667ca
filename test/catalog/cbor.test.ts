/** Deterministic CBOR: what is encoded decodes to itself, and nothing else decodes. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decode, encode } from 'cborg'
import fc from 'fast-check'
import {
  bytes,
  decodeCbor,
  encodeCbor,
  list,
  nullable,
  optional,
  record,
  text,
  uint,
  uint64,
  word,
} from '../../src/catalog/cbor.ts'
import { CborError, type CborValue, decodeDeterministic } from '../../src/catalog/cbor-decoder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { runsOf } from '../support/fuzz-runs.ts'

const wellFormed = fc.string({ unit: 'binary', maxLength: 40 })

const { value: anyValue } = fc.letrec<{ value: CborValue }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'small', maxDepth: 6 },
    fc.nat(),
    fc.maxSafeInteger(),
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 64n - 1n }),
    fc.uint8Array({ maxLength: 300 }),
    wellFormed,
    fc.boolean(),
    fc.constant(null),
    fc.array(tie('value'), { maxLength: 5 }),
    fc
      .uniqueArray(fc.tuple(fc.nat(70_000), tie('value')), { maxLength: 5, selector: ([key]) => key })
      .map((entries) => new Map(entries)),
  ),
}))

test('every value comes back as it was, also text that begins with a byte order mark', () => {
  assert.deepEqual(decodeDeterministic(encode('\uFEFFx')), '\uFEFFx')
  fc.assert(
    fc.property(anyValue, (value) => {
      const encoded = encode(value)
      const decoded = decodeDeterministic(encoded)
      assert.deepEqual(Buffer.from(encode(decoded)), Buffer.from(encoded))
    }),
    runsOf(2000),
  )
})

const STRICT = {
  strict: true,
  useMaps: true,
  allowIndefinite: false,
  allowUndefined: false,
  allowNaN: false,
  allowInfinity: false,
  rejectDuplicateMapKeys: true,
} as const

test('bytes that decode are those that another decoder takes and encodes to the same', () => {
  const nearly = fc
    .tuple(anyValue, fc.nat(400), fc.nat(255))
    .map(([value, at, byte]) => Buffer.from(encode(value)).map((old, index) => (index === at ? byte : old)))
  fc.assert(
    fc.property(fc.oneof(nearly, fc.uint8Array({ maxLength: 30 })), (input) => {
      let value: CborValue
      try {
        value = decodeDeterministic(input)
      } catch (error) {
        assert.ok(error instanceof CborError)
        return
      }
      assert.deepEqual(Buffer.from(encode(value)), Buffer.from(input))
      assert.doesNotThrow(() => decode(input, STRICT))
    }),
    runsOf(5000),
  )
})

test('a field that is left out stands for one value, which is not written', () => {
  const [old, shape] = [
    record({ name: [1, text(8)] }),
    record({ name: [1, text(8)], mood: [2, optional(word(['calm', 'wild']), 'calm')] }),
  ]
  const calm = encodeCbor(shape, { name: 'a', mood: 'calm' })
  assert.deepEqual(calm, encodeCbor(old, { name: 'a' }))
  assert.deepEqual(decodeCbor(shape, calm, 'it'), { name: 'a', mood: 'calm' })
  const wild = encodeCbor(shape, { name: 'a', mood: 'wild' })
  assert.deepEqual(decodeCbor(shape, wild, 'it'), { name: 'a', mood: 'wild' })
  for (const mood of [0, 2, 'wild']) {
    const encoded = encode(
      new Map<number, unknown>([
        [1, 'a'],
        [2, mood],
      ]),
    )
    assert.throws(
      () => decodeCbor(shape, encoded, 'it'),
      (error) => isFeedmeshError(error, 'PEER_INVALID') && /it\.mood/.test(error.message),
    )
  }
})

test('a shape names the field that breaks its limit', () => {
  const shape = record<{
    name: string
    key: Uint8Array
    list: readonly number[]
    mode: 'a' | 'b'
    at: bigint
    none: number | null
  }>({
    name: [1, text(4)],
    key: [2, bytes({ size: 2 })],
    list: [3, list(uint(9), 2)],
    mode: [4, word(['a', 'b'])],
    at: [5, uint64],
    none: [6, nullable(uint())],
  })
  const good = { name: 'ü', key: Buffer.of(1, 2), list: [9], mode: 'b', at: 2n ** 64n - 1n, none: null } as const
  const decoded = decodeCbor(shape, encodeCbor(shape, good), 'thing')
  assert.deepEqual({ ...decoded, key: Buffer.from(decoded.key) }, good)
  const wrong: [string, object][] = [
    ['thing.name', { name: 'üüü' }],
    ['thing.key', { key: Buffer.of(1) }],
    ['thing.list', { list: [1, 2, 3] }],
    ['thing.list[1]', { list: [1, 10] }],
    ['thing.mode', { mode: 'c' }],
    ['thing.at', { at: -1n }],
    ['thing.none', { none: 'x' }],
  ]
  for (const [path, change] of wrong) {
    const encoded = encodeCbor(shape, { ...good, ...change })
    assert.throws(
      () => decodeCbor(shape, encoded, 'thing'),
      (error) => isFeedmeshError(error, 'PEER_INVALID') && error.message.startsWith(`${path}: `),
      path,
    )
  }
})
