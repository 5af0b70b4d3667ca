import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import type { TSchema } from 'typebox'
import { Value } from 'typebox/value'
import { FeedmeshError } from '../../src/errors.ts'
import type { NodeOperations, RunResult } from '../../src/http/operations.ts'
import { createTarball } from '../feeds/npm-package.ts'
import { OTHER_PEER_ID, SUCCEEDED } from '../support/fake-results.ts'
import { openTestServer, type TestServer } from '../support/http-server.ts'

type Method = 'GET' | 'POST' | 'PATCH' | 'DELETE'
interface Operation {
  readonly operationId?: string
  readonly summary?: string
  readonly parameters?: readonly { readonly name: string; readonly in: string; readonly schema: TSchema }[]
  readonly requestBody?: { readonly content: Record<string, { readonly schema: TSchema }> }
  readonly responses: Record<string, { readonly content?: Record<string, { readonly schema: TSchema }> }>
}
interface OpenApi {
  readonly openapi: string
  readonly paths: Record<string, Record<string, Operation>>
}

function call(server: TestServer, method: Method, url: string, payload?: object) {
  const headers = { authorization: `Bearer ${server.operations.adminKey}` }
  return server.app.inject({ method, url: `/api${url}`, headers, ...(payload === undefined ? {} : { payload }) })
}

const read = (name: string) => readFileSync(new URL(`../../src/http/${name}.ts`, import.meta.url), 'utf8')

async function describeApi(server: TestServer): Promise<OpenApi> {
  return (await server.app.inject('/api/openapi.json')).json<OpenApi>()
}

/** A call of every route that succeeds, in an order in which it can. */
async function createCalls(server: TestServer) {
  const { operations } = server
  operations.addFeed('tools')
  operations.problems = [
    { code: 'CLOCK_WRONG', subject: 'this node', message: 'two hours off', cure: 'set the clock', since: '2026-11-23' },
  ]
  const { id } = operations.addReplicationOf('tools')
  const key = operations.addKey('tools', ['read']).split('_')[1]
  const add = { feeds: [{ local: 'tools' }], communication: 'incoming', mode: 'push', token: 'new' }
  return [
    ['GET', '/status', '/status'],
    ['GET', '/doctor', '/doctor'],
    ['GET', '/feed-types', '/feed-types'],
    ['POST', '/feeds', '/feeds', { name: 'more', type: 'rpm', unsigned: 'refuse' }],
    ['PATCH', '/feeds/{name}', '/feeds/more', { unsigned: 'accept' }],
    ['GET', '/feeds', '/feeds'],
    ['GET', '/feeds/{name}', '/feeds/tools'],
    ['GET', '/feeds/{name}/clients', '/feeds/tools/clients'],
    ['GET', '/feeds/{name}/epoch', '/feeds/tools/epoch'],
    ['POST', '/feeds/{name}/epoch', '/feeds/tools/epoch'],
    ['POST', '/feeds/{name}/recovery-key', '/feeds/tools/recovery-key'],
    ['DELETE', '/feeds/{name}/recovery-key', '/feeds/tools/recovery-key'],
    ['POST', '/recover', '/recover', { key: 'fmr1_good', as: 'rescued' }],
    ['GET', '/feeds/{name}/returned', '/feeds/tools/returned'],
    ['POST', '/feeds/{name}/returned', '/feeds/tools/returned', { answer: 'hide' }],
    ['GET', '/feeds/{name}/index', '/feeds/tools/index'],
    ['PATCH', '/feeds/{name}/index', '/feeds/tools/index', { index: 'own' }],
    ['POST', '/feeds/{name}/index-key', '/feeds/tools/index-key'],
    ['POST', '/feeds/{name}/index-key/new', '/feeds/tools/index-key/new'],
    ['DELETE', '/feeds/{name}', '/feeds/more'],
    ['POST', '/replications', '/replications', add],
    ['GET', '/replications', '/replications'],
    ['GET', '/replications/{id}', `/replications/${id}`],
    ['PATCH', '/replications/{id}', `/replications/${id}`, { availability: 'on-demand' }],
    ['POST', '/replications/{id}/pause', `/replications/${id}/pause`],
    ['POST', '/replications/{id}/resume', `/replications/${id}/resume`],
    ['GET', '/replications/{id}/plan', `/replications/${id}/plan`],
    ['POST', '/replications/{id}/run', `/replications/${id}/run`],
    ['POST', '/replications/{id}/run', `/replications/${id}/run?wait=false`],
    ['DELETE', '/replications/{id}', `/replications/${id}`],
    ['GET', '/runs', '/runs?limit=5'],
    ['GET', '/runs/{id}', '/runs/7'],
    ['POST', '/join', '/join', { code: 'fmj1_good', as: 'joined' }],
    ['POST', '/join/check', '/join/check', { code: 'fmj1_good' }],
    ['GET', '/tokens', '/tokens'],
    ['POST', '/tokens/{id}/revoke', '/tokens/aa11/revoke'],
    ['GET', '/peers', '/peers'],
    ['POST', '/peers/{id}/revoke', `/peers/${OTHER_PEER_ID}/revoke`],
    ['POST', '/keys', '/keys', { feed: 'tools', can: ['read'] }],
    ['GET', '/keys', '/keys'],
    ['DELETE', '/keys/{id}', `/keys/${key}`],
    ['POST', '/verify', '/verify', { repair: true }],
    ['POST', '/reclaim', '/reclaim', { dryRun: true }],
    ['POST', '/backup', '/backup', { directory: '/srv/backup' }],
  ] as const satisfies readonly (readonly [Method, string, string, object?])[]
}

test('every route answers a document of the schema it is described with', async () => {
  await using server = await openTestServer()
  const { paths } = await describeApi(server)
  const called = new Set<string>()
  for (const [method, path, url, payload] of await createCalls(server)) {
    const answer = await call(server, method, url, payload)
    assert.ok(answer.statusCode < 300, `${method} ${url}: ${answer.body}`)
    const operation = paths[`/api${path}`]?.[method.toLowerCase()]
    const schema = operation?.responses[answer.statusCode]?.content?.['application/json']?.schema
    called.add(`${method} ${path}`)
    if (answer.statusCode === 204) {
      assert.equal(answer.body, '')
      continue
    }
    assert.ok(schema, `${method} ${path} ${answer.statusCode} is not described`)
    assert.deepEqual(Value.Errors(schema, answer.json()), [], `${method} ${url}: ${answer.body}`)
  }
  const described = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace('/api', '')}`),
  )
  const untried = described.filter((route) => !called.has(route))
  assert.deepEqual(untried, ['POST /feeds/{name}/publish'])
})

test('the OpenAPI document is complete', async () => {
  await using server = await openTestServer()
  const { openapi, paths } = await describeApi(server)
  assert.match(openapi, /^3\.1\./)
  const ids: string[] = []
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const where = `${method} ${path}`
      assert.ok(operation.operationId && operation.summary, where)
      ids.push(operation.operationId)
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name)
      const declared = (operation.parameters ?? []).filter((one) => one.in === 'path').map(({ name }) => name)
      assert.deepEqual(declared, inPath, where)
      assert.ok(operation.responses['4XX'] && operation.responses['5XX'], where)
      assert.ok(
        Object.keys(operation.responses).some((status) => status.startsWith('2')),
        where,
      )
    }
  }
  assert.equal(new Set(ids).size, ids.length)
})

test('every operation of a node has a call', async () => {
  const api = [
    'admin/feeds',
    'admin/feed-past',
    'admin/feed-index',
    'admin/publish',
    'admin/replications',
    'admin/run-now',
    'admin/runs',
    'admin/joins',
  ]
  const more = [
    'admin/tokens',
    'admin/peers',
    'admin/keys',
    'admin/status',
    'admin/maintenance',
    'public-routes',
    'authentication',
  ]
  const source = [...api, ...more, 'feed-host'].map(read).join('\n')
  const contract = ['operations', 'feed-index-operations']
    .map((name) => read(name).split(/export interface \w*Operations(?: extends \w+)? \{/)[1] ?? '')
    .join('\n')
  const methods = [...contract.matchAll(/^ {2}(\w+)\(/gm)].map(([, name]) => name as keyof NodeOperations)
  assert.ok(methods.length > 25)
  assert.deepEqual(
    methods.filter((method) => !source.includes(`operations.${method}(`)),
    [],
  )
})

test('unknown fields, wrong types and missing fields are refused by name', async () => {
  await using server = await openTestServer()
  const cases = [
    ['POST', '/feeds', { name: 'a', type: 'npm', publicread: true }, /unknown field "publicread"/],
    ['POST', '/feeds', { name: 'a', type: 'npm', publicRead: 'true' }, /body\.publicRead must be boolean/],
    ['POST', '/feeds', { name: 'a', type: 'rpm', unsigned: true }, /body\.unsigned must be one of "accept"/],
    ['PATCH', '/feeds/a', {}, /body must not have fewer than 1 properties/],
    ['POST', '/feeds', { name: 'a' }, /body must have required properties type/],
    ['POST', '/feeds', ['a'], /body must be object/],
    ['POST', '/keys', { feed: null, can: ['write'] }, /body\.can\.0 must be one of "read"/],
    ['POST', '/replications', { feeds: [{ local: 'a', name: 'b' }] }, /unknown field "name"|required/],
    ['GET', '/runs?limit=0', undefined, /querystring\.limit must be >= 1/],
    ['GET', '/runs?count=3', undefined, /unknown field "count"/],
    ['GET', '/runs/abc', undefined, /params\.id must be integer/],
  ] as const
  for (const [method, url, payload, message] of cases) {
    const answer = await call(server, method, url, payload)
    const { error } = answer.json<{ error: { code: string; message: string } }>()
    assert.equal(answer.statusCode, 400, answer.body)
    assert.equal(error.code, 'BAD_INPUT')
    assert.match(error.message, message)
  }
  assert.deepEqual(server.operations.audit, [])
})

test('bodies that are broken or too large are refused', async () => {
  await using server = await openTestServer()
  const headers = { authorization: `Bearer ${server.operations.adminKey}`, 'content-type': 'application/json' }
  const post = async (payload: string, extra = {}) => {
    const answer = await server.app.inject({
      method: 'POST',
      url: '/api/feeds',
      headers: { ...headers, ...extra },
      payload,
    })
    return [answer.statusCode, answer.json<{ error: { code: string } }>().error.code]
  }
  assert.deepEqual(await post('{'), [400, 'BAD_INPUT'])
  assert.deepEqual(await post('{"__proto__":{}}'), [400, 'BAD_INPUT'])
  assert.deepEqual(await post('a=b', { 'content-type': 'text/plain' }), [400, 'BAD_INPUT'])
  assert.deepEqual(await post(JSON.stringify({ name: 'x'.repeat(300_000), type: 'npm' })), [413, 'TOO_LARGE'])
})

test('an error of the node keeps its code, a defect tells nothing', async () => {
  await using server = await openTestServer()
  const { id } = server.operations.addReplicationOf('tools')
  server.operations.run = () => Promise.reject(new FeedmeshError('PEER_UNREACHABLE', 'no address of hub answers'))
  const known = await call(server, 'POST', `/replications/${id}/run`)
  assert.equal(known.statusCode, 502)
  assert.deepEqual(known.json(), { error: { code: 'PEER_UNREACHABLE', message: 'no address of hub answers' } })
  server.operations.run = () => Promise.reject(new Error('secret at /home/x'))
  const defect = await call(server, 'POST', `/replications/${id}/run`)
  assert.equal(defect.statusCode, 500)
  assert.doesNotMatch(defect.body, /secret|home/)
  assert.match(defect.body, /INTERNAL/)
})

test('a run tells its progress line by line and ends in the result', async () => {
  await using server = await openTestServer()
  const { id } = server.operations.addReplicationOf('tools')
  server.operations.run = async ({ onProgress }) => {
    onProgress?.({ planned: { items: 3, bytes: 3072 }, done: { items: 1, bytes: 1024 } })
    return SUCCEEDED
  }
  const headers = { authorization: `Bearer ${server.operations.adminKey}`, accept: 'application/x-ndjson' }
  const answer = await server.app.inject({ method: 'POST', url: `/api/replications/${id}/run`, headers })
  const lines = answer.body
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
  assert.deepEqual(lines.at(-1), { event: 'result', result: SUCCEEDED })
  assert.deepEqual(lines.at(-2), {
    event: 'progress',
    planned: { items: 3, bytes: 3072 },
    done: { items: 1, bytes: 1024 },
  })
  server.operations.run = () => Promise.reject(new FeedmeshError('TOKEN_REVOKED', 'the hub revoked the link'))
  const failed = await server.app.inject({ method: 'POST', url: `/api/replications/${id}/run`, headers })
  assert.deepEqual(JSON.parse(failed.body.trim().split('\n').at(-1) ?? ''), {
    event: 'error',
    error: { code: 'TOKEN_REVOKED', message: 'the hub revoked the link' },
  })
})

test('a run that nobody waits for is started, and refused at once where no peer is needed to know', async () => {
  await using server = await openTestServer()
  const { id } = server.operations.addReplicationOf('tools')
  const { promise, resolve } = Promise.withResolvers<RunResult>()
  server.operations.run = () => promise
  const answer = await call(server, 'POST', `/replications/${id}/run?wait=false`)
  assert.equal(answer.statusCode, 202)
  resolve(SUCCEEDED)
  server.operations.run = () => Promise.reject(new FeedmeshError('CONFLICT', 'paused'))
  assert.equal((await call(server, 'POST', `/replications/${id}/run?wait=false`)).statusCode, 409)
  assert.equal((await call(server, 'POST', '/replications/none/run?wait=false')).statusCode, 404)
})

test('a file is published from its raw bytes by an admin and by who may publish in the feed', async () => {
  await using server = await openTestServer()
  const { operations } = server
  operations.addFeed('tools', 'npm', { maxFileBytes: 100_000 })
  const publish = async (key: string, payload: Buffer, headers = {}) =>
    server.app.inject({
      method: 'POST',
      url: '/api/feeds/tools/publish?name=lib.tgz',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream', ...headers },
      payload,
    })
  const first = await publish(operations.adminKey, await createTarball({ name: 'lib', version: '1.0.0' }))
  assert.equal(first.statusCode, 201, first.body)
  assert.equal(first.json<{ item: string }>().item, 'lib@1.0.0')
  const ci = operations.addKey('tools', ['publish'], 'ci')
  assert.equal((await publish(ci, await createTarball({ name: 'lib', version: '1.0.1' }))).statusCode, 201)
  assert.equal((await publish(ci, await createTarball({ name: 'lib', version: '1.0.1' }))).statusCode, 409)
  const reader = operations.addKey('tools', ['read'])
  assert.equal((await publish(reader, Buffer.from('x'))).statusCode, 403)
  assert.equal((await publish(ci, Buffer.from('not a tarball'))).statusCode, 400)
  assert.equal((await publish(ci, Buffer.alloc(100_001))).statusCode, 413)
  assert.deepEqual(
    operations.audit.map(({ actor }) => actor.name),
    ['operator', 'ci'],
  )
})

test('clients are set up with the URL by which the asker reached the node', async () => {
  await using server = await openTestServer()
  server.operations.addFeed('tools')
  const headers = { authorization: `Bearer ${server.operations.adminKey}`, host: 'packages.example:8443' }
  const answer = await server.app.inject({ url: '/api/feeds/tools/clients', headers })
  assert.match(answer.body, /registry=http:\/\/packages\.example:8443\/npm\/tools\//)
  const hostile = await server.app.inject({ url: '/api/feeds/tools/clients', headers: { ...headers, host: 'a"b' } })
  assert.equal(hostile.statusCode, 400)
})
