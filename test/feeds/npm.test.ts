import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { gunzipSync, gzipSync } from 'node:zlib'
import { npmFeedType } from '../../protocols/feeds/npm/feed-type.ts'
import { nativeFile } from '../conformance/feed-type.ts'
import { createFeedServer, PUBLISHER_KEY, READER_KEY, withKey } from '../support/feed-server.ts'
import { createPublishBody, createTarball } from './npm-package.ts'

const ABBREVIATED = 'application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8, */*'

interface Packument {
  readonly _rev: string
  readonly 'dist-tags': Record<string, string>
  readonly time: Record<string, string>
  readonly versions: Record<string, Record<string, unknown> & { readonly dist: Record<string, string> }>
  readonly [field: string]: unknown
}

async function openRegistry(t: TestContext, nowMs?: number) {
  const server = await createFeedServer([npmFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed('npm', 'main', nowMs === undefined ? {} : { now: () => nowMs })
  const send = (
    method: 'GET' | 'PUT' | 'POST' | 'DELETE',
    path: string,
    payload?: string | object | Buffer,
    headers: Record<string, string> = {},
  ) =>
    server.app.inject({
      method,
      url: `/npm/main${path}`,
      headers: withKey(PUBLISHER_KEY, headers),
      ...(payload === undefined ? {} : { payload }),
    })
  return {
    feed,
    send,
    app: server.app,
    publish: async (
      name: string,
      version: string,
      options: { tag?: string; manifest?: Record<string, unknown> } = {},
    ) => {
      const answer = await send(
        'PUT',
        `/${name.replace('/', '%2f')}`,
        await createPublishBody({ name, version, ...options }),
      )
      assert.equal(answer.statusCode, 201, answer.body)
    },
    get: async (path: string, headers: Record<string, string> = {}) =>
      (await send('GET', path, undefined, headers)).json<Packument>(),
  }
}

describe('npm: publish', () => {
  it('keeps what the publisher said, but for what only the registry can say', async (t) => {
    const { publish, get } = await openRegistry(t)
    const manifest = {
      description: 'd',
      bin: 'cli.js',
      readme: '# hi',
      gitHead: 'abc',
      deprecated: 'early',
      _hasShrinkwrap: false,
    }
    await publish('@acme/lib', '1.0.0', { manifest })
    const document = await get('/@acme%2flib')
    const version = document.versions['1.0.0']
    assert.ok(version)
    assert.equal(document.readme, '# hi')
    assert.equal(document.description, 'd')
    assert.equal(version.readme, undefined)
    assert.equal(version.gitHead, 'abc')
    assert.equal(version.deprecated, 'early')
    assert.deepEqual(version.bin, { lib: 'cli.js' })
    assert.match(version.dist.tarball ?? '', /^http:\/\/localhost(?::80)?\/npm\/main\/@acme\/lib\/-\/lib-1\.0\.0\.tgz$/)
    assert.match(version.dist.integrity ?? '', /^sha512-/)
    assert.match(version.dist.shasum ?? '', /^[0-9a-f]{40}$/)
  })

  it('gives a new package a latest version whatever the tag, and later only the tag that was asked for', async (t) => {
    const { publish, get } = await openRegistry(t)
    await publish('a', '1.0.0-beta.1', { tag: 'beta' })
    assert.deepEqual(await get('/-/package/a/dist-tags'), { beta: '1.0.0-beta.1', latest: '1.0.0-beta.1' })
    await publish('a', '1.0.0-beta.2', { tag: 'beta' })
    assert.deepEqual(await get('/-/package/a/dist-tags'), { beta: '1.0.0-beta.2', latest: '1.0.0-beta.1' })
    await publish('a', '1.0.0')
    assert.equal((await get('/a'))['dist-tags'].latest, '1.0.0')
  })

  it("refuses an existing version in npm's words, also when two come at once", async (t) => {
    const { send, feed } = await openRegistry(t)
    const body = await createPublishBody({ name: 'a', version: '1.0.0' })
    const answers = await Promise.all([send('PUT', '/a', body), send('PUT', '/a', body), send('PUT', '/a', body)])
    assert.deepEqual(
      answers.map(({ statusCode }) => statusCode).sort((a, b) => a - b),
      [201, 403, 403],
    )
    const refused = answers.find(({ statusCode }) => statusCode === 403)
    const { error } = refused?.json<{ error: string }>() ?? {}
    assert.equal(error, 'You cannot publish over the previously published versions: 1.0.0.')
    assert.equal((await feed.findUnit('a'))?.rows.length, 2)
  })

  it('keeps provenance beside the tarball', async (t) => {
    const { send, feed } = await openRegistry(t)
    const body = await createPublishBody({ name: 'a', version: '1.0.0' })
    const attachments = body._attachments as object
    const data = Buffer.from('{"bundle":1}').toString('base64')
    const answer = await send('PUT', '/a', { ...body, _attachments: { ...attachments, 'a-1.0.0.sigstore': { data } } })
    assert.equal(answer.statusCode, 201, answer.body)
    const row = (await feed.findUnit('a'))?.rows.find(({ key }) => key === 'v/1.0.0')
    assert.deepEqual(row?.files.map(({ role, size }) => [role, size]).slice(1), [['provenance', 12]])
  })

  it('takes a gzipped document', async (t) => {
    const { send } = await openRegistry(t)
    const body = gzipSync(JSON.stringify(await createPublishBody({ name: 'a', version: '1.0.0' })))
    assert.equal((await send('PUT', '/a', body, { 'content-encoding': 'gzip' })).statusCode, 201)
  })

  it('imports tarballs in any order: latest is the highest release', async (t) => {
    const { feed, get } = await openRegistry(t)
    for (const version of ['1.0.0', '3.0.0-rc.1', '2.0.0', '1.5.0']) {
      await npmFeedType.publishFile(feed, nativeFile(`a-${version}.tgz`, await createTarball({ name: 'a', version })))
    }
    assert.deepEqual((await get('/a'))['dist-tags'], { latest: '2.0.0' })
  })
})

describe('npm: packuments', () => {
  it('come full or abbreviated, each with its exact content type', async (t) => {
    const { publish, send } = await openRegistry(t)
    const manifest = {
      scripts: { postinstall: 'x' },
      dependencies: { b: '1' },
      description: 'd',
      gitHead: 'abc',
      libc: ['glibc'],
    }
    await publish('a', '1.0.0', { manifest })
    const short = await send('GET', '/a', undefined, { accept: ABBREVIATED })
    assert.equal(short.headers['content-type'], 'application/vnd.npm.install-v1+json')
    assert.match(String(short.headers.vary), /Accept/)
    const { versions, time, modified, ...rest } = short.json<Packument>()
    assert.deepEqual(rest, { name: 'a', 'dist-tags': { latest: '1.0.0' } })
    assert.equal(time.modified, modified)
    const { dist, ...version } = versions['1.0.0'] ?? {}
    assert.ok(dist)
    assert.deepEqual(version, {
      name: 'a',
      version: '1.0.0',
      dependencies: { b: '1' },
      libc: ['glibc'],
      hasInstallScript: true,
    })
    for (const accept of ['application/json', '*/*', undefined]) {
      const full = await send('GET', '/a', undefined, accept === undefined ? {} : { accept })
      assert.equal(full.headers['content-type'], 'application/json')
      assert.equal(full.json<Packument>().versions['1.0.0']?.gitHead, 'abc')
    }
  })

  it('are compressed when the client can and it pays', async (t) => {
    const { publish, send } = await openRegistry(t)
    await publish('small', '1.0.0')
    await publish('big', '1.0.0', { manifest: { readme: 'x'.repeat(5000) } })
    const big = await send('GET', '/big', undefined, { 'accept-encoding': 'gzip, br' })
    assert.equal(big.headers['content-encoding'], 'gzip')
    assert.equal(JSON.parse(gunzipSync(big.rawPayload).toString()).name, 'big')
    for (const [path, encoding] of [
      ['/small', 'gzip'],
      ['/big', 'identity'],
      ['/big', 'gzip;q=0'],
      ['/big', 'br'],
    ] as const) {
      const plain = await send('GET', path, undefined, { 'accept-encoding': encoding })
      assert.equal(plain.headers['content-encoding'], undefined, encoding)
      assert.equal(plain.json<Packument>().name, path.slice(1))
    }
    const [head, get] = await Promise.all([
      send('GET', '/big', undefined, { 'accept-encoding': 'gzip' }),
      send('GET', '/big', undefined, { 'accept-encoding': 'gzip' }),
    ])
    assert.equal(head.headers.etag, get.headers.etag)
  })

  it('have another ETag for every kind, base URL and state', async (t) => {
    const { publish, send } = await openRegistry(t)
    await publish('a', '1.0.0')
    const etag = async (headers: Record<string, string>) =>
      String((await send('GET', '/a', undefined, headers)).headers.etag)
    const before = [await etag({}), await etag({ accept: ABBREVIATED }), await etag({ host: 'other:1' })]
    await publish('a', '1.1.0')
    const after = [await etag({}), await etag({ accept: ABBREVIATED }), await etag({ host: 'other:1' })]
    assert.equal(new Set([...before, ...after]).size, 6)
    assert.equal(await etag({}), after[0])
  })

  it('are the same at two nodes that hold the same rows', async (t) => {
    const bodies: string[] = []
    for (let node = 0; node < 2; node += 1) {
      const { publish, send } = await openRegistry(t, 1_700_000_000_000)
      await publish('a', '1.10.0', { manifest: { description: 'x' } })
      await publish('a', '1.9.0', { tag: 'old' })
      bodies.push((await send('GET', '/a')).body, (await send('GET', '/a?write=true')).body)
    }
    assert.deepEqual(bodies.slice(0, 2), bodies.slice(2))
    assert.deepEqual(Object.keys(JSON.parse(bodies[0] ?? '').versions), ['1.9.0', '1.10.0'])
  })

  it('are found by scoped names in every spelling, tarballs too', async (t) => {
    const { publish, send } = await openRegistry(t)
    await publish('@acme/lib', '1.0.0')
    for (const name of ['@acme/lib', '@acme%2flib', '@acme%2Flib', '%40acme%2flib', '%40acme/lib']) {
      assert.equal((await send('GET', `/${name}`)).statusCode, 200, name)
      assert.equal((await send('GET', `/${name}/1.0.0`)).statusCode, 200, name)
      for (const file of ['lib-1.0.0.tgz', '@acme/lib-1.0.0.tgz', '@acme%2flib-1.0.0.tgz']) {
        assert.equal((await send('GET', `/${name}/-/${file}`)).statusCode, 200, `${name} ${file}`)
      }
    }
  })
})

describe('npm: edits', () => {
  it('deprecates and undeprecates by sending the document back', async (t) => {
    const { publish, get, send } = await openRegistry(t)
    for (const version of ['1.0.0', '2.0.0']) await publish('a', version)
    const deprecate = async (message: string) => {
      const document = await get('/a?write=true')
      const old = { ...document.versions['1.0.0'], deprecated: message }
      return send('PUT', '/a', { ...document, versions: { ...document.versions, '1.0.0': old } })
    }
    assert.equal((await deprecate('too old')).statusCode, 200)
    assert.equal((await get('/a')).versions['1.0.0']?.deprecated, 'too old')
    assert.equal((await get('/a', { accept: ABBREVIATED })).versions['1.0.0']?.deprecated, 'too old')
    assert.equal((await get('/a/1.0.0')).deprecated, 'too old')
    assert.equal((await deprecate('')).statusCode, 200)
    assert.ok(!('deprecated' in ((await get('/a')).versions['1.0.0'] ?? {})))
  })

  it('refuses an edit of an older revision', async (t) => {
    const { publish, get, send } = await openRegistry(t)
    await publish('a', '1.0.0')
    const document = await get('/a?write=true')
    await publish('a', '2.0.0')
    assert.equal((await send('PUT', '/a', document)).statusCode, 409)
    assert.equal((await send('PUT', `/a/-rev/${document._rev}`, document)).statusCode, 409)
    assert.equal((await send('DELETE', `/a/-rev/${document._rev}`)).statusCode, 409)
    assert.equal((await send('DELETE', `/a/-/a-1.0.0.tgz/-rev/${document._rev}`)).statusCode, 409)
    assert.deepEqual(Object.keys((await get('/a')).versions), ['1.0.0', '2.0.0'])
  })

  it('unpublishes one version for good, and moves latest', async (t) => {
    const { publish, get, send } = await openRegistry(t)
    for (const version of ['1.0.0', '2.0.0']) await publish('a', version)
    const { versions, ...document } = await get('/a?write=true')
    const { '2.0.0': _removed, ...kept } = versions
    const edited = { ...document, versions: kept, 'dist-tags': { latest: '1.0.0' } }
    assert.equal((await send('PUT', `/a/-rev/${document._rev}`, edited)).statusCode, 200)
    const after = await get('/a?write=true')
    assert.notEqual(after._rev, document._rev)
    assert.equal((await send('DELETE', `/a/-/a-2.0.0.tgz/-rev/${after._rev}`)).statusCode, 200)
    assert.deepEqual((await get('/a'))['dist-tags'], { latest: '1.0.0' })
    assert.equal((await send('GET', '/a/-/a-2.0.0.tgz')).statusCode, 404)
    assert.equal((await send('GET', '/a/2.0.0')).statusCode, 404)
    const again = await send('PUT', '/a', await createPublishBody({ name: 'a', version: '2.0.0' }))
    assert.equal(again.statusCode, 403)
    assert.match(again.body, /cannot publish over the previously published versions: 2\.0\.0/)
  })

  it('unpublishes a whole package for good; other versions may follow', async (t) => {
    const { publish, get, send, feed } = await openRegistry(t)
    for (const version of ['1.0.0', '2.0.0']) await publish('a', version)
    const { _rev } = await get('/a?write=true')
    assert.equal((await send('DELETE', `/a/-rev/${_rev}`)).statusCode, 200)
    assert.equal((await send('GET', '/a')).statusCode, 404)
    assert.equal((await get('/-/v1/search?text=a')).total, 0)
    assert.deepEqual(
      (await feed.findUnit('a'))?.rows.map(({ key, rowClass }) => [key, rowClass]),
      [
        ['v/1.0.0', 'burn'],
        ['v/2.0.0', 'burn'],
      ],
    )
    assert.equal((await send('PUT', '/a', await createPublishBody({ name: 'a', version: '1.0.0' }))).statusCode, 403)
    await publish('a', '3.0.0')
    assert.deepEqual(Object.keys((await get('/a')).versions), ['3.0.0'])
  })

  it('moves tags to versions that exist, and keeps latest', async (t) => {
    const { publish, get, send } = await openRegistry(t)
    for (const version of ['1.0.0', '2.0.0']) await publish('a', version)
    const put = async (tag: string, version: string) =>
      (await send('PUT', `/-/package/a/dist-tags/${tag}`, JSON.stringify(version))).statusCode
    assert.equal(await put('stable', '1.0.0'), 201)
    assert.equal(await put('latest', '1.0.0'), 201)
    assert.equal(await put('stable', '9.0.0'), 404)
    assert.equal(await put('1.x', '1.0.0'), 400)
    assert.equal(await put('v1', '1.0.0'), 400)
    assert.equal(await put('a%2fb', '1.0.0'), 400)
    assert.equal((await send('DELETE', '/-/package/a/dist-tags/latest')).statusCode, 400)
    assert.equal((await send('DELETE', '/-/package/a/dist-tags/none')).statusCode, 404)
    assert.equal((await send('DELETE', '/-/package/a/dist-tags/stable')).statusCode, 200)
    assert.deepEqual(await get('/-/package/a/dist-tags'), { latest: '1.0.0' })
    assert.equal((await get('/a/latest')).version, '1.0.0')
  })

  it('needs the delete permission to unpublish', async (t) => {
    const { publish, get, app } = await openRegistry(t)
    await publish('a', '1.0.0')
    const { _rev } = await get('/a?write=true')
    for (const [method, url] of [
      ['DELETE', `/a/-rev/${_rev}`],
      ['PUT', `/a/-rev/${_rev}`],
      ['DELETE', `/a/-/a-1.0.0.tgz/-rev/${_rev}`],
    ] as const) {
      assert.equal((await app.inject({ method, url: `/npm/main${url}`, headers: withKey(READER_KEY) })).statusCode, 403)
    }
  })
})

describe('npm: accounts, audit, search', () => {
  it('logs in with a key as the password, and gives the key as the token', async (t) => {
    const { app, send } = await openRegistry(t)
    const login = (password: unknown) =>
      app.inject({ method: 'PUT', url: '/npm/main/-/user/org.couchdb.user:api', payload: { name: 'api', password } })
    const answer = await login(READER_KEY)
    assert.equal(answer.statusCode, 201)
    assert.equal(answer.json<{ token: string }>().token, READER_KEY)
    for (const wrong of ['nope', 5, undefined]) assert.equal((await login(wrong)).statusCode, 401)
    assert.equal((await send('POST', '/-/v1/login', {})).statusCode, 404, 'npm then asks for name and password')
    assert.deepEqual((await send('GET', '/-/whoami')).json(), { username: 'publisher' })
    assert.equal((await app.inject({ url: '/npm/main/-/whoami' })).statusCode, 401)
    const tokens = await send('GET', '/-/npm/v1/tokens')
    assert.ok(!tokens.body.includes(PUBLISHER_KEY))
    assert.equal((await send('DELETE', `/-/user/token/${PUBLISHER_KEY}`)).statusCode, 200)
    assert.equal((await send('GET', '/-/whoami')).statusCode, 200, 'the key is the operator’s to revoke')
  })

  it('answers audits in the forms that clients accept', async (t) => {
    const { send } = await openRegistry(t)
    const bulk = gzipSync(JSON.stringify({ a: ['1.0.0'] }))
    const answer = await send('POST', '/-/npm/v1/security/advisories/bulk', bulk, { 'content-encoding': 'gzip' })
    assert.deepEqual([answer.statusCode, answer.body], [200, '{}'])
    const quick = await send('POST', '/-/npm/v1/security/audits/quick', { dependencies: { a: {}, b: {} } })
    const { metadata, advisories } = quick.json<{ metadata: Record<string, unknown>; advisories: object }>()
    assert.equal(metadata.dependencies, 2)
    assert.deepEqual(advisories, {})
    assert.equal((await send('POST', '/-/npm/v1/security/advisories/bulk', '[]')).statusCode, 400)
    assert.deepEqual((await send('GET', '/-/npm/v1/keys')).json(), { keys: [] })
    assert.equal((await send('GET', '/-/npm/v1/attestations/@a%2fb@1.0.0')).statusCode, 404)
  })

  it('finds packages by name, keyword, description and scope, best first, in pages', async (t) => {
    const { publish, get } = await openRegistry(t)
    await publish('web', '1.0.0', { manifest: { description: 'a server' } })
    await publish('web-tools', '1.0.0', { manifest: { keywords: ['Fast'] } })
    await publish('other', '1.0.0', { manifest: { description: 'for the web' } })
    await publish('@acme/web', '1.0.0')
    const search = async (query: string) => {
      const { objects, total } = (await get(`/-/v1/search?${query}`)) as unknown as {
        objects: { package: { name: string } }[]
        total: number
      }
      return [total, ...objects.map((object) => object.package.name)]
    }
    assert.deepEqual(await search('text=web'), [4, 'web', '@acme/web', 'web-tools', 'other'])
    assert.deepEqual(await search('text=web+server'), [1, 'web'])
    assert.deepEqual(await search('text=keywords:fast'), [1, 'web-tools'])
    assert.deepEqual(await search('text=scope:acme'), [1, '@acme/web'])
    assert.deepEqual(await search('text=web&size=1&from=1'), [4, '@acme/web'])
    assert.deepEqual(await search('text=nothing'), [0])
    assert.deepEqual(await search('text='), [4, '@acme/web', 'other', 'web', 'web-tools'])
    await publish('other', '2.0.0', { manifest: { description: 'changed' } })
    assert.deepEqual(await search('text=changed'), [1, 'other'])
  })
})
