import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describe, it } from 'node:test'
import { createGzip } from 'node:zlib'
import { createVersionRecord, encodeVersionRecord } from '../../protocols/feeds/npm/format.ts'
import { Packuments } from '../../protocols/feeds/npm/packument.ts'
import { receiveDocument } from '../../protocols/feeds/npm/publish.ts'
import type { Feed, FeedUnit, RowDraft } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import type { StagedBlob, StageOptions } from '../../src/store/blobs.ts'
import { createTar } from './npm-package.ts'

function versionDraft(version: string): RowDraft {
  const hash = (name: string) => createHash(name).update(version).digest('hex')
  const record = createVersionRecord(
    { name: 'a', version, dist: {} },
    {},
    { sha1: hash('sha1'), sha512: hash('sha512') },
  )
  return { key: `v/${version}`, rowClass: 'immutable', meta: encodeVersionRecord(record), files: [] }
}

async function getUnit(feed: Feed): Promise<FeedUnit> {
  const unit = await feed.findUnit('a')
  assert.ok(unit)
  return unit
}

/** A feed that hashes files and forgets them. */
function createForgetfulFeed(maxFileBytes: number): Feed {
  const feed = createMemoryFeed({ name: 'main', type: 'npm', maxFileBytes })
  const stage = async (options: StageOptions): Promise<StagedBlob> => {
    const hashes = new Map(['sha256', ...(options.hashes ?? [])].map((name) => [name, createHash(name)]))
    let size = 0
    return {
      offset: 0,
      get size() {
        return size
      },
      async write(chunk) {
        size += chunk.length
        for (const hash of hashes.values()) hash.update(chunk)
      },
      async seal() {
        await using empty = await feed.stage({ maxBytes: 0 })
        const digests = Object.fromEntries([...hashes].map(([name, hash]) => [name, hash.digest('hex')]))
        return Object.assign(await empty.seal(), { size, hashes: digests })
      },
      keep: () => Promise.reject(new Error('not kept')),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    }
  }
  return new Proxy(feed, {
    get: (target, name) => {
      const value: unknown = name === 'stage' ? stage : Reflect.get(target, name)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

/** A publish document with a tarball of about `bytes`, made as it is read. */
async function* streamDocument(bytes: number): AsyncIterable<Buffer> {
  const noise = randomBytes(1024 * 1024)
  const small = await createTar([{ name: 'package/package.json', content: '{"name":"a","version":"1.0.0"}' }])
  // An archive of one member, without its end, then a member that goes on for long.
  const template = await createTar([{ name: 'package/big', content: Buffer.alloc(0) }])
  const header = Buffer.from(template.subarray(0, 512))
  header.write(`${bytes.toString(8).padStart(11, '0')} `, 124, 'latin1')
  header.fill(0x20, 148, 156)
  header.write(
    `${header
      .reduce((sum, byte) => sum + byte, 0)
      .toString(8)
      .padStart(6, '0')}\0 `,
    148,
    'latin1',
  )
  async function* tar() {
    yield small.subarray(0, 1024)
    yield header
    for (let sent = 0; sent < bytes; sent += noise.length) yield noise
    yield Buffer.alloc(1024)
  }
  const gzip = createGzip({ level: 0 })
  const feeding = pipeline(Readable.from(tar()), gzip)
  yield Buffer.from('{"_id":"a","name":"a","dist-tags":{"latest":"1.0.0"},"_attachments":{"a-1.0.0.tgz":{"data":"')
  let rest = Buffer.alloc(0)
  for await (const chunk of gzip) {
    const all = Buffer.concat([rest, chunk as Buffer])
    const whole = all.length - (all.length % 3)
    yield Buffer.from(all.toString('base64', 0, whole))
    rest = all.subarray(whole)
  }
  await feeding
  yield Buffer.from(`${rest.toString('base64')}"}},"versions":{"1.0.0":{"name":"a","version":"1.0.0"}}}`)
}

describe('npm at scale', () => {
  it('publishing the 1,001st version renders one version, in each kind of document', async () => {
    const feed = createMemoryFeed({ name: 'main', type: 'npm' })
    await feed.change('a', () => ({ put: Array.from({ length: 1000 }, (_value, at) => versionDraft(`1.${at}.0`)) }))
    const packuments = new Packuments()
    const render = async (baseUrl: string) => {
      const unit = await getUnit(feed)
      for (const kind of ['full', 'abbreviated'] as const)
        await packuments.find({ feed, unit, kind, baseUrl }, 'identity')
    }
    await render('http://a')
    assert.equal(packuments.renderedFragments, 2000)
    await render('http://other')
    assert.equal(packuments.renderedFragments, 2000)
    await feed.change('a', () => ({ put: [versionDraft('2.0.0')] }))
    await render('http://a')
    assert.equal(packuments.renderedFragments, 2002)
  })

  it('renders a document once for many clients that ask at once', async () => {
    const feed = createMemoryFeed({ name: 'main', type: 'npm' })
    await feed.change('a', () => ({ put: [versionDraft('1.0.0')] }))
    const packuments = new Packuments()
    const unit = await getUnit(feed)
    const request = { feed, unit, kind: 'full', baseUrl: 'http://a' } as const
    const documents = await Promise.all(Array.from({ length: 16 }, () => packuments.find(request, 'identity')))
    assert.equal(packuments.renderedFragments, 1)
    assert.equal(new Set(documents.map((document) => document?.body)).size, 1)
  })

  it('takes a tarball of 128 MiB in flat memory', async () => {
    const bytes = 128 * 1024 ** 2
    const feed = createForgetfulFeed(bytes * 2)
    const before = process.memoryUsage()
    let peak = 0
    async function* watched() {
      for await (const chunk of streamDocument(bytes)) {
        const { heapUsed, external } = process.memoryUsage()
        peak = Math.max(peak, heapUsed + external - before.heapUsed - before.external)
        yield chunk
      }
    }
    assert.equal(await receiveDocument(feed, 'a', watched()), 'published')
    const file = (await getUnit(feed)).rows.find(({ key }) => key === 'v/1.0.0')?.files[0]
    assert.ok(file !== undefined && file.size > bytes)
    assert.ok(peak < 64 * 1024 ** 2, `${Math.round(peak / 1024 ** 2)} MiB more than before`)
  })
})
