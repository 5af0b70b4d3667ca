import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { request as httpRequest } from 'node:http'
import { describe, it, type TestContext } from 'node:test'
import { assetsFeedType } from '../../protocols/feeds/assets/feed-type.ts'
import { createFeedServer, PUBLISHER_KEY, READER_KEY, withKey } from '../support/feed-server.ts'

type Method = 'GET' | 'HEAD' | 'PUT' | 'POST' | 'PATCH' | 'DELETE'

async function openAssets(t: TestContext) {
  const server = await createFeedServer([assetsFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed('assets', 'main')
  const send = (
    method: Method,
    path: string,
    payload?: string | object | Buffer,
    headers: Record<string, string> = {},
  ) =>
    server.app.inject({
      method,
      url: `/endpoints/main/${path}`,
      headers: withKey(PUBLISHER_KEY, headers),
      ...(payload === undefined ? {} : { payload }),
    })
  const list = async (path: string) => (await send('GET', path)).json<Record<string, unknown>[]>()
  return { server, feed, send, list }
}

function names(items: readonly Record<string, unknown>[]): unknown[] {
  return items.map(({ parent, name, type }) => [parent, name, type === 'dir'])
}

describe('assets: files', () => {
  it('are overwritten, with their type from the uploader or from the name', async (t) => {
    const { send } = await openAssets(t)
    const get = async (path: string) => {
      const { body, headers } = await send('GET', `content/${path}`)
      return [body, headers['content-type']]
    }
    assert.equal((await send('PUT', 'content/a/b.json', '1')).statusCode, 201)
    assert.deepEqual(await get('a/b.json'), ['1', 'application/json'])
    assert.equal(
      (await send('POST', 'content/a/b.json', '22', { 'content-type': 'text/x-mine; charset=utf-8' })).statusCode,
      201,
    )
    assert.deepEqual(await get('a/b.json'), ['22', 'text/x-mine; charset=utf-8'])
    await send('PUT', 'content/a/b.txt', '3', { 'content-type': 'application/x-www-form-urlencoded' })
    assert.deepEqual(await get('a/b.txt'), ['3', 'text/plain; charset=utf-8'])
    await send('PUT', 'content/noext', '')
    assert.deepEqual(await get('noext'), ['', 'application/octet-stream'])
  })

  it('have names with any printable characters, stored as given', async (t) => {
    const { send, list } = await openAssets(t)
    const names = [
      'space here',
      'é',
      'e\u0301',
      '100%',
      'a+b',
      'q?x',
      '#h',
      '~',
      '日本',
      '\u{1F600}',
      'CON',
      'a:b',
      '-rf',
      '.hidden',
      '...',
    ]
    for (const name of names) {
      const path = `content/dir/${encodeURIComponent(name)}`
      assert.equal((await send('PUT', path, name)).statusCode, 201, name)
      assert.equal((await send('GET', path)).body, name)
    }
    const listed = (await list('dir/dir')).map((item) => item.name)
    assert.deepEqual(new Set(listed), new Set(names))
  })

  it('refuse paths with .. on a real connection, in every spelling', async (t) => {
    const { server, feed } = await openAssets(t)
    const url = new URL(await server.listen())
    for (const path of ['../x', 'a/../x', '%2e%2e/x', 'a/%2E%2E/x', './x', '..%2fx', '/x', 'a//x']) {
      const status = await new Promise((resolve, reject) => {
        const options = {
          host: url.hostname,
          port: url.port,
          method: 'PUT',
          path: `/endpoints/main/content/${path}`,
          headers: withKey(PUBLISHER_KEY),
        }
        httpRequest(options, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end('x')
      })
      assert.equal(status, 400, path)
    }
    assert.deepEqual(await Array.fromAsync(feed.list({ limit: 1 })), [])
  })

  it('are written under a condition', async (t) => {
    const { send } = await openAssets(t)
    assert.equal((await send('PATCH', 'content/a', '0')).statusCode, 409, 'PATCH replaces only')
    assert.equal((await send('PUT', 'content/a', '1', { 'if-none-match': '*' })).statusCode, 201)
    assert.equal((await send('PUT', 'content/a', '2', { 'if-none-match': '*' })).statusCode, 409)
    const etag = String((await send('GET', 'content/a')).headers.etag)
    assert.equal((await send('PUT', 'content/a', '3', { 'if-match': etag })).statusCode, 201)
    assert.equal((await send('PUT', 'content/a', '4', { 'if-match': etag })).statusCode, 409)
    assert.equal((await send('DELETE', 'content/a', undefined, { 'if-match': etag })).statusCode, 409)
    assert.equal((await send('PATCH', 'content/a', '5')).statusCode, 201)
    assert.equal((await send('GET', 'content/a')).body, '5')
  })

  it('are deleted one by one or by folder', async (t) => {
    const { send, feed } = await openAssets(t)
    for (const path of ['a/1', 'a/b/2', 'a/b/3', 'ab']) await send('PUT', `content/${path}`, path)
    assert.equal((await send('DELETE', 'content/a/1')).statusCode, 200)
    assert.equal((await send('DELETE', 'content/a/1')).statusCode, 404)
    assert.equal((await send('DELETE', 'content/a')).statusCode, 409)
    assert.equal((await send('POST', 'delete/a?recursive=true')).statusCode, 200)
    assert.deepEqual(
      (await Array.fromAsync(feed.list({ limit: 9 }))).map(({ unit }) => unit),
      ['ab'],
    )
    const reader = { method: 'DELETE', url: '/endpoints/main/content/ab', headers: withKey(READER_KEY) } as const
    const { server } = await openAssets(t)
    assert.equal((await server.app.inject(reader)).statusCode, 403)
  })
})

describe('assets: folders', () => {
  it('list files and folders in JSON with sizes, hashes and URLs', async (t) => {
    const { send, list } = await openAssets(t)
    for (const path of ['top.txt', 'a/1.txt', 'a/b/2.txt', 'a/b/c/3.txt', 'a0.txt'])
      await send('PUT', `content/${path}`, path)
    assert.deepEqual(names(await list('dir/')), [
      [undefined, 'a', true],
      [undefined, 'a0.txt', false],
      [undefined, 'top.txt', false],
    ])
    assert.deepEqual(names(await list('dir/a')), [
      ['a', '1.txt', false],
      ['a', 'b', true],
    ])
    assert.deepEqual(names(await list('dir/a?recursive=true')), [
      ['a', '1.txt', false],
      ['a', 'b', true],
      ['a/b', '2.txt', false],
      ['a/b', 'c', true],
      ['a/b/c', '3.txt', false],
    ])
    const [file] = await list('dir/a/b/c')
    assert.ok(file)
    assert.equal(file.size, 11)
    assert.equal(file.content, 'http://localhost:80/endpoints/main/content/a/b/c/3.txt')
    for (const name of ['md5', 'sha1', 'sha256', 'sha512'])
      assert.equal(file[name], createHash(name).update('a/b/c/3.txt').digest('hex'))
    assert.match(String(file.created), /^\d{4}-\d\d-\d\dT/)
    assert.deepEqual(await list('dir'), await list('dir/'))
  })

  it('of thousands of files are listed whole', async (t) => {
    const { send, list, feed } = await openAssets(t)
    await send('PUT', 'content/many/first', 'x')
    const row = (await feed.findUnit('many/first'))?.rows[0]
    assert.ok(row)
    const meta = await feed.readMeta(row)
    for (let at = 0; at < 1500; at += 1) {
      const path = at % 3 === 0 ? `many/f${at}/x` : `many/f${at}`
      await feed.change(path, () => ({ put: [{ key: 'content', rowClass: 'register', meta, files: row.files }] }))
    }
    const items = await list('dir/many')
    assert.equal(items.length, 1501)
    assert.equal(items.filter(({ type }) => type === 'dir').length, 500)
    assert.equal((await list('dir?recursive=true')).length, 1 + 1501 + 500)
  })

  it('are pages with relative links for browsers', async (t) => {
    const { send } = await openAssets(t)
    await send('PUT', 'content/a/b/x%20%26%20%22y%22.txt', 'x')
    await send('PUT', 'content/a/javascript%3Aalert(1)', 'x')
    const page = await send('GET', 'content/a/', undefined, { accept: 'text/html,*/*' })
    assert.match(String(page.headers['content-type']), /^text\/html/)
    assert.match(String(page.headers['content-security-policy']), /default-src 'none'/)
    assert.match(page.body, /<a href="\.\/b\/">b\/<\/a>/)
    assert.match(page.body, /<a href="\.\/javascript%3Aalert\(1\)">javascript:alert\(1\)<\/a>/)
    const inner = await send('GET', 'content/a/b/', undefined, { accept: 'text/html' })
    assert.match(inner.body, /<a href="\.\/x%20%26%20%22y%22\.txt">x &amp; &quot;y&quot;\.txt<\/a>/)
    const redirect = await send('GET', 'content/a/b')
    assert.deepEqual([redirect.statusCode, redirect.headers.location], [302, './b/'])
  })
})

describe('assets: metadata', () => {
  it('is shown, and changed without touching the content', async (t) => {
    const { send, feed } = await openAssets(t)
    await send('PUT', 'content/a/x.txt', 'hello')
    const update = {
      type: 'text/x-new',
      userMetadata: { owner: 'me', 'x-shown': { value: 'yes', includeInResponseHeader: true } },
    }
    assert.equal((await send('POST', 'metadata/a/x.txt', update)).statusCode, 200)
    const shown = (await send('GET', 'metadata/a/x.txt')).json<Record<string, unknown>>()
    assert.equal(shown.type, 'text/x-new')
    assert.deepEqual(shown.userMetadata, {
      owner: { value: 'me', includeInResponseHeader: false },
      'x-shown': { value: 'yes', includeInResponseHeader: true },
    })
    const { headers, body } = await send('GET', 'content/a/x.txt')
    assert.deepEqual(
      [headers['content-type'], headers['x-shown'], headers.owner, body],
      ['text/x-new', 'yes', undefined, 'hello'],
    )
    assert.equal(
      (await send('POST', 'metadata/a/x.txt', { userMetadata: { b: '2' }, userMetadataUpdateMode: 'replace' }))
        .statusCode,
      200,
    )
    const replaced = (await send('GET', 'metadata/a/x.txt')).json<Record<string, unknown>>()
    assert.deepEqual(Object.keys(replaced.userMetadata as object), ['b'])
    assert.equal((await feed.findUnit('a/x.txt'))?.rows.length, 1)
  })

  it('is refused when it could break an answer', async (t) => {
    const { send } = await openAssets(t)
    await send('PUT', 'content/x', 'hello')
    for (const update of [
      { userMetadata: { 'set-cookie': { value: 'a=b', includeInResponseHeader: true } } },
      { userMetadata: { 'x-a': { value: 'a\r\nset-cookie: x', includeInResponseHeader: true } } },
      { userMetadata: { 'bad name': 'x' } },
      { userMetadata: { a: 5 } },
      { type: 'text/html\r\nx: y' },
      { userMetadata: Object.fromEntries(Array.from({ length: 101 }, (_value, at) => [`k${at}`, 'v'])) },
      [],
    ]) {
      assert.equal((await send('POST', 'metadata/x', update)).statusCode, 400, JSON.stringify(update).slice(0, 100))
    }
    assert.equal((await send('POST', 'metadata/missing', {})).statusCode, 404)
  })
})

describe('assets: uploads in parts', () => {
  const parts = ['hello ', 'big ', 'world']
  const total = parts.join('').length
  const partUrl = (at: number, id = 'u1') => {
    const offset = parts.slice(0, at).join('').length
    return `content/a/big.txt?multipart=upload&id=${id}&index=${at}&offset=${offset}&totalSize=${total}&partSize=${parts[at]?.length}&totalParts=3`
  }

  it('become visible when they are completed', async (t) => {
    const { send, list } = await openAssets(t)
    for (const at of [0, 1, 2]) {
      assert.equal((await send('POST', partUrl(at), parts[at], { 'content-type': 'text/x-part' })).statusCode, 200)
      assert.equal((await send('GET', 'content/a/big.txt')).statusCode, 404)
    }
    assert.equal((await send('POST', 'content/a/big.txt?multipart=complete&id=u1')).statusCode, 201)
    const answer = await send('GET', 'content/a/big.txt')
    assert.deepEqual([answer.body, answer.headers['content-type']], ['hello big world', 'text/x-part'])
    assert.equal((await list('dir/a'))[0]?.md5, createHash('md5').update('hello big world').digest('hex'))
    assert.equal((await send('POST', 'content/a/big.txt?multipart=complete&id=u1')).statusCode, 404)
  })

  it('say what is wrong with a part', async (t) => {
    const { send } = await openAssets(t)
    assert.equal((await send('POST', partUrl(1), parts[1])).statusCode, 404, 'not started')
    assert.equal((await send('POST', partUrl(0), parts[0])).statusCode, 200)
    assert.equal((await send('POST', partUrl(2), parts[2])).statusCode, 409, 'out of order')
    assert.equal((await send('POST', 'content/a/big.txt?multipart=complete&id=u1')).statusCode, 409, 'incomplete')
    assert.equal((await send('POST', partUrl(1), 'toolong')).statusCode, 413)
    assert.equal((await send('POST', partUrl(1, 'u2'), parts[1])).statusCode, 404, 'another id')
    assert.equal((await send('POST', partUrl(0).replace('totalSize=15', 'totalSize=16'), parts[0])).statusCode, 409)
    assert.equal(
      (await send('POST', partUrl(0).replace('totalSize=15', 'totalSize=99999999999999'), parts[0])).statusCode,
      413,
    )
    assert.equal((await send('POST', partUrl(0).replace('index=0', 'index=7'), parts[0])).statusCode, 400)
  })
})
