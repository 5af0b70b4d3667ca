import assert from 'node:assert/strict'
import { test } from 'node:test'
import { openTestServer } from '../support/http-server.ts'

const basic = (user: string, key: string) => ({
  authorization: `Basic ${Buffer.from(`${user}:${key}`).toString('base64')}`,
})
const bearer = (key: string) => ({ authorization: `Bearer ${key}` })

const read = (feed: string) => ({ method: 'GET', url: `/npm/${feed}/-/v1/search?text=x` }) as const
const publish = (feed: string) => ({ method: 'PUT', url: `/npm/${feed}/lib`, payload: {} }) as const

async function openFeeds() {
  const server = await openTestServer()
  const { operations } = server
  operations.addFeed('open', 'npm', { publicRead: true })
  operations.addFeed('shut', 'npm')
  operations.addFeed('files', 'assets')
  const keys = {
    admin: operations.adminKey,
    reader: operations.addKey('shut', ['read']),
    publisher: operations.addKey('shut', ['publish']),
    other: operations.addKey('files', ['publish', 'delete']),
    unknown: `fmk_${'0'.repeat(16)}_${'A'.repeat(43)}`,
  }
  return { server, keys }
}

test('each way of sending a key is understood', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const ways = [
    bearer(keys.reader),
    { authorization: `bearer ${keys.reader}` },
    basic('api', keys.reader),
    basic('any:thing'.split(':')[0] ?? '', keys.reader),
    basic('', keys.reader),
    { 'x-apikey': keys.reader },
    { 'X-NuGet-ApiKey': keys.reader },
  ]
  for (const headers of ways) {
    const answer = await server.app.inject({ url: '/npm/shut/-/whoami', headers })
    assert.equal(answer.statusCode, 200, JSON.stringify(headers))
    assert.deepEqual(answer.json(), { username: 'shut read' })
  }
})

test('who may do what with a feed', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const matrix = [
    [read('open'), { none: 200, admin: 200, reader: 200, other: 200, unknown: 401 }],
    [read('shut'), { none: 401, admin: 200, reader: 200, publisher: 200, other: 403, unknown: 401 }],
    [read('none'), { none: 401, admin: 404, reader: 404, other: 404, unknown: 401 }],
    [publish('open'), { none: 401, admin: 400, reader: 403, other: 403, unknown: 401 }],
    [publish('shut'), { none: 401, admin: 400, reader: 403, publisher: 400, other: 403, unknown: 401 }],
    [publish('files'), { none: 401, admin: 404, other: 404, unknown: 401 }],
  ] as const
  for (const [request, expected] of matrix) {
    for (const [who, status] of Object.entries(expected)) {
      const key = keys[who as keyof typeof keys]
      const answer = await server.app.inject({ ...request, headers: key === undefined ? {} : bearer(key) })
      assert.equal(answer.statusCode, status, `${request.method} ${request.url} as ${who}: ${answer.body}`)
      assert.equal(answer.headers['www-authenticate'] !== undefined, status === 401)
    }
  }
})

test('a feed asked for under another type is missing, and only its readers learn what it is', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const seen = await server.app.inject({ url: '/npm/files/x', headers: bearer(keys.other) })
  assert.equal(seen.statusCode, 404)
  assert.match(seen.body, /of type assets/)
  const unseen = await server.app.inject({ url: '/npm/files/x', headers: bearer(keys.reader) })
  assert.equal(unseen.statusCode, 404)
  assert.doesNotMatch(unseen.body, /assets/)
})

test('of two keys the one that may do it counts', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const headers = { ...basic('api', keys.publisher), 'x-nuget-apikey': keys.reader }
  const answer = await server.app.inject({ method: 'PUT', url: '/npm/shut/lib', payload: {}, headers })
  assert.equal(answer.statusCode, 400)
})

test('administration needs an admin key of the whole node', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const feedAdmin = server.operations.addKey('shut', ['admin'])
  const cases = [
    [{}, 401],
    [bearer(keys.unknown), 401],
    [bearer(keys.publisher), 403],
    [bearer(feedAdmin), 403],
    [bearer(keys.admin), 200],
    [basic('api', keys.admin), 200],
  ] as const
  for (const [headers, status] of cases) {
    const answer = await server.app.inject({ url: '/api/status', headers })
    assert.equal(answer.statusCode, status)
    if (status === 200) continue
    assert.equal(
      answer.json<{ error: { code: string } }>().error.code,
      status === 401 ? 'UNAUTHENTICATED' : 'FORBIDDEN',
    )
  }
})

test('every administration call but the description refuses callers without a key', async () => {
  const { server } = await openFeeds()
  await using _ = server
  const { paths } = (await server.app.inject('/api/openapi.json')).json<{ paths: Record<string, object> }>()
  for (const [path, methods] of Object.entries(paths)) {
    for (const method of Object.keys(methods)) {
      const url = path.replaceAll(/\{\w+\}/g, '1')
      const answer = await server.app.inject({ method: method.toUpperCase() as 'GET', url })
      assert.equal(answer.statusCode, 401, `${method} ${url}`)
      assert.equal(answer.headers['www-authenticate'], 'Bearer realm="feedmesh"')
    }
  }
})

test('pages of other sites cannot change anything with the key a browser keeps', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  const headers = { ...basic('api', keys.admin), 'sec-fetch-site': 'cross-site' }
  const answer = await server.app.inject({ method: 'POST', url: '/api/peers/x/revoke', headers })
  assert.equal(answer.statusCode, 403)
  assert.deepEqual(server.operations.audit, [])
})

test('changes are attributed to the key and address they come from', async () => {
  const { server, keys } = await openFeeds()
  await using _ = server
  await server.app.inject({ method: 'DELETE', url: '/api/feeds/open', headers: bearer(keys.admin) })
  assert.deepEqual(server.operations.audit, [
    { actor: { name: 'operator', from: '127.0.0.1' }, action: 'feed delete open' },
  ])
})
