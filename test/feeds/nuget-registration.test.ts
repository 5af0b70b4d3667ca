/** Metadata of packages with more versions than a page of it holds, followed as clients do. */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { nugetFeedType } from '../../protocols/feeds/nuget/feed-type.ts'
import { encodeVersionMeta, unlistedKey, versionKey } from '../../protocols/feeds/nuget/format.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { createFeedServer, PUBLISHER_KEY, withKey } from '../support/feed-server.ts'
import { createNuspec } from './nuget-package.ts'

interface Item {
  readonly catalogEntry: { readonly version: string; readonly listed: boolean }
}

interface Page {
  readonly '@id': string
  readonly count: number
  readonly lower: string
  readonly upper: string
  readonly parent: string
  readonly items?: readonly Item[]
}

async function writeVersions(feed: Feed, id: string, versions: readonly string[]): Promise<void> {
  await using staged = await feed.stage({ maxBytes: 8 })
  await staged.write(Buffer.from('x'))
  const blob = await staged.seal()
  await feed.change(id.toLowerCase(), () => ({
    put: versions.map((version) => ({
      key: versionKey(version.toLowerCase()),
      rowClass: 'immutable' as const,
      meta: encodeVersionMeta({ sha512: 'A', nuspec: Buffer.from(createNuspec({ id, version })) }),
      files: [{ role: 'nupkg', blob }],
    })),
  }))
}

/** Lists the versions of a package as NuGet's clients do: the index, then each page that is not inside it. */
async function follow(get: (url: string) => Promise<unknown>, url: string): Promise<{ pages: Page[]; items: Item[] }> {
  const index = (await get(url)) as { readonly count: number; readonly items: readonly Page[] }
  assert.equal(index.count, index.items.length)
  const pages: Page[] = []
  for (const page of index.items) pages.push(page.items === undefined ? ((await get(page['@id'])) as Page) : page)
  for (const [at, page] of pages.entries()) {
    assert.equal(page.count, page.items?.length)
    assert.deepEqual(
      [page.lower, page.upper, page.parent],
      [index.items[at]?.lower, index.items[at]?.upper, url],
      'a page is what the index says of it',
    )
    assert.equal(page.items?.[0]?.catalogEntry.version, page.lower)
    assert.equal(page.items?.at(-1)?.catalogEntry.version, page.upper)
  }
  return { pages, items: pages.flatMap(({ items }) => items ?? []) }
}

for (const [count, pageCount] of [
  [1, 1],
  [64, 1],
  [65, 2],
  [200, 4],
] as const)
  test(`${count} versions are on ${pageCount} pages, in order, each once`, async (t) => {
    const server = await createFeedServer([nugetFeedType])
    t.after(() => server[Symbol.asyncDispose]())
    const feed = server.addFeed('nuget', 'main')
    const versions = Array.from({ length: count }, (_value, at) => (at === 7 ? '1.7.0-RC.1' : `1.${at}.0`))
    await writeVersions(feed, 'Big.Lib', versions.toReversed())
    if (count > 9)
      await feed.change('big.lib', () => ({
        put: [{ key: unlistedKey('1.9.0'), rowClass: 'flag', meta: new Uint8Array(0), files: [] }],
      }))
    const get = async (url: string): Promise<unknown> => {
      const answer = await server.app.inject({
        method: 'GET',
        url: new URL(url).pathname,
        headers: withKey(PUBLISHER_KEY),
      })
      assert.equal(answer.statusCode, 200, url)
      return answer.json()
    }
    const base = 'http://localhost:80/nuget/main/v3'
    const modern = await follow(get, `${base}/registration-semver2/big.lib/index.json`)
    assert.equal(modern.pages.length, pageCount)
    assert.deepEqual(
      modern.items.map(({ catalogEntry }) => catalogEntry.version),
      versions,
    )
    assert.deepEqual(
      modern.items.filter(({ catalogEntry }) => !catalogEntry.listed).map(({ catalogEntry }) => catalogEntry.version),
      count > 9 ? ['1.9.0'] : [],
    )
    const old = await follow(get, `${base}/registration/big.lib/index.json`)
    assert.deepEqual(
      old.items.map(({ catalogEntry }) => catalogEntry.version),
      versions.filter((one) => !one.includes('-')),
    )
    const leaf = (await get(`${base}/registration-semver2/big.lib/${versions.at(-1)}.json`)) as {
      readonly registration: string
    }
    assert.equal(leaf.registration, `${base}/registration-semver2/big.lib/index.json`)
  })
