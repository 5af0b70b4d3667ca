/** Uploads to a real node: over restarts and kills, spared by gc for a week, mounted only by who may read the source. */

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { describe, test } from 'node:test'
import { MAX_UPLOAD_AGE_MS } from '../../src/feeds/feed.ts'
import { cleanEnv, MAIN } from '../cli/command.ts'
import { contentOf, IMAGE_TYPE, makeImage } from '../support/oci-image.ts'
import { ACTOR, createFeed, createKey, startNode, type TestNode } from '../support/running-node.ts'

const LARGE = contentOf(randomBytes(3_000_000))
/** An upload that ends in the first 64 KiB, where nothing is on disk yet. */
const SMALL = contentOf(randomBytes(20_000))

function client(baseUrl: () => string, key: string) {
  return async (method: string, path: string, body?: Uint8Array, headers: Record<string, string> = {}) => {
    const url = path.startsWith('/v2/') ? `${baseUrl()}${path}` : `${baseUrl()}/v2/images/${path}`
    const login = { authorization: `Basic ${Buffer.from(`api:${key}`).toString('base64')}` }
    const init = body === undefined ? {} : { body: new Uint8Array(body) }
    const answer = await fetch(url, { method, headers: { ...login, ...headers }, ...init })
    const bytes = Buffer.from(await answer.arrayBuffer())
    return { status: answer.status, headers: answer.headers, bytes }
  }
}
type Call = ReturnType<typeof client>

async function openClient(): Promise<{ node: TestNode; call: Call }> {
  const node = await startNode()
  await createFeed(node, 'images', 'docker')
  const key = await createKey(node, 'images')
  return { node, call: client(() => node.url, key) }
}

async function begin(call: Call): Promise<string> {
  const { status, headers } = await call('POST', 'team/app/blobs/uploads/')
  assert.equal(status, 202)
  return headers.get('location') ?? ''
}

async function finish(call: Call, url: string, { bytes, digest }: typeof LARGE): Promise<void> {
  const range = (await call('GET', url)).headers.get('range') ?? ''
  const have = range === '0-0' ? 0 : Number(range.split('-')[1]) + 1
  const chunk = { 'content-range': `${have}-${bytes.length - 1}` }
  assert.equal((await call('PATCH', url, bytes.subarray(have), chunk)).status, 202)
  assert.equal((await call('PUT', `${url}?digest=${digest}`)).status, 201)
  assert.deepEqual((await call('GET', `team/app/blobs/${digest}`)).bytes, bytes)
}

describe('uploads', { timeout: 120_000 }, () => {
  for (const [what, content] of [
    ['of some MB', LARGE],
    ['of some KB', SMALL],
  ] as const)
    test(`an upload ${what} goes on where it was after the node was restarted`, async () => {
      const { node, call } = await openClient()
      await using _ = node
      const [url, fresh] = [await begin(call), await begin(call)]
      const half = Math.floor(content.bytes.length / 2)
      await call('PATCH', url, content.bytes.subarray(0, half), { 'content-range': `0-${half - 1}` })
      await node.restart()
      const status = await call('GET', url)
      assert.deepEqual([status.status, status.headers.get('range')], [204, `0-${half - 1}`])
      const rest = { 'content-range': `0-${half - 1}` }
      assert.equal((await call('PATCH', url, content.bytes.subarray(0, half), rest)).status, 416)
      await finish(call, url, content)
      await finish(call, fresh, contentOf('begun before, sent after'))
    })

  test('a client that broke off goes on where the bytes end that arrived', async () => {
    const { node, call } = await openClient()
    await using _ = node
    const url = await begin(call)
    const broken = new AbortController()
    async function* sent() {
      yield LARGE.bytes.subarray(0, 1_000_000)
      broken.abort()
      yield LARGE.bytes.subarray(1_000_000, 1_000_001)
    }
    const request = new Request(`${node.url}${url}`, {
      method: 'PATCH',
      body: ReadableStream.from(sent()),
      duplex: 'half',
      headers: { 'x-apikey': await createKey(node, 'images') },
      signal: broken.signal,
    })
    await assert.rejects(fetch(request), { name: 'AbortError' })
    let status = await call('GET', url)
    while (status.status === 503) status = await call('GET', url)
    assert.equal(status.status, 204)
    await finish(call, url, LARGE)
  })

  test('after kill −9 an upload is taken up, and what was finished is there', async () => {
    const node = await startNode()
    await using _ = node
    await createFeed(node, 'images', 'docker')
    const key = await createKey(node, 'images')
    await node.stop()
    const args = [
      'start',
      '--json',
      '--data',
      node.directory,
      '--http',
      '127.0.0.1:0',
      '--listen',
      '/ip4/127.0.0.1/tcp/0',
    ]
    const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'inherit'], env: cleanEnv({}) })
    const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
    const { http } = JSON.parse(line) as { http: string }
    const before = client(() => http, key)
    const done = contentOf(randomBytes(100_000))
    const url = await begin(before)
    await before('PATCH', url, LARGE.bytes.subarray(0, 2_000_000))
    const small = await begin(before)
    await before('PATCH', small, SMALL.bytes.subarray(0, 10_000))
    assert.equal((await before('POST', `team/app/blobs/uploads/?digest=${done.digest}`, done.bytes)).status, 201)
    child.kill('SIGKILL')
    await once(child, 'exit')
    await node.restart()
    const call = client(() => node.url, key)
    assert.deepEqual((await call('GET', `team/app/blobs/${done.digest}`)).bytes, done.bytes)
    const range = (await call('GET', url)).headers.get('range') ?? ''
    assert.match(range, /^0-\d{6,7}$/)
    await finish(call, url, LARGE)
    await finish(call, small, SMALL)
  })

  test('a finished blob that nothing names survives a restart and gc for a week, and is reclaimed then', async () => {
    const { node, call } = await openClient()
    await using _ = node
    for (const { bytes, digest } of [LARGE, SMALL])
      assert.equal((await call('POST', `team/app/blobs/uploads/?digest=${digest}`, bytes)).status, 201)
    await node.restart()
    assert.equal((await node.operations.reclaim({ isDryRun: false }, ACTOR)).blobs, 0)
    for (const { digest } of [LARGE, SMALL]) assert.equal((await call('HEAD', `team/app/blobs/${digest}`)).status, 200)
    node.advance(MAX_UPLOAD_AGE_MS + 60_000)
    await node.restart()
    for (const { digest } of [LARGE, SMALL]) assert.equal((await call('HEAD', `team/app/blobs/${digest}`)).status, 404)
    const report = await node.operations.reclaim({ isDryRun: false }, ACTOR)
    assert.ok(report.blobs >= 2 && report.bytes >= LARGE.bytes.length + SMALL.bytes.length, JSON.stringify(report))
  })

  test('what an image names stays when the uploads are forgotten, and goes with the image', async () => {
    const { node, call } = await openClient()
    await using _ = node
    const image = makeImage({ layers: [LARGE.bytes, SMALL.bytes] })
    for (const { bytes, digest } of image.blobs) await call('POST', `team/app/blobs/uploads/?digest=${digest}`, bytes)
    const put = await call('PUT', 'team/app/manifests/v1', image.bytes, { 'content-type': IMAGE_TYPE })
    assert.equal(put.status, 201)
    node.advance(MAX_UPLOAD_AGE_MS + 60_000)
    await node.restart()
    await node.operations.reclaim({ isDryRun: false }, ACTOR)
    for (const { bytes, digest } of image.blobs)
      assert.deepEqual((await call('GET', `team/app/blobs/${digest}`)).bytes, bytes)
    assert.equal((await call('DELETE', `team/app/manifests/${image.digest}`)).status, 202)
    assert.equal((await call('GET', `team/app/blobs/${image.blobs[0]?.digest}`)).status, 404)
    const { blobs } = await node.operations.reclaim({ isDryRun: false }, ACTOR)
    assert.ok(blobs >= image.blobs.length, String(blobs))
  })

  test('a blob of another feed is mounted only for who may read it there', async () => {
    const { node, call } = await openClient()
    await using _ = node
    await createFeed(node, 'secret', 'docker')
    await node.operations.createFeed({ name: 'open', type: 'docker', publicRead: true }, ACTOR)
    const { key } = await node.operations.createKey({ feed: null, can: ['read', 'publish'] }, ACTOR)
    const everywhere = client(() => node.url, key)
    for (const feed of ['secret', 'open'])
      await everywhere('POST', `/v2/${feed}/team/lib/blobs/uploads/?digest=${LARGE.digest}`, LARGE.bytes)
    const mount = (from: Call, feed: string, digest: string = LARGE.digest) =>
      from('POST', `team/app/blobs/uploads/?mount=${digest}&from=${feed}%2Fteam%2Flib`)
    assert.equal((await mount(call, 'secret')).status, 202)
    assert.equal((await mount(call, 'nowhere')).status, 202)
    assert.equal((await call('HEAD', `team/app/blobs/${LARGE.digest}`)).status, 404)
    assert.equal((await mount(call, 'open', SMALL.digest)).status, 202)
    assert.equal((await mount(call, 'open')).status, 201)
    assert.deepEqual((await call('GET', `team/app/blobs/${LARGE.digest}`)).bytes, LARGE.bytes)
    assert.equal((await mount(everywhere, 'secret')).status, 201)
  })
})
