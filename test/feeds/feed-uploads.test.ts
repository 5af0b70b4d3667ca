import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { it } from 'node:test'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import { testFeedUploads } from '../conformance/feed-uploads.ts'
import { openLedgerNode } from '../support/ledger-node.ts'

const fetchBlob = () => Promise.reject(new Error('not here, and there are no peers'))

testFeedUploads('in memory', async () => {
  let now = Date.now()
  const feed = createMemoryFeed({ name: 'main', type: 'docker', now: () => now })
  return { feed, advance: (ms) => void (now += ms) }
})

async function openLedgerBench() {
  const node = await openLedgerNode()
  await node.createFeed('main', 'docker')
  let now = Date.now()
  const { ledger, blobs } = node
  const open = (name: string) =>
    new LedgerFeed({ name, feedId: ledger.registry.getLocal(name).id, ledger, blobs, fetchBlob, now: () => now })
  return { node, open, feed: open('main'), advance: (ms: number) => void (now += ms) }
}

testFeedUploads('over the ledger', openLedgerBench)

it('an upload is taken up by the next process, and only in its own feed', async () => {
  const { node, open, feed } = await openLedgerBench()
  await node.createFeed('other', 'docker')
  const id = randomBytes(16).toString('hex')
  await feed.uploads.begin(id, 'a')
  const staged = await feed.uploads.resume(id, { maxBytes: 1 << 20 })
  await staged.write(Buffer.alloc(100_000, 1))
  await staged.keep()
  await using again = await open('main').uploads.resume(id, { maxBytes: 1 << 20 })
  assert.equal(again.size, 100_000)
  assert.equal(await open('other').uploads.find(id), undefined)
})

it('many small files that are kept at a time share a write', async () => {
  const { node, feed } = await openLedgerBench()
  const sealed = await Promise.all(
    Array.from({ length: 50 }, async (_, at) => {
      await using staged = await feed.stage({ maxBytes: 100 })
      await staged.write(Buffer.from(`file ${at}`))
      return await staged.seal()
    }),
  )
  const held = Promise.withResolvers<void>()
  const holding = node.ledger.exclusively(() => held.promise)
  const keeping = Promise.all(sealed.map((blob) => feed.uploads.keep('a', blob)))
  assert.equal(await feed.uploads.findFile('a', sealed[0]?.digest ?? `sha256:${'0'.repeat(64)}`), undefined)
  held.resolve()
  await Promise.all([holding, keeping])
  for (const { digest } of sealed) assert.ok(await feed.uploads.findFile('a', digest))
})
