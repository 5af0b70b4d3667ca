import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { describe, it, test } from 'node:test'
import { gunzipSync } from 'node:zlib'
import fc from 'fast-check'
import type { FeedUnit } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import type { SignedIndexFormat } from '../../src/feeds/signed-index.ts'
import { INDEX_ENCODINGS, type IndexFile } from '../../src/feeds/signed-index.ts'
import { membersOf } from '../../src/indexing/generation.ts'
import { IndexBuilder, type IndexBuilderOptions, readGenerations } from '../../src/indexing/index-builder.ts'
import { IndexReader } from '../../src/indexing/index-reader.ts'
import type { OwnRows } from '../../src/indexing/member-store.ts'

const OWNER = 'cd'.repeat(32)

/** Lines `unit:text`; rows whose key begins with `all/` are in every document, others in that of their first letter. */
function createFormat(isFramed: boolean): SignedIndexFormat {
  return {
    initial: [{ index: 'main', document: 'a' }],
    *documentsOf(unit: FeedUnit) {
      for (const { key } of unit.rows) if (!key.startsWith('all/')) yield { index: 'main', document: key.slice(0, 1) }
    },
    async entriesOf(unit, about) {
      const texts = new Map<string, string[]>()
      for (const row of unit.rows) {
        const line = `${unit.unit}:${Buffer.from(await about.readMeta(row)).toString()}\n`
        const targets = row.key.startsWith('all/') ? about.documents('main') : [row.key.slice(0, 1)]
        for (const target of targets) texts.set(target, [...(texts.get(target) ?? []), line])
      }
      return [...texts].map(([document, lines]) => ({
        index: 'main',
        document,
        bytes: Buffer.from(lines.join('')),
        count: lines.length,
      }))
    },
    *splitEntries(_document, bytes) {
      for (const line of bytes.toString().split('\n').slice(0, -1))
        yield { unit: line.slice(0, line.indexOf(':')), bytes: Buffer.from(`${line}\n`) }
    },
    frame: (_document, entries) => ({
      head: Buffer.from(isFramed ? `<list count=${entries}>\n` : ''),
      tail: Buffer.from(isFramed ? '</list>\n' : ''),
    }),
    top: { path: 'top', signatures: [{ path: 'top.sig', kind: 'detached' }] },
    renderTop: (built) => Buffer.from(JSON.stringify(built)),
  }
}

type BuilderParts = Pick<IndexBuilderOptions, 'feed' | 'rows' | 'now' | 'viewDigest'>

interface Bench extends BuilderParts {
  readonly builder: IndexBuilder
  readonly reader: IndexReader
  put(unit: string, key: string, text: string): Promise<void>
  drop(unit: string, key: string): Promise<void>
}

function openBuilder({ feed, rows, now, viewDigest }: BuilderParts, format: SignedIndexFormat): IndexBuilder {
  const sign = async (text: Uint8Array) => createHash('sha256').update(text).digest()
  return new IndexBuilder({ feed, rows, format, now, viewDigest, sign })
}

function openBench(isFramed = false): Bench {
  let now = 1_700_000_000_000
  let revision = 0
  const feed = createMemoryFeed({ name: 'bench', type: 'lines', now: () => (now += 1) })
  const rows: OwnRows = { owner: OWNER, rowsOf: async (unit) => (await feed.findUnit(unit))?.rows ?? [] }
  let reads = 0
  const parts = { feed, rows, now: () => now, viewDigest: () => String(revision) }
  return {
    ...parts,
    builder: openBuilder(parts, createFormat(isFramed)),
    reader: new IndexReader({ feed, rows, revision: () => String((reads += 1)) }),
    async put(unit, key, text) {
      await feed.change(unit, () => ({ put: [{ key, rowClass: 'register', meta: Buffer.from(text), files: [] }] }))
      revision += 1
    },
    async drop(unit, key) {
      await feed.change(unit, () => ({ drop: [key] }))
      revision += 1
    },
  }
}

async function read(
  file: IndexFile | undefined,
  range?: { readonly start: number; readonly end: number },
): Promise<Buffer> {
  assert.ok(file)
  const pieces: Buffer[] = []
  for await (const piece of await file.open(range)) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

/** Every document of the newest generation, after holding each of its forms against what the top document says. */
async function readIndex({ reader }: Bench): Promise<Map<string, string>> {
  const index = await reader.find('main')
  assert.ok(index)
  const texts = new Map<string, string>()
  for (const { document, encodings } of index.built.documents) {
    for (const encoding of INDEX_ENCODINGS) {
      const bytes = await read(index.findDocument(document, encoding))
      assert.equal(bytes.length, encodings[encoding].size)
      assert.equal(createHash('sha256').update(bytes).digest('hex'), encodings[encoding].sha256)
      assert.ok((await read(await reader.findByHash('main', encodings[encoding].sha256))).length === bytes.length)
      if (encoding === 'gz') texts.set(document, gunzipSync(bytes).toString())
    }
    assert.equal((await read(index.findDocument(document, ''))).toString(), texts.get(document))
  }
  const top = await read(index.findTop('top'))
  assert.deepEqual(JSON.parse(top.toString()), JSON.parse(JSON.stringify(index.built)))
  assert.ok((await read(index.findTop('top.sig'))).equals(createHash('sha256').update(top).digest()))
  return texts
}

/** Members of the first document of the newest generation. */
async function readMembers({ feed, rows }: Bench): Promise<{ readonly id: string; readonly size: number }[]> {
  const [newest] = await readGenerations(feed, rows, 'main')
  const document = newest?.generation.documents[0]
  assert.ok(document)
  return membersOf(document).map(({ id, size }) => ({ id: Buffer.from(id).toString('hex'), size }))
}

/** What a builder that starts from nothing makes of the same rows. */
async function readFresh(bench: Bench, isFramed: boolean): Promise<Map<string, string>> {
  const fresh = openBench(isFramed)
  for await (const { unit } of bench.feed.list({ limit: 10_000 })) {
    const found = await bench.feed.findUnit(unit)
    for (const row of found?.rows ?? [])
      await fresh.put(unit, row.key, Buffer.from(await bench.feed.readMeta(row)).toString())
  }
  await fresh.builder.build('all')
  return await readIndex(fresh)
}

const name = fc.integer({ min: 0, max: 30 }).map((at) => `unit-${String(at).padStart(2, '0')}`)
const key = fc.constantFrom('a/1', 'a/2', 'a/3', 'a/4', 'b/1', 'all/1')
const step = fc.record({ name, key, size: fc.constantFrom(10, 500, 20_000, 90_000), isDrop: fc.boolean() })

describe('a signed index', () => {
  for (const isFramed of [false, true])
    it(`comes out the same step by step and at once, ${isFramed ? 'framed' : 'bare'}`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.array(step, { minLength: 1, maxLength: 12 }), { minLength: 1, maxLength: 6 }),
          async (rounds) => {
            const bench = openBench(isFramed)
            await bench.builder.build('all')
            for (const [at, steps] of rounds.entries()) {
              const changed = new Set<string>()
              for (const { name: unit, key: row, size, isDrop } of steps) {
                const known = (await bench.feed.findUnit(unit))?.rows.some((one) => one.key === row)
                if (isDrop && known !== true) continue
                if (isDrop) await bench.drop(unit, row)
                else await bench.put(unit, row, `${at} `.padEnd(size, `${unit}${at}`))
                changed.add(unit)
              }
              await bench.builder.build(changed)
              assert.ok(await bench.builder.isCurrent())
            }
            const [ours, fresh] = [await readIndex(bench), await readFresh(bench, isFramed)]
            // Documents that were there once stay, without what is gone.
            for (const [document, text] of ours)
              assert.equal(text, fresh.get(document) ?? text.replaceAll(/^unit.*\n/gm, ''))
            for (const document of fresh.keys()) assert.ok(ours.has(document))
          },
        ),
        { numRuns: 25, seed: 5 },
      )
    })

  it('changes a member or two of a large document, and keeps the others', async () => {
    const bench = openBench()
    for (let at = 0; at < 1500; at += 1)
      await bench.put(`unit-${String(at).padStart(5, '0')}`, 'a/1', `${at}`.padEnd(1000, `x${at}`))
    await bench.builder.build('all')
    const idsOf = async () => new Set((await readMembers(bench)).map(({ id }) => id))
    const before = await idsOf()
    assert.ok(before.size >= 8 && before.size <= 13, String(before.size))
    await bench.put('unit-00700-new', 'a/1', 'fresh')
    await bench.builder.build(new Set(['unit-00700-new']))
    const after = await idsOf()
    assert.equal([...after].filter((id) => !before.has(id)).length, 1)
    const file = (await bench.reader.find('main'))?.findDocument('a', '')
    const whole = await read(file)
    assert.ok((await read(file, { start: 130_000, end: 400_001 })).equals(whole.subarray(130_000, 400_001)))
  })

  /** Between the others, in order of their keys. */
  const version = (at: number) => `a/${String(at).padStart(5, '0')}`
  const text = (at: number) => `${at} `.padEnd(20_480, createHash('sha512').update(String(at)).digest('base64'))
  const putVersions = async (bench: Bench, count: number) => {
    await bench.put('before', 'a/1', 'text')
    await bench.put('zuletzt', 'a/1', 'text')
    for (let at = 0; at < count; at += 1) await bench.put('many', version(at * 10), text(at))
  }

  it('is cut within a unit, and changes a member or two where a version comes, changes or goes', async () => {
    const bench = openBench(true)
    await putVersions(bench, 200)
    await bench.builder.build('all')
    let known = await readMembers(bench)
    assert.ok(known.length >= 16 && known.length <= 35, String(known.length))
    const buildOne = async (what: string) => {
      await bench.builder.build(new Set(['many']))
      const members = await readMembers(bench)
      for (const { size } of members) assert.ok(size <= 256 * 1024, `${what}: a member of ${size} bytes`)
      const fresh = members.filter(({ id }) => !known.some((old) => old.id === id))
      // One, or two where it was cut, and the head, which counts the entries.
      assert.ok(fresh.length <= 3, `${what} changes ${fresh.length} members`)
      known = members
      const texts = (await readIndex(bench)).get('a')?.split('\n')
      const rows = (await bench.feed.findUnit('many'))?.rows ?? []
      const metas = await Promise.all(rows.map(async (row) => Buffer.from(await bench.feed.readMeta(row)).toString()))
      const lines = ['before:text', ...metas.map((meta) => `many:${meta}`), 'zuletzt:text']
      assert.deepEqual(texts, [`<list count=${lines.length}>`, ...lines, '</list>', ''])
    }
    for (const at of [995, 5, 1995, 1996, 1997, 1998, 1999, 996, 997, 998]) {
      await bench.put('many', version(at), text(at))
      await buildOne(`a version at ${at}`)
    }
    await bench.put('many', version(700), 'shorter')
    await buildOne('another text')
    for (const at of [0, 500, 1990]) {
      await bench.drop('many', version(at))
      await buildOne(`one version less at ${at}`)
    }
  })

  it('gives what is larger than any member one of its own, which stays when its neighbours change', async () => {
    const bench = openBench()
    for (const [unit, size] of [
      ['a', 100],
      ['b', 900_000],
      ['c', 100],
    ] as const)
      await bench.put(unit, 'a/1', unit.padEnd(size, '.'))
    await bench.builder.build('all')
    const large = (await readMembers(bench)).filter(({ size }) => size > 900_000)
    assert.equal(large.length, 1)
    await bench.put('a', 'a/1', 'other')
    await bench.put('bb', 'a/1', 'new')
    await bench.builder.build(new Set(['a', 'bb']))
    assert.deepEqual(
      (await readMembers(bench)).filter(({ size }) => size > 900_000),
      large,
    )
  })

  it('goes on from a generation with members of any size, and cuts them when they change', async () => {
    const bench = openBench()
    await putVersions(bench, 40)
    const whole = createFormat(false)
    /** As if a unit were one entry. */
    const uncut = {
      ...whole,
      *splitEntries(document: string, bytes: Buffer) {
        for (const [unit, entries = []] of Map.groupBy(whole.splitEntries(document, bytes), ({ unit }) => unit))
          yield { unit, bytes: Buffer.concat(entries.map((entry) => entry.bytes)) }
      },
    }
    await openBuilder(bench, uncut).build('all')
    const before = await readMembers(bench)
    assert.ok(before.some(({ size }) => size > 40 * 20_480))
    await bench.put('zz', 'a/1', 'text')
    await bench.builder.build(new Set(['zz']))
    const between = await readMembers(bench)
    assert.ok(between.some(({ size }) => size > 40 * 20_480))
    await bench.put('many', version(55), text(55))
    await bench.builder.build(new Set(['many']))
    for (const { size } of await readMembers(bench)) assert.ok(size <= 256 * 1024)
    assert.equal((await readIndex(bench)).get('a'), (await readFresh(bench, false)).get('a'))
  })

  it('keeps eight generations and no member that none of them names', async () => {
    const bench = openBench()
    const digests: string[] = []
    for (let at = 0; at < 12; at += 1) {
      await bench.put('unit', 'a/1', `text ${at}`)
      await bench.builder.build(new Set(['unit']))
      digests.push((await bench.reader.find('main'))?.built.documents[0]?.encodings[''].sha256 ?? '')
    }
    const found = await Promise.all(
      digests.map(async (digest) => (await bench.reader.findByHash('main', digest)) !== undefined),
    )
    assert.deepEqual(found, [...Array<boolean>(4).fill(false), ...Array<boolean>(8).fill(true)])
    assert.equal((await bench.rows.rowsOf('//index/main')).filter((row) => row.key.includes('/m/')).length, 8)
  })

  it('signs nothing when nothing that it lists has changed', async () => {
    const bench = openBench()
    await bench.put('unit', 'a/1', 'text')
    await bench.builder.build('all')
    const before = (await bench.reader.find('main'))?.built
    await bench.builder.build('all')
    await bench.builder.build(new Set(['unit', 'no such unit']))
    assert.deepEqual((await bench.reader.find('main'))?.built, before)
  })
})

test('whatever step fails, the previous generation is whole, and the next attempt goes on', async () => {
  for (let failing = 0; ; failing += 1) {
    const bench = openBench()
    await bench.put('unit-1', 'a/1', 'one')
    await bench.builder.build('all')
    const before = await readIndex(bench)
    for (let at = 0; at < 280; at += 1) await bench.put(`unit-${at}`, 'a/1', `${at}`.padEnd(40_000, `${at}`))
    let steps = 0
    const { feed } = bench
    const [stage, change] = [feed.stage.bind(feed), feed.change.bind(feed)]
    const count = () => {
      steps += 1
      if (steps - 1 === failing) throw new Error('injected')
    }
    feed.stage = async (options) => {
      count()
      return await stage(options)
    }
    feed.change = async (unit, plan) => {
      count()
      await change(unit, plan)
    }
    const outcome = await bench.builder.build('all').then(
      () => 'done',
      (error: Error) => error.message,
    )
    feed.stage = stage
    feed.change = change
    if (outcome === 'done') {
      assert.ok(failing > 130, 'every step was tried')
      return
    }
    assert.equal(outcome, 'injected')
    const between = await readIndex(bench)
    // The directory alone may be missing: the generation is there then, and is looked at again.
    if (between.get('a') !== before.get('a')) assert.equal(await bench.builder.isCurrent(), false)
    await bench.builder.build('all')
    assert.ok(await bench.builder.isCurrent())
    assert.equal((await readIndex(bench)).get('a')?.split('\n').length, 281)
    if (failing > 4 && failing < 120) failing += 38
  }
})
