import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { unpack } from '../../protocols/feeds/unpack.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { findProgram } from '../clients/run-client.ts'
import { packXz } from './deb-package.ts'

async function* pieces(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function unpackAll(packed: Buffer, size = 1000): Promise<Buffer> {
  const limits = { maxBytes: 2 ** 30, maxRatio: 250 }
  return Buffer.concat(await Array.fromAsync(unpack(pieces(packed, size), 'xz', { subject: 'the archive', limits })))
}

async function assertRefused(packed: Buffer, why: RegExp): Promise<void> {
  await assert.rejects(unpackAll(packed), (error) => {
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

/** Some of it packs well, some not at all. */
const CONTENT = Buffer.concat([Buffer.alloc(70_000, 'words and '), randomBytes(90_000), Buffer.alloc(50_000)])

describe('what xz has packed', { skip: findProgram('xz') === undefined && 'xz is not here' }, () => {
  for (const check of ['sha256', 'crc64', 'crc32', 'none'])
    for (const more of [[], ['--block-size=50000'], ['--lzma2=preset=3,lc=2,dict=64KiB']])
      it(`is read with checks of ${check} ${more.join(' ')}`, async () => {
        const packed = packXz(CONTENT, `--check=${check}`, ...more)
        for (const size of [packed.length, 1000, 13]) assert.ok((await unpackAll(packed, size)).equals(CONTENT))
        await assertRefused(packed.subarray(0, packed.length - 1), /the (archive|file) /)
      })

  it('is read whole when it is several archives, or none of anything', async () => {
    const [one, two] = [packXz(CONTENT, '--check=sha256'), packXz(Buffer.from('more'), '--check=sha256')]
    assert.ok((await unpackAll(Buffer.concat([one, two]))).equals(Buffer.concat([CONTENT, Buffer.from('more')])))
    assert.equal((await unpackAll(packXz(Buffer.alloc(0), '--check=sha256'))).length, 0)
    await assertRefused(Buffer.concat([one, packXz(CONTENT)]), /the archive is checked in several ways/)
    await assertRefused(Buffer.concat([one, Buffer.from('something else')]), /the archive is not packed with xz/)
  })

  it('is refused with another SHA-256 than it has, another index, or a check that nobody knows', async () => {
    const packed = packXz(CONTENT, '--check=sha256', '--block-size=50000')
    const indexBytes = (packed.readUInt32LE(packed.length - 8) + 1) * 4
    const index = packed.length - 12 - indexBytes
    await assertRefused(flip(packed, index - 1), /another SHA-256 than it says/)
    await assertRefused(flip(packed, index + 2), /an index of xz that is of other blocks/)
    await assertRefused(flip(packed, packed.length - 6), /an index of xz that is of other blocks/)
    // Incompressible, so no other check finds it.
    await assertRefused(flip(packed, 60_000), /another SHA-256 than it says/)
    const unknown = Buffer.from(packed)
    unknown[7] = 9
    await assertRefused(unknown, /a check \(9\) that is not supported/)
  })

  it('is refused when it is cut off anywhere', async () => {
    const packed = packXz(CONTENT, '--check=sha256', '--block-size=50000')
    for (let end = 0; end < packed.length; end += 4001) await assertRefused(packed.subarray(0, end), /./)
  })
})
