import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Digest, digestFromBytes, sha256, sha256Digest } from '../../src/catalog/digest.ts'
import { DigestSet } from '../../src/operations/digest-set.ts'

test('a set of digests knows those that were added, however many, and no others', () => {
  const set = new DigestSet()
  const digest = (number: number) => sha256Digest(Buffer.from(`blob ${number}`))
  for (let number = 0; number < 20_000; number += 1) {
    set.add(digest(number))
    set.add(digest(number))
  }
  for (let number = 0; number < 20_000; number += 1) assert.ok(set.has(digest(number)))
  for (let number = 20_000; number < 40_000; number += 1) assert.ok(!set.has(digest(number)))
})

test('digests of zeros, and of the other algorithm, are digests like others', () => {
  const set = new DigestSet()
  const zeros = digestFromBytes('sha256', new Uint8Array(32))
  const long: Digest = digestFromBytes('sha512', Buffer.concat([sha256('a'), sha256('b')]))
  assert.ok(!set.has(zeros))
  set.add(zeros)
  set.add(long)
  assert.ok(set.has(zeros) && set.has(long))
})
