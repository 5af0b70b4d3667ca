/** Who signs the index of a feed, on whole nodes. */

import assert from 'node:assert/strict'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readCleartextMessage } from 'openpgp'
import { isFeedmeshError } from '../../src/errors.ts'
import { nativeFile } from '../conformance/feed-type.ts'
import { createDeb } from '../feeds/deb-package.ts'
import { ACTOR, createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'

async function publish(node: TestNode, feed: string, name: string, architecture = 'amd64'): Promise<void> {
  const file = nativeFile(`${name}_1.0-1_${architecture}.deb`, await createDeb({ name, architecture }))
  await node.operations.publishFile(feed, file, ACTOR)
}

/** Names in the list of amd64; waits until what was published is in it. */
async function listed(node: TestNode, feed: string, wanted?: string): Promise<string[]> {
  for (;;) {
    const index = await node.operations.openIndexes(feed).find('stable')
    const file = index?.findDocument('main/binary-amd64/Packages', '')
    const pieces: Buffer[] = []
    for await (const piece of file === undefined ? [] : await file.open()) pieces.push(piece as Buffer)
    const names = [
      ...Buffer.concat(pieces)
        .toString()
        .matchAll(/^Package: (.*)$/gm),
    ].map(([, name]) => name ?? '')
    if (wanted === undefined || names.includes(wanted)) return names
  }
}

/** Key ids of the keys that signed a text, upper-case hex. */
async function signersOf(text: string): Promise<string[]> {
  const message = await readCleartextMessage({ cleartextMessage: text })
  return message.getSigningKeyIDs().map((id) => id.toHex().toUpperCase())
}

async function generationOf(node: TestNode, feed: string): Promise<number> {
  return (await node.operations.openIndexes(feed).find('stable'))?.built.generation ?? 0
}

async function read(node: TestNode, feed: string, path: string): Promise<string> {
  const key = await createKey(node, feed)
  const answer = await fetch(`${node.url}/debian/${feed}/${path}`, { headers: { 'x-apikey': key } })
  assert.equal(answer.status, 200, path)
  return await answer.text()
}

describe('the signed index of a feed', { timeout: 120_000 }, () => {
  test('is no content: no entry, not listed, not in the digest', async () => {
    await using node = await startNode()
    await createFeed(node, 'os', 'debian')
    assert.deepEqual(await listed(node, 'os'), [])
    const empty = await node.operations.showFeed('os')
    assert.equal(empty.entries, 0)
    assert.match(empty.digest, /^[0-9a-f]{64}$/)
    await publish(node, 'os', 'one')
    const published = await node.operations.showFeed('os')
    await listed(node, 'os', 'one')
    const indexed = await node.operations.showFeed('os')
    assert.equal(published.digest, indexed.digest)
    assert.equal(indexed.entries, 1)
    const units = await Array.fromAsync(node.operations.openFeed('os').list({ limit: 10 }))
    assert.deepEqual(
      units.map(({ unit }) => unit),
      ['one'],
    )
  })

  test('is as it was after a restart, and not signed again', async () => {
    await using node = await startNode()
    await createFeed(node, 'os', 'debian')
    await publish(node, 'os', 'one')
    await listed(node, 'os', 'one')
    const before = await read(node, 'os', 'dists/stable/InRelease')
    const generation = await generationOf(node, 'os')
    await node.restart()
    assert.equal(await read(node, 'os', 'dists/stable/InRelease'), before)
    await publish(node, 'os', 'two')
    assert.deepEqual(await listed(node, 'os', 'two'), ['one', 'two'])
    assert.equal(await generationOf(node, 'os'), generation + 1)
  })

  test('is signed with a key that is on the node alone, and can be kept elsewhere', async () => {
    await using node = await startNode()
    await createFeed(node, 'os', 'debian')
    const { keys } = await node.operations.showIndex('os')
    assert.equal(keys.length, 1)
    const folder = join(node.directory, 'index-keys')
    const [file = '', ...others] = await readdir(folder)
    assert.deepEqual([file.toUpperCase(), others], [`${keys[0]}.ASC`, []])
    assert.equal((await stat(join(folder, file))).mode & 0o777, 0o600)
    assert.match((await node.operations.exportIndexKey('os', ACTOR)).key, /^-----BEGIN PGP PRIVATE KEY BLOCK-----/)
    await assert.rejects(
      async () => node.operations.showIndex('none'),
      (error) => isFeedmeshError(error, 'NOT_FOUND'),
    )
    await createFeed(node, 'packages', 'npm')
    await assert.rejects(async () => node.operations.showIndex('packages'), /has no signed index/)
    assert.deepEqual(await readdir(folder), [file])
  })

  test('is signed with a new key when an operator says so; clients are given both', async () => {
    await using node = await startNode()
    await createFeed(node, 'os', 'debian')
    await publish(node, 'os', 'one')
    await listed(node, 'os', 'one')
    const [old] = (await node.operations.showIndex('os')).keys
    const { keys } = await node.operations.renewIndexKey('os', ACTOR)
    assert.equal(keys.length, 2)
    assert.equal(keys[1], old)
    await publish(node, 'os', 'two')
    await listed(node, 'os', 'two')
    const issuers = await signersOf(await read(node, 'os', 'dists/stable/InRelease'))
    assert.ok(issuers.every((issuer) => keys[0]?.endsWith(issuer)))
    assert.match(await read(node, 'os', 'keys/os.asc'), /^-----BEGIN PGP PUBLIC KEY BLOCK-----/)
  })

  test('is kept by a backup together with its key', async () => {
    await using node = await startNode()
    await createFeed(node, 'os', 'debian')
    const copy = join(node.directory, 'copy')
    await node.operations.backup(copy, ACTOR)
    assert.deepEqual(await readdir(join(copy, 'index-keys')), await readdir(join(node.directory, 'index-keys')))
  })

  test('of an empty feed gives way to that of the feed it is linked to, and comes back', async () => {
    await using hub = await startNode()
    await using spoke = await startNode()
    for (const node of [hub, spoke]) await createFeed(node, 'os', 'debian')
    await publish(hub, 'os', 'one')
    await listed(hub, 'os', 'one')
    await listed(spoke, 'os')
    const own = (await spoke.operations.showIndex('os')).keys
    const { token = '' } = await offerFeed(hub, 'os')
    const { id } = await linkFeed(spoke, 'os', { url: hub.url, token })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    for (const path of ['dists/stable/InRelease', 'keys/os.asc'])
      assert.equal(await read(spoke, 'os', path), await read(hub, 'os', path))
    await assert.rejects(publish(spoke, 'os', 'local'), /feedmesh feed edit os --index own/)
    assert.deepEqual((await spoke.operations.setIndexMode('os', 'own', ACTOR)).keys, own)
    await publish(spoke, 'os', 'local')
    assert.deepEqual(await listed(spoke, 'os', 'local'), ['local', 'one'])
    await publish(hub, 'os', 'two')
    await listed(hub, 'os', 'two')
    await spoke.operations.runReplication(id, {})
    assert.deepEqual(await listed(spoke, 'os', 'two'), ['local', 'one', 'two'])
    await spoke.restart()
    assert.equal((await spoke.operations.showIndex('os')).index, 'own')
  })

  test('of a feed with packages of its own stays, when it is linked', async () => {
    await using hub = await startNode()
    await using spoke = await startNode()
    for (const node of [hub, spoke]) await createFeed(node, 'os', 'debian')
    await publish(hub, 'os', 'one')
    await publish(spoke, 'os', 'local')
    await listed(spoke, 'os', 'local')
    const { token = '' } = await offerFeed(hub, 'os')
    const { id } = await linkFeed(spoke, 'os', { url: hub.url, token })
    await spoke.operations.runReplication(id, {})
    assert.deepEqual(await listed(spoke, 'os', 'one'), ['local', 'one'])
    assert.deepEqual(await spoke.operations.showIndex('os').then(({ index, chosen }) => [index, chosen]), ['own', true])
  })

  test('is fetched when a client asks, where files are, and is there from then on', async () => {
    await using hub = await startNode()
    await using spoke = await startNode()
    for (const node of [hub, spoke]) await createFeed(node, 'os', 'debian')
    await publish(hub, 'os', 'one')
    await listed(hub, 'os', 'one')
    const { token = '' } = await offerFeed(hub, 'os')
    const { id } = await linkFeed(spoke, 'os', { url: hub.url, token, availability: 'on-demand' })
    assert.equal((await spoke.operations.runReplication(id, {})).state, 'succeeded')
    const before = await read(spoke, 'os', 'dists/stable/InRelease')
    assert.deepEqual(await listed(spoke, 'os'), ['one'])
    await hub.stop()
    assert.equal(await read(spoke, 'os', 'dists/stable/InRelease'), before)
    assert.deepEqual(await listed(spoke, 'os'), ['one'])
  })

  test('is that of the main hub behind a secondary hub, byte for byte', async () => {
    await using main = await startNode()
    await using second = await startNode()
    await using spoke = await startNode()
    for (const node of [main, second, spoke]) await createFeed(node, 'os', 'debian')
    await publish(main, 'os', 'one')
    await listed(main, 'os', 'one')
    const first = await offerFeed(main, 'os')
    const up = await linkFeed(second, 'os', { url: main.url, token: first.token ?? '' })
    await second.operations.runReplication(up.id, {})
    const offered = await offerFeed(second, 'os')
    const down = await linkFeed(spoke, 'os', { url: second.url, token: offered.token ?? '' })
    assert.equal((await spoke.operations.runReplication(down.id, {})).state, 'succeeded')
    await main.stop()
    assert.equal(await read(spoke, 'os', 'dists/stable/InRelease'), await read(second, 'os', 'dists/stable/InRelease'))
    assert.deepEqual(await listed(spoke, 'os'), ['one'])
  })

  test('is each one’s own between mirrors, which do not sign for ever', async () => {
    await using one = await startNode()
    await using two = await startNode()
    for (const node of [one, two]) await createFeed(node, 'os', 'debian')
    const { token = '' } = await offerFeed(one, 'os', { mode: 'mirror' })
    const { id } = await linkFeed(two, 'os', { url: one.url, token, mode: 'mirror' })
    await publish(one, 'os', 'from-one')
    await publish(two, 'os', 'from-two')
    const run = () => two.operations.runReplication(id, {})
    await run()
    await listed(one, 'os', 'from-two')
    await listed(two, 'os', 'from-one')
    assert.notDeepEqual((await one.operations.showIndex('os')).keys, (await two.operations.showIndex('os')).keys)
    const settled = async () => [await generationOf(one, 'os'), await generationOf(two, 'os')]
    await run()
    const before = await settled()
    for (let round = 0; round < 4; round += 1) await run()
    assert.deepEqual(await settled(), before)
  })
})
