import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { describe, it } from 'node:test'
import { HotFiles } from '../../protocols/feeds/hot-files.ts'
import { isFeedmeshError } from '../../src/errors.ts'

function countedFile(content: Buffer, size = content.length) {
  const file = {
    digest: `sha256:${size}`,
    size,
    opened: 0,
    open: async () => {
      file.opened += 1
      return Readable.from([content.subarray(0, 3), content.subarray(3)])
    },
  }
  return file
}

describe('small files that were asked for lately', () => {
  it('are read once, however many ask at a time and later', async () => {
    const hot = new HotFiles()
    const file = countedFile(Buffer.from('0123456789'))
    const contents = await Promise.all([hot.find(file), hot.find(file)])
    contents.push(await hot.find(file))
    assert.deepEqual(contents.map(String), ['0123456789', '0123456789', '0123456789'])
    assert.equal(file.opened, 1)
  })

  it('are not kept when they are large', async () => {
    const file = countedFile(Buffer.alloc(256 * 1024 + 1))
    assert.equal(await new HotFiles().find(file), undefined)
    assert.equal(file.opened, 0)
  })

  it('are read again after a failure, and never given with other bytes than their size says', async () => {
    const hot = new HotFiles()
    for (const size of [9, 11]) {
      const file = countedFile(Buffer.from('0123456789'), size)
      for (let attempt = 1; attempt <= 2; attempt += 1) {
        await assert.rejects(hot.find(file), (error) => isFeedmeshError(error, 'CORRUPT'))
        assert.equal(file.opened, attempt)
      }
    }
  })
})
