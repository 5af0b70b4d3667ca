/** What every `Feed` promises, whatever it is made of. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { describe, it, type TestContext } from 'node:test'
import { type ErrorCode, isFeedmeshError } from '../../src/errors.ts'
import { type Feed, type FeedRow, type FeedUnit, MAX_META_BYTES, type RowDraft } from '../../src/feeds/feed.ts'
import type { SealedBlob } from '../../src/store/blobs.ts'
import { testNotes } from './feed-notes.ts'

/** An empty feed whose files may have up to `MAX_FILE_BYTES`; it goes with the test. */
export type CreateFeed = (t: TestContext) => Promise<Feed>

export const MAX_FILE_BYTES = 1024 * 1024

export function testFeed(implementation: string, createFeed: CreateFeed): void {
  describe(`Feed: ${implementation}`, () => {
    testReading(createFeed)
    testNotes(createFeed)
    testWriting(createFeed)
    testFiles(createFeed)
    testRefusals(createFeed)
  })
}

function testReading(createFeed: CreateFeed): void {
  it('has no unit before something is written', async (t) => {
    const feed = await createFeed(t)
    assert.equal(await feed.findUnit('a'), undefined)
    assert.deepEqual(await listNames(feed, {}), [])
  })

  it('gives rows in byte order of their keys, with the metadata exactly as drafted', async (t) => {
    const feed = await createFeed(t)
    const odd = Buffer.from([0, 255, 254, 10])
    await put(feed, 'a', draft('b'), draft('ä'), draft('a/1'), { ...draft('a'), meta: odd }, draft('B'))
    const unit = await getUnit(feed, 'a')
    assert.deepEqual(
      unit.rows.map((row) => row.key),
      ['B', 'a', 'a/1', 'b', 'ä'],
    )
    assert.deepEqual(Buffer.from(await feed.readMeta(getRow(unit, 'a'))), odd)
    assert.deepEqual(unit.blocked, [])
  })

  it('keeps metadata of 0 bytes, over 1 KiB and at the limit', async (t) => {
    const feed = await createFeed(t)
    for (const size of [0, 1025, 100_000, MAX_META_BYTES]) {
      const meta = Buffer.alloc(size, size % 251)
      await put(feed, 'a', { ...draft(`m${size}`), meta })
      const row = getRow(await getUnit(feed, 'a'), `m${size}`)
      assert.ok(meta.equals(await feed.readMeta(row)), `${size} bytes`)
    }
  })

  it('lists units by prefix, after a name, up to a limit, in byte order', async (t) => {
    const feed = await createFeed(t)
    for (const name of ['b', 'a/2', 'a', 'a/1', 'A', 'é', 'a0', '\u{1F600}', '\uFFFD'])
      await put(feed, name, draft('k'))
    assert.deepEqual(await listNames(feed, {}), ['A', 'a', 'a/1', 'a/2', 'a0', 'b', 'é', '\uFFFD', '\u{1F600}'])
    assert.deepEqual(await listNames(feed, { prefix: 'a/' }), ['a/1', 'a/2'])
    assert.deepEqual(await listNames(feed, { after: 'a/1' }, 2), ['a/2', 'a0'])
    assert.deepEqual(await listNames(feed, { prefix: 'a', after: 'a' }, 2), ['a/1', 'a/2'])
    assert.deepEqual(await listNames(feed, { prefix: 'a/', after: 'a/\u{10FFFF}' }), [])
    assert.deepEqual(await listNames(feed, { prefix: 'zz' }), [])
  })

  it('sums up a unit: rows, bytes of its files, last change', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', { ...draft('one'), files: [{ role: 'x', blob: await seal(feed, 'hello') }] }, draft('two'))
    const [summary] = await Array.fromAsync(feed.list({ limit: 10 }))
    assert.equal(summary?.rows, 2)
    assert.equal(summary?.bytes, 5)
    assert.equal(summary?.changedAtMs, (await getUnit(feed, 'a')).changedAtMs)
  })
}

function testWriting(createFeed: CreateFeed): void {
  it('changes the digest of the unit with every change and of no other unit', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'other', draft('k'))
    const other = await getUnit(feed, 'other')
    const digests = new Set<string>()
    const record = async () => digests.add((await getUnit(feed, 'a')).digest)
    await put(feed, 'a', draft('k'))
    await record()
    await put(feed, 'a', { ...draft('r', 'register'), meta: Buffer.from('1') })
    await record()
    await put(feed, 'a', { ...draft('r', 'register'), meta: Buffer.from('2') })
    await record()
    await put(feed, 'a', draft('k#f', 'flag'))
    await record()
    assert.equal(digests.size, 4)
    assert.equal((await getUnit(feed, 'other')).digest, other.digest)
    assert.equal((await getUnit(feed, 'other')).changedAtMs, other.changedAtMs)
  })

  it('leaves the digest of a row alone that a change does not name', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('k'))
    const before = getRow(await getUnit(feed, 'a'), 'k')
    await put(feed, 'a', draft('l'))
    assert.deepEqual(getRow(await getUnit(feed, 'a'), 'k'), before)
  })

  it('raises changedAtMs with every change, deletions too', async (t) => {
    const feed = await createFeed(t)
    const times: number[] = []
    for (const change of [{ put: [draft('a')] }, { put: [draft('b')] }, { put: [draft('c')] }, { drop: ['b'] }]) {
      await feed.change('a', () => change)
      times.push((await getUnit(feed, 'a')).changedAtMs)
    }
    assert.deepEqual(
      times,
      [...new Set(times)].sort((a, b) => a - b),
    )
  })

  it('replaces registers and flags', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('v'))
    for (const [rowClass, key] of [
      ['register', 'tag'],
      ['flag', 'v#deprecated'],
    ] as const) {
      for (const value of ['old', 'new']) await put(feed, 'a', { ...draft(key, rowClass), meta: Buffer.from(value) })
      const row = getRow(await getUnit(feed, 'a'), key)
      assert.equal(Buffer.from(await feed.readMeta(row)).toString(), 'new')
      assert.equal(row.rowClass, rowClass)
    }
  })

  it('puts and drops in one change; the last row takes the unit with it', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('old'))
    await feed.change('a', () => ({ put: [draft('new')], drop: ['old'] }))
    assert.deepEqual(
      (await getUnit(feed, 'a')).rows.map((row) => row.key),
      ['new'],
    )
    await feed.change('a', () => ({ drop: ['new'] }))
    assert.equal(await feed.findUnit('a'), undefined)
    assert.deepEqual(await listNames(feed, {}), [])
  })

  it('does nothing when the plan asks for nothing', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('k'))
    const before = await feed.findUnit('a')
    await feed.change('a', () => ({}))
    await feed.change('b', () => ({ put: [], drop: [] }))
    assert.deepEqual(await feed.findUnit('a'), before)
    assert.equal(await feed.findUnit('b'), undefined)
  })

  it('plans concurrent changes one after the other, each on the result of the one before', async (t) => {
    const feed = await createFeed(t)
    const add = () =>
      feed.change('a', async (current) => {
        const row = current?.rows[0]
        const count = row === undefined ? 0 : Number(Buffer.from(await feed.readMeta(row)).toString())
        return { put: [{ ...draft('count', 'register'), meta: Buffer.from(String(count + 1)) }] }
      })
    await Promise.all(Array.from({ length: 20 }, add))
    const row = getRow(await getUnit(feed, 'a'), 'count')
    assert.equal(Buffer.from(await feed.readMeta(row)).toString(), '20')
  })

  it('throws what the plan throws, changes nothing and goes on working', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('k'))
    const before = await feed.findUnit('a')
    const refusal = new Error('no')
    await assert.rejects(
      feed.change('a', () => Promise.reject(refusal)),
      (error) => error === refusal,
    )
    assert.deepEqual(await feed.findUnit('a'), before)
    await put(feed, 'a', draft('l'))
    assert.equal((await getUnit(feed, 'a')).rows.length, 2)
  })
}

function testFiles(createFeed: CreateFeed): void {
  it('opens a file whole and in ranges', async (t) => {
    const feed = await createFeed(t)
    const content = Buffer.from(Array.from({ length: 200_000 }, (_value, at) => at % 251))
    const blob = await seal(feed, content)
    await put(feed, 'a', { ...draft('k'), files: [{ role: 'content', blob }] })
    const row = getRow(await getUnit(feed, 'a'), 'k')
    const [file] = row.files
    assert.ok(file)
    assert.deepEqual(file, { role: 'content', digest: blob.digest, size: content.length })
    assert.ok(content.equals(await buffer(await feed.open(row, file))))
    for (const [start, end] of [
      [0, 1],
      [199_999, 200_000],
      [100, 150_000],
      [0, 200_000],
    ] as const) {
      assert.ok(
        content.subarray(start, end).equals(await buffer(await feed.open(row, file, { start, end }))),
        `${start}–${end}`,
      )
    }
    for (const [start, end] of [
      [200_000, 200_001],
      [0, 200_001],
      [5, 5],
      [-1, 5],
    ] as const) {
      await rejectsWith('RANGE', async () => feed.open(row, file, { start, end }))
    }
  })

  it('keeps an empty file', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', { ...draft('k'), files: [{ role: 'content', blob: await seal(feed, '') }] })
    const row = getRow(await getUnit(feed, 'a'), 'k')
    assert.ok(row.files[0])
    assert.equal((await buffer(await feed.open(row, row.files[0]))).length, 0)
  })

  it('computes the hashes that are asked for, and sha256', async (t) => {
    const feed = await createFeed(t)
    await using staged = await feed.stage({ maxBytes: 100, hashes: ['sha1', 'sha512', 'md5'] })
    await staged.write(Buffer.from('hel'))
    await staged.write(Buffer.from('lo'))
    assert.equal(staged.size, 5)
    const blob = await staged.seal()
    for (const name of ['sha256', 'sha1', 'sha512', 'md5']) {
      assert.equal(blob.hashes[name], createHash(name).update('hello').digest('hex'), name)
    }
    assert.equal(blob.digest, `sha256:${blob.hashes.sha256}`)
    assert.equal(blob.size, 5)
  })

  it('takes files over from a row of the feed', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', { ...draft('k', 'register'), files: [{ role: 'content', blob: await seal(feed, 'hello') }] })
    const { files } = getRow(await getUnit(feed, 'a'), 'k')
    await put(feed, 'a', { ...draft('k', 'register'), meta: Buffer.from('other'), files })
    const row = getRow(await getUnit(feed, 'a'), 'k')
    assert.deepEqual(row.files, files)
    assert.ok(row.files[0])
    assert.equal((await buffer(await feed.open(row, row.files[0]))).toString(), 'hello')
  })

  it('takes no more bytes than asked for, nor than the feed allows', async (t) => {
    const feed = await createFeed(t)
    assert.equal(feed.maxFileBytes, MAX_FILE_BYTES)
    await using small = await feed.stage({ maxBytes: 4 })
    await small.write(Buffer.from('1234'))
    await rejectsWith('TOO_LARGE', () => small.write(Buffer.from('5')))
    await using capped = await feed.stage({ maxBytes: MAX_FILE_BYTES * 2 })
    await capped.write(Buffer.alloc(MAX_FILE_BYTES))
    await rejectsWith('TOO_LARGE', () => capped.write(Buffer.from('5')))
  })

  it('shows nothing of a file that was staged and thrown away', async (t) => {
    const feed = await createFeed(t)
    {
      await using staged = await feed.stage({ maxBytes: 100 })
      await staged.write(Buffer.from('gone'))
    }
    assert.deepEqual(await listNames(feed, {}), [])
  })
}

function testRefusals(createFeed: CreateFeed): void {
  it('never replaces an immutable row', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('v'))
    const before = await feed.findUnit('a')
    for (const rowClass of ['immutable', 'register', 'flag'] as const) {
      await rejectsWith('EXISTS', () => put(feed, 'a', draft('also'), draft('v', rowClass)))
    }
    assert.deepEqual(await feed.findUnit('a'), before)
  })

  it('burns an immutable row, and never gives a burned key back', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', { ...draft('v'), files: [{ role: 'x', blob: await seal(feed, 'hello') }] })
    await put(feed, 'a', draft('v', 'burn'))
    const row = getRow(await getUnit(feed, 'a'), 'v')
    assert.equal(row.rowClass, 'burn')
    assert.deepEqual(row.files, [])
    for (const rowClass of ['immutable', 'register', 'flag', 'burn'] as const) {
      await rejectsWith('EXISTS', () => put(feed, 'a', draft('v', rowClass)))
    }
    await rejectsWith('EXISTS', () => feed.change('a', () => ({ drop: ['v'] })))
    assert.equal(getRow(await getUnit(feed, 'a'), 'v').digest, row.digest)
  })

  it('flags only rows that are there, and hides the flags of a row that is burned', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('v'), draft('v#listed', 'flag'))
    await rejectsWith('NOT_FOUND', () => put(feed, 'a', draft('w#listed', 'flag')))
    await put(feed, 'a', draft('v', 'burn'))
    assert.deepEqual(
      (await getUnit(feed, 'a')).rows.map((row) => row.key),
      ['v'],
    )
    await rejectsWith('NOT_FOUND', () => put(feed, 'a', draft('v#listed', 'flag')))
  })

  it('drops only what is there, all or nothing', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('k', 'register'))
    const before = await feed.findUnit('a')
    await rejectsWith('NOT_FOUND', () => feed.change('a', () => ({ drop: ['k', 'missing'], put: [draft('new')] })))
    await rejectsWith('NOT_FOUND', () => feed.change('missing', () => ({ drop: ['k'] })))
    assert.deepEqual(await feed.findUnit('a'), before)
  })

  it('refuses a key that is both put and dropped, a bad role, too much metadata, an unknown file', async (t) => {
    const feed = await createFeed(t)
    await put(feed, 'a', draft('k', 'register'))
    const before = await feed.findUnit('a')
    await rejectsWith('BAD_INPUT', () => feed.change('a', () => ({ put: [draft('k', 'register')], drop: ['k'] })))
    const blob = await seal(feed, 'x')
    for (const role of ['', 'r'.repeat(65)]) {
      await rejectsWith('BAD_INPUT', () => put(feed, 'a', { ...draft('l'), files: [{ role, blob }] }))
    }
    await rejectsWith('TOO_LARGE', () => put(feed, 'a', { ...draft('l'), meta: Buffer.alloc(MAX_META_BYTES + 1) }))
    const unknown = { role: 'x', digest: `sha256:${'0'.repeat(64)}` as const, size: 1 }
    await rejectsWith('NOT_FOUND', () => put(feed, 'a', { ...draft('l'), files: [unknown] }))
    assert.deepEqual(await feed.findUnit('a'), before)
  })
}

function draft(key: string, rowClass: RowDraft['rowClass'] = 'immutable'): RowDraft {
  return { key, rowClass, meta: Buffer.from(key), files: [] }
}

async function put(feed: Feed, unit: string, ...rows: RowDraft[]): Promise<void> {
  await feed.change(unit, () => ({ put: rows }))
}

async function seal(feed: Feed, content: string | Buffer): Promise<SealedBlob> {
  await using staged = await feed.stage({ maxBytes: MAX_FILE_BYTES })
  if (content.length > 0) await staged.write(Buffer.from(content))
  return await staged.seal()
}

async function getUnit(feed: Feed, name: string): Promise<FeedUnit> {
  const unit = await feed.findUnit(name)
  assert.ok(unit, `unit ${name}`)
  return unit
}

function getRow(unit: FeedUnit, key: string): FeedRow {
  const row = unit.rows.find((candidate) => candidate.key === key)
  assert.ok(row, `row ${key}`)
  return row
}

async function listNames(
  feed: Feed,
  options: { readonly prefix?: string; readonly after?: string },
  limit = 100,
): Promise<string[]> {
  return (await Array.fromAsync(feed.list({ ...options, limit }))).map(({ unit }) => unit)
}

async function rejectsWith(code: ErrorCode, action: () => Promise<unknown>): Promise<void> {
  await assert.rejects(action, (error) => isFeedmeshError(error, code))
}
