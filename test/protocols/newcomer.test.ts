/** A node that comes to a feed late, over the real answerer and asker. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { feedIdBytes } from '../../src/catalog/charter.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { pull } from '../support/feed-graph.ts'
import { openHubAndSpoke, publishVersion } from '../support/mesh-node.ts'

test('a feed whose charter has changed more often than one reply holds is joined all the same', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, hubFeed, spoke, spokeFeed, replication } = await openHubAndSpoke(createMemoryNetwork(), stack)
  const { id } = hub.ledger.registry.getLocal('packages')
  const includes = Array.from({ length: 100 }, (_, at) => ({
    ...pull('x'),
    feedId: feedIdBytes(`${at}`.padStart(64, '0')),
  }))
  for (let change = 0; change < 300; change += 1)
    await hub.ledger.amendCharter(id, () => ({ includes: includes.slice(0, 60 + (change % 40)) }))
  await publishVersion(hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const run = await spoke.pull(replication)
  assert.equal(run.state, 'succeeded', run.message)
  assert.equal((await spokeFeed.findUnit('left'))?.rows.length, 1)
})
