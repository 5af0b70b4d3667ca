/** The rows of the mode table: who dials says nothing about which way content flows. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createFeed, linkFeed, offerFeed, publishRow, startNode, type TestNode } from '../support/running-node.ts'

async function openTwo(): Promise<{ a: TestNode; b: TestNode } & AsyncDisposable> {
  const [a, b] = [await startNode(), await startNode()]
  for (const node of [a, b]) await createFeed(node, 'packages')
  const dispose = async () => {
    await b[Symbol.asyncDispose]()
    await a[Symbol.asyncDispose]()
  }
  return { a, b, [Symbol.asyncDispose]: dispose }
}

const publish = (node: TestNode, unit: string) =>
  publishRow(node, 'packages', { unit, version: '1.0.0', content: Buffer.from(unit) })
const has = async (node: TestNode, unit: string) =>
  (await node.operations.openFeed('packages').findUnit(unit)) !== undefined

test('incoming pull, outgoing push: the end that dials sends, and its run says what the other end fetched', async () => {
  await using pair = await openTwo()
  const { a: receiver, b: sender } = pair
  await publish(sender, 'build')
  const { token = '' } = await offerFeed(receiver, 'packages', { mode: 'pull' })
  const { id } = await linkFeed(sender, 'packages', { mode: 'push', url: receiver.url, token })
  const result = await sender.operations.runReplication(id, {})
  assert.equal(result.state, 'succeeded')
  assert.ok(await has(receiver, 'build'))
  await publish(sender, 'second')
  const again = await sender.operations.runReplication(id, {})
  assert.equal(again.state, 'succeeded')
  assert.ok(await has(receiver, 'second'))
  await publish(receiver, 'own')
  await sender.operations.runReplication(id, {})
  assert.ok(!(await has(sender, 'own')), 'nothing flows back')
})

test('what is offered never displaces, extends or retags what the receiving feed has', async () => {
  await using pair = await openTwo()
  const { a: receiver, b: sender } = pair
  await publish(receiver, 'shared')
  await publishRow(sender, 'packages', { unit: 'shared', version: '6.6.6', content: Buffer.from('slipped in') })
  await publish(sender, 'edge-build')
  const { token = '' } = await offerFeed(receiver, 'packages', { mode: 'pull' })
  const { id } = await linkFeed(sender, 'packages', { mode: 'push', url: receiver.url, token })
  assert.equal((await sender.operations.runReplication(id, {})).state, 'succeeded')
  const unit = await receiver.operations.openFeed('packages').findUnit('shared')
  assert.deepEqual(
    unit?.rows.map((row) => row.key),
    ['v/1.0.0'],
  )
  assert.ok(await has(receiver, 'edge-build'))
})

test('an offer is held to the scope that the receiving end gave it', async () => {
  await using pair = await openTwo()
  const { a: receiver, b: sender } = pair
  await publish(sender, '@edge/inside')
  await publish(sender, 'outside')
  const { token = '' } = await offerFeed(receiver, 'packages', { mode: 'pull', scope: ['@edge/*'] })
  const { id } = await linkFeed(sender, 'packages', { mode: 'push', url: receiver.url, token })
  await sender.operations.runReplication(id, {})
  assert.ok(await has(receiver, '@edge/inside'))
  assert.ok(!(await has(receiver, 'outside')))
})

test('two mirrors hold the same after a run each way, whoever published', async () => {
  await using pair = await openTwo()
  const { a, b } = pair
  await publish(a, 'of-a')
  await publish(b, 'of-b')
  const { token = '' } = await offerFeed(a, 'packages', { mode: 'mirror' })
  const { id } = await linkFeed(b, 'packages', { mode: 'mirror', url: a.url, token })
  assert.equal((await b.operations.runReplication(id, {})).state, 'succeeded')
  for (const node of [a, b]) for (const unit of ['of-a', 'of-b']) assert.ok(await has(node, unit), unit)
  await publish(a, 'later')
  assert.equal((await b.operations.runReplication(id, {})).state, 'succeeded')
  assert.ok(await has(b, 'later'))
  const [atA, atB] = [await a.operations.showFeed('packages'), await b.operations.showFeed('packages')]
  assert.equal(atA.digest, atB.digest)
})

test('on-demand: rows are there at once, bytes with the first client, once for many', async () => {
  await using pair = await openTwo()
  const { a: hub, b: spoke } = pair
  const content = Buffer.alloc(300_000, 3)
  await publishRow(hub, 'packages', { unit: 'large', version: '1.0.0', content })
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token, availability: 'on-demand' })
  const result = await spoke.operations.runReplication(id, {})
  assert.equal(result.state, 'succeeded')
  assert.ok(result.fetched.bytes < 10_000, `${result.fetched.bytes} bytes were fetched`)
  const feed = spoke.operations.openFeed('packages')
  const [row] = (await feed.findUnit('large'))?.rows ?? []
  const [file] = row?.files ?? []
  assert.ok(row && file)
  const bodies = await Promise.all(
    [1, 2, 3].map(async () => Buffer.concat(await Array.fromAsync(await feed.open(row, file)))),
  )
  for (const body of bodies) assert.ok(content.equals(body))
  await hub.stop()
  assert.ok(content.equals(Buffer.concat(await Array.fromAsync(await feed.open(row, file)))))
})
