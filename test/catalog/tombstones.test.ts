/** Deletes of one row by several feeds. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pull, rowOf, tombstoneOn, visibleIn } from '../support/feed-graph.ts'

test('of two tombstones on one row the one that knew the later row counts, in either order', () => {
  const target = rowOf('v/1', { meta: 'x', stamp: 5 })
  const later = { ...target, stamp: target.stamp + 5n }
  const rows = [target, later].map((seen) => [tombstoneOn('source', seen, 9)])
  const includes = [pull('moderator'), pull('second'), pull('source', { rank: 'below' })]
  for (const [one = [], other = []] of [rows, rows.toReversed()]) {
    const world = { a: { includes }, source: { rows: [later] }, moderator: { rows: one }, second: { rows: other } }
    assert.deepEqual(visibleIn(world, 'a'), {})
  }
})
