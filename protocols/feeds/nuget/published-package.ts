/** What the rows of a unit say: a package with its versions in NuGet's order. */

import type { Feed, FeedFile, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { decodeVersionMeta, findPackageKey, PACKAGE_ROLE, unlistedKey } from './format.ts'
import { decodeNuspec, type Nuspec } from './nuspec.ts'
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
  /** Of the manifest. */
  readonly bytes: number
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

/** What its publisher wrote about a version: the metadata of its row. @throws CORRUPT, BAD_PACKAGE */
export function parsePublished(one: VersionRow, meta: Uint8Array): PublishedVersion {
  return describe(one, decodeRecord(meta))
}

/** Reads what publishers wrote; keeps what was asked for lately. */
export class PublishedVersions {
  readonly #records = new ByteCache<VersionRecord>(MAX_CACHE_BYTES)

  async read(feed: Feed, one: VersionRow): Promise<PublishedVersion> {
    const known = this.#records.find(one.row.digest)
    if (known !== undefined) return describe(one, known)
    const record = decodeRecord(await feed.readMeta(one.row))
    this.#records.set(one.row.digest, record, record.bytes * 4 + 500)
    return describe(one, record)
  }
}

function decodeRecord(meta: Uint8Array): VersionRecord {
  const { nuspec, sha512 } = decodeVersionMeta(meta)
  return { nuspec: decodeNuspec(nuspec), sha512, bytes: nuspec.length }
}

function describe(one: VersionRow, { nuspec, sha512 }: VersionRecord): PublishedVersion {
  const needsSemVer2 =
    isSemVer2(nuspec.version) ||
    nuspec.dependencyGroups.some(({ dependencies }) => dependencies.some(({ range }) => /\+|-[^,\])]*\./.test(range)))
  return { ...one, version: nuspec.version, nuspec, sha512, isSemVer2: needsSemVer2 }
}
