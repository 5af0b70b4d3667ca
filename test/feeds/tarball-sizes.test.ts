import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { describe, it } from 'node:test'
import { createTarballReader, TARBALL_LIMITS } from '../../protocols/feeds/npm/tarball.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { createTarball } from './npm-package.ts'

const CONTENTS = {
  'a few bytes': Buffer.alloc(10),
  'more than is unpacked at once': randomBytes(200_000),
  'little that unpacks to much': Buffer.alloc(5_000_000),
  'exactly what is held back': randomBytes(64 * 1024 - 400),
}

async function read(tarball: Buffer, pieceBytes: number, limits = TARBALL_LIMITS) {
  using reader = createTarballReader(limits)
  for (let at = 0; at < tarball.length; at += pieceBytes) await reader.write(tarball.subarray(at, at + pieceBytes))
  return await reader.end()
}

describe('tarballs of all sizes', () => {
  for (const [what, content] of Object.entries(CONTENTS)) {
    it(`are read alike with ${what}, however they arrive`, async () => {
      const tarball = await createTarball({ name: 'a', version: '1.2.3', files: [{ name: 'package/x', content }] })
      for (const pieceBytes of [1_000, 65_536, tarball.length]) {
        const { name, version } = await read(tarball, pieceBytes)
        assert.equal(`${name}@${version}`, 'a@1.2.3')
      }
    })

    it(`are refused with ${what} when they are cut off or unpack to too much`, async () => {
      const tarball = await createTarball({ name: 'a', version: '1.2.3', files: [{ name: 'package/x', content }] })
      const isRefusal = (error: unknown) => isFeedmeshError(error, 'BAD_PACKAGE')
      await assert.rejects(read(tarball.subarray(0, -9), 65_536), isRefusal)
      await assert.rejects(read(tarball, 65_536, { ...TARBALL_LIMITS, maxUnpackedBytes: 1_000 }), isRefusal)
    })
  }
})
