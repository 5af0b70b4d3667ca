import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it, type TestContext, test } from 'node:test'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { RPM_LIMITS, type RpmLimits, readRpm } from '../../protocols/feeds/rpm/rpm-file.ts'
import { SIGNATURE_TAGS, TAGS } from '../../protocols/feeds/rpm/tags.ts'
import { compareSegments, compareVersions } from '../../protocols/feeds/rpm/version-order.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { buildRpm, compareWithRpm, createPackageSigner, missingPrograms } from '../clients/rpm/drivers.ts'
import { createFolder } from '../clients/run-client.ts'
import { createCpio, createRpm, encodeHeader, type RpmOptions } from './rpm-package.ts'

async function* pieces(bytes: Buffer, size = 777): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function assertRefused(rpm: Buffer, why: RegExp, limits?: RpmLimits): Promise<void> {
  await assert.rejects(readRpm(pieces(rpm), limits), (error) => {
    assert.ok(isFeedmeshError(error, 'BAD_PACKAGE'), String(error))
    assert.match(error.message, why)
    return true
  })
}

function flip(bytes: Buffer, at: number): Buffer {
  const damaged = Buffer.from(bytes)
  damaged[at] = (damaged[at] ?? 0) ^ 1
  return damaged
}

describe('an .rpm', () => {
  for (const packing of ['gz', 'xz', 'zst', ''] as const)
    it(`is read in pieces of any size, packed with ${packing || 'nothing'}`, async () => {
      const rpm = await createRpm({ name: 'tool', epoch: 2, version: '1.0~rc1', release: '3', packing })
      for (const size of [1, 96, 4096, rpm.length]) {
        const read = await readRpm(pieces(rpm, size))
        assert.equal(
          `${read.name} ${read.epoch}:${read.version}-${read.release} ${read.arch}`,
          'tool 2:1.0~rc1-3 noarch',
        )
        assert.deepEqual(read.files, [{ folder: '/usr/share/', name: 'tool', type: '' }])
        assert.equal(rpm.readUInt32BE(read.headerStart), 0x8eade801)
      }
    })

  it('is refused when it is cut off anywhere', async () => {
    const rpm = await createRpm({ packing: '', files: [{ path: '/a', content: 'x'.repeat(900) }] })
    for (let end = 0; end < rpm.length; end += 83) await assertRefused(rpm.subarray(0, end), /./)
    await assertRefused(rpm.subarray(0, rpm.length - 1), /cut off/)
    await assertRefused(Buffer.concat([rpm, Buffer.from('more')]), /not \d+ as it says/)
  })

  const evil = (name: string) => createCpio([{ name, content: Buffer.from('x'), mode: 0o100644 }])
  for (const [what, options, why] of [
    ['a path out of the package', { files: [{ path: '/usr/../../etc/passwd' }] }, /unsafe name/],
    ['a relative path', { files: [{ path: 'etc/passwd' }] }, /unsafe name/],
    ['a member out of the package', { payload: evil('../../etc/passwd') }, /header does not list/],
    ['a member that is not in its header', { payload: evil('./etc/passwd') }, /header does not list/],
    ['a payload that is no cpio archive', { payload: Buffer.from('PK\u0003\u0004 and so on') }, /no cpio archive/],
    ['a payload that is cut off', { payload: evil('./usr/share/tool').subarray(0, 150) }, /cut off/],
    ['a name that is none', { name: '../x' }, /can be called/],
    ['a version that is none', { version: '1.0-beta' }, /can be called/],
    ['an architecture that is none', { arch: '../x' }, /can be called/],
    ['no name', { header: { [TAGS.name]: undefined } }, /no name/],
    ['a name that is a number', { header: { [TAGS.name]: { int32: [5] } } }, /of type 4/],
    ['lists of files of different lengths', { header: { [TAGS.fileModes]: { int16: [1, 2] } } }, /do not fit together/],
    ['a folder that is not there', { header: { [TAGS.dirIndexes]: { int32: [7] } } }, /do not fit together/],
    ['requirements without versions', { header: { 1049: ['a', 'b'], 1048: { int32: [0] } } }, /requires does not fit/],
    ['a payload in another format', { header: { [TAGS.payloadFormat]: 'drpm' } }, /not cpio/],
    ['another packing', { header: { [TAGS.payloadCompressor]: 'bzip2' } }, /use gzip, xz or zstd/],
    ['another packing than it says', { header: { [TAGS.payloadCompressor]: 'xz' } }, /not packed with xz/],
    [
      'a digest by an unknown algorithm',
      { header: { [TAGS.payloadDigestAlgorithm]: { int32: [99] } } },
      /unknown algorithm/,
    ],
    ['another digest of its payload', { header: { [TAGS.payloadDigest]: ['0'.repeat(64)] } }, /digest of its payload/],
    [
      'another digest of what is in it',
      { header: { [TAGS.payloadDigestUnpacked]: ['0'.repeat(64)] } },
      /unpacked payload/,
    ],
    [
      'another digest of its header',
      { signature: { [SIGNATURE_TAGS.sha256Header]: '0'.repeat(64) } },
      /sha256 of its header/,
    ],
    [
      'another old digest of its header',
      { signature: { [SIGNATURE_TAGS.sha1Header]: '0'.repeat(40) } },
      /sha1 of its header/,
    ],
    ['another digest of all', { signature: { [SIGNATURE_TAGS.md5]: Buffer.alloc(16) } }, /md5 of its content/],
    [
      'no digests at all',
      {
        signature: {
          [SIGNATURE_TAGS.sha256Header]: undefined,
          [SIGNATURE_TAGS.sha1Header]: undefined,
          [SIGNATURE_TAGS.md5]: undefined,
        },
      },
      /no digest of its header/,
    ],
  ] as readonly (readonly [string, RpmOptions, RegExp])[])
    it(`is refused with ${what}`, async () => assertRefused(await createRpm(options), why))

  it('is refused when a bit of it changed', async () => {
    const rpm = await createRpm({})
    const { headerStart, headerEnd } = await readRpm(pieces(rpm))
    for (const at of [headerStart + 600, headerEnd - 3, headerEnd + 30, rpm.length - 9])
      await assertRefused(flip(rpm, at), /./)
  })

  it('is refused when a header is larger than is read, or lies about itself', async () => {
    const rpm = await createRpm({})
    const large = { ...RPM_LIMITS, header: { maxEntries: 1024, maxStoreBytes: 100 } }
    await assertRefused(rpm, /up to 100 are read/, large)
    await assertRefused(rpm, /up to 5 are read/, { ...RPM_LIMITS, header: { maxEntries: 5, maxStoreBytes: 1e6 } })
    const claiming = Buffer.from(rpm)
    claiming.writeUInt32BE(0xfffffff0, 96 + 12)
    await assertRefused(claiming, /up to \d+ are read/)
    const lead = rpm.subarray(0, 96)
    await assertRefused(Buffer.concat([lead, encodeHeader({ 1000: 'a' }, 1000)]), /entry 1000 twice/)
    const outside = encodeHeader({ 1000: 'a' })
    outside.writeUInt32BE(99, 16 + 8)
    await assertRefused(Buffer.concat([lead, outside]), /does not lie within/)
    const endless = encodeHeader({ 269: 'abc' })
    endless[endless.length - 1] = 0x41
    await assertRefused(Buffer.concat([lead, endless, Buffer.alloc(4), rpm.subarray(-900)]), /./)
  })

  it('is refused with 100,000 files', async () => {
    const count = 100_000
    const header = {
      [TAGS.baseNames]: Array.from({ length: count }, (_, at) => `f${at}`),
      [TAGS.dirNames]: ['/usr/share/many/'],
      [TAGS.dirIndexes]: { int32: Array.from({ length: count }, () => 0) },
      [TAGS.fileModes]: { int16: Array.from({ length: count }, () => 0o100644) },
      [TAGS.fileFlags]: { int32: Array.from({ length: count }, () => 0) },
    }
    await assertRefused(await createRpm({ files: [], header }), /it has 100000 files; up to 99999 are taken/)
  })

  for (const [what, pack] of [
    ['zstd', (bytes: Buffer) => zstdCompressSync(bytes)],
    ['gzip', (bytes: Buffer) => gzipSync(bytes)],
  ] as const)
    it(`is refused when it unpacks to far more than its size, packed with ${what}`, async () => {
      const files = [{ path: '/zeros', content: Buffer.alloc(80 * 1024 ** 2) }]
      assert.ok(pack(files[0]?.content ?? Buffer.alloc(0)).length < 100_000)
      await assertRefused(await createRpm({ files, packing: what === 'zstd' ? 'zst' : 'gz' }), /times its size/)
    })

  for (const packing of ['gz', 'xz'] as const)
    it(`fails in one way only, whatever the bytes, packed with ${packing}`, async () => {
      const files = [{ path: '/usr/share/tool', content: Buffer.alloc(packing === 'xz' ? 150_000 : 8000, 'tool') }]
      const rpm = await createRpm({ packing, files })
      const { headerEnd } = await readRpm(pieces(rpm))
      // Half of them behind the header, whose digests find most of the others.
      const place = fc.oneof(fc.nat(rpm.length - 1), fc.integer({ min: headerEnd, max: rpm.length - 1 }))
      await fc.assert(
        fc.asyncProperty(place, fc.uint8Array({ minLength: 1, maxLength: 40 }), async (at, noise) => {
          const damaged = Buffer.concat([rpm.subarray(0, at), noise, rpm.subarray(at + noise.length)])
          await readRpm(pieces(damaged, 8192)).catch((error: unknown) =>
            assert.ok(isFeedmeshError(error, 'BAD_PACKAGE'), String(error)),
          )
        }),
        { numRuns: 150, seed: 7 },
      )
    })
})

describe('a package of rpmbuild', { skip: missingPrograms('rpmbuild') }, () => {
  const build = async (t: TestContext, payload: string, bytes = 300_000) => {
    const install = ['mkdir -p $R/opt/big', `head -c ${bytes} /dev/urandom > $R/opt/big/noise`]
    const folder = await createFolder(t)
    return await readFile(await buildRpm(folder, { name: 'big', payload, install, files: ['/opt/big'] }))
  }
  for (const [payload, bytes] of [
    ['w9.gzdio', 300_000],
    ['w6.xzdio', 300_000],
    // Threads make several blocks.
    ['w0T2.xzdio', 3_000_000],
    ['w3.zstdio', 300_000],
    ['w19T2.zstdio', 300_000],
    ['w.ufdio', 300_000],
  ] as const)
    it(`is read, packed with ${payload}, and refused with a changed bit in its payload`, async (t) => {
      const rpm = await build(t, payload, bytes)
      const { files, headerEnd, isSigned } = await readRpm(pieces(rpm, 65_536))
      assert.deepEqual(
        files.map(({ folder, name, type }) => `${folder}${name} ${type}`),
        ['/opt/big dir', '/opt/big/noise '],
      )
      assert.equal(isSigned, false)
      for (const at of [headerEnd + 4, headerEnd + 5000, rpm.length - 20]) await assertRefused(flip(rpm, at), /./)
    })

  for (const packing of ['bzdio', 'lzdio'])
    it(`is refused with what to use instead, packed with w5.${packing}`, async (t) => {
      await assertRefused(await build(t, `w5.${packing}`), /use gzip, xz or zstd/)
    })

  it('is known for a source package', async (t) => {
    const folder = await createFolder(t)
    const file = await buildRpm(folder, { name: 'origin', kind: '-bs' })
    const { arch, files } = await readRpm(pieces(await readFile(file)))
    assert.equal(arch, 'src')
    assert.deepEqual(files, [{ folder: '', name: 'origin.spec', type: '' }])
  })

  it('is known to be signed', { skip: missingPrograms('rpmsign', 'gpg', 'gpgconf') }, async (t) => {
    const file = await buildRpm(join(await createFolder(t), 'build'), { name: 'signed' })
    await (await createPackageSigner(t)).sign(file)
    assert.equal((await readRpm(pieces(await readFile(file)))).isSigned, true)
  })
})

describe('order of versions', () => {
  const version = fc.stringMatching(/^[0-9a-zA-Z][0-9a-zA-Z._+~^]{0,7}$/)

  it('is an order', () => {
    fc.assert(
      fc.property(version, version, version, (a, b, c) => {
        assert.equal(Math.sign(compareSegments(a, b)), -Math.sign(compareSegments(b, a)))
        if (compareSegments(a, b) <= 0 && compareSegments(b, c) <= 0) assert.ok(compareSegments(a, c) <= 0)
      }),
      { seed: 7 },
    )
  })

  const parse = (text: string) => {
    const [, epoch = '0', version = '', release = ''] = /^(?:(\d+):)?([^-]*)-(.*)$/.exec(text) ?? []
    return { epoch: Number(epoch), version, release }
  }
  for (const [older, newer] of [
    ['1.0~rc1-1', '1.0-1'],
    ['1.0-1', '1.0^git1-1'],
    ['1.0^git1-1', '1.0.1-1'],
    ['1.0-9', '1.0-10'],
    ['1.0a-1', '1.0.1-1'],
    ['2.0-1', '1:0.1-1'],
    ['1.0-1.el8', '1.0-1.el9'],
  ] as const)
    it(`puts ${older} before ${newer}`, () => assert.ok(compareVersions(parse(older), parse(newer)) < 0))

  test('is that of rpm', { skip: missingPrograms('rpm') }, async (t) => {
    const pairs = fc.sample(fc.tuple(version, version), { numRuns: 2000, seed: 11 })
    const known = [
      '1',
      '1.0',
      '1.00',
      '01',
      '1.',
      '1.a',
      '1a',
      '1~',
      '1~~',
      '1~a',
      '1^',
      '1^~',
      '1^a',
      '1^1',
      '1_0',
      '1..0',
    ]
    const more = ['a', 'b', 'A', '1.0.1', '1.0a', '1.0a1', '10', '9', '20240101', '1+1', '1.0~rc1', '1.0^git', '2.50']
    for (const a of [...known, ...more]) for (const b of [...known, ...more]) pairs.push([a, b])
    const expected = await compareWithRpm(t, pairs)
    assert.equal(expected.length, pairs.length)
    for (const [at, [a, b]] of pairs.entries())
      assert.equal(Math.sign(compareSegments(a, b)), expected[at], `${a} and ${b}`)
  })
})
