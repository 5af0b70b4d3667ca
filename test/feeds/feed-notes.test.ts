/** Notes of a feed outlive the process, and go with the feed. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ACTOR, createFeed, startNode } from '../support/running-node.ts'

test('notes are there after a restart, and no feed finds those of one that was deleted', async () => {
  await using node = await startNode()
  await createFeed(node, 'libs', 'nuget')
  await node.operations.openFeed('libs').notes.set(new Map([['a', Buffer.from('x')]]))
  await node.restart()
  const { notes } = node.operations.openFeed('libs')
  assert.equal(Buffer.from((await notes.find('a')) ?? '').toString(), 'x')
  await node.operations.deleteFeed('libs', ACTOR)
  await node.operations.reclaim({ isDryRun: false }, ACTOR)
  await createFeed(node, 'libs', 'nuget')
  assert.equal(await node.operations.openFeed('libs').notes.find('a'), undefined)
})
