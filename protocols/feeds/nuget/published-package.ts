/** What the rows of a unit say: a package with its versions in NuGet's order. */

import type { Feed, FeedFile, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { decodeVersionMeta, findPackageKey, PACKAGE_ROLE, unlistedKey } from './format.ts'
import { type Nuspec, parseNuspec } from './nuspec.ts'
import { comparePackageVersions, findPackageVersion, isSemVer2, type PackageVersion } from './package-version.ts'

const MAX_CACHE_BYTES = 64 * 1024 ** 2

export interface VersionRow {
  readonly version: PackageVersion
  readonly row: FeedRow
  readonly file: FeedFile
  readonly isListed: boolean
}

export interface PublishedVersion extends VersionRow {
  readonly nuspec: Nuspec
  /** Of the .nupkg, base64. */
  readonly sha512: string
  /** Not to be shown to clients that know SemVer 1 only. */
  readonly isSemVer2: boolean
}

interface VersionRecord {
  readonly nuspec: Nuspec
  readonly sha512: string
}

/** Rising. */
export function listVersionRows(unit: FeedUnit): VersionRow[] {
  const keys = new Set(unit.rows.map(({ key }) => key))
  const found = unit.rows.flatMap((row): VersionRow[] => {
    const about = findPackageKey(row.key)
    const version = about?.kind === 'version' ? findPackageVersion(about.version) : undefined
    const file = row.files.find(({ role }) => role === PACKAGE_ROLE)
    if (version === undefined || file === undefined) return []
    return [{ version, row, file, isListed: !keys.has(unlistedKey(version.key)) }]
  })
  return found.sort((a, b) => comparePackageVersions(a.version, b.version))
}

/** Reads what the publishers wrote about versions; keeps what was asked for lately. */
export class PublishedVersions {
  readonly #records = new ByteCache<VersionRecord>(MAX_CACHE_BYTES)

  async read(feed: Feed, one: VersionRow): Promise<PublishedVersion> {
    const { nuspec, sha512 } = await this.#readRecord(feed, one.row)
    const ranges = nuspec.dependencyGroups.flatMap(({ dependencies }) => dependencies.map(({ range }) => range))
    const needsSemVer2 = isSemVer2(nuspec.version) || ranges.some((range) => /\+|-[^,\])]*\./.test(range))
    return { ...one, version: nuspec.version, nuspec, sha512, isSemVer2: needsSemVer2 }
  }

  async #readRecord(feed: Feed, row: FeedRow): Promise<VersionRecord> {
    const known = this.#records.find(row.digest)
    if (known !== undefined) return known
    const meta = decodeVersionMeta(await feed.readMeta(row))
    const record = { nuspec: parseNuspec(meta.nuspec), sha512: meta.sha512 }
    this.#records.set(row.digest, record, meta.nuspec.length * 4 + 500)
    return record
  }
}
