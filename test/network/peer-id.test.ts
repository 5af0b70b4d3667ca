import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { publicKeyFromRaw } from '@libp2p/crypto/keys'
import { peerIdFromPublicKey as libp2pPeerId } from '@libp2p/peer-id'
import * as fc from 'fast-check'
import { peerIdFromPublicKey, publicKeyFromPeerId } from '../../src/catalog/peer-id.ts'
import { isFeedmeshError } from '../../src/errors.ts'

const isBadInput = (error: unknown): boolean => isFeedmeshError(error, 'BAD_INPUT')

test('a PeerId is the one libp2p makes of the key, and leads back to the key', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (key) => {
      const text = peerIdFromPublicKey(key)
      assert.equal(text, libp2pPeerId(publicKeyFromRaw(key)).toString())
      assert.deepEqual(publicKeyFromPeerId(text), Uint8Array.from(key))
    }),
  )
})

test('keys of another size are refused', () => {
  for (const length of [0, 31, 33, 64]) assert.throws(() => peerIdFromPublicKey(randomBytes(length)), isBadInput)
})

test('texts that are no Ed25519 PeerId are refused with BAD_INPUT', () => {
  const good = peerIdFromPublicKey(randomBytes(32))
  const bad = [
    '',
    good.slice(1),
    `${good}1`,
    `${good.slice(0, -1)}0`,
    good.replace(/^12D3/, '22D3'),
    ` ${good.slice(1)}`,
    'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N',
    '1'.repeat(52),
    'z'.repeat(52),
    'é'.repeat(52),
  ]
  for (const text of bad) assert.throws(() => publicKeyFromPeerId(text), isBadInput, text)
  fc.assert(
    fc.property(fc.string({ maxLength: 80 }), (text) => {
      assert.throws(() => publicKeyFromPeerId(text), isBadInput)
    }),
  )
})
