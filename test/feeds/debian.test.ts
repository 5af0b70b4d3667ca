import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { describe, it, type TestContext, test } from 'node:test'
import { gunzipSync, zstdDecompressSync } from 'node:zlib'
import fc from 'fast-check'
import { readDeb } from '../../protocols/feeds/debian/deb.ts'
import { debianFeedType } from '../../protocols/feeds/debian/feed-type.ts'
import { compareVersions } from '../../protocols/feeds/debian/version-order.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { findProgram } from '../clients/run-client.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from '../support/feed-server.ts'
import { createAr, createDeb, createEmptyFiles, createTar, type DebOptions, renderControl } from './deb-package.ts'

async function* pieces(bytes: Buffer, size = 777): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function assertRefused(deb: Buffer, why: RegExp, limits?: Parameters<typeof readDeb>[1]): Promise<void> {
  await assert.rejects(
    readDeb(pieces(deb), limits),
    (error) => isFeedmeshError(error, 'BAD_PACKAGE') && why.test(error.message),
  )
}

describe('a .deb', () => {
  for (const packing of ['gz', 'zst', ''] as const)
    it(`is read in pieces of any size, packed with ${packing || 'nothing'}`, async () => {
      const deb = await createDeb({ name: 'tool', version: '2:1.0~rc1-3', packing })
      for (const size of [1, 60, 4096, deb.length]) {
        const control = await readDeb(pieces(deb, size))
        assert.equal(`${control.package} ${control.version} ${control.architecture}`, 'tool 2:1.0~rc1-3 amd64')
        const text = [...control.fields.values()].join('\n')
        assert.equal(`${text}\n`, renderControl({ name: 'tool', version: '2:1.0~rc1-3' }))
      }
    })

  for (const xzCheck of ['sha256', 'crc64', 'crc32', 'none'])
    it(`is read, packed with xz and checks of ${xzCheck}`, {
      skip: !findProgram('xz') && 'xz is not here',
    }, async () => {
      const deb = await createDeb({ name: 'tool', version: '3.1-1', xzCheck })
      for (const size of [7, 4096]) assert.equal((await readDeb(pieces(deb, size))).version, '3.1-1')
      const control = deb.indexOf('control.tar.xz') + 60
      await assertRefused(Buffer.concat([deb.subarray(0, control), deb.subarray(control + 1)]), /./)
    })

  it('is refused when it is cut off anywhere', async () => {
    const deb = await createDeb({ packing: '' })
    for (let end = 0; end < deb.length - 1024; end += 331) await assertRefused(deb.subarray(0, end), /./)
  })

  for (const [what, options, why] of [
    ['a path out of the package', { files: [{ name: './../etc/passwd', content: 'x' }] }, /unsafe name/],
    ['an absolute path', { files: [{ name: '/etc/passwd', content: 'x' }] }, /unsafe name/],
    ['a hard link out of it', { files: [{ name: './a', type: 'link', linkname: '../../b' }] }, /unsafe name/],
    [
      'a file behind a link',
      {
        files: [
          { name: './a', type: 'symlink', linkname: '/etc' },
          { name: './a/passwd', content: 'x' },
        ],
      },
      /behind a link/,
    ],
    ['a field of the index', { fields: ['Filename: ../../other.deb'] }, /belongs to the index/],
    ['a field twice', { fields: ['Package: other'] }, /twice/],
    ['two paragraphs', { control: `${renderControl({})}\nPackage: b\n` }, /more than one paragraph/],
    ['a name that is none', { name: '../x' }, /field package/],
    ['a version that is none', { version: '1.0 beta' }, /field version/],
    ['an architecture that is none', { architecture: 'amd64/..' }, /field architecture/],
    ['no version', { control: 'Package: tool\nArchitecture: all\n' }, /no field version/],
    ['control data that is no text', { control: Buffer.from([0x50, 0xff, 0xfe]).toString('latin1') }, /./],
  ] as readonly (readonly [string, DebOptions, RegExp])[])
    it(`is refused with ${what}`, async () => assertRefused(await createDeb(options), why))

  it('is refused with 100,000 files, in no time; one less is taken', async () => {
    const control = await createTar([{ name: './control', content: renderControl({}) }])
    const withFiles = (count: number) =>
      createAr([
        { name: 'debian-binary', content: Buffer.from('2.0\n') },
        { name: 'control.tar', content: control },
        { name: 'data.tar', content: createEmptyFiles(count) },
      ])
    const startedAt = performance.now()
    await assert.rejects(readDeb(pieces(withFiles(100_000), 65_536)), /more than the 99999 members/)
    assert.equal((await readDeb(pieces(withFiles(99_999), 65_536))).package, 'tool')
    assert.ok(performance.now() - startedAt < 10_000)
  })

  it('is refused when it unpacks to far more than its size', async () => {
    const files = [{ name: './zeros', content: Buffer.alloc(80 * 1024 ** 2) }]
    await assertRefused(await createDeb({ files, packing: 'zst' }), /times its size/)
  })

  it('is refused with a packing that cannot be read, two sets of control data, or data first', async () => {
    const format = { name: 'debian-binary', content: Buffer.from('2.0\n') }
    const control = {
      name: 'control.tar',
      content: await createTar([{ name: './control', content: renderControl({}) }]),
    }
    const data = { name: 'data.tar', content: await createTar([{ name: './x', content: 'x' }]) }
    await assertRefused(createAr([format, control, { ...data, name: 'data.tar.bz2' }]), /not supported/)
    await assertRefused(createAr([format, control, control, data]), /not where it belongs/)
    await assertRefused(createAr([format, data, control]), /not where it belongs/)
    await assertRefused(createAr([format, control]), /no control data or no data/)
    await assertRefused(createAr([control, data]), /not of format 2/)
    await assertRefused(
      createAr([format, control, data, { name: 'more', content: Buffer.from('x') }]),
      /has the member/,
    )
  })

  it('fails in one way only, whatever the bytes', async () => {
    const deb = await createDeb({ packing: 'gz' })
    await fc.assert(
      fc.asyncProperty(fc.nat(deb.length - 1), fc.uint8Array({ minLength: 1, maxLength: 40 }), async (at, noise) => {
        const damaged = Buffer.concat([deb.subarray(0, at), noise, deb.subarray(at + noise.length)])
        await readDeb(pieces(damaged)).catch((error: unknown) =>
          assert.ok(isFeedmeshError(error, 'BAD_PACKAGE'), String(error)),
        )
      }),
      { numRuns: 150, seed: 7 },
    )
  })
})

describe('order of versions', () => {
  const part = fc.stringMatching(/^[0-9A-Za-z.+~]{0,6}$/)
  const version = fc
    .tuple(fc.option(fc.nat(3)), fc.stringMatching(/^[0-9][0-9a-zA-Z.+~]{0,7}$/), fc.option(part))
    .map(([epoch, upstream, revision]) => {
      const end = revision === null || revision === '' ? '' : `-${revision}`
      return `${epoch === null ? '' : `${epoch}:`}${upstream}${end}`
    })

  it('is an order', () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        assert.equal(Math.sign(compareVersions(a, b)), -Math.sign(compareVersions(b, a)))
        if (compareVersions(a, b) <= 0 && compareVersions(b, c) <= 0) assert.ok(compareVersions(a, c) <= 0)
      }),
      { seed: 7 },
    )
  })

  for (const [older, newer] of [
    ['1.0~rc1', '1.0'],
    ['1.0', '1.0-1'],
    ['1.0-1', '1.0-1+b1'],
    ['1.0-1~bpo1', '1.0-1'],
    ['9', '10'],
    ['1.0a', '1.0+'],
    ['2.0', '1:0.1'],
    ['1.0-9', '1.0.1-1'],
  ] as const)
    it(`puts ${older} before ${newer}`, () => assert.ok(compareVersions(older, newer) < 0))

  const dpkg = findProgram('dpkg')
  it('is that of dpkg', { skip: dpkg === undefined ? 'not installed: dpkg' : false }, () => {
    const pairs = fc.sample(fc.tuple(version, version), { numRuns: 400, seed: 11 })
    const known = [
      '1.0',
      '1.0-1',
      '1.0~',
      '1.0~~',
      '1.0~~a',
      '1.0+b1',
      '1.0-0',
      '0:1.0',
      '1.00',
      '1.0.0',
      '1a',
      '1.',
      '1-',
    ]
    for (const a of known) for (const b of known) if (a !== '1-' && b !== '1-') pairs.push([a, b])
    const script = pairs
      .map(
        ([a, b]) =>
          `dpkg --compare-versions '${a}' lt '${b}' && echo -1 || { dpkg --compare-versions '${a}' eq '${b}' && echo 0 || echo 1; }`,
      )
      .join('\n')
    const { stdout } = spawnSync('/bin/sh', { input: script, encoding: 'utf8', stdio: ['pipe', 'pipe', 'ignore'] })
    const expected = stdout.trim().split('\n').map(Number)
    assert.equal(expected.length, pairs.length)
    for (const [at, [a, b]] of pairs.entries())
      assert.equal(Math.sign(compareVersions(a, b)), expected[at], `${a} and ${b}`)
  })
})

async function openRepository(t: TestContext) {
  let ahead = 0
  const server = await createFeedServer([debianFeedType])
  t.after(() => server[Symbol.asyncDispose]())
  const feed = server.addFeed('debian', 'main', { now: () => Date.now() + ahead })
  const call = (
    method: 'GET' | 'PUT' | 'DELETE',
    url: string,
    payload?: Buffer,
    headers: Record<string, string> = {},
  ) =>
    server.app.inject({
      method,
      url: `/debian/main${url}`,
      headers: { ...withKey(PUBLISHER_KEY), ...headers },
      ...(payload === undefined ? {} : { payload }),
    })
  const put = async (options: DebOptions, place = 'stable/main') => {
    const { name = 'tool', version = '1.0-1', architecture = 'amd64' } = options
    const file = `${name}_${version.replace(/^\d+:/, '')}_${architecture}.deb`
    return await call('PUT', `/pool/${place}/${file}`, await createDeb(options))
  }
  const packages = async (architecture = 'amd64', place = 'stable/main') => {
    const { body } = await call('GET', `/dists/${place}/binary-${architecture}/Packages`)
    return [...body.matchAll(/^Package: (.*)\n(?:.*\n)*?Version: (.*)\n/gm)].map(
      ([, name, version]) => `${name} ${version}`,
    )
  }
  return { feed, call, put, packages, advance: (ms: number) => void (ahead += ms) }
}

/** All frames: Node's own reader stops after the first. */
function unpackFrames(bytes: Buffer): Buffer {
  const frames: Buffer[] = []
  for (let at = 0; at < bytes.length; ) {
    const { buffer, engine } = zstdDecompressSync(bytes.subarray(at), { info: true }) as unknown as {
      readonly buffer: Buffer
      readonly engine: { readonly bytesWritten: number }
    }
    frames.push(buffer)
    at += engine.bytesWritten
  }
  return Buffer.concat(frames)
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

test('every document is what Release says of it, in each encoding and by its hash', async (t) => {
  const { call, put } = await openRepository(t)
  for (let at = 0; at < 40; at += 1)
    assert.equal(
      (await put({ name: `tool${at}`, fields: [`X-Noise: ${randomBytes(8000).toString('hex')}`] })).statusCode,
      201,
    )
  const { body: release } = await call('GET', '/dists/stable/Release')
  assert.match(release, /^Suite: stable$/m)
  assert.match(release, /^Acquire-By-Hash: yes$/m)
  assert.match(release, /^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d UTC$/m)
  const listed = [...release.matchAll(/^ ([0-9a-f]{64}) (\d+) (\S+)$/gm)]
  assert.equal(listed.length, 6)
  for (const [, digest = '', size = '', path = ''] of listed) {
    const whole = (await call('GET', `/dists/stable/${path}`)).rawPayload
    assert.equal(whole.length, Number(size), path)
    assert.equal(sha256(whole), digest, path)
    const folder = path.slice(0, path.lastIndexOf('/'))
    const byHash = await call('GET', `/dists/stable/${folder}/by-hash/SHA256/${digest}`)
    assert.ok(byHash.rawPayload.equals(whole), path)
    if (whole.length < 1000) continue
    const part = await call('GET', `/dists/stable/${path}`, undefined, { range: 'bytes=777-200776' })
    assert.equal(part.statusCode, 206)
    assert.ok(part.rawPayload.equals(whole.subarray(777, 200_777)), path)
  }
  const read = async (suffix: string) =>
    (await call('GET', `/dists/stable/main/binary-amd64/Packages${suffix}`)).rawPayload
  const text = await read('')
  assert.ok(text.length > 600_000)
  assert.ok(gunzipSync(await read('.gz')).equals(text))
  assert.ok(unpackFrames(await read('.zst')).equals(text))
})

test('packages for all architectures are in each list, also in those that come later', async (t) => {
  const { put, packages } = await openRepository(t)
  await put({ name: 'docs', architecture: 'all' })
  await put({ name: 'tool', architecture: 'amd64' })
  assert.deepEqual(await packages('amd64'), ['docs 1.0-1', 'tool 1.0-1'])
  assert.deepEqual(await packages('arm64'), ['docs 1.0-1'])
  await put({ name: 'chip', architecture: 'riscv64' })
  assert.deepEqual(await packages('riscv64'), ['chip 1.0-1', 'docs 1.0-1'])
})

test('suites and components are chosen by the path or by the query', async (t) => {
  const { call, put, packages } = await openRepository(t)
  await put({ name: 'tool' }, 'testing/contrib')
  const deb = await createDeb({ name: 'tool', version: '2.0' })
  assert.equal((await call('PUT', '/tool_2.0_amd64.deb?suite=testing&component=main', deb)).statusCode, 201)
  assert.equal((await call('PUT', '/tool_2.0_amd64.deb', deb)).statusCode, 201)
  assert.deepEqual(await packages('amd64', 'testing/contrib'), ['tool 1.0-1'])
  assert.deepEqual(await packages('amd64', 'testing/main'), ['tool 2.0'])
  assert.deepEqual(await packages(), ['tool 2.0'])
  const { body } = await call('GET', '/dists/testing/Release')
  assert.match(body, /^Components: contrib main$/m)
})

test('the same file again is no error, other content under its version is', async (t) => {
  const { put, packages } = await openRepository(t)
  assert.equal((await put({})).statusCode, 201)
  assert.equal((await put({})).statusCode, 200)
  const other = await put({ fields: ['Section: misc'] })
  assert.equal(other.statusCode, 409)
  assert.match(other.body, /raise its version/)
  assert.equal((await put({ version: '1:1.0-1' })).statusCode, 201)
  assert.deepEqual(await packages(), ['tool 1.0-1', 'tool 1:1.0-1'])
})

test('what is deleted leaves the list, and its document by hash stays for who has begun with it', async (t) => {
  const { call, put, packages } = await openRepository(t)
  await put({})
  const before = (await call('GET', '/dists/stable/main/binary-amd64/Packages')).rawPayload
  const path = '/pool/stable/main/t/tool/tool_1.0-1_amd64.deb'
  assert.equal((await call('DELETE', path)).statusCode, 204)
  assert.deepEqual(await packages(), [])
  assert.equal((await call('GET', path)).statusCode, 404)
  const kept = await call('GET', `/dists/stable/main/binary-amd64/by-hash/SHA256/${sha256(before)}`)
  assert.ok(kept.rawPayload.equals(before))
})

test('dput’s last step says when a package was not uploaded as the .changes names it', async (t) => {
  const { call, put } = await openRepository(t)
  const deb = await createDeb({})
  const changes = (digest: string) =>
    Buffer.from(
      `Format: 1.8\nDistribution: stable\nChecksums-Sha256:\n ${digest} ${deb.length} tool_1.0-1_amd64.deb\n ${'0'.repeat(64)} 5 tool_1.0-1_amd64.buildinfo\n`,
    )
  assert.equal((await call('PUT', '/tool_1.0-1_amd64.changes', changes(sha256(deb)))).statusCode, 400)
  await put({})
  assert.equal((await call('PUT', '/tool_1.0-1_amd64.buildinfo', Buffer.from('hello'))).statusCode, 200)
  assert.equal((await call('PUT', '/tool_1.0-1_amd64.changes', changes(sha256(deb)))).statusCode, 201)
  const other = await call('PUT', '/tool_1.0-1_amd64.changes', changes('f'.repeat(64)))
  assert.equal(other.statusCode, 400)
  assert.match(other.body, /was not uploaded to stable\/main/)
})

test('apt’s question by date is answered with 304 only for the very date of what is here', async (t) => {
  const { call, put, advance } = await openRepository(t)
  advance(-60_000)
  await put({})
  const { headers } = await call('GET', '/dists/stable/InRelease')
  const date = String(headers['last-modified'])
  const ask = async (since: string) =>
    (await call('GET', '/dists/stable/InRelease', undefined, { 'if-modified-since': since })).statusCode
  assert.equal(await ask(date), 304)
  assert.equal(await ask(new Date(Date.parse(date) + 5000).toUTCString()), 200)
  assert.equal(await ask(new Date(Date.parse(date) - 5000).toUTCString()), 200)
})
