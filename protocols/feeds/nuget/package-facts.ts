/** The few facts of a version that searches and listings look at. */

import type { FeedUnit } from '../../../src/feeds/feed.ts'
import { findPackageKey } from './format.ts'
import { isPrerelease, type PackageVersion } from './package-version.ts'
import type { PublishedVersion } from './published-package.ts'

const MAX_TEXT = 1000
export const TEXTS = ['title', 'description', 'summary', 'tags', 'authors'] as const

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

export type VersionFacts = Omit<CatalogVersion, 'latest'>

/** undefined without any version. */
export function summarise(unit: FeedUnit, versions: readonly PublishedVersion[]): CatalogPackage | undefined {
  const facts: VersionFacts[] = []
  for (const one of versions) {
    const { fields, packageTypes, originalVersion, id } = one.nuspec
    const previous = facts.at(-1)
    // Most versions of a package repeat the texts of the one before.
    const share = (text: string, before: string | undefined) => (before === text ? before : text)
    const text = (name: (typeof TEXTS)[number]) => share((fields[name] ?? '').slice(0, MAX_TEXT), previous?.[name])
    facts.push({
      unit: unit.unit,
      id: share(id, previous?.id),
      version: one.version,
      originalVersion,
      title: text('title'),
      description: text('description'),
      summary: text('summary'),
      tags: text('tags'),
      authors: text('authors'),
      packageTypes: share(packageTypes.join(' '), previous?.packageTypes),
      isListed: one.isListed,
      isPrerelease: isPrerelease(one.version),
      isSemVer2: one.isSemVer2,
      publishedAtMs: one.row.writtenAtMs,
      size: one.file.size,
    })
  }
  const hasSymbols = unit.rows.some(({ key }) => findPackageKey(key)?.kind === 'symbols')
  return facts.length === 0 ? undefined : createPackage(unit.unit, facts, hasSymbols)
}

/** `facts` rising. */
export function createPackage(unit: string, facts: readonly VersionFacts[], hasSymbols: boolean): CatalogPackage {
  const all = findLatest(facts)
  const old = findLatest(facts.filter((one) => !one.isSemVer2))
  const versions = facts.map((one) => ({
    ...one,
    latest: { semVer1: latestOf(old, one), semVer2: latestOf(all, one) },
  }))
  return { unit, versions, hasSymbols }
}

interface LatestVersions {
  readonly stable: VersionFacts | undefined
  readonly any: VersionFacts | undefined
}

function findLatest(versions: readonly VersionFacts[]): LatestVersions {
  const listed = versions.filter(({ isListed }) => isListed)
  return { stable: listed.findLast((one) => !one.isPrerelease), any: listed.at(-1) }
}

const NOT_LATEST: Latest = { isLatest: false, isAbsoluteLatest: false }

function latestOf(latest: LatestVersions, one: VersionFacts): Latest {
  const [isLatest, isAbsoluteLatest] = [one === latest.stable, one === latest.any]
  return isLatest || isAbsoluteLatest ? { isLatest, isAbsoluteLatest } : NOT_LATEST
}

/** About what a package takes in memory, bytes. */
export function factsBytes({ versions }: CatalogPackage): number {
  let bytes = 200
  let previous: CatalogVersion | undefined
  for (const one of versions) {
    bytes += 500
    for (const name of TEXTS) if (one[name] !== previous?.[name]) bytes += one[name].length * 2
    previous = one
  }
  return bytes
}
