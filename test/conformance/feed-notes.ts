/** What every `Feed` promises of its revision and of notes. */

import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { Feed } from '../../src/feeds/feed.ts'
import type { CreateFeed } from './feed.ts'

async function put(feed: Feed, unit: string): Promise<void> {
  const row = { key: 'k', rowClass: 'immutable', meta: Buffer.from('m'), files: [] } as const
  await feed.change(unit, () => ({ put: [row] }))
}

export function testNotes(createFeed: CreateFeed): void {
  it('has another revision after each change of what is seen, and after nothing else', async (t) => {
    const feed = await createFeed(t)
    const seen = new Set([feed.revision])
    await put(feed, 'a')
    seen.add(feed.revision)
    await put(feed, 'b')
    seen.add(feed.revision)
    await feed.change('b', () => ({ drop: ['k'] }))
    assert.equal(seen.size, 3)
    const { revision } = feed
    await Array.fromAsync(feed.list({ limit: 10 }))
    await feed.notes.set(new Map([['n', Buffer.from('x')]]))
    await feed.change('a', () => ({}))
    assert.equal(feed.revision, revision)
  })

  it('keeps notes by their names until they are replaced or removed; they are no content', async (t) => {
    const feed = await createFeed(t)
    assert.equal(await feed.notes.find('a'), undefined)
    const [one, large] = [Buffer.from([0, 255]), Buffer.alloc(1024 * 1024, 7)]
    await feed.notes.set(
      new Map<string, Uint8Array>([
        ['a', one],
        ['a/b', large],
      ]),
    )
    assert.ok(one.equals((await feed.notes.find('a')) ?? Buffer.alloc(0)))
    assert.ok(large.equals((await feed.notes.find('a/b')) ?? Buffer.alloc(0)))
    await feed.notes.set(
      new Map([
        ['a', large],
        ['a/b', undefined],
      ]),
    )
    assert.ok(large.equals((await feed.notes.find('a')) ?? Buffer.alloc(0)))
    assert.equal(await feed.notes.find('a/b'), undefined)
    assert.deepEqual(await Array.fromAsync(feed.list({ limit: 10 })), [])
  })
}
