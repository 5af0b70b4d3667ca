/** What an operator has chosen for a feed holds over restarts, copies and the loss of the database. */

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { dataPaths } from '../../src/data-folder.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createRpm } from '../feeds/rpm-package.ts'
import { ACTOR, createFeed, createKey, openTestNode, startNode, type TestNode } from '../support/running-node.ts'

async function upload(node: TestNode, feed: string): Promise<{ readonly status: number; readonly text: string }> {
  const answer = await fetch(`${node.url}/rpm/${feed}/packages/tool-1.0-1.noarch.rpm`, {
    method: 'PUT',
    body: new Uint8Array(await createRpm()),
    headers: { 'x-apikey': await createKey(node, feed) },
  })
  return { status: answer.status, text: await answer.text() }
}

test('a feed goes on refusing unsigned packages until it is told otherwise', async (t) => {
  await using node = await startNode()
  const strict = { name: 'strict', type: 'rpm', publicRead: true } as const
  const created = await node.operations.createFeed({ ...strict, unsigned: 'refuse' }, ACTOR)
  assert.equal(created.unsigned, 'refuse')
  await createFeed(node, 'open', 'rpm')
  const policies = async ({ operations }: TestNode) =>
    (await operations.listFeeds()).map(({ name, unsigned, publicRead }) => `${name} ${unsigned} ${publicRead}`)
  const chosen = ['open accept false', 'strict refuse true']
  const verifyKept = async (kept: TestNode) => {
    assert.deepEqual((await policies(kept)).sort(), chosen)
    const { status, text } = await upload(kept, 'strict')
    assert.equal(status, 400)
    assert.match(text, /is not signed by its publisher[^]*feedmesh feed edit strict --unsigned accept/)
    assert.equal((await kept.operations.showFeed('strict')).entries, 0)
  }
  await verifyKept(node)
  await node.restart()
  await verifyKept(node)
  const copy = await mkdtemp(join(tmpdir(), 'feedmesh-copy-'))
  t.after(() => rm(copy, { recursive: true, force: true }))
  const folder = join(copy, 'data')
  await node.operations.backup(folder, ACTOR)
  await node.stop()
  {
    await using restored = await openTestNode(folder, node.adminKey)
    assert.deepEqual((await policies(restored)).sort(), chosen)
  }
  await rm(dataPaths(node.directory).records, { recursive: true })
  await node.restart()
  await verifyKept(node)
  assert.equal((await node.operations.editFeed('strict', { unsigned: 'accept' }, ACTOR)).unsigned, 'accept')
  assert.equal((await upload(node, 'strict')).status, 201)
  await node.restart()
  const shown = await node.operations.showFeed('strict')
  assert.deepEqual([shown.unsigned, shown.publicRead, shown.entries], ['accept', true, 1])
})

test('a type whose packages carry no signatures has no say in it', async () => {
  await using node = await startNode()
  const why = (error: unknown) => isFeedmeshError(error, 'BAD_INPUT') && /for feeds of type rpm;/.test(error.message)
  const feed = { name: 'tools', type: 'npm', publicRead: false } as const
  await assert.rejects(node.operations.createFeed({ ...feed, unsigned: 'accept' }, ACTOR), why)
  assert.deepEqual(await node.operations.listFeeds(), [])
  const created = await node.operations.createFeed(feed, ACTOR)
  assert.equal('unsigned' in created, false)
  await assert.rejects(node.operations.editFeed('tools', { unsigned: 'refuse' }, ACTOR), why)
  await assert.rejects(node.operations.editFeed('nothing', { unsigned: 'refuse' }, ACTOR), (error) =>
    isFeedmeshError(error, 'NOT_FOUND'),
  )
})
