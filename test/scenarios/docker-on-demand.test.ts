/** A spoke that fetches blobs when they are asked for, and deletes and tags that travel. */

import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { IMAGE_TYPE, type MadeImage, makeImage } from '../support/oci-image.ts'
import { createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

async function openClient(node: TestNode) {
  const key = await createKey(node, 'images')
  return async (method: string, path: string, body?: Uint8Array, headers: Record<string, string> = {}) => {
    const init = body === undefined ? {} : { body: new Uint8Array(body) }
    const login = { authorization: `Bearer ${key}` }
    const answer = await fetch(`${node.url}/v2/images/${path}`, { method, headers: { ...login, ...headers }, ...init })
    return { status: answer.status, bytes: Buffer.from(await answer.arrayBuffer()) }
  }
}
type Client = Awaited<ReturnType<typeof openClient>>

async function push(client: Client, reference: string, image: MadeImage): Promise<number> {
  for (const { bytes, digest } of image.blobs) {
    if ((await client('HEAD', `team/app/blobs/${digest}`)).status === 200) continue
    assert.equal((await client('POST', `team/app/blobs/uploads/?digest=${digest}`, bytes)).status, 201)
  }
  return (await client('PUT', `team/app/manifests/${reference}`, image.bytes, { 'content-type': IMAGE_TYPE })).status
}

test('blobs come when they are asked for, by a pull or by a push that names them', { timeout: 60_000 }, async () => {
  await using hub = await startNode()
  await using spoke = await startNode()
  for (const node of [hub, spoke]) await createFeed(node, 'images', 'docker')
  const [atHub, atSpoke] = [await openClient(hub), await openClient(spoke)]
  const [pulled, named] = [randomBytes(9_000_000), randomBytes(200_000)]
  const image = makeImage({ layers: [pulled, named] })
  assert.equal(await push(atHub, 'v1', image), 201)
  const { token = '' } = await offerFeed(hub, 'images')
  const { id } = await linkFeed(spoke, 'images', { url: hub.url, token, availability: 'on-demand' })
  assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  assert.deepEqual((await atSpoke('GET', 'team/app/manifests/v1')).bytes, image.bytes)
  assert.deepEqual((await atSpoke('GET', `team/app/blobs/${image.blobs[1]?.digest}`)).bytes, pulled)
  const own = makeImage({ layers: [named] })
  assert.equal(await push(atSpoke, 'own', own), 201)
  await hub.stop()
  assert.deepEqual((await atSpoke('GET', `team/app/blobs/${own.blobs[1]?.digest}`)).bytes, named)
  assert.deepEqual((await atSpoke('GET', 'team/app/manifests/own')).bytes, own.bytes)
})

test('a tag that moves and a manifest that is deleted do so on the spoke', { timeout: 60_000 }, async () => {
  await using hub = await startNode()
  await using spoke = await startNode()
  for (const node of [hub, spoke]) await createFeed(node, 'images', 'docker')
  const [atHub, atSpoke] = [await openClient(hub), await openClient(spoke)]
  const [old, next] = [makeImage(), makeImage()]
  await push(atHub, 'v1', old)
  const { token = '' } = await offerFeed(hub, 'images')
  const { id } = await linkFeed(spoke, 'images', { url: hub.url, token })
  const run = async () => assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
  await run()
  assert.deepEqual((await atSpoke('GET', 'team/app/manifests/v1')).bytes, old.bytes)
  await push(atHub, 'v1', next)
  await run()
  assert.deepEqual((await atSpoke('GET', 'team/app/manifests/v1')).bytes, next.bytes)
  assert.equal((await atSpoke('DELETE', `team/app/manifests/${old.digest}`)).status, 403)
  assert.equal((await atHub('DELETE', `team/app/manifests/${old.digest}`)).status, 202)
  await run()
  assert.equal((await atSpoke('GET', `team/app/manifests/${old.digest}`)).status, 404)
  assert.equal((await atSpoke('GET', `team/app/blobs/${old.blobs[1]?.digest}`)).status, 404)
  assert.deepEqual(
    (await atSpoke('GET', 'team/app/tags/list')).bytes.toString(),
    '{"name":"images/team/app","tags":["v1"]}',
  )
})
