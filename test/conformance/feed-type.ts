/** What every feed type does, whatever its clients: run for each entry of FEED_TYPES with a sample of its ecosystem. */

import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { FastifyInstance, InjectOptions, LightMyRequestResponse } from 'fastify'
import { isFeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import type { FeedType, NativeFile } from '../../src/feeds/feed-type.ts'
import { createFeedServer, PUBLISHER_KEY, READER_KEY, withKey } from '../support/feed-server.ts'

type Call = InjectOptions & { readonly url: string; readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE' }

/** One item of an ecosystem; URLs are below the feed. */
export interface FeedTypeSample {
  /** The bytes that `artifact` serves. */
  readonly content: Buffer
  readonly publish: Call
  /** Documents that name the item once it is published. */
  readonly index: readonly string[]
  readonly artifact: string
  /** What is not there. */
  readonly missing: readonly string[]
  /** Reads and writes of names that must neither be served nor stored. */
  readonly hostile: readonly Call[]
  /** Uploads that are not what they claim to be, or cannot be understood. */
  readonly broken: readonly Call[]
  /** The item with a name or content that would run as script in a page. */
  readonly script: { readonly publish: Call; readonly pages: readonly string[] }
  /** `content`: where the file on disk is not what `artifact` serves. */
  readonly file: { readonly name: string; readonly unit: string; readonly item: string; readonly content?: Buffer }
}

interface Bench {
  readonly app: FastifyInstance
  readonly feed: Feed
  readonly call: (
    key: string | undefined,
    call: string | Call,
    headers?: Record<string, string>,
  ) => Promise<LightMyRequestResponse>
}

async function openBench(t: TestContext, type: FeedType, maxFileBytes?: number): Promise<Bench> {
  const server = await createFeedServer([type])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed(type.name, 'main', maxFileBytes === undefined ? {} : { maxFileBytes })
  return {
    app: server.app,
    feed,
    call(key, call, headers = {}) {
      const { url, ...options } = typeof call === 'string' ? { url: call, method: 'GET' as const } : call
      const login = key === undefined ? {} : withKey(key)
      return server.app.inject({
        ...options,
        url: `/${type.mount}/main${url}`,
        headers: { ...options.headers, ...login, ...headers },
      })
    },
  }
}

export function testFeedType(type: FeedType, createSample: () => Promise<FeedTypeSample>): void {
  describe(`feed type ${type.name}`, () => {
    testServing(type, createSample)
    testAccess(type, createSample)
    testHostility(type, createSample)
    testFiles(type, createSample)
  })
}

function testServing(type: FeedType, createSample: () => Promise<FeedTypeSample>): void {
  it('serves what was published, byte for byte', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    assertSuccess(await call(PUBLISHER_KEY, sample.publish))
    for (const index of sample.index) {
      const answer = await call(READER_KEY, index)
      assert.equal(answer.statusCode, 200, index)
      assert.ok(answer.headers['content-type'], index)
    }
    const artifact = await call(READER_KEY, sample.artifact)
    assert.equal(artifact.statusCode, 200)
    assert.ok(artifact.rawPayload.equals(sample.content))
    assert.equal(artifact.headers['x-content-type-options'], 'nosniff')
  })

  it('serves ranges, conditions and HEAD of the artifact', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    await call(PUBLISHER_KEY, sample.publish)
    const part = await call(READER_KEY, sample.artifact, { range: 'bytes=5-' })
    assert.equal(part.statusCode, 206)
    assert.ok(part.rawPayload.equals(sample.content.subarray(5)))
    const past = await call(READER_KEY, sample.artifact, { range: `bytes=${sample.content.length}-` })
    assert.equal(past.statusCode, 416)
    assert.equal(past.headers['content-range'], `bytes */${sample.content.length}`)
    const same = await call(READER_KEY, sample.artifact, { 'if-none-match': String(part.headers.etag) })
    assert.equal(same.statusCode, 304)
  })

  it('answers an index with 304 until something is published', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    await call(PUBLISHER_KEY, sample.publish)
    for (const index of sample.index) {
      const { etag } = (await call(READER_KEY, index)).headers
      if (etag === undefined) continue
      assert.equal((await call(READER_KEY, index, { 'if-none-match': etag })).statusCode, 304, index)
      assert.equal((await call(READER_KEY, index, { 'if-none-match': '"other"' })).statusCode, 200, index)
    }
  })

  it('takes base URLs from the request, never from the publisher', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    await call(PUBLISHER_KEY, sample.publish)
    for (const index of sample.index) {
      const { body } = await call(READER_KEY, index, { host: 'edge.test:8080' })
      assert.ok(!body.includes('publisher.invalid') && !body.includes('http://localhost'), index)
    }
  })

  it('answers 404 for what is not there, in an empty feed and beside an item', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    for (const url of [...sample.missing, sample.artifact])
      assert.equal((await call(READER_KEY, url)).statusCode, 404, url)
    await call(PUBLISHER_KEY, sample.publish)
    for (const url of sample.missing) assert.equal((await call(READER_KEY, url)).statusCode, 404, url)
  })
}

function testAccess(type: FeedType, createSample: () => Promise<FeedTypeSample>): void {
  it('lets nobody read or write without a key that may', async (t) => {
    const [sample, { call, feed }] = [await createSample(), await openBench(t, type)]
    for (const key of [undefined, 'fm_wrong']) {
      assert.equal((await call(key, sample.publish)).statusCode, 401)
      for (const url of [...sample.index, sample.artifact, '/']) {
        const answer = await call(key, url)
        assert.equal(answer.statusCode, 401, url)
        assert.ok(answer.headers['www-authenticate'], url)
      }
    }
    assert.equal((await call(READER_KEY, sample.publish)).statusCode, 403)
    await assertEmpty(feed)
  })

  it('refuses before it reads the body', async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    let isRead = false
    async function* watched() {
      isRead = true
      yield Buffer.from('x')
    }
    const { Readable } = await import('node:stream')
    const payload = Readable.from(watched(), { highWaterMark: 1, objectMode: false })
    assert.equal((await call(undefined, { ...sample.publish, payload })).statusCode, 401)
    assert.equal(isRead, false)
  })

  it('answers 404 for a feed that does not exist', async (t) => {
    const [sample, { app }] = [await createSample(), await openBench(t, type)]
    const answer = await app.inject({ url: `/${type.mount}/other${sample.artifact}`, headers: withKey(READER_KEY) })
    assert.equal(answer.statusCode, 404)
  })
}

function testHostility(type: FeedType, createSample: () => Promise<FeedTypeSample>): void {
  it('refuses hostile names and stores nothing', async (t) => {
    const [sample, { call, feed }] = [await createSample(), await openBench(t, type)]
    for (const request of sample.hostile) {
      const { statusCode } = await call(PUBLISHER_KEY, request)
      assert.ok(statusCode >= 400 && statusCode < 500, `${request.method} ${request.url} answered ${statusCode}`)
    }
    await assertEmpty(feed)
  })

  it('refuses broken uploads in a few words and stores nothing', async (t) => {
    const [sample, { call, feed }] = [await createSample(), await openBench(t, type)]
    for (const [at, request] of sample.broken.entries()) {
      const answer = await call(PUBLISHER_KEY, request)
      assert.ok(
        answer.statusCode >= 400 && answer.statusCode < 500,
        `broken upload ${at} answered ${answer.statusCode}`,
      )
      assert.ok(answer.body.length > 10 && answer.body.length < 2000, answer.body)
      assert.ok(!answer.body.includes('at file:') && !answer.body.includes('node_modules'), answer.body)
    }
    await assertEmpty(feed)
  })

  it('refuses a file over the limit of the feed and stores nothing', async (t) => {
    const sample = await createSample()
    const { call, feed } = await openBench(t, type, sample.content.length - 1)
    assert.equal((await call(PUBLISHER_KEY, sample.publish)).statusCode, 413)
    await assertEmpty(feed)
    const exact = await openBench(t, type, sample.content.length)
    assertSuccess(await exact.call(PUBLISHER_KEY, sample.publish))
  })

  it("never serves a publisher's text as a page that runs scripts", async (t) => {
    const [sample, { call }] = [await createSample(), await openBench(t, type)]
    assertSuccess(await call(PUBLISHER_KEY, sample.script.publish))
    for (const url of [...sample.script.pages, '/<script>alert(1)</script>', '/%3Cscript%3Ealert(1)%3C/script%3E']) {
      const answer = await call(READER_KEY, url, { accept: 'text/html' })
      assert.equal(answer.headers['x-content-type-options'], 'nosniff', url)
      if (!String(answer.headers['content-type']).startsWith('text/html')) continue
      assert.match(String(answer.headers['content-security-policy']), /default-src 'none'|sandbox/, url)
      const isOurs = String(answer.headers['content-security-policy']).includes('default-src')
      if (isOurs) assert.doesNotMatch(answer.body, /<(?:script|img|b)[ >]/i, url)
    }
  })

  it('answers unknown methods and paths with an error of its own kind', async (t) => {
    const { call, feed } = await openBench(t, type)
    for (const request of [
      { method: 'POST', url: '/no/such/thing/here' },
      { method: 'DELETE', url: '/no/such/thing/here' },
      { method: 'PUT', url: '/' },
      { method: 'GET', url: '/%ff' },
      { method: 'GET', url: '/%E0%A4%A' },
    ] as const) {
      const { statusCode } = await call(PUBLISHER_KEY, request)
      assert.ok(statusCode >= 400 && statusCode < 500, `${request.method} ${request.url} answered ${statusCode}`)
    }
    await assertEmpty(feed)
  })
}

function testFiles(type: FeedType, createSample: () => Promise<FeedTypeSample>): void {
  it('publishes a native file from disk, and names the item', async (t) => {
    const [sample, { call, feed }] = [await createSample(), await openBench(t, type)]
    const file = nativeFile(sample.file.name, sample.file.content ?? sample.content)
    const { unit, key } = await type.publishFile(feed, file)
    assert.equal(unit, sample.file.unit)
    assert.equal(type.itemName(unit, key), sample.file.item)
    const artifact = await call(READER_KEY, sample.artifact)
    assert.ok(artifact.rawPayload.equals(sample.content))
  })

  it('refuses a native file over the limit', async (t) => {
    const sample = await createSample()
    const { feed } = await openBench(t, type, sample.content.length - 1)
    const honest = nativeFile(sample.file.name, sample.file.content ?? sample.content)
    for (const file of [honest, { ...honest, size: 1 }]) {
      await assert.rejects(type.publishFile(feed, file), (error) => isFeedmeshError(error, 'TOO_LARGE'))
    }
    await assertEmpty(feed)
  })

  it('says how clients are set up, with the URL of the feed', () => {
    const setups = type.clientSetup('https://hub.example/x/main')
    assert.ok(setups.length > 0)
    for (const { client, lines } of setups) {
      assert.ok(client.length > 0)
      assert.ok(
        // Addresses of images have no mount.
        lines.some((line) => /hub\.example\/(?:x\/)?main/.test(line)),
        client,
      )
    }
  })
}

export function nativeFile(name: string, content: Buffer): NativeFile {
  return {
    name,
    size: content.length,
    async *open() {
      for (let at = 0; at < content.length; at += 1000) yield content.subarray(at, at + 1000)
    },
  }
}

function assertSuccess(answer: LightMyRequestResponse): void {
  assert.ok(answer.statusCode >= 200 && answer.statusCode < 300, `${answer.statusCode} ${answer.body}`)
}

async function assertEmpty(feed: Feed): Promise<void> {
  assert.deepEqual(await Array.fromAsync(feed.list({ limit: 10 })), [])
}
