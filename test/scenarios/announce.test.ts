/** News travels by itself: from hub to spoke, and on from there. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFeed, linkFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'

/** Resolves when the feed shows the unit; fails after a while. */
async function untilVisible(node: TestNode, feed: string, unit: string): Promise<void> {
  const deadline = Date.now() + 20_000
  while ((await node.operations.openFeed(feed).findUnit(unit)) === undefined) {
    if (Date.now() > deadline) assert.fail(`${unit} did not arrive`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

test('a publish reaches a spoke, and a spoke of that spoke, long before the next poll', {
  timeout: 60_000,
}, async () => {
  await using hub = await startNode()
  await using secondary = await startNode()
  await using spoke = await startNode()
  for (const node of [hub, secondary, spoke]) await createFeed(node, 'packages')
  const every = { everyMs: 3_600_000 }
  const first = await offerFeed(hub, 'packages')
  const up = await linkFeed(secondary, 'packages', { url: hub.url, token: first.token ?? '', ...every })
  await secondary.operations.runReplication(up.id, {})
  const second = await offerFeed(secondary, 'packages')
  const down = await linkFeed(spoke, 'packages', { url: secondary.url, token: second.token ?? '', ...every })
  assert.equal((await spoke.operations.runReplication(down.id, {})).state, 'succeeded')
  await publishRow(hub, 'packages', { unit: 'news', version: '1.0.0', content: Buffer.from('news') })
  await untilVisible(secondary, 'packages', 'news')
  await untilVisible(spoke, 'packages', 'news')
  await hub.stop()
  const digests = await Promise.all([secondary, spoke].map((node) => node.operations.showFeed('packages')))
  assert.equal(digests[0]?.digest, digests[1]?.digest)
})
