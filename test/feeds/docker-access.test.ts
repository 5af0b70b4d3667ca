/** Who gets a token, and what it opens: against the real HTTP server. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { InjectOptions } from 'fastify'
import { openTestServer } from '../support/http-server.ts'
import { INDEX_TYPE, makeIndex } from '../support/oci-image.ts'

const basic = (key: string) => ({ authorization: `Basic ${Buffer.from(`api:${key}`).toString('base64')}` })
const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
const HOST = { host: 'registry.test:8080' }
const REALM = 'Bearer realm="http://registry.test:8080/v2/token",service="registry.test:8080"'
const UNKNOWN = `fmk_${'0'.repeat(16)}_${'A'.repeat(43)}`

async function openRegistry() {
  const server = await openTestServer()
  const { operations } = server
  operations.addFeed('open', 'docker', { publicRead: true })
  operations.addFeed('shut', 'docker')
  operations.addFeed('lib', 'npm', { publicRead: true })
  const image = makeIndex([])
  const call = (
    method: 'GET' | 'POST' | 'PUT' | 'DELETE',
    url: string,
    headers: object = {},
    payload?: Buffer | string,
  ) =>
    server.app.inject({
      method,
      url,
      headers: { ...HOST, ...headers },
      ...(payload === undefined ? {} : { payload }),
    } as InjectOptions)
  for (const feed of ['open', 'shut'])
    await call(
      'PUT',
      `/v2/${feed}/app/manifests/v1`,
      { ...bearer(operations.adminKey), 'content-type': INDEX_TYPE },
      image.bytes,
    )
  const keys = {
    reader: operations.addKey('shut', ['read']),
    publisher: operations.addKey('shut', ['publish']),
    deleter: operations.addKey('shut', ['delete']),
    other: operations.addKey('lib', ['publish']),
  }
  return { server, call, keys, image }
}

test('the check asks for a token and says where it is had', async () => {
  const { server, call, keys } = await openRegistry()
  await using _ = server
  for (const url of ['/v2/', '/v2']) {
    const refused = await call('GET', url)
    assert.equal(refused.statusCode, 401)
    assert.equal(refused.headers['www-authenticate'], REALM)
    for (const login of [bearer(keys.reader), basic(keys.reader), bearer('anonymous'), { 'x-apikey': keys.other }])
      assert.equal((await call('GET', url, login)).statusCode, 200)
    for (const login of [bearer(UNKNOWN), basic(UNKNOWN)]) assert.equal((await call('GET', url, login)).statusCode, 401)
  }
})

test('a 401 names the scope that the request needs', async () => {
  const { server, call } = await openRegistry()
  await using _ = server
  for (const [method, url, scope] of [
    ['GET', '/v2/shut/team/app/manifests/v1', 'repository:shut/team/app:pull'],
    ['GET', '/v2/shut/team/app/tags/list', 'repository:shut/team/app:pull'],
    ['POST', '/v2/open/app/blobs/uploads/', 'repository:open/app:pull,push'],
    ['PUT', '/v2/shut/app/blobs/uploads/0123', 'repository:shut/app:pull,push'],
    ['DELETE', '/v2/open/app/manifests/v1', 'repository:open/app:delete,pull'],
  ] as const) {
    const answer = await call(method, url)
    assert.deepEqual([answer.statusCode, answer.headers['www-authenticate']], [401, `${REALM},scope="${scope}"`], url)
    assert.equal(answer.json<{ errors: { code: string }[] }>().errors[0]?.code, 'UNAUTHORIZED')
  }
  const odd = await call('GET', '/v2/shut/%22%0d%0ax:y/manifests/v1')
  assert.equal(odd.statusCode, 401)
  assert.equal(odd.headers['www-authenticate'], REALM)
})

test('a token is had with GET and with a form; scopes may repeat', async () => {
  const { server, call, keys } = await openRegistry()
  await using _ = server
  const query =
    '?service=x&scope=repository%3Ashut%2Fapp%3Apull%2Cpush&scope=repository%3Aopen%2Fapp%3Apull&account=api'
  const form = (fields: Record<string, string>) =>
    call(
      'POST',
      '/v2/token',
      { 'content-type': 'application/x-www-form-urlencoded' },
      String(new URLSearchParams(fields)),
    )
  for (const answer of [
    await call('GET', `/v2/token${query}`, basic(keys.reader)),
    await call('GET', '/v2/token', bearer(keys.reader)),
    await form({ grant_type: 'password', username: 'api', password: keys.reader, service: 'x', client_id: 'docker' }),
    await form({ grant_type: 'refresh_token', refresh_token: keys.reader }),
  ]) {
    assert.equal(answer.statusCode, 200, answer.body)
    assert.equal(answer.headers['cache-control'], 'no-store')
    const { token, access_token, expires_in, issued_at } = answer.json<Record<string, string>>()
    assert.equal(token, access_token)
    assert.ok(Number(expires_in) >= 60 && Math.abs(Date.parse(issued_at ?? '') - Date.now()) < 60_000)
    assert.equal((await call('GET', '/v2/shut/app/manifests/v1', bearer(token ?? ''))).statusCode, 200)
  }
  for (const answer of [
    await call('GET', '/v2/token', basic(UNKNOWN)),
    await form({ grant_type: 'password', username: 'api', password: UNKNOWN }),
  ])
    assert.equal(answer.statusCode, 401)
  for (const fields of [{}, { grant_type: 'password' }, { grant_type: 'code', password: keys.reader }])
    assert.equal((await form(fields as Record<string, string>)).statusCode, 400)
  assert.equal((await form({ grant_type: 'password', password: 'x'.repeat(20_000) })).statusCode, 413)
})

test('without a key a token opens what is public, and nothing else', async () => {
  const { server, call, image } = await openRegistry()
  await using _ = server
  const { token } = (await call('GET', '/v2/token?scope=repository%3Aopen%2Fapp%3Apull')).json<{ token: string }>()
  for (const login of [{}, bearer(token)]) {
    assert.deepEqual((await call('GET', '/v2/open/app/manifests/v1', login)).rawPayload, image.bytes)
    assert.equal((await call('GET', '/v2/shut/app/manifests/v1', login)).statusCode, 401)
    assert.equal((await call('POST', '/v2/open/app/blobs/uploads/', login)).statusCode, 401)
    assert.equal((await call('DELETE', '/v2/open/app/manifests/v1', login)).statusCode, 401)
    assert.equal((await call('GET', '/npm/lib/-/whoami', login)).statusCode, 401)
  }
})

test('a key opens what it may, and DENIED says what it may not', async () => {
  const { server, call, keys, image } = await openRegistry()
  await using _ = server
  const put = (key: string) =>
    call('PUT', '/v2/shut/app/manifests/v2', { ...bearer(key), 'content-type': INDEX_TYPE }, image.bytes)
  const remove = (key: string) => call('DELETE', '/v2/shut/app/manifests/v2', bearer(key))
  for (const [who, publish, drop] of [
    ['reader', 403, 403],
    ['other', 403, 403],
    ['publisher', 201, 403],
    ['deleter', 403, 202],
  ] as const) {
    const key = keys[who]
    const answer = await put(key)
    assert.equal(answer.statusCode, publish, who)
    if (publish === 403) assert.equal(answer.json<{ errors: { code: string }[] }>().errors[0]?.code, 'DENIED')
    assert.equal((await remove(key)).statusCode, drop, who)
  }
  assert.equal((await call('GET', '/v2/lib/app/manifests/v1', bearer(keys.other))).statusCode, 404)
})

test('the catalog shows the feeds that the caller may read', async () => {
  const { server, call, keys } = await openRegistry()
  await using _ = server
  const list = async (headers: object) =>
    (await call('GET', '/v2/_catalog', headers)).json<{ repositories: string[] }>().repositories
  assert.deepEqual(await list({}), ['open/app'])
  assert.deepEqual(await list(bearer(keys.reader)), ['open/app', 'shut/app'])
  assert.deepEqual(await list(basic(keys.other)), ['open/app'])
  assert.equal((await call('GET', '/v2/_catalog', bearer(UNKNOWN))).statusCode, 401)
})

test('a feed may be called token', async () => {
  const { server, call } = await openRegistry()
  await using _ = server
  server.operations.addFeed('token', 'docker', { publicRead: true })
  assert.equal((await call('GET', '/v2/token/app/tags/list')).statusCode, 404)
  const put = { ...bearer(server.operations.adminKey), 'content-type': INDEX_TYPE }
  assert.equal((await call('PUT', '/v2/token/app/manifests/v1', put, makeIndex([]).bytes)).statusCode, 201)
  assert.equal((await call('GET', '/v2/token/app/tags/list')).statusCode, 200)
})
