/** What searches look through: read once, kept over restarts, brought up to date by what has changed. */

import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { encodeVersionMeta, versionKey } from '../../protocols/feeds/nuget/format.ts'
import { PackageCatalog } from '../../protocols/feeds/nuget/package-catalog.ts'
import type { CatalogPackage } from '../../protocols/feeds/nuget/package-facts.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { createMemoryFeed } from '../../src/feeds/memory-feed.ts'
import { createNuspec } from './nuget-package.ts'

const PACKAGES = 250

async function write(feed: Feed, id: string, version: string, nuspec = createNuspec({ id, version })): Promise<void> {
  await using staged = await feed.stage({ maxBytes: 64 })
  await staged.write(Buffer.from('x'))
  const blob = await staged.seal()
  const meta = encodeVersionMeta({ sha512: 'A', nuspec: Buffer.from(nuspec) })
  const files = [{ role: 'nupkg', blob }]
  await feed.change(id.toLowerCase(), () => ({
    put: [{ key: versionKey(version), rowClass: 'immutable', meta, files }],
  }))
}

/** A feed that counts the manifests that are read. */
async function createCountingFeed(packages = PACKAGES) {
  let now = 1_700_000_000_000
  const feed = createMemoryFeed({ name: 'main', type: 'nuget', now: () => now++ })
  for (let at = 0; at < packages; at += 1) {
    const more = `<title>Lib ${at}</title><tags>a b</tags><dependencies><dependency id="x" version="1.0-a.1"/></dependencies>`
    await write(feed, `Lib${at}`, '1.0.0', createNuspec({ id: `Lib${at}`, version: '1.0.0', more }))
    if (at % 5 === 0) await write(feed, `Lib${at}`, '2.0.0-Beta', createNuspec({ id: `Lib${at}`, version: '2.0-Beta' }))
  }
  const reads = { count: 0 }
  const readMeta = feed.readMeta.bind(feed)
  feed.readMeta = (row) => {
    reads.count += 1
    return readMeta(row)
  }
  return { feed, reads }
}

async function listAll(catalog: PackageCatalog, feed: Feed): Promise<CatalogPackage[]> {
  const all: CatalogPackage[] = []
  for await (const page of catalog.list(feed)) all.push(...page)
  return all
}

describe('the catalogue of a nuget feed', () => {
  it('reads each manifest once, however many ask at once', async () => {
    const { feed, reads } = await createCountingFeed()
    const catalog = new PackageCatalog()
    const [first, second] = await Promise.all([listAll(catalog, feed), listAll(catalog, feed)])
    assert.equal(reads.count, PACKAGES * 1.2)
    assert.equal(first.length, PACKAGES)
    assert.deepEqual(second, first)
    await listAll(catalog, feed)
    assert.equal(reads.count, PACKAGES * 1.2)
  })

  it('is the same for the next process, which reads what has changed only', async () => {
    const { feed, reads } = await createCountingFeed()
    const before = await listAll(new PackageCatalog(), feed)
    reads.count = 0
    const next = new PackageCatalog()
    assert.deepEqual(await listAll(next, feed), before)
    assert.equal(reads.count, 0)
    await write(feed, 'Lib7', '1.1.0')
    await write(feed, 'New', '1.0.0')
    await feed.change('lib8', () => ({ drop: [versionKey('1.0.0')] }))
    const changed = await listAll(next, feed)
    assert.equal(reads.count, 3)
    assert.equal(changed.length, PACKAGES)
    const lib7 = changed.find(({ unit }) => unit === 'lib7')
    assert.deepEqual(
      lib7?.versions.map(({ originalVersion, latest }) => [originalVersion, latest.semVer2.isLatest]),
      [
        ['1.0.0', false],
        ['1.1.0', true],
      ],
    )
    assert.deepEqual(await listAll(new PackageCatalog(), feed), changed)
  })

  it('is noted anew while it grows, as changes and as a whole', async () => {
    const { feed, reads } = await createCountingFeed(120)
    for (const added of [0, 100, 3000]) {
      const catalog = new PackageCatalog()
      await listAll(catalog, feed)
      for (let at = 0; at < added; at += 1) await write(feed, `More${added}.${at}`, '1.0.0')
      const all = await listAll(catalog, feed)
      reads.count = 0
      assert.deepEqual(await listAll(new PackageCatalog(), feed), all)
      assert.equal(reads.count, 0, `${added}`)
    }
    const catalog = new PackageCatalog()
    await listAll(catalog, feed)
    for (let at = 0; at < 100; at += 1) await write(feed, `Last${at}`, '1.0.0')
    const all = await listAll(catalog, feed)
    assert.ok((await feed.notes.find('catalog/changes')) !== undefined)
    reads.count = 0
    assert.deepEqual(await listAll(new PackageCatalog(), feed), all)
    assert.equal(reads.count, 0)
  })

  it('takes notes that cannot be read for none', async () => {
    for (const garbage of [
      'x',
      '[]',
      '{"format":1,"pages":"x"}',
      '{"format":1,"texts":[],"packages":[["lib1"],7,["lib1","1 1 1",0,[["1.0",1,1,1,0,0,0,0,0,0,0]]]]}',
      '{"format":2,"texts":[],"packages":[]}',
    ]) {
      const { feed, reads } = await createCountingFeed()
      const before = await listAll(new PackageCatalog(), feed)
      reads.count = 0
      const head = garbage.includes('pages"') ? 'catalog' : 'catalog/0'
      await feed.notes.set(new Map([[head, Buffer.from(garbage)]]))
      assert.deepEqual(await listAll(new PackageCatalog(), feed), before)
      assert.ok(reads.count > 0, garbage)
    }
  })

  it('finds one package without a look at any other', async () => {
    const { feed, reads } = await createCountingFeed()
    const catalog = new PackageCatalog()
    const found = await catalog.find(feed, 'lib5')
    assert.deepEqual(
      found?.versions.map(({ originalVersion, isSemVer2 }) => [originalVersion, isSemVer2]),
      [
        ['1.0.0', true],
        ['2.0-Beta', false],
      ],
    )
    await catalog.find(feed, 'lib5')
    assert.equal(reads.count, 2)
    assert.equal(await catalog.find(feed, 'other'), undefined)
  })

  it('goes on without a version that cannot be read, as another node may have written it', async () => {
    const { feed } = await createCountingFeed(3)
    await write(feed, 'Bad', '1.0.0', '<package><metadata><id>Bad</id>')
    await write(feed, 'Lib1', '3.0.0', 'nothing')
    const all = await listAll(new PackageCatalog(), feed)
    assert.deepEqual(
      all.map(({ unit, versions }) => [unit, versions.length]),
      [
        ['lib0', 2],
        ['lib1', 1],
        ['lib2', 1],
      ],
    )
  })

  it('answers although nothing can be noted, and fails with the manifests', async () => {
    const { feed } = await createCountingFeed()
    feed.notes.set = () => Promise.reject(new FeedmeshError('STORAGE_FULL', 'no space'))
    const catalog = new PackageCatalog()
    assert.equal((await listAll(catalog, feed)).length, PACKAGES)
    const readMeta = feed.readMeta.bind(feed)
    feed.readMeta = () => Promise.reject(new FeedmeshError('STORAGE_IO', 'broken'))
    await write(feed, 'New', '1.0.0')
    await assert.rejects(listAll(catalog, feed), /broken/)
    feed.readMeta = readMeta
    assert.equal((await listAll(catalog, feed)).length, PACKAGES + 1)
  })
})
