import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { request as createRequest } from 'node:http'
import { get as secureGet } from 'node:https'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import { test } from 'node:test'
import { FeedmeshError } from '../../src/errors.ts'
import type { RunResult } from '../../src/http/operations.ts'
import { createLog } from '../../src/log.ts'
import { SUCCEEDED } from '../support/fake-results.ts'
import { openTestServer } from '../support/http-server.ts'

const SLOW = { tickMs: 10, windowMs: 50, minBytes: 1000, lingerMs: 30 }

function open(url: string): Socket {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname)
  socket.on('error', () => undefined)
  return socket
}

async function readAll(socket: Socket): Promise<string> {
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
  await once(socket, 'close')
  return text
}

function expectContinue(url: string, key: string) {
  const request = createRequest(`${url}/endpoints/files/content/a.bin`, {
    method: 'PUT',
    headers: { authorization: `Bearer ${key}`, expect: '100-continue', 'content-length': '4' },
  })
  const seen: string[] = []
  request.on('continue', () => {
    seen.push('continue')
    request.end('data')
  })
  request.flushHeaders()
  return new Promise<string[]>((resolve, reject) => {
    request.on('error', reject)
    request.on('response', (answer) => {
      answer.resume()
      resolve([...seen, String(answer.statusCode)])
      request.destroy()
    })
  })
}

test('a client that expects 100-continue sends its body only when its key was accepted', async () => {
  await using server = await openTestServer()
  server.operations.addFeed('files', 'assets')
  assert.deepEqual(await expectContinue(server.url, server.operations.adminKey), ['continue', '201'])
  assert.deepEqual(await expectContinue(server.url, server.operations.addKey('files', ['read'])), ['403'])
  assert.deepEqual(await expectContinue(server.url, 'unknown'), ['401'])
})

test('a refusal comes before the body', async () => {
  await using server = await openTestServer({ limits: { slowClients: SLOW } })
  for (const path of ['/api/feeds', '/endpoints/files/content/x', '/api/feeds/files/publish?name=x']) {
    const socket = open(server.url)
    socket.write(`POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n`)
    assert.match(await readAll(socket), /^HTTP\/1\.1 401 /, path)
  }
})

test('a body that stalls is given up, one that progresses may take its time', async () => {
  await using server = await openTestServer({ limits: { slowClients: SLOW } })
  server.operations.addFeed('files', 'assets')
  const head = (size: number) =>
    `PUT /endpoints/files/content/a HTTP/1.1\r\nHost: x\r\nX-ApiKey: ${server.operations.adminKey}\r\nContent-Length: ${size}\r\n\r\n`
  const stalled = open(server.url)
  stalled.write(`${head(100_000)}abc`)
  assert.doesNotMatch(await readAll(stalled), /201/)
  const steady = open(server.url)
  const answer = readAll(steady)
  steady.write(head(40_000))
  let left = 40
  const timer = setInterval(() => {
    steady.write(Buffer.alloc(1000))
    left -= 1
    if (left === 0) clearInterval(timer)
  }, 5)
  await once(steady, 'data')
  steady.end()
  assert.match(await answer, /^HTTP\/1\.1 201 /)
})

test('what is not HTTP, and headers that are too large or too slow, get an answer and are closed', async () => {
  await using server = await openTestServer({ limits: { headersTimeoutMs: 100 } })
  const send = (text: string) => {
    const socket = open(server.url)
    socket.write(text)
    return readAll(socket)
  }
  assert.match(await send('hello\r\n\r\n'), /^HTTP\/1\.1 400 [\s\S]*BAD_INPUT/)
  assert.match(
    await send(`GET / HTTP/1.1\r\nHost: x\r\nA: ${'x'.repeat(40_000)}\r\n\r\n`),
    /^HTTP\/1\.1 431 [\s\S]*TOO_LARGE/,
  )
  assert.match(await send('GET / HTTP/1.1\r\nHost: x\r\n'), /^HTTP\/1\.1 408 [\s\S]*TIMEOUT/)
})

test('a stopping server lets a running request finish', async () => {
  const server = await openTestServer()
  const { id } = server.operations.addReplicationOf('tools')
  const { promise, resolve } = Promise.withResolvers<RunResult>()
  const started = Promise.withResolvers<void>()
  server.operations.run = () => {
    started.resolve()
    return promise
  }
  const headers = { authorization: `Bearer ${server.operations.adminKey}` }
  const answer = fetch(`${server.url}/api/replications/${id}/run`, { method: 'POST', headers })
  await started.promise
  const stopped = server[Symbol.asyncDispose]()
  resolve(SUCCEEDED)
  assert.deepEqual(await (await answer).json(), SUCCEEDED)
  await stopped
  await assert.rejects(fetch(server.url))
})

test('a stopping server tells waiting runs, and cuts off what does not end', async () => {
  const server = await openTestServer({ limits: { drainMs: 50 } })
  const { id } = server.operations.addReplicationOf('tools')
  const started = Promise.withResolvers<void>()
  server.operations.run = ({ signal }) => {
    started.resolve()
    const { promise, reject } = Promise.withResolvers<RunResult>()
    signal?.addEventListener('abort', () => reject(signal.reason as FeedmeshError))
    return promise
  }
  const headers = { authorization: `Bearer ${server.operations.adminKey}` }
  const answer = fetch(`${server.url}/api/replications/${id}/run`, { method: 'POST', headers })
  await started.promise
  const arrived = once(server.app.server, 'request')
  const stuck = open(server.url)
  stuck.write('POST /api/feeds HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n')
  stuck.write(`X-ApiKey: ${server.operations.adminKey}\r\nContent-Type: application/json\r\n\r\n{`)
  await arrived
  const closed = once(stuck, 'close')
  await server[Symbol.asyncDispose]()
  assert.match(await (await answer).text(), /ABORTED/)
  await closed
})

test('behind a trusted proxy its headers count, from anyone else they do not', async () => {
  await using server = await openTestServer({ config: { trustProxy: '10.0.0.0/8' } })
  server.operations.addFeed('tools')
  const headers = {
    authorization: `Bearer ${server.operations.adminKey}`,
    host: 'inner:8624',
    'x-forwarded-host': 'packages.example',
    'x-forwarded-proto': 'https',
    'x-forwarded-for': '192.0.2.9',
  }
  const ask = (remoteAddress: string) => server.app.inject({ url: '/api/feeds/tools/clients', headers, remoteAddress })
  assert.match((await ask('10.1.2.3')).body, /registry=https:\/\/packages\.example\/npm/)
  assert.match((await ask('192.0.2.1')).body, /registry=http:\/\/inner:8624\/npm/)
  await server.app.inject({ method: 'DELETE', url: '/api/feeds/tools', headers, remoteAddress: '10.1.2.3' })
  assert.equal(server.operations.audit.at(-1)?.actor.from, '192.0.2.9')
})

test('addresses, proxy ranges and certificates that cannot be used are named', async () => {
  await using server = await openTestServer()
  const bad = { code: 'BAD_INPUT' }
  await assert.rejects(openTestServer({ config: { http: server.url.replace('http://', '') } }), {
    ...bad,
    message: /in use by another program/,
  })
  await assert.rejects(openTestServer({ config: { http: '192.0.2.1:0' } }), { ...bad, message: /not an address/ })
  await assert.rejects(openTestServer({ config: { trustProxy: 'proxy' } }), { ...bad, message: /not a CIDR/ })
  const missing = { tlsCert: '/nowhere/cert.pem', tlsKey: '/nowhere/key.pem' }
  await assert.rejects(openTestServer({ config: missing }), { ...bad, message: /\/nowhere\/cert\.pem/ })
})

test('with certificate and key the server speaks TLS', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'feedmesh-tls-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const [tlsCert, tlsKey] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = [
    '-subj',
    '/CN=localhost',
    '-days',
    '2',
    '-nodes',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
  ]
  try {
    execFileSync('openssl', ['req', '-x509', '-keyout', tlsKey, '-out', tlsCert, ...subject], { stdio: 'ignore' })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    t.skip('openssl is not installed')
    return
  }
  await using server = await openTestServer({ config: { tlsCert, tlsKey } })
  assert.match(server.url, /^https:/)
  const status = await new Promise((resolve, reject) => {
    secureGet(`${server.url}/health`, { rejectUnauthorized: false, agent: false }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    }).on('error', reject)
  })
  assert.equal(status, 200)
})

test('the log names who asked for what, without secrets', async () => {
  const lines: string[] = []
  const destination = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(chunk.toString())
      done()
    },
  })
  await using server = await openTestServer({ log: createLog('info', destination) })
  server.operations.addFeed('tools')
  const headers = { authorization: `Bearer ${server.operations.adminKey}` }
  await server.app.inject({ method: 'DELETE', url: '/npm/tools/-/user/token/SECRET1', headers })
  await server.app.inject({ url: '/api/status?api_key=SECRET2', headers })
  await server.app.inject({ method: 'POST', url: '/api/join', headers, payload: { code: 'SECRET3' } })
  const text = lines.join('')
  assert.match(text, /"method":"DELETE","url":"\/npm\/tools\/-\/user\/token\/\[redacted\]"/)
  assert.match(text, /"caller":"operator","from":"127\.0\.0\.1"/)
  assert.doesNotMatch(text, /SECRET|fmk_/)
})
