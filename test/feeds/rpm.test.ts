import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, mkdir, readFile, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import { createMessage, readKeys, readSignature, verify } from 'openpgp'
import { rpmFeedType } from '../../protocols/feeds/rpm/feed-type.ts'
import { SIGNATURE_TAGS, TAGS } from '../../protocols/feeds/rpm/tags.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import type { UnsignedPolicy } from '../../src/feeds/feed.ts'
import { buildRpm, createRepository, missingPrograms } from '../clients/rpm/drivers.ts'
import { createFolder } from '../clients/run-client.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from '../support/feed-server.ts'
import { createRpm, type RpmOptions } from './rpm-package.ts'

async function openRepository(t: TestContext, options: { readonly unsigned?: UnsignedPolicy } = {}) {
  let ahead = 0
  const server = await createFeedServer([rpmFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed('rpm', 'main', { ...options, now: () => Date.now() + ahead })
  const call = (
    method: 'GET' | 'HEAD' | 'PUT' | 'DELETE',
    url: string,
    payload?: Buffer,
    headers: Record<string, string> = {},
  ) =>
    server.app.inject({
      method,
      url: `/rpm/main${url}`,
      headers: { ...withKey(PUBLISHER_KEY), ...headers },
      ...(payload === undefined ? {} : { payload }),
    })
  const put = async (options: RpmOptions, place = '/packages') => {
    const { name = 'tool', version = '1.0', release = '1', arch = 'noarch' } = options
    return await call('PUT', `${place}/${name}-${version}-${release}.${arch}.rpm`, await createRpm(options))
  }
  const list = async (type: string) => {
    const { body } = await call('GET', '/repodata/repomd.xml')
    const href = new RegExp(`<data type="${type}">[^]*?<location href="([^"]+)"`).exec(body)?.[1] ?? ''
    return gunzipSync((await call('GET', `/${href}`)).rawPayload).toString()
  }
  const packages = async () =>
    [
      ...(await list('primary')).matchAll(/<name>(.*)<\/name>\n.*\n {2}<version epoch="(.*)" ver="(.*)" rel="(.*)"/g),
    ].map(([, name, epoch, version, release]) => `${name} ${epoch}:${version}-${release}`)
  return { feed, call, put, list, packages, advance: (ms: number) => void (ahead += ms) }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Elements of packages by their digests. */
function elementsOf(document: string): Map<string, string> {
  const found = new Map<string, string>()
  for (const [element] of document.matchAll(/<package [^]*?<\/package>/g))
    found.set(/pkgid="([0-9a-f]{64})"|pkgid="YES">([0-9a-f]{64})/.exec(element)?.slice(1).join('') ?? '', element)
  return found
}

test('every list is what repomd.xml says of it, also as zst and as text, and the whole is signed', async (t) => {
  const { call, put } = await openRepository(t)
  const noise = Array.from({ length: 400 }, (_, at) => ({ path: `/usr/share/noise/${'n'.repeat(40)}${at}` }))
  for (let at = 0; at < 40; at += 1)
    assert.equal(
      (await put({ name: `tool${at}`, files: noise.map(({ path }) => ({ path: `${path}-${at}` })) })).statusCode,
      201,
    )
  const { body, rawPayload: repomd } = await call('GET', '/repodata/repomd.xml')
  const listed = [
    ...body.matchAll(
      /<checksum type="sha256">(\w+)<\/checksum>\s+<open-checksum type="sha256">(\w+)<\/open-checksum>\s+<location href="(.*)"\/>\s+<timestamp>\d+<\/timestamp>\s+<size>(\d+)<\/size>\s+<open-size>(\d+)<\/open-size>/g,
    ),
  ]
  assert.equal(listed.length, 3)
  for (const [, digest = '', openDigest = '', href = '', size, openSize] of listed) {
    const packed = (await call('GET', `/${href}`)).rawPayload
    assert.equal(href, `repodata/${digest}-${href.slice(href.indexOf('-') + 1)}`)
    assert.equal(`${packed.length} ${sha256(packed)}`, `${size} ${digest}`)
    const text = gunzipSync(packed)
    assert.equal(`${text.length} ${sha256(text)}`, `${openSize} ${openDigest}`)
    const name = href.replace(/^.*-/, '').replace(/\.gz$/, '')
    assert.ok((await call('GET', `/repodata/${openDigest}-${name}`)).rawPayload.equals(text))
    assert.equal((await call('GET', `/repodata/${digest}-x${name}.gz`)).statusCode, 404)
    assert.match(text.toString(), /packages="40">\n/)
    assert.equal(elementsOf(text.toString()).size, 40)
  }
  const { body: signature } = await call('GET', '/repodata/repomd.xml.asc')
  const { body: keys } = await call('GET', '/repodata/repomd.xml.key')
  const verificationKeys = await readKeys({ armoredKeys: keys })
  const message = await createMessage({ binary: repomd })
  const detached = await readSignature({ armoredSignature: signature })
  const { signatures } = await verify({ message, signature: detached, verificationKeys })
  assert.equal(await signatures[0]?.verified, true)
})

test('packages come and go, in several versions and architectures', async (t) => {
  const { call, put, packages } = await openRepository(t)
  assert.deepEqual(await packages(), [])
  for (const options of [
    { name: 'tool', version: '1.0' },
    { name: 'tool', version: '1.1' },
    { name: 'tool', version: '1.1', arch: 'x86_64' },
    { name: 'tool', version: '1.1', epoch: 3 },
    { name: 'docs' },
  ])
    assert.equal((await put(options, options.name === 'docs' ? '' : '/packages')).statusCode, 201)
  assert.deepEqual(await packages(), ['docs 0:1.0-1', 'tool 0:1.0-1', 'tool 0:1.1-1', 'tool 0:1.1-1', 'tool 3:1.1-1'])
  const path = '/packages/epoch-3/tool-1.1-1.noarch.rpm'
  const before = await call('GET', '/repodata/repomd.xml')
  const [, href = ''] = /href="(.*primary\.xml\.gz)"/.exec(before.body) ?? []
  assert.equal((await call('GET', path)).statusCode, 200)
  assert.equal((await call('DELETE', path)).statusCode, 204)
  assert.equal((await call('GET', path)).statusCode, 404)
  assert.deepEqual(await packages(), ['docs 0:1.0-1', 'tool 0:1.0-1', 'tool 0:1.1-1', 'tool 0:1.1-1'])
  // Whoever has read the old index goes on with its lists.
  assert.match(gunzipSync((await call('GET', `/${href}`)).rawPayload).toString(), /epoch="3"/)
})

test('the same file again is no error, other content under its version is', async (t) => {
  const { put, packages } = await openRepository(t)
  assert.equal((await put({})).statusCode, 201)
  assert.equal((await put({})).statusCode, 200)
  const other = await put({ summary: 'something else' })
  assert.equal(other.statusCode, 409)
  assert.match(other.body, /tool-1\.0-1\.noarch\.rpm \(epoch 0\) is in the feed already, with other content; raise/)
  // No epoch and the epoch 0 are one.
  assert.equal((await put({ epoch: 0 })).statusCode, 409)
  assert.deepEqual(await packages(), ['tool 0:1.0-1'])
})

test('a file that is called otherwise than its header says is refused with what it should be called', async (t) => {
  const { call, packages } = await openRepository(t)
  const rpm = await createRpm({ epoch: 1 })
  for (const name of [
    'tool-1.1-1.noarch.rpm',
    'tool-1.0-1.x86_64.rpm',
    'tools-1.0-1.noarch.rpm',
    'tool.rpm',
    '1:tool-1.0-1.noarch.rpm',
  ]) {
    const { statusCode, body } = await call('PUT', `/packages/${name}`, rpm)
    assert.equal(statusCode, 400)
    assert.match(body, /its header says tool-1\.0-1\.noarch\.rpm/)
  }
  assert.deepEqual(await packages(), [])
})

test('a feed that refuses unsigned packages takes those with a signature, and keeps nothing of others', async (t) => {
  const { feed, put, packages } = await openRepository(t, { unsigned: 'refuse' })
  const why = /tool-1\.0-1\.noarch\.rpm is not signed by its publisher[^]*feedmesh feed edit main --unsigned accept/
  // Nothing, what is no packet of OpenPGP, another kind of packet, and what is not in base64.
  for (const signature of [
    {},
    { [SIGNATURE_TAGS.rsaHeader]: Buffer.from('signed, believe me') },
    { [SIGNATURE_TAGS.gpg]: Buffer.from([0x99, 1, 2, 3]) },
    { [SIGNATURE_TAGS.openPgp]: ['====', 'bm90aGluZw=='] },
  ]) {
    const { statusCode, body } = await put({ signature })
    assert.equal(statusCode, 400)
    assert.match(body, why)
  }
  const rpm = await createRpm({})
  const file = {
    name: 'tool-1.0-1.noarch.rpm',
    size: rpm.length,
    open: async function* () {
      yield rpm
    },
  }
  await assert.rejects(
    rpmFeedType.publishFile(feed, file),
    (error) => isFeedmeshError(error, 'BAD_PACKAGE') && why.test(error.message),
  )
  assert.deepEqual(await packages(), [])
  assert.equal(await feed.findUnit('tool'), undefined)
  const packet = Buffer.from([0x89, 0x01, 0x33, 0x04])
  for (const [at, signature] of [
    { [SIGNATURE_TAGS.rsaHeader]: packet },
    { [SIGNATURE_TAGS.gpg]: Buffer.from([0xc2, 0x33, 0x04]) },
    { [SIGNATURE_TAGS.openPgp]: [packet.toString('base64')] },
  ].entries())
    assert.equal((await put({ version: `2.${at}`, signature })).statusCode, 201)
  assert.deepEqual(await packages(), ['tool 0:2.0-1', 'tool 0:2.1-1', 'tool 0:2.2-1'])
})

test('a list of files that is larger than is kept is refused, and nothing is stored', async (t) => {
  const { put, packages } = await openRepository(t)
  const files = Array.from({ length: 60_000 }, (_, at) => ({ path: `/usr/share/${'long'.repeat(40)}-${at}` }))
  const { statusCode, body } = await put({ files, payload: Buffer.from('07070X'), packing: '' })
  assert.equal(statusCode, 400)
  assert.match(body, /takes \d+ bytes; up to 8388608 are kept/)
  assert.deepEqual(await packages(), [])
})

test('a signature is of the repomd.xml that the client has, although a newer one was signed', async (t) => {
  const { call, put } = await openRepository(t)
  const client = { 'user-agent': 'dnf' }
  await put({ name: 'a' })
  const first = await call('GET', '/repodata/repomd.xml', undefined, client)
  const firstSignature = await call('GET', '/repodata/repomd.xml.asc')
  await put({ name: 'b' })
  const other = await call('GET', '/repodata/repomd.xml', undefined, { 'user-agent': 'zypper' })
  assert.notEqual(other.body, first.body)
  assert.equal((await call('GET', '/repodata/repomd.xml.asc', undefined, client)).body, firstSignature.body)
  const newest = (await call('GET', '/repodata/repomd.xml.asc')).body
  assert.notEqual(newest, firstSignature.body)
  assert.equal((await call('GET', '/repodata/repomd.xml', undefined, client)).body, other.body)
  assert.equal((await call('GET', '/repodata/repomd.xml.asc', undefined, client)).body, newest)
})

test('rows whose metadata cannot be understood are left out of the index', async (t) => {
  const { feed, put, packages } = await openRepository(t)
  await put({ name: 'good' })
  const bad = ['{}', 'no json', '{"headerStart":-1}', '[]', '{"headerStart":1,"headerEnd":2,"archiveBytes":"3"}']
  for (const [at, meta] of bad.entries()) {
    await using staged = await feed.stage({ maxBytes: 10 })
    await staged.write(Buffer.from('x'))
    const files = [{ role: 'rpm', blob: await staged.seal() }]
    await feed.change('bad', () => ({
      put: [{ key: `p/0:${at}-1.noarch`, rowClass: 'immutable', meta: Buffer.from(meta), files }],
    }))
  }
  assert.deepEqual(await packages(), ['good 0:1.0-1'])
})

test('texts with marks, control characters and in an old encoding stay one document', async (t) => {
  const { put, list } = await openRepository(t)
  await put({
    summary: 'café \u0001\u0007 <b> & "x" ]]>\r\n',
    files: [{ path: '/usr/bin/a"<&' }],
    header: { [TAGS.vendor]: { latin1: 'Olé' }, [TAGS.url]: 'https://x.invalid/\ufffe' },
  })
  const primary = await list('primary')
  assert.match(primary, /<summary>café {2}&lt;b&gt; &amp; "x" \]\]&gt;&#13;\n<\/summary>/)
  assert.match(primary, /<file>\/usr\/bin\/a"&lt;&amp;<\/file>/)
  assert.match(primary, /<rpm:vendor>Olé<\/rpm:vendor>/)
  assert.match(primary, /<url>https:\/\/x\.invalid\/<\/url>/)
})

const RICH_TAGS = [
  'Epoch: 2',
  'Summary(de): tut etwas',
  'URL: https://tool.invalid/?a=1&b=2',
  'Vendor: Some & Co',
  'Packager: Some Body <some@body.invalid>',
  'Group: Development/Tools',
  'Provides: tool-api = 5, virtual-thing, config(rich) = 2:1.0-1',
  'Requires: libfoo >= 1.2-3, libfoo < 2, (bar or baz), virtual-thing, /etc/rich.conf, /usr/share/rich/notes, ownless',
  'Requires: libc.so.6(GLIBC_2.4)(64bit), libc.so.6(GLIBC_2.34)(64bit), libc.so.6()(64bit)',
  'Requires: libfoo >= 1.2-3',
  'Provides: own, own-version = 1:2-3, /opt/own',
  'Requires: own, own-version, own-version = 1:2-3, own-version = 2-3, own-version >= 1, own = 5, /opt/own, rich = 2:1.0-1, rich',
  'Requires(pre): shadow-utils, ownless',
  'Requires(post): /usr/bin/thing',
  'Requires(preun): before',
  'Conflicts: oldtool < 1',
  'Obsoletes: oldtool <= 3:1-2',
  'Recommends: docs-thing = 1',
  'Suggests: sug',
  'Supplements: (a and b)',
  'Enhances: enh > 4',
]
const RICH_INSTALL = [
  'mkdir -p $R/usr/bin $R/etc/rich.d $R/usr/share/rich $R/usr/lib $R/usr/share/doc/rich',
  'for f in usr/bin/rich etc/rich.conf etc/rich.d/a.conf usr/share/rich/notes usr/lib/sendmail "usr/share/rich/a & b.txt"; do echo x > "$R/$f"; done',
  'ln $R/usr/share/rich/notes $R/usr/share/rich/linked',
  'ln -s rich $R/usr/bin/rich2',
  'echo caf\u00e9 > $R/usr/share/rich/caf\u00e9',
  'echo doc > $R/usr/share/doc/rich/README',
]
const RICH_FILES = [
  '/usr/bin/rich*',
  '%config(noreplace) /etc/rich.conf',
  '%dir /etc/rich.d',
  '/etc/rich.d/a.conf',
  '%ghost /etc/rich.d/ghost.conf',
  '/usr/share/rich',
  '/usr/lib/sendmail',
  '%doc /usr/share/doc/rich/README',
]
/** More than are listed, three on each day. */
const RICH_CHANGELOG = ['Mon Nov 23', 'Sun Nov 22', 'Sat Nov 21', 'Fri Nov 20'].flatMap((day) =>
  ['c', 'b', 'a'].flatMap((one) => [
    `* ${day} 2026 Some Body <some@body.invalid> - 1.0-1`,
    `- Change ${one} of ${day} & <more>`,
    '- Second',
  ]),
)

test('each element is what createrepo_c writes', { skip: missingPrograms('rpmbuild', 'createrepo_c') }, async (t) => {
  const { call, list } = await openRepository(t)
  const builder = await createFolder(t)
  const folder = join(builder, 'repository')
  await mkdir(folder)
  const build = (name: string, options: Partial<Parameters<typeof buildRpm>[1]> = {}) =>
    buildRpm(join(builder, name), { name, ...options })
  const rich = { tags: RICH_TAGS, install: RICH_INSTALL, files: RICH_FILES, changelog: RICH_CHANGELOG }
  const made = [
    await build('plain', { payload: 'w9.gzdio' }),
    await build('rich', { ...rich, payload: 'w6.xzdio' }),
    await build('caret', { version: '1.0~rc1^git5', release: '2.el9', payload: 'w3.zstdio' }),
    await build('empty', { install: [], files: ['%dir /'], payload: 'w.ufdio' }),
    await build('nothing', { install: [], files: [] }),
    await build('origin', { kind: '-bs', tags: ['BuildRequires: make, gcc >= 12', 'Epoch: 1'] }),
  ]
  const times = new Map<string, string>()
  for (const file of made) {
    const name = basename(file)
    const content = await readFile(file)
    assert.equal((await call('PUT', `/packages/${name}`, content)).statusCode, 201, name)
    await copyFile(file, join(folder, name))
    times.set(sha256(content), String(Math.floor((await stat(join(folder, name))).mtimeMs / 1000)))
  }
  const theirs = await createRepository(folder)
  for (const type of ['primary', 'filelists', 'other']) {
    const document = gunzipSync(theirs.get(type) ?? Buffer.alloc(0)).toString()
    const [expected, ours] = [elementsOf(document), elementsOf(await list(type))]
    assert.equal(expected.size, made.length)
    assert.deepEqual([...ours.keys()].sort(), [...expected.keys()].sort())
    for (const [id, element] of expected) {
      // When a file came, and where it lies, is each repository's own.
      const mine = (ours.get(id) ?? '')
        .replace(/<location href="packages\/(?:epoch-\d+\/)?/, '<location href="')
        .replace(/<time file="\d+"/, `<time file="${times.get(id)}"`)
      assert.equal(mine, element, type)
    }
  }
})
