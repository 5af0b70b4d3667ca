/** What breaks a limit of a format is refused where it is written, and what is no token before anything of it is believed. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { type Fork, findFork, worseFork } from '../../src/catalog/fork-proof.ts'
import {
  CHUNKED_FROM_BYTES,
  encodeRow,
  MAX_INLINE_META_BYTES,
  MAX_ROW_FILES,
  type Row,
  type RowFile,
} from '../../src/catalog/row.ts'
import { parseToken } from '../../src/catalog/token.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { closureOf, idOf, pull, rowOf } from '../support/feed-graph.ts'

const file: RowFile = { role: 'tarball', digest: sha256Digest(Buffer.from('one')), size: 3 }

const BROKEN: Readonly<Record<string, Partial<Row>>> = {
  'metadata over the inline limit': { meta: Buffer.alloc(MAX_INLINE_META_BYTES + 1) },
  'a file too many': { files: Array.from({ length: MAX_ROW_FILES + 1 }, () => file) },
  'inline metadata beside a file of metadata': { meta: Buffer.of(1), files: [{ ...file, role: 'meta' }] },
  'a stamp below 0': { stamp: -1n },
  'a stamp of 65 bits': { stamp: 1n << 64n },
  'a class that no number stands for': { rowClass: 'unknown-256' },
  'a known class by its number': { rowClass: 'unknown-1' },
  'a file of half a byte': { files: [{ ...file, size: 0.5 }] },
  'a file of less than nothing': { files: [{ ...file, size: -1 }] },
  'a file of 2^48 bytes': { files: [{ ...file, size: 2 ** 48, chunkRoot: file.digest }] },
  'a large file without a chunk list': { files: [{ ...file, size: CHUNKED_FROM_BYTES }] },
  'a small file with a chunk list': { files: [{ ...file, chunkRoot: file.digest }] },
  'a unit without a name': { unit: '' },
  'a name with half a character': { key: 'v/\ud800' },
}

for (const [what, change] of Object.entries(BROKEN)) {
  test(`a row with ${what} is not written`, () => {
    assert.throws(
      () => encodeRow({ ...rowOf('v/1'), ...change }),
      (error) => isFeedmeshError(error, 'BAD_INPUT'),
    )
  })
}

test('a text that is far too long is no token', () => {
  assert.throws(
    () => parseToken(`fmt1_${'A'.repeat(64 * 1024)}`),
    (error) => isFeedmeshError(error, 'TOKEN_MISTYPED'),
  )
})

test('a fork of a feed whose charters nobody has proves nothing', () => {
  const proof = { of: 'manifest', first: new Uint8Array(0), second: new Uint8Array(0) } as const
  assert.throws(
    () => findFork(proof, []),
    (error) => isFeedmeshError(error, 'PEER_INVALID'),
  )
})

test('of two forks the one that bars more counts: a later epoch, then charters, then the lower number', () => {
  const proof = { of: 'manifest', first: new Uint8Array(0), second: new Uint8Array(0) } as const
  const base: Fork = { proof, feedId: idOf('hub'), generation: 0, epoch: 1, number: 5 }
  const worse: readonly Fork[] = [
    { ...base, generation: 1, number: 9 },
    { ...base, epoch: 2, number: 9 },
    { ...base, proof: { ...proof, of: 'charter' }, number: 9 },
    { ...base, number: 4 },
    base,
  ]
  for (const one of worse) {
    assert.equal(worseFork(one, base), one)
    if (one !== base) assert.equal(worseFork(base, one), one)
  }
})

test('the standing of a feed changes with the rights on the way to it, and a stranger has none', () => {
  const standing = (mayDelete: number) =>
    closureOf({ viewing: { includes: [pull('source', { mayDelete })] }, source: {} }, 'viewing')
  assert.equal(standing(1).standingOf(idOf('source')), standing(1).standingOf(idOf('source')))
  assert.notEqual(standing(1).standingOf(idOf('source')), standing(0).standingOf(idOf('source')))
  assert.equal(standing(1).standingOf(idOf('stranger')), undefined)
})
