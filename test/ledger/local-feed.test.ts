import assert from 'node:assert/strict'
import { test } from 'node:test'
import { isFeedmeshError } from '../../src/errors.ts'
import { decodeLocalFeed, encodeLocalFeed, type LocalFeedRecord } from '../../src/ledger/feed-state.ts'

const FEED: LocalFeedRecord = {
  feedId: new Uint8Array(32).fill(7),
  feedType: 'rpm',
  publicRead: true,
  maxFileBytes: 1000,
  createdAt: 1_700_000_000_000,
  unsigned: 'accept',
  maxRate: 0,
}
/** As it is stored in data folders. */
const STORED = Buffer.from(
  'a50158200707070707070707070707070707070707070707070707070707070707070707026372706d03f5041903e8051b0000018bcfe5680025ff05bfb6760174',
  'hex',
)

test('a record without a word on unsigned packages is one of a feed that accepts them', () => {
  assert.deepEqual(decodeLocalFeed('packages', STORED), FEED)
  assert.ok(STORED.equals(encodeLocalFeed('packages', FEED)))
  const refusing: LocalFeedRecord = { ...FEED, unsigned: 'refuse' }
  assert.deepEqual(decodeLocalFeed('packages', encodeLocalFeed('packages', refusing)), refusing)
})

test('a record with any bit changed, or of another name, is told to be damaged', () => {
  const stored = Buffer.from(encodeLocalFeed('packages', { ...FEED, unsigned: 'refuse' }))
  const isTold = (error: unknown) => isFeedmeshError(error, 'CORRUPT')
  assert.throws(() => decodeLocalFeed('other', stored), isTold)
  for (let bit = 0; bit < stored.length * 8; bit += 1) {
    const damaged = Buffer.from(stored)
    damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7))
    assert.throws(() => decodeLocalFeed('packages', damaged), isTold)
  }
})
