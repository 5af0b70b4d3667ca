import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { mkdtemp, readdir, readlink, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { sha256Digest } from '../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../src/errors.ts'
import { READ_BYTES } from '../../src/store/blob-medium.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { FilePieces } from '../../src/store/file-pieces.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'

async function writeBlob(t: TestContext, size: number) {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-pieces-'))
  t.after(() => rm(folder, { recursive: true, force: true }))
  const bytes = randomBytes(size)
  const file = join(folder, 'blob')
  await writeFile(file, bytes)
  return { file, bytes, digest: sha256Digest(bytes) }
}

for (const size of [1, READ_BYTES - 1, READ_BYTES, READ_BYTES + 1, 5 * READ_BYTES + 77]) {
  test(`all ranges of ${size} bytes are read as they are, in at most two buffers`, async (t) => {
    const { file, bytes, digest } = await writeBlob(t, size)
    for (const [start, end] of [
      [0, size],
      [Math.floor(size / 3), size],
      [0, Math.ceil(size / 2)],
    ] as const) {
      await using pieces = await FilePieces.open(file, digest, { start, end })
      const read: Buffer[] = []
      const buffers = new Set<ArrayBufferLike>()
      for await (const piece of pieces) {
        buffers.add(piece.buffer)
        read.push(Buffer.from(piece))
      }
      assert.ok(Buffer.concat(read).equals(bytes.subarray(start, end)))
      assert.ok(buffers.size <= 2)
    }
  })
}

test('a piece stays as it is while the next one is read', async (t) => {
  const { file, bytes, digest } = await writeBlob(t, 4 * READ_BYTES)
  await using pieces = await FilePieces.open(file, digest, { start: 0, end: bytes.length })
  let position = 0
  for await (const piece of pieces) {
    for (let turn = 0; turn < 20; turn += 1) await new Promise(setImmediate)
    assert.ok(bytes.subarray(position, position + piece.length).equals(piece))
    position += piece.length
  }
  assert.equal(position, bytes.length)
})

test('a file that is too short is CORRUPT, not short', async (t) => {
  const { file, bytes, digest } = await writeBlob(t, 3 * READ_BYTES)
  await truncate(file, READ_BYTES + 5)
  await using pieces = await FilePieces.open(file, digest, { start: 0, end: bytes.length })
  await assert.rejects(
    async () => {
      for await (const piece of pieces) assert.ok(piece.length > 0)
    },
    (error) => isFeedmeshError(error, 'CORRUPT') && error.message.includes(digest),
  )
})

const NO_PROC = process.platform === 'linux' ? false : 'open files are looked up in /proc'

test('pieces that are given up in the middle leave no open file', { skip: NO_PROC }, async (t) => {
  const { file, bytes, digest } = await writeBlob(t, 3 * READ_BYTES)
  for (let time = 0; time < 3; time += 1) {
    const pieces = await FilePieces.open(file, digest, { start: 0, end: bytes.length })
    for await (const piece of pieces) {
      assert.ok(piece.length > 0)
      break
    }
    await pieces[Symbol.asyncDispose]()
  }
  const links = await Promise.all(
    (await readdir('/proc/self/fd')).map((fd) => readlink(join('/proc/self/fd', fd)).catch(() => 'closed meanwhile')),
  )
  assert.ok(links.length > 0 && !links.includes(file))
})

test('the store gives pieces of inline blobs and of files alike, and says what is not there', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'feedmesh-pieces-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const records = createMemoryRecords()
  const blobs = await openFileBlobs({ directory, records })
  await assert.rejects(blobs.openPieces(sha256Digest(Buffer.from('absent'))), { code: 'NOT_FOUND' })
  for (const size of [100, 300_000]) {
    const bytes = randomBytes(size)
    await using staged = await blobs.stage({ maxBytes: size })
    await staged.write(bytes)
    const sealed = await staged.seal()
    await records.write(sealed.writes)
    await using pieces = await blobs.openPieces(sealed.digest, { start: 10, end: size })
    const read: Buffer[] = []
    for await (const piece of pieces) read.push(Buffer.from(piece))
    assert.ok(Buffer.concat(read).equals(bytes.subarray(10)))
    await assert.rejects(blobs.openPieces(sealed.digest, { start: 10, end: size + 1 }), { code: 'RANGE' })
  }
})
