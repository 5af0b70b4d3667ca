/** Whole nodes of one site on loopback: what one has the other gets from it, with their hub gone. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  createFeed,
  createKey,
  linkFeed,
  offerFeed,
  publishRow,
  startNode,
  type TestNode,
} from '../support/running-node.ts'

const SITE = { site: 'berlin', region: 'eu' } as const
const CONTENT = Buffer.alloc(300_000, 3)

async function untilNeighbours(node: TestNode, other: TestNode): Promise<void> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const peers = await node.operations.peers()
    const found = peers.find(({ peerId }) => peerId === other.running.peerId)
    if (found?.connected === true && found.site === SITE.site) return
    assert.ok(Date.now() < deadline, 'the two of one site did not find each other')
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function joinHub(hub: TestNode, spoke: TestNode, availability: 'full' | 'on-demand'): Promise<void> {
  await createFeed(spoke, 'packages')
  const { token = '' } = await offerFeed(hub, 'packages')
  const { id } = await linkFeed(spoke, 'packages', { url: hub.url, token, availability, everyMs: 3_600_000 })
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
}

async function download(node: TestNode): Promise<Buffer> {
  const key = await createKey(node, 'packages')
  const headers = { authorization: `Bearer ${key}` }
  const deadline = Date.now() + 30_000
  for (;;) {
    const response = await fetch(`${node.url}/npm/packages/large/-/large-1.0.0.tgz`, { headers })
    const body = Buffer.from(await response.arrayBuffer())
    if (response.status === 200) return body
    // The chains are shown a moment after the two have met.
    assert.ok(Date.now() < deadline, `${response.status} ${body.toString()}`)
  }
}

test('a spoke installs from its neighbour a package that only the neighbour has, with the hub down, also after a restart', {
  timeout: 120_000,
}, async () => {
  await using hub = await startNode(SITE)
  await using giver = await startNode(SITE)
  await using taker = await startNode(SITE)
  await createFeed(hub, 'packages')
  await publishRow(hub, 'packages', { unit: 'large', version: '1.0.0', content: CONTENT })
  await joinHub(hub, giver, 'full')
  await joinHub(hub, taker, 'on-demand')
  await untilNeighbours(taker, giver)
  await hub.stop()
  await taker.restart()
  await untilNeighbours(taker, giver)
  assert.ok(CONTENT.equals(await download(taker)))
  const known = (await taker.operations.peers()).find(({ peerId }) => peerId === giver.running.peerId)
  assert.ok(known?.direction === 'inbound' || known?.direction === 'outbound')
  assert.ok(known.rttMs !== null)
})
