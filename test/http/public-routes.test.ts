import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { UNFIT } from '../../src/http/public-routes.ts'
import { PROBLEM_CODES } from '../../src/problem-codes.ts'
import { PEER_ID } from '../support/fake-results.ts'
import { openTestServer } from '../support/http-server.ts'

const problem = (code: string) => ({
  code,
  subject: 'x',
  message: 'secret path /srv/x',
  cure: 'none',
  since: '2026-11-23T00:00:00Z',
})

test('a base URL is enough to find the node', async () => {
  await using server = await openTestServer()
  const named = await server.app.inject({ url: '/.well-known/feedmesh', headers: { host: 'hub.example:8624' } })
  assert.deepEqual(named.json(), {
    peerId: PEER_ID,
    addresses: [`/dns/hub.example/tcp/8625/p2p/${PEER_ID}`],
    protocols: ['/feedmesh/sync/1'],
    version: '0.1.0',
  })
  const ipv6 = await server.app.inject({ url: '/.well-known/feedmesh', headers: { host: '[2001:db8::1]:8624' } })
  assert.match(ipv6.body, /\/dns\/2001:db8::1\/tcp/)
})

test('health is 503 only for what makes the node unfit, and tells no details', async () => {
  await using server = await openTestServer()
  const healthy = await server.app.inject('/health')
  assert.deepEqual([healthy.statusCode, healthy.json()], [200, { status: 'ok', reasons: [] }])
  server.operations.problems = [problem('PEER_UNREACHABLE')]
  assert.equal((await server.app.inject('/health')).statusCode, 200)
  server.operations.problems = [problem('STORAGE_FULL'), problem('STORAGE_FULL'), problem('PEER_UNREACHABLE')]
  const unfit = await server.app.inject('/health')
  assert.equal(unfit.statusCode, 503)
  assert.deepEqual(
    unfit.json<{ reasons: { code: string }[] }>().reasons.map(({ code }) => code),
    ['STORAGE_FULL'],
  )
  assert.doesNotMatch(unfit.body, /secret/)
  server.operations.doctor = () => Promise.reject(new Error('secret'))
  const broken = await server.app.inject('/health')
  assert.equal(broken.statusCode, 503)
  assert.doesNotMatch(broken.body, /secret/)
})

test('what makes a node unfit is a problem that doctor knows', () => {
  assert.deepEqual(
    Object.keys(UNFIT).filter((code) => !Object.hasOwn(PROBLEM_CODES, code)),
    [],
  )
})

test('metrics need an admin key, except directly from this machine', async () => {
  await using server = await openTestServer()
  const { adminKey } = server.operations
  const ask = async (headers: Record<string, string>, remoteAddress = '127.0.0.1') =>
    (await server.app.inject({ url: '/metrics', headers, remoteAddress })).statusCode
  assert.equal(await ask({ host: 'localhost:8624' }), 200)
  assert.equal(await ask({ host: '127.0.0.1:8624' }, '::ffff:127.0.0.1'), 200)
  assert.equal(await ask({ host: 'localhost', 'x-forwarded-for': '192.0.2.1' }), 401)
  assert.equal(await ask({ host: 'rebound.example' }), 401)
  assert.equal(await ask({ host: 'localhost' }, '192.0.2.1'), 401)
  assert.equal(await ask({ host: 'hub.example', authorization: `Bearer ${adminKey}` }, '192.0.2.1'), 200)
})

test('metrics are OpenMetrics, and README.md lists each of them', async () => {
  await using server = await openTestServer()
  server.operations.addFeed('tools "x"\n')
  server.operations.addReplicationOf('tools')
  server.operations.problems = [problem('CLOCK_WRONG')]
  await server.app.inject('/health')
  const answer = await server.app.inject({ url: '/metrics', headers: { host: 'localhost' } })
  assert.match(String(answer.headers['content-type']), /^application\/openmetrics-text/)
  const lines = answer.body.split('\n')
  assert.deepEqual(lines.slice(-2), ['# EOF', ''])
  const samples = lines.filter((line) => line !== '' && !line.startsWith('#'))
  for (const line of samples)
    assert.match(line, /^[a-z_]+(\{[a-z_]+="(\\.|[^"\\\n])*"(,[a-z_]+="(\\.|[^"\\\n])*")*\})? [0-9.e+-]+$/)
  assert.ok(samples.includes('feedmesh_problems{code="CLOCK_WRONG"} 1'))
  assert.ok(samples.some((line) => line.startsWith('feedmesh_http_answers_total{code="5xx"} 1')))
  const sent = new Set(samples.map((line) => line.split(/[{ ]/)[0] ?? ''))
  const readme = readFileSync(new URL('../../src/http/README.md', import.meta.url), 'utf8')
  const table = readme.split('## Metrics')[1] ?? ''
  const listed = new Set([...table.matchAll(/`([a-z_]+)`/g)].map(([, name]) => name ?? ''))
  assert.deepEqual([...sent].sort(), [...listed].sort())
})

test('the page at / says what the node is and runs nothing', async () => {
  await using server = await openTestServer()
  const answer = await server.app.inject({ url: '/', headers: { host: 'hub.example' } })
  assert.equal(answer.statusCode, 200)
  assert.match(String(answer.headers['content-type']), /^text\/html/)
  const policy = String(answer.headers['content-security-policy'])
  assert.match(policy, /^default-src 'none'; style-src 'sha256-/)
  assert.doesNotMatch(policy, /unsafe|script-src/)
  assert.ok(answer.body.includes(PEER_ID))
  assert.match(answer.body, /feedmesh feed create/)
  assert.doesNotMatch(answer.body, /<script|fmk_/)
})

test('what is not there is a JSON error without secrets of the URL', async () => {
  await using server = await openTestServer()
  const answer = await server.app.inject('/nowhere?token=abc')
  assert.equal(answer.statusCode, 404)
  assert.equal(answer.json<{ error: { code: string } }>().error.code, 'NOT_FOUND')
  assert.doesNotMatch(answer.body, /abc/)
  const malformed = await server.app.inject('/api/feeds/%zz')
  assert.equal(malformed.statusCode, 400)
  assert.equal(malformed.json<{ error: { code: string } }>().error.code, 'BAD_INPUT')
})
