import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import fastify, { type FastifyRequest } from 'fastify'
import { acceptRawBodies, type BodyLimits, readBody, readJsonBody } from '../../protocols/feeds/request-body.ts'
import { asFeedmeshError } from '../../src/errors.ts'

function createApp(t: TestContext, limits: BodyLimits) {
  const app = fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  acceptRawBodies(app)
  app.setErrorHandler((error, _request, reply) =>
    reply.code(asFeedmeshError(error).httpStatus).send({ code: asFeedmeshError(error).code }),
  )
  const countBytes = async (request: FastifyRequest) => {
    let size = 0
    for await (const chunk of readBody(request, limits)) size += chunk.length
    return { size }
  }
  const echoJson = async (request: FastifyRequest) => ({ value: (await readJsonBody(request, limits)) ?? 'empty' })
  app.route({ method: 'PUT', url: '/bytes', handler: countBytes })
  app.route({ method: 'PUT', url: '/json', handler: echoJson })
  const put = async (url: string, payload: Buffer | string, headers: Record<string, string> = {}) =>
    (await app.inject({ method: 'PUT', url, payload, headers })).json<Record<string, unknown>>()
  return { app, put }
}

describe('request bodies', () => {
  it('arrive whatever their content type', async (t) => {
    const { put } = createApp(t, { maxBytes: 100 })
    for (const type of ['application/octet-stream', 'application/json', 'text/html', 'application/vnd.x+json']) {
      assert.deepEqual(await put('/bytes', '12345', { 'content-type': type }), { size: 5 })
    }
    assert.deepEqual(await put('/json', '', { 'content-type': 'application/json' }), { value: 'empty' })
    assert.deepEqual(await put('/json', '{"a":1}'), { value: { a: 1 } })
  })

  it('are unpacked, one coding in another too', async (t) => {
    const { put } = createApp(t, { maxBytes: 1000 })
    const text = Buffer.from('{"a":[1,2,3]}')
    const cases = [
      [gzipSync(text), 'gzip'],
      [deflateSync(text), 'deflate'],
      [brotliCompressSync(text), 'br'],
      [gzipSync(deflateSync(text)), 'deflate, gzip'],
      [text, 'identity'],
    ] as const
    for (const [payload, coding] of cases) {
      assert.deepEqual(await put('/json', payload, { 'content-encoding': coding }), { value: { a: [1, 2, 3] } }, coding)
    }
  })

  it('are refused over the limit, counted after unpacking', async (t) => {
    const { put } = createApp(t, { maxBytes: 1000 })
    assert.deepEqual(await put('/bytes', Buffer.alloc(1001)), { code: 'TOO_LARGE' })
    const bomb = gzipSync(Buffer.alloc(50 * 1024 * 1024))
    assert.ok(bomb.length < 60_000)
    assert.deepEqual(await put('/bytes', bomb, { 'content-encoding': 'gzip' }), { code: 'TOO_LARGE' })
    assert.deepEqual(await put('/bytes', Buffer.alloc(1000)), { size: 1000 })
  })

  it('are refused when a coding is broken, unknown or nested', async (t) => {
    const { put } = createApp(t, { maxBytes: 1000 })
    for (const coding of ['gzip', 'zip', 'gzip, gzip, gzip']) {
      assert.deepEqual(await put('/bytes', 'plain', { 'content-encoding': coding }), { code: 'BAD_INPUT' }, coding)
    }
    const cut = gzipSync(Buffer.alloc(500, 1)).subarray(0, 15)
    assert.deepEqual(await put('/bytes', cut, { 'content-encoding': 'gzip' }), { code: 'BAD_INPUT' })
    for (const text of ['{', '\xff', 'undefined']) {
      assert.deepEqual(await put('/json', Buffer.from(text, 'latin1')), { code: 'BAD_INPUT' }, text)
    }
  })

  it('end the request of a client that stalls or leaves', async (t) => {
    for (const leaves of [false, true]) {
      const { app } = createApp(t, { maxBytes: 1000, idleMs: leaves ? 60_000 : 20 })
      const failed = Promise.withResolvers<string>()
      app.addHook('onError', async (_request, _reply, error) => failed.resolve(asFeedmeshError(error).code))
      await app.listen({ host: '127.0.0.1', port: 0 })
      const socket = connect((app.server.address() as { port: number }).port, '127.0.0.1')
      t.after(() => socket.destroy())
      socket.on('error', () => undefined)
      socket.write('PUT /bytes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc', () => {
        if (leaves) socket.destroySoon()
      })
      assert.equal(await failed.promise, leaves ? 'ABORTED' : 'TIMEOUT')
    }
  })
})
