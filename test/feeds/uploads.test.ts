import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { MultipartUploads, UPLOAD_LIMITS, type UploadPart } from '../../protocols/feeds/assets/uploads.ts'
import { type ErrorCode, FeedmeshError, isFeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'

const KEY = { caller: 'me', path: 'big', id: 'u' }
const CONTENT = 'abcdefghij'

function part(index: number, overrides: Partial<UploadPart> = {}): UploadPart {
  return {
    ...KEY,
    index,
    offset: index * 5,
    partSize: 5,
    totalSize: 10,
    totalParts: 2,
    contentType: undefined,
    ...overrides,
  }
}

async function* body(...chunks: (string | FeedmeshError)[]): AsyncIterable<Uint8Array> {
  for (const chunk of chunks) {
    if (typeof chunk !== 'string') throw chunk
    yield Buffer.from(chunk)
  }
}

function createFeed(): Feed {
  return createMemoryFeed({ name: 'main', type: 'assets', maxFileBytes: 1000 })
}

async function rejectsWith(code: ErrorCode, action: Promise<unknown>): Promise<void> {
  await assert.rejects(action, (error) => isFeedmeshError(error, code))
}

async function finish(uploads: MultipartUploads, feed: Feed): Promise<string> {
  const { staged } = await uploads.complete(feed, KEY)
  await using file = staged
  const blob = await file.seal()
  await feed.change('out', () => ({
    put: [{ key: 'k', rowClass: 'register', meta: Buffer.alloc(0), files: [{ role: 'x', blob }] }],
  }))
  const row = (await feed.findUnit('out'))?.rows[0]
  assert.ok(row?.files[0])
  return Buffer.concat(await Array.fromAsync(await feed.open(row, row.files[0]))).toString()
}

describe('MultipartUploads', () => {
  const leaving = new FeedmeshError('ABORTED', 'the client left')

  it('goes on where a part broke off, however the rest is cut', async () => {
    for (const [first, again] of [
      [['a'], ['abcde']],
      [
        ['ab', 'c'],
        ['a', 'bcd', 'e'],
      ],
      [['abcd'], ['abcd', 'e']],
      [[], ['ab', 'cde']],
    ] as const) {
      const feed = createFeed()
      await using uploads = new MultipartUploads()
      await rejectsWith('ABORTED', uploads.receive(feed, part(0), body(...first, leaving)))
      await uploads.receive(feed, part(0), body(...again))
      await rejectsWith('ABORTED', uploads.receive(feed, part(1), body('fg', leaving)))
      await rejectsWith('ABORTED', uploads.receive(feed, part(1), body('f', leaving)))
      await rejectsWith('ABORTED', uploads.receive(feed, part(1), body('fghi', leaving)))
      await uploads.receive(feed, part(1), body('fghij'))
      assert.equal(await finish(uploads, feed), CONTENT)
    }
  })

  it('refuses other bytes than a part had before', async () => {
    const feed = createFeed()
    await using uploads = new MultipartUploads()
    await rejectsWith('ABORTED', uploads.receive(feed, part(0), body('abc', leaving)))
    await rejectsWith('CONFLICT', uploads.receive(feed, part(0), body('xbcde')))
    await uploads.receive(feed, part(0), body('abcde'))
    await uploads.receive(feed, part(0), body('abcde'))
    await rejectsWith('CONFLICT', uploads.receive(feed, part(0), body('abcdX')))
    await uploads.receive(feed, part(1), body('fghij'))
    assert.equal(await finish(uploads, feed), CONTENT)
  })

  it('refuses parts that are shorter or longer than announced, and takes them again', async () => {
    const feed = createFeed()
    await using uploads = new MultipartUploads()
    await rejectsWith('BAD_INPUT', uploads.receive(feed, part(0), body('abc')))
    await rejectsWith('BAD_INPUT', uploads.receive(feed, part(0), body('abcdef')))
    await uploads.receive(feed, part(0), body('abcde'))
    await rejectsWith('CONFLICT', uploads.complete(feed, KEY))
    await uploads.receive(feed, part(1), body('fghij'))
    assert.equal(await finish(uploads, feed), CONTENT)
  })

  it('keeps the uploads of different callers, paths, ids and feeds apart', async () => {
    const [feed, other] = [createFeed(), createMemoryFeed({ name: 'other', type: 'assets' })]
    await using uploads = new MultipartUploads()
    await uploads.receive(feed, part(0), body('abcde'))
    for (const key of [{ caller: 'you' }, { path: 'other' }, { id: 'v' }]) {
      await rejectsWith('NOT_FOUND', uploads.receive(feed, part(1, key), body('fghij')))
    }
    await rejectsWith('NOT_FOUND', uploads.receive(other, part(1), body('fghij')))
  })

  it('takes one part of an upload at a time', async () => {
    const feed = createFeed()
    await using uploads = new MultipartUploads()
    const gate = Promise.withResolvers<void>()
    async function* slow() {
      yield Buffer.from('abc')
      await gate.promise
      yield Buffer.from('de')
    }
    const first = uploads.receive(feed, part(0), slow())
    while (uploads.count === 0) await Promise.resolve()
    await rejectsWith('BUSY', uploads.receive(feed, part(0), body('abcde')))
    await rejectsWith('BUSY', uploads.complete(feed, KEY))
    gate.resolve()
    await first
  })

  it('bounds number, parts, idle time and age', async () => {
    const feed = createFeed()
    let now = 0
    const limits = { ...UPLOAD_LIMITS, maxUploads: 2, maxIdleMs: 100, maxAgeMs: 250 }
    await using uploads = new MultipartUploads(limits, () => now)
    for (const id of ['1', '2']) await uploads.receive(feed, part(0, { id }), body('abcde'))
    await rejectsWith('BUSY', uploads.receive(feed, part(0, { id: '3' }), body('abcde')))
    await rejectsWith('TOO_LARGE', uploads.receive(feed, part(0, { totalParts: 10_001 }), body('abcde')))
    await rejectsWith('TOO_LARGE', uploads.receive(feed, part(0, { totalSize: 1001 }), body('abcde')))
    for (const at of [90, 180, 250]) {
      now = at
      await uploads.receive(feed, part(0, { id: '1' }), body('abcde'))
    }
    assert.equal(uploads.count, 1, 'the idle one is gone')
    now = 251
    await uploads.sweep()
    assert.equal(uploads.count, 0, 'the old one too')
  })

  it('throws the staged file away with the upload', async () => {
    const disposed: string[] = []
    const real = createFeed()
    const feed: Feed = new Proxy(real, {
      get(target, name) {
        if (name !== 'stage') return Reflect.get(target, name) as unknown
        return async () => {
          const staged = await real.stage({ maxBytes: 10 })
          return new Proxy(staged, {
            get(blob, member) {
              if (member === Symbol.asyncDispose) return async () => void disposed.push('gone')
              const value: unknown = Reflect.get(blob, member)
              return typeof value === 'function' ? value.bind(blob) : value
            },
          })
        }
      },
    })
    {
      await using uploads = new MultipartUploads()
      await uploads.receive(feed, part(0), body('abcde'))
      assert.deepEqual(disposed, [])
    }
    assert.deepEqual(disposed, ['gone'])
  })
})
