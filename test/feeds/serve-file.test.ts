import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { describe, it, type TestContext } from 'node:test'
import fastify from 'fastify'
import { parseRange, type ServedFile, serveFile } from '../../protocols/feeds/serve-file.ts'
import { FeedmeshError } from '../../src/errors.ts'

const CONTENT = Buffer.from('0123456789')
const ETAG = '"sha256:abc"'
const MODIFIED_MS = Date.UTC(2026, 0, 2, 3, 4, 5, 678)
const MODIFIED = 'Fri, 02 Jan 2026 03:04:05 GMT'

function createApp(t: TestContext, overrides: Partial<ServedFile> = {}, nowMs = MODIFIED_MS + 5000) {
  const app = fastify()
  t.after(() => app.close())
  app.route({
    method: ['GET', 'HEAD'],
    url: '/file',
    handler: (request, reply) =>
      serveFile(
        request,
        reply,
        {
          size: CONTENT.length,
          etag: ETAG,
          contentType: 'text/x-test',
          modifiedAtMs: MODIFIED_MS,
          open: async (range) => Readable.from([CONTENT.subarray(range?.start ?? 0, range?.end ?? CONTENT.length)]),
          ...overrides,
        },
        nowMs,
      ),
  })
  const get = (headers: Record<string, string> = {}, method: 'GET' | 'HEAD' = 'GET') =>
    app.inject({ method, url: '/file', headers })
  return { app, get }
}

describe('serving a file', () => {
  it('sends the whole file with what a client needs to resume and revalidate', async (t) => {
    const answer = await createApp(t).get()
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.body, '0123456789')
    const {
      etag,
      'content-type': type,
      'content-length': length,
      'last-modified': modified,
      'accept-ranges': ranges,
    } = answer.headers
    assert.deepEqual(
      { etag, type, length, modified, ranges },
      { etag: ETAG, type: 'text/x-test', length: '10', modified: MODIFIED, ranges: 'bytes' },
    )
  })

  it('answers HEAD with the headers of GET and no body', async (t) => {
    const { get } = createApp(t)
    const [head, whole] = [await get({}, 'HEAD'), await get()]
    assert.equal(head.statusCode, 200)
    assert.equal(head.body, '')
    for (const name of ['content-length', 'content-type', 'etag', 'last-modified', 'accept-ranges']) {
      assert.equal(head.headers[name], whole.headers[name], name)
    }
    assert.equal((await get({ range: 'bytes=0-1' }, 'HEAD')).statusCode, 200)
  })

  it('sends one range', async (t) => {
    const { get } = createApp(t)
    for (const [range, body, shown] of [
      ['bytes=0-0', '0', '0-0'],
      ['bytes=3-', '3456789', '3-9'],
      ['bytes=-3', '789', '7-9'],
      ['bytes=-50', '0123456789', '0-9'],
      ['bytes=8-999', '89', '8-9'],
      ['BYTES=1-2', '12', '1-2'],
    ] as const) {
      const answer = await get({ range })
      assert.equal(answer.statusCode, 206, range)
      assert.equal(answer.body, body)
      assert.equal(answer.headers['content-range'], `bytes ${shown}/10`)
      assert.equal(answer.headers['content-length'], String(body.length))
    }
  })

  it('answers 416 with the size and without a body past the end', async (t) => {
    const { get } = createApp(t)
    for (const range of ['bytes=10-', 'bytes=10-20', 'bytes=-0', 'bytes=999-']) {
      const answer = await get({ range })
      assert.equal(answer.statusCode, 416, range)
      assert.equal(answer.headers['content-range'], 'bytes */10')
      assert.equal(answer.body, '')
    }
    const empty = createApp(t, { size: 0, open: async () => Readable.from([]) })
    assert.equal((await empty.get({ range: 'bytes=0-' })).statusCode, 416)
    assert.equal((await empty.get()).statusCode, 200)
  })

  it('sends the whole file for several ranges, other units and malformed ranges', async (t) => {
    const { get } = createApp(t)
    for (const range of [
      'bytes=0-1,3-4',
      'items=0-1',
      'bytes=5-2',
      'bytes=-',
      'bytes=a-b',
      'bytes',
      'bytes=1-2x',
      '',
    ]) {
      assert.equal((await get({ range })).statusCode, 200, range)
    }
  })

  it('heeds If-Range: a range only of the same bytes', async (t) => {
    const { get } = createApp(t)
    const earlier = new Date(MODIFIED_MS - 1000).toUTCString()
    const later = new Date(MODIFIED_MS + 1000).toUTCString()
    const expected = [
      [ETAG, 206],
      ['"other"', 200],
      [`W/${ETAG}`, 200],
      [MODIFIED, 206],
      [earlier, 200],
      [later, 200],
      ['junk', 200],
    ] as const
    for (const [condition, status] of expected) {
      assert.equal((await get({ range: 'bytes=1-', 'if-range': condition })).statusCode, status, condition)
    }
  })

  it('answers 304 to a client that has the file', async (t) => {
    const { get } = createApp(t)
    for (const tag of [ETAG, `W/${ETAG}`, `"x", ${ETAG}`, '*']) {
      const answer = await get({ 'if-none-match': tag })
      assert.equal(answer.statusCode, 304, tag)
      assert.equal(answer.headers.etag, ETAG)
    }
    assert.equal((await get({ 'if-none-match': '"x"' })).statusCode, 200)
    assert.equal((await get({ 'if-modified-since': MODIFIED })).statusCode, 304)
    assert.equal((await get({ 'if-modified-since': new Date(MODIFIED_MS - 1000).toUTCString() })).statusCode, 200)
    assert.equal((await get({ 'if-modified-since': 'junk' })).statusCode, 200)
    assert.equal((await get({ 'if-none-match': '"x"', 'if-modified-since': MODIFIED })).statusCode, 200, 'the tag wins')
  })

  it('answers 412 when If-Match names other bytes', async (t) => {
    const { get } = createApp(t)
    assert.equal((await get({ 'if-match': '"other"' })).statusCode, 412)
    assert.equal((await get({ 'if-match': ETAG })).statusCode, 200)
  })

  it('gives no date within the second of the change, so that a second change cannot hide behind it', async (t) => {
    const { get } = createApp(t, {}, MODIFIED_MS + 100)
    const answer = await get({ 'if-modified-since': MODIFIED })
    assert.equal(answer.statusCode, 200)
    assert.equal(answer.headers['last-modified'], undefined)
  })

  it('turns a failure before the first byte into an error answer', async (t) => {
    const failing = { open: () => Promise.reject(new FeedmeshError('NOT_FOUND', 'gone')) }
    assert.equal((await createApp(t, failing).get()).statusCode, 500)
  })

  it('stops reading when the client leaves', async (t) => {
    const closed = Promise.withResolvers<void>()
    let sent = 0
    const size = 1024 ** 3
    const endless = new Readable({
      read() {
        sent += 65_536
        this.push(Buffer.alloc(65_536))
      },
      destroy(_error, done) {
        closed.resolve()
        done(null)
      },
    })
    const { app } = createApp(t, { size, open: async () => endless })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const { port } = app.server.address() as { port: number }
    const socket = connect(port, '127.0.0.1')
    socket.write('GET /file HTTP/1.1\r\nHost: x\r\n\r\n')
    await once(socket, 'data')
    socket.destroy()
    await closed.promise
    assert.ok(sent < size / 4, `${sent} bytes were read for a client that took almost none`)
  })
})

describe('parseRange', () => {
  it('keeps every range within the file', () => {
    for (const size of [0, 1, 10]) {
      for (const header of ['bytes=0-', 'bytes=-1', 'bytes=0-9007199254740993', 'bytes=9007199254740993-']) {
        const range = parseRange(header, size)
        if (typeof range === 'object')
          assert.ok(range.start >= 0 && range.start < range.end && range.end <= size, header)
        else assert.equal(range, 'unsatisfiable')
      }
    }
  })
})
