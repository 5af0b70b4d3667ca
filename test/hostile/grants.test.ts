/** A relay between a hub and a leaf: it hands on the hub's feed only while the hub's grant says so. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { grantShape, MAX_GRANT_MS, signGrant, VERBS } from '../../src/catalog/grant.ts'
import { publicKeyFromPeerId } from '../../src/catalog/peer-id.ts'
import { openObject } from '../../src/catalog/signed.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type MeshNode, openMeshNode, publishVersion } from '../support/mesh-node.ts'

const HOUR = 3_600_000

async function openChain(stack: AsyncDisposableStack, options: { readonly relay?: boolean } = {}) {
  const network = createMemoryNetwork()
  const clock = { now: Date.parse('2026-01-01T00:00:00Z') }
  const open = async () => stack.use(await openMeshNode(network, { clock }))
  const [hub, relay, leaf] = [await open(), await open(), await open()]
  const hubFeed = await hub.createFeed('packages')
  await relay.createFeed('packages')
  const leafFeed = await leaf.createFeed('packages')
  await publishVersion(hubFeed, 'left', 'v/1.0.0', Buffer.from('one'))
  const { token } = await hub.accept({ feed: 'packages', mode: 'push', ...options })
  const first = await relay.link(hub, token, { feed: 'packages', mode: 'pull' })
  assert.equal((await relay.pull(first)).state, 'succeeded')
  const second = await leaf.link(relay, (await relay.accept({ feed: 'packages', mode: 'push' })).token, {
    feed: 'packages',
    mode: 'pull',
  })
  const feedId = hub.ledger.registry.getLocal('packages').id
  const mayLeafRead = () => mayRead(relay, leaf.peerId, feedId)
  return { hub, relay, leaf, leafFeed, first, second, feedId, clock, mayLeafRead }
}

function mayRead(node: MeshNode, peer: string, feedId: string): boolean {
  try {
    node.parts.policy.verifyMay(peer, 'read', feedId)
    return true
  } catch (error) {
    if (isFeedmeshError(error, 'NOT_FOUND')) return false
    throw error
  }
}

test('a relay hands on what the hub lets it hand on', async () => {
  await using stack = new AsyncDisposableStack()
  const { leaf, leafFeed, second, mayLeafRead } = await openChain(stack)
  assert.equal((await leaf.pull(second)).state, 'succeeded')
  assert.ok(mayLeafRead())
  assert.equal((await leafFeed.findUnit('left'))?.rows.length, 1)
})

test('without the relay right the hub’s feed stays with the relay, and the leaf goes on without it', async () => {
  await using stack = new AsyncDisposableStack()
  const { leaf, leafFeed, second, mayLeafRead } = await openChain(stack, { relay: false })
  assert.equal((await leaf.pull(second)).state, 'succeeded')
  assert.ok(!mayLeafRead())
  assert.equal(await leafFeed.findUnit('left'), undefined)
})

test('an expired grant is good only while the hub is silent, and no longer than the charter says', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, relay, first, feedId, clock, mayLeafRead } = await openChain(stack)
  clock.now += 25 * HOUR
  assert.ok(mayLeafRead(), 'the newest manifest of the hub has expired as well')
  await hub.ledger.refresh(feedId)
  const grant = relay.book.links.all().find((link) => link.grant.length > 0)!
  const expired = grant.grant
  assert.equal((await relay.pull(first)).state, 'succeeded')
  const renewed = relay.book.links.find(grant.id)!
  assert.notDeepEqual(renewed.grant, expired)
  assert.ok(mayLeafRead())
  await relay.book.links.put(grant.id, { ...renewed, grant: expired })
  assert.ok(!mayLeafRead(), 'the hub is back and the relay has not renewed')
  await relay.book.links.put(grant.id, renewed)
  clock.now += 31 * 24 * HOUR
  assert.ok(!mayLeafRead(), 'the grace is over')
})

test('a relay whose grants were revoked stops as soon as it has the hub’s new manifest', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, relay, first, feedId, clock, mayLeafRead } = await openChain(stack)
  assert.ok(mayLeafRead())
  const subject = publicKeyFromPeerId(relay.peerId)
  await hub.ledger.revoke(feedId, [{ subject, notIssuedBefore: clock.now + 1 }])
  assert.ok(mayLeafRead(), 'it cannot know yet')
  assert.equal((await relay.pull(first)).state, 'succeeded')
  assert.ok(!mayLeafRead())
})

test('chains that are not a chain of the hub’s grants to this relay open nothing', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, relay, leaf, clock, mayLeafRead } = await openChain(stack)
  const link = relay.book.links.all().find((one) => one.grant.length > 0)!
  const honest = openObject('grant', grantShape, link.grant[0]!).value
  const owner = hub.parts.signer
  const thief = createSeedSigner(Buffer.alloc(32, 7))
  const own = relay.parts.signer
  const at = { notBefore: clock.now - 1000, expiresAt: clock.now - 1000 + MAX_GRANT_MS }
  const chains: Record<string, Uint8Array[]> = {
    'of nobody': [],
    'signed by the relay itself': [signGrant({ ...honest, ...at }, own).bytes],
    'signed by a stranger': [signGrant({ ...honest, ...at }, thief).bytes],
    'for another peer': [signGrant({ ...honest, ...at, subject: publicKeyFromPeerId(leaf.peerId) }, owner).bytes],
    'for another feed': [signGrant({ ...honest, ...at, feedId: Buffer.alloc(32, 1) }, owner).bytes],
    'without relay': [signGrant({ ...honest, ...at, verbs: VERBS.read }, owner).bytes],
    'longer than a day': [signGrant({ ...honest, ...at, expiresAt: at.expiresAt + 1 }, owner).bytes],
    'not valid yet': [
      signGrant({ ...honest, notBefore: clock.now + HOUR, expiresAt: clock.now + 2 * HOUR }, owner).bytes,
    ],
    'of a stranger after the hub’s': [
      signGrant({ ...honest, ...at, subject: thief.publicKey, verbs: VERBS.read }, owner).bytes,
      signGrant({ ...honest, ...at }, thief).bytes,
    ],
    'of nine links': Array.from({ length: 9 }, () => signGrant({ ...honest, ...at }, owner).bytes),
    'of bytes': [Buffer.from('a0', 'hex')],
  }
  for (const [what, grant] of Object.entries(chains)) {
    await relay.book.links.put(link.id, { ...link, grant })
    assert.ok(!mayLeafRead(), what)
  }
  await relay.book.links.put(link.id, { ...link, grant: [signGrant({ ...honest, ...at }, owner).bytes] })
  assert.ok(mayLeafRead())
})

test('the grants a relay writes name the leaf, follow its own and cannot be written for feeds it may not hand on', async () => {
  await using stack = new AsyncDisposableStack()
  const { relay, leaf, second, feedId, mayLeafRead } = await openChain(stack)
  assert.equal((await leaf.pull(second)).state, 'succeeded')
  assert.ok(mayLeafRead())
  const chain = relay.parts.policy.issueGrant(leaf.peerId, feedId)
  assert.equal(chain.length, 2)
  const last = openObject('grant', grantShape, chain[1]!)
  assert.deepEqual(Buffer.from(last.value.subject), Buffer.from(publicKeyFromPeerId(leaf.peerId)))
  assert.deepEqual(Buffer.from(last.signer), Buffer.from(publicKeyFromPeerId(relay.peerId)))
  const link = relay.book.links.all().find((one) => one.grant.length > 0)!
  await relay.book.links.put(link.id, { ...link, revokedAt: 1 })
  assert.throws(
    () => relay.parts.policy.issueGrant(leaf.peerId, feedId),
    (error) => isFeedmeshError(error, 'NOT_FOUND'),
  )
})

test('a renewed grant that does not verify does not take the place of the one that is held', async () => {
  await using stack = new AsyncDisposableStack()
  const { hub, relay, first, clock, mayLeafRead } = await openChain(stack)
  const held = relay.book.links.all().find((link) => link.grant.length > 0)!
  const honest = openObject('grant', grantShape, held.grant[0]!).value
  const thief = createSeedSigner(Buffer.alloc(32, 7))
  clock.now += 13 * HOUR
  const issue = hub.parts.policy.issueGrant.bind(hub.parts.policy)
  hub.parts.policy.issueGrant = () => [
    signGrant({ ...honest, notBefore: clock.now, expiresAt: clock.now + HOUR }, thief).bytes,
  ]
  assert.equal((await relay.pull(first)).state, 'succeeded')
  assert.deepEqual(relay.book.links.find(held.id)!.grant, held.grant)
  assert.ok(mayLeafRead())
  hub.parts.policy.issueGrant = issue
  assert.equal((await relay.pull(first)).state, 'succeeded')
  assert.notDeepEqual(relay.book.links.find(held.id)!.grant, held.grant)
})
