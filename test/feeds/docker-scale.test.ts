/** A repository with many images answers, and takes one more, without looking at all of them again. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Repositories } from '../../protocols/feeds/docker/repository.ts'
import type { Digest } from '../../src/catalog/digest.ts'
import type { Feed, FeedRow, FeedUnit } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import { contentOf } from '../support/oci-image.ts'

const IMAGES = 10_000
const LAYERS = 10

const digestOf = (name: string): Digest => contentOf(name).digest

/** A row that counts how often its files are looked at. */
function makeRow(name: string, reads: { count: number }): FeedRow {
  const files = Array.from({ length: LAYERS }, (_, at) => ({
    role: `layer/${at}`,
    digest: digestOf(`${name} ${at}`),
    size: 1,
  }))
  return {
    unit: 'app',
    key: `m/${digestOf(name)}`,
    rowClass: 'immutable',
    writtenAtMs: 1,
    digest: digestOf(name).slice(7),
    get files() {
      reads.count += 1
      return files
    },
  }
}

function makeUnit(rows: readonly FeedRow[], digest: string): FeedUnit {
  const sorted = rows.toSorted((a, b) => (a.key < b.key ? -1 : 1))
  return { unit: 'app', digest, changedAtMs: 1, rows: sorted, blocked: [] }
}

function find(repositories: Repositories, feed: Feed, unit: FeedUnit, name: string): string | undefined {
  return repositories.findBlob(feed, unit, digestOf(name))?.row.key
}

test('one more image costs what it names; a blob is found without looking at all images', () => {
  const feed = createMemoryFeed({ name: 'main', type: 'docker' })
  const reads = { count: 0 }
  const rows = Array.from({ length: IMAGES }, (_, at) => makeRow(`image ${at}`, reads))
  const repositories = new Repositories()
  const first = makeUnit(rows, 'first')
  assert.equal(find(repositories, feed, first, 'image 7 3'), `m/${digestOf('image 7')}`)
  assert.equal(reads.count, IMAGES)
  for (const at of [0, 5000, 9999]) assert.ok(find(repositories, feed, first, `image ${at} 9`))
  assert.equal(find(repositories, feed, first, 'none'), undefined)
  const next = makeUnit([...rows, makeRow('one more', reads)], 'next')
  assert.equal(find(repositories, feed, next, 'one more 0'), `m/${digestOf('one more')}`)
  // Beside the new one, the row that was at its place is asked whether it is a tag that moved.
  assert.ok(reads.count <= IMAGES + 2, String(reads.count))
  const less = makeUnit(rows.slice(1), 'less')
  assert.equal(find(repositories, feed, less, 'image 0 0'), undefined)
  assert.equal(find(repositories, feed, less, 'one more 0'), undefined)
  assert.ok(find(repositories, feed, less, 'image 1 0'))
})

test('a layer that two images share stays when one of them goes', () => {
  const feed = createMemoryFeed({ name: 'main', type: 'docker' })
  const share = (name: string): FeedRow => ({
    ...makeRow(name, { count: 0 }),
    files: [{ role: 'layer/0', digest: digestOf('shared'), size: 1 }],
  })
  const [one, two] = [share('one'), share('two')]
  const repositories = new Repositories()
  for (const [digest, rows] of [
    ['a', [one]],
    ['b', [one, two]],
    ['c', [two]],
    ['d', [one, two]],
    ['e', [one]],
  ] as const)
    assert.ok(repositories.findBlob(feed, makeUnit(rows, digest), digestOf('shared')), digest)
  assert.equal(repositories.findBlob(feed, makeUnit([], 'f'), digestOf('shared')), undefined)
})
