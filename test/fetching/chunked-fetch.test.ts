/** Large blobs by chunks, from several peers at once. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CHUNK_BYTES } from '../../src/store/blobs.ts'
import { chunksOf, openSite, verifyHolds } from './chunk-site.ts'

const MIB = 1024 * 1024

test('a site of four that fetches one blob of 64 MiB at the same time costs the hub one copy', async (t) => {
  await using stack = new AsyncDisposableStack()
  const site = await openSite(stack, { size: 64 * MIB, nodes: 4 })
  const { hub, nodes, wanted } = site
  const results = await Promise.all(nodes.map((node) => node.fetch([hub.peerId], [wanted])))
  for (const { outcomes, lies } of results) {
    assert.deepEqual(
      outcomes.map(({ error }) => error),
      [undefined],
    )
    assert.deepEqual(lies, [])
  }
  for (const node of nodes) await verifyHolds(node, site)
  const copies = site.sentBy(hub.peerId) / wanted.size
  t.diagnostic(
    `the hub sent ${copies.toFixed(3)} copies; the nodes ${nodes.map((node) => (site.sentBy(node.host.peerId) / wanted.size).toFixed(2)).join(', ')}`,
  )
  assert.ok(copies <= 1.3, `${copies}`)
  for (const { nearby } of nodes) {
    const chunks = nearby.told
      .filter(({ digest }) => digest === wanted.digest)
      .flatMap(({ parts }): readonly (number | 'all')[] => (parts === 'all' ? [parts] : parts))
    assert.deepEqual(new Set(chunks), new Set([...Array(chunksOf(wanted.size)).keys(), 'all']))
  }
})

test('a blob that one peer alone can give comes in one request', async () => {
  await using stack = new AsyncDisposableStack()
  const site = await openSite(stack, { size: 9 * MIB, nodes: 2, areNeighbours: false })
  const { hub, nodes, wanted } = site
  await nodes[0]!.fetch([hub.peerId], [wanted])
  await verifyHolds(nodes[0]!, site)
  nodes[0]!.answer = async (exchange, { offset, length }) => {
    await exchange.send({ kind: 'bytes', length: length ?? wanted.size - offset })
    await exchange.sendBytes(site.content.subarray(offset))
  }
  await nodes[1]!.fetch([nodes[0]!.host.peerId], [wanted])
  await verifyHolds(nodes[1]!, site)
  assert.deepEqual(nodes[0]!.asked, [{ digest: wanted.digest, offset: 0, length: null }])
})

test('two servers each give a part of a blob, and no byte comes twice', async () => {
  await using stack = new AsyncDisposableStack()
  const site = await openSite(stack, { size: 32 * MIB + 5, nodes: 2, areNeighbours: false })
  const { hub, nodes, wanted } = site
  const [mirror, spoke] = [nodes[0]!, nodes[1]!]
  await mirror.fetch([hub.peerId], [wanted])
  const before = site.sentBy(hub.peerId)
  assert.deepEqual((await spoke.fetch([hub.peerId, mirror.host.peerId], [wanted])).outcomes.length, 1)
  await verifyHolds(spoke, site)
  const [fromHub, fromMirror] = [site.sentBy(hub.peerId) - before, site.sentBy(mirror.host.peerId)]
  assert.ok(fromHub >= CHUNK_BYTES && fromMirror >= CHUNK_BYTES, `${fromHub} and ${fromMirror}`)
  assert.ok(fromHub + fromMirror <= wanted.size + 10_000, `${fromHub + fromMirror}`)
})
