import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { gzipSync } from 'node:zlib'
import * as fc from 'fast-check'
import { createTarballReader, TARBALL_LIMITS } from '../../protocols/feeds/npm/tarball.ts'
import { TarScanner } from '../../protocols/feeds/tar-scanner.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createTar, createTarball, type TarEntry } from './npm-package.ts'

const PACKAGE_JSON = { name: 'package/package.json', content: '{"name":"a","version":"1.0.0"}' }

async function read(
  bytes: Buffer,
  options: { readonly limits?: typeof TARBALL_LIMITS; readonly pieceBytes?: number } = {},
) {
  const { limits = TARBALL_LIMITS, pieceBytes = 65_536 } = options
  using reader = createTarballReader(limits)
  for (let at = 0; at < bytes.length; at += pieceBytes) await reader.write(bytes.subarray(at, at + pieceBytes))
  return await reader.end()
}

async function refuses(bytes: Buffer, reason: RegExp, limits = TARBALL_LIMITS): Promise<void> {
  await assert.rejects(
    read(bytes, { limits }),
    (error) => isFeedmeshError(error, 'BAD_PACKAGE') && reason.test(error.message),
  )
}

async function tgz(...entries: TarEntry[]): Promise<Buffer> {
  return gzipSync(await createTar(entries))
}

/** A header block as an attacker writes it, with a right checksum. */
function header(fields: { readonly name: string; readonly size?: string; readonly type?: string }): Buffer {
  const block = Buffer.alloc(512)
  block.write(fields.name, 0)
  block.write(fields.size ?? '00000000000\0', 124, 'latin1')
  block.write(fields.type ?? '0', 156)
  block.write('ustar\0', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 8 * 0x20)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

describe('package tarballs', () => {
  it('gives the package.json at the top of the one folder, however the bytes arrive', async () => {
    const files = [
      { name: 'package/lib/', type: 'directory' } as const,
      { name: 'package/lib/package.json', content: '{"name":"other"}' },
      { name: `package/${'long/'.repeat(60)}file`, content: 'x' },
    ]
    const tarball = await createTarball({ name: '@s/a', version: '1.0.0', files })
    for (const pieceBytes of [1, 7, 512, 65_536]) {
      assert.deepEqual(await read(tarball, { pieceBytes }), { name: '@s/a', version: '1.0.0' })
    }
  })

  it('accepts another top folder and a byte order mark', async () => {
    const tarball = await tgz({ name: 'a-1.0.0/package.json', content: `\uFEFF${PACKAGE_JSON.content}` })
    assert.equal((await read(tarball)).name, 'a')
  })

  it('refuses what is no gzip, no tar, cut off, or followed by more', async () => {
    const tar = await createTar([PACKAGE_JSON])
    await refuses(Buffer.from('PK\x03\x04 not a tarball'), /incorrect header/)
    await refuses(gzipSync(Buffer.from('x'.repeat(2000))), /checksum|number/)
    await refuses(gzipSync(Buffer.alloc(0)), /cut off/)
    await refuses(gzipSync(tar.subarray(0, 700)), /cut off/)
    const whole = gzipSync(tar)
    await refuses(whole.subarray(0, whole.length - 12), /unexpected end/)
    await refuses(gzipSync(Buffer.concat([tar, tar])), /after its end/)
  })

  it('refuses a package.json that is missing, double, broken or nameless', async () => {
    await refuses(await tgz({ name: 'package/index.js', content: 'x' }), /no package\/package\.json/)
    await refuses(await tgz({ name: 'package.json', content: PACKAGE_JSON.content }), /no package\/package\.json/)
    await refuses(await tgz(PACKAGE_JSON, PACKAGE_JSON), /two package\.json/)
    await refuses(await tgz(PACKAGE_JSON, { ...PACKAGE_JSON, name: 'other/package.json' }), /two package\.json/)
    for (const name of ['package/./package.json', 'package//package.json', './package/package.json']) {
      await refuses(await tgz(PACKAGE_JSON, { ...PACKAGE_JSON, name }), /unsafe name/)
    }
    await refuses(await tgz(PACKAGE_JSON, { ...PACKAGE_JSON, name: 'package/PACKAGE.json' }), /at its top/)
    const link = { name: 'package/package.json', type: 'symlink', linkname: 'other.json' } as const
    await refuses(await tgz(PACKAGE_JSON, link), /at its top/)
    await refuses(await tgz({ name: 'package/package.json', content: '{' }), /not JSON/)
    await refuses(await tgz({ name: 'package/package.json', content: '{"name":"a"}' }), /no name and version/)
  })

  it('refuses names and links that leave the package', async () => {
    for (const name of ['../x', 'package/../../x', '/etc/passwd', 'package\\..\\x', 'C:/x', 'package/a/../../../x']) {
      await refuses(await tgz(PACKAGE_JSON, { name, content: 'x' }), /unsafe name/)
    }
    for (const linkname of ['../../x', '/etc/passwd', '../..', 'a/../../../x', 'C:\\x']) {
      await refuses(await tgz(PACKAGE_JSON, { name: 'package/link', type: 'symlink', linkname }), /points out/)
    }
    await refuses(await tgz(PACKAGE_JSON, { name: 'package/link', type: 'link', linkname: '../x' }), /points out/)
    const inside = { name: 'package/lib/link', type: 'symlink', linkname: '../index.js' } as const
    assert.equal((await read(await tgz(PACKAGE_JSON, inside))).name, 'a')
  })

  it('stops at the limits of size, members and package.json', async () => {
    const zeros = await tgz(PACKAGE_JSON, { name: 'package/zeros', content: Buffer.alloc(5_000_000) })
    assert.ok(zeros.length < 10_000)
    await refuses(zeros, /unpacks to more/, { ...TARBALL_LIMITS, maxUnpackedBytes: 1_000_000 })
    await refuses(await tgz(PACKAGE_JSON, { name: 'package/b', content: '' }), /more than the 1 members/, {
      ...TARBALL_LIMITS,
      maxMembers: 1,
    })
    await refuses(await tgz(PACKAGE_JSON), /more than 10 bytes/, { ...TARBALL_LIMITS, maxManifestBytes: 10 })
  })

  it('refuses headers that two readers could understand differently', async () => {
    const cases: [Buffer, RegExp][] = [
      [header({ name: 'x', type: 'L', size: '77777777777\0' }), /extended header of/],
      [header({ name: 'x', size: 'abcdefghijk\0' }), /no number/],
      [header({ name: 'dir/', type: '5', size: '00000000010\0' }), /yet has content/],
      [
        Buffer.concat([
          header({ name: 'x', type: 'x', size: '00000000005\0' }),
          Buffer.from('bogus'.padEnd(512, '\0')),
        ]),
        /cannot be read/,
      ],
      [
        Buffer.concat([
          header({ name: 'x', type: 'g', size: '00000000010\0' }),
          Buffer.from('8 path=\n'.padEnd(512, '\0')),
        ]),
        /for all members/,
      ],
    ]
    for (const [block, reason] of cases) await refuses(gzipSync(block), reason)
    const flipped = await createTar([PACKAGE_JSON])
    flipped[3] = 0x41
    await refuses(gzipSync(flipped), /checksum/)
  })

  it('never throws anything but its own errors, whatever the tar holds', async () => {
    const tar = await createTar([PACKAGE_JSON, { name: `package/${'long/'.repeat(60)}file`, content: 'x'.repeat(600) }])
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(tar.length - 1), fc.nat(255)), { maxLength: 6 }),
        fc.nat(tar.length),
        (flips, cut) => {
          const bytes = Buffer.from(tar)
          for (const [at, byte] of flips) bytes[at] = byte
          const scanner = new TarScanner({ maxMembers: 10, onMember: () => 0, onContent: () => undefined })
          try {
            scanner.push(bytes.subarray(0, cut))
            scanner.push(bytes.subarray(cut))
            scanner.end()
            return true
          } catch (error) {
            return isFeedmeshError(error, 'BAD_PACKAGE')
          }
        },
      ),
      { numRuns: 2000 },
    )
  })
})
