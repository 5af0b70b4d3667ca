/**
 * What searches and listings look through: a few facts of every version, kept in memory and brought up to date package by
 * package, so that a query reads only what has changed since the last one.
 */

import { setImmediate } from 'node:timers/promises'
import type { Feed, UnitSummary } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { findPackageKey } from './format.ts'
import { isPrerelease, type PackageVersion } from './package-version.ts'
import { listVersionRows, type PublishedVersion, type PublishedVersions } from './published-package.ts'

/** About 200,000 versions. */
const MAX_CACHE_BYTES = 128 * 1024 ** 2
const MAX_TEXT = 1000
const PAGE = 500

export interface CatalogVersion {
  /** Lower case. */
  readonly unit: string
  readonly id: string
  readonly version: PackageVersion
  readonly originalVersion: string
  readonly title: string
  /** At most the first 1000 characters, as of all texts here. */
  readonly description: string
  readonly summary: string
  readonly tags: string
  readonly authors: string
  readonly packageTypes: string
  readonly isListed: boolean
  readonly isPrerelease: boolean
  readonly isSemVer2: boolean
  readonly publishedAtMs: number
  readonly size: number
  /** Among the versions for clients that know SemVer 1 only, and among all. */
  readonly latest: { readonly semVer1: Latest; readonly semVer2: Latest }
}

export interface Latest {
  readonly isLatest: boolean
  readonly isAbsoluteLatest: boolean
}

export interface CatalogPackage {
  readonly unit: string
  /** Rising. */
  readonly versions: readonly CatalogVersion[]
  readonly hasSymbols: boolean
}

export class PackageCatalog {
  readonly #packages = new ByteCache<CatalogPackage>(MAX_CACHE_BYTES)
  readonly #published: PublishedVersions

  constructor(published: PublishedVersions) {
    this.#published = published
  }

  /** In byte order of their ids. */
  async *list(feed: Feed): AsyncIterable<CatalogPackage> {
    let after: string | undefined
    for (;;) {
      let count = 0
      for await (const unit of feed.list({ limit: PAGE, ...(after === undefined ? {} : { after }) })) {
        count += 1
        after = unit.unit
        const found = await this.#find(feed, unit)
        if (found !== undefined) yield found
      }
      if (count < PAGE) return
    }
  }

  async *listWithSymbols(feed: Feed): AsyncIterable<CatalogPackage> {
    for await (const one of this.list(feed)) if (one.hasSymbols) yield one
  }

  /** One package, as `list` gives it. */
  async find(feed: Feed, unit: string): Promise<CatalogPackage | undefined> {
    for await (const summary of feed.list({ prefix: unit, limit: 1 })) {
      if (summary.unit === unit) return await this.#find(feed, summary)
    }
    return undefined
  }

  async #find(feed: Feed, { unit, changedAtMs }: UnitSummary): Promise<CatalogPackage | undefined> {
    const key = `${feed.name} ${unit}`
    const stamped = `${key} ${changedAtMs}`
    const known = this.#packages.find(stamped)
    if (known !== undefined) return known
    const found = await this.#read(feed, unit)
    // A cold catalogue of a large feed takes seconds; other requests go on meanwhile.
    await setImmediate()
    if (found !== undefined) this.#packages.set(stamped, found, sizeOf(found))
    return found
  }

  async #read(feed: Feed, name: string): Promise<CatalogPackage | undefined> {
    const unit = await feed.findUnit(name)
    if (unit === undefined) return undefined
    const rows = listVersionRows(unit)
    const versions: PublishedVersion[] = []
    for (const row of rows) versions.push(await this.#published.read(feed, row))
    const hasSymbols = unit.rows.some(({ key }) => findPackageKey(key)?.kind === 'symbols')
    return versions.length === 0 ? undefined : { unit: name, versions: summarise(name, versions), hasSymbols }
  }
}

function summarise(unit: string, versions: readonly PublishedVersion[]): CatalogVersion[] {
  const all = findLatest(versions)
  const old = findLatest(versions.filter((one) => !one.isSemVer2))
  const flags = (latest: LatestVersions, one: PublishedVersion) => ({
    isLatest: one === latest.stable,
    isAbsoluteLatest: one === latest.any,
  })
  const facts: CatalogVersion[] = []
  for (const one of versions) {
    const { fields, packageTypes, originalVersion, id } = one.nuspec
    const previous = facts.at(-1)
    // Most versions of a package repeat the texts of the one before.
    const text = (name: 'title' | 'description' | 'summary' | 'authors' | 'tags') => {
      const short = (fields[name] ?? '').slice(0, MAX_TEXT)
      return previous?.[name] === short ? previous[name] : short
    }
    facts.push({
      unit,
      id,
      version: one.version,
      originalVersion,
      title: text('title'),
      description: text('description'),
      summary: text('summary'),
      tags: text('tags'),
      authors: text('authors'),
      packageTypes: packageTypes.join(' '),
      isListed: one.isListed,
      isPrerelease: isPrerelease(one.version),
      isSemVer2: one.isSemVer2,
      publishedAtMs: one.row.writtenAtMs,
      size: one.file.size,
      latest: { semVer1: flags(old, one), semVer2: flags(all, one) },
    })
  }
  return facts
}

interface LatestVersions {
  readonly stable: PublishedVersion | undefined
  readonly any: PublishedVersion | undefined
}

function findLatest(versions: readonly PublishedVersion[]): LatestVersions {
  const listed = versions.filter(({ isListed }) => isListed)
  return { stable: listed.findLast(({ version }) => !isPrerelease(version)), any: listed.at(-1) }
}

function sizeOf({ versions }: CatalogPackage): number {
  let bytes = 200
  let previous: CatalogVersion | undefined
  for (const one of versions) {
    bytes += 500
    for (const name of ['title', 'description', 'summary', 'authors', 'tags'] as const) {
      if (one[name] !== previous?.[name]) bytes += one[name].length * 2
    }
    previous = one
  }
  return bytes
}
