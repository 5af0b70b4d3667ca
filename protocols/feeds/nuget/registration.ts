/** Package metadata for clients: https://learn.microsoft.com/nuget/api/registration-base-url-resource */

import type { Feed } from '../../../src/feeds/feed.ts'
import type { Dependency, DependencyGroup } from './nuspec.ts'
import { comparePackageVersions, findPackageVersion, type PackageVersion } from './package-version.ts'
import type { PublishedVersion, PublishedVersions, VersionRow } from './published-package.ts'
import { V3_PATHS } from './service-index.ts'

const PAGE_VERSIONS = 64
/** Clients take this date for "unlisted". */
export const UNLISTED_DATE = '1900-01-01T00:00:00Z'

export interface Hive {
  /** URL of the feed without a slash at its end. */
  readonly baseUrl: string
  readonly isSemVer2: boolean
}

interface Page {
  readonly lower: PackageVersion
  readonly upper: PackageVersion
  readonly versions: readonly PublishedVersion[]
}

export function renderHiveUrl({ baseUrl, isSemVer2 }: Hive, id: string): string {
  const path = isSemVer2 ? V3_PATHS.registrationSemVer2 : V3_PATHS.registration
  return `${baseUrl}/${path}/${encodeURIComponent(id.toLowerCase())}`
}

export function renderContentUrl(baseUrl: string, id: string, version: PackageVersion): string {
  const name = encodeURIComponent(id.toLowerCase())
  return `${baseUrl}/${V3_PATHS.content}/${name}/${version.key}/${name}.${version.key}.nupkg`
}

/** Versions that a hive shows, rising. */
export async function readHive(
  feed: Feed,
  rows: readonly VersionRow[],
  { published, isSemVer2 }: { readonly published: PublishedVersions; readonly isSemVer2: boolean },
): Promise<PublishedVersion[]> {
  const all: PublishedVersion[] = []
  for (const row of rows) all.push(await published.read(feed, row))
  return isSemVer2 ? all : all.filter((one) => !one.isSemVer2)
}

/** All items inside while they fit one page, else a list of pages. */
export function renderRegistrationIndex(hive: Hive, id: string, versions: readonly PublishedVersion[]): unknown {
  const url = `${renderHiveUrl(hive, id)}/index.json`
  const pages = splitPages(versions)
  return {
    '@id': url,
    '@type': ['catalog:CatalogRoot', 'PackageRegistration', 'catalog:Permalink'],
    count: pages.length,
    items: pages.map((page) => renderPage(hive, id, page, pages.length === 1)),
  }
}

/** Versions from `lower` to `upper`, both named by the index; undefined when there are none. */
export function renderRegistrationPage(hive: Hive, id: string, { versions, lower, upper }: Page): unknown {
  const inside = versions.filter(
    ({ version }) => comparePackageVersions(version, lower) >= 0 && comparePackageVersions(version, upper) <= 0,
  )
  return inside.length === 0 ? undefined : renderPage(hive, id, { lower, upper, versions: inside }, true)
}

export function renderRegistrationLeaf(hive: Hive, one: PublishedVersion): unknown {
  const url = renderHiveUrl(hive, one.nuspec.id)
  return {
    '@id': `${url}/${one.version.key}.json`,
    '@type': ['Package', 'http://schema.nuget.org/catalog#Permalink'],
    catalogEntry: renderCatalogEntry(hive, one),
    listed: one.isListed,
    packageContent: renderContentUrl(hive.baseUrl, one.nuspec.id, one.version),
    published: publishedDate(one),
    registration: `${url}/index.json`,
  }
}

function splitPages(versions: readonly PublishedVersion[]): Page[] {
  const pages: Page[] = []
  for (let at = 0; at < versions.length; at += PAGE_VERSIONS) {
    const part = versions.slice(at, at + PAGE_VERSIONS)
    const [lower, upper] = [part[0]?.version, part.at(-1)?.version]
    if (lower !== undefined && upper !== undefined) pages.push({ lower, upper, versions: part })
  }
  return pages
}

function renderPage(hive: Hive, id: string, { lower, upper, versions }: Page, isWhole: boolean): unknown {
  const url = renderHiveUrl(hive, id)
  return {
    '@id': `${url}/page/${lower.key}/${upper.key}.json`,
    '@type': 'catalog:CatalogPage',
    count: versions.length,
    lower: lower.normalized,
    upper: upper.normalized,
    parent: `${url}/index.json`,
    ...(isWhole ? { items: versions.map((one) => renderItem(hive, one)) } : {}),
  }
}

function renderItem(hive: Hive, one: PublishedVersion): unknown {
  const url = renderHiveUrl(hive, one.nuspec.id)
  return {
    '@id': `${url}/${one.version.key}.json`,
    '@type': 'Package',
    catalogEntry: renderCatalogEntry(hive, one),
    packageContent: renderContentUrl(hive.baseUrl, one.nuspec.id, one.version),
    registration: `${url}/index.json`,
  }
}

function renderCatalogEntry(hive: Hive, one: PublishedVersion): unknown {
  const { id, fields, tags, dependencyGroups, minClientVersion, packageTypes } = one.nuspec
  const url = renderHiveUrl(hive, id)
  const { metadata, normalized } = one.version
  return {
    '@id': `${url}/${one.version.key}.json`,
    '@type': 'PackageDetails',
    authors: fields.authors ?? '',
    dependencyGroups: dependencyGroups.map((group) => renderGroup(hive, group, url)),
    description: fields.description ?? '',
    iconUrl: fields.iconUrl ?? '',
    id,
    language: fields.language ?? '',
    licenseExpression: fields.license ?? '',
    licenseUrl: fields.licenseUrl ?? '',
    listed: one.isListed,
    minClientVersion: minClientVersion ?? '',
    packageContent: renderContentUrl(hive.baseUrl, id, one.version),
    packageHash: one.sha512,
    packageHashAlgorithm: 'SHA512',
    packageSize: one.file.size,
    ...(packageTypes.length === 0 ? {} : { packageTypes: packageTypes.map((name) => ({ name })) }),
    projectUrl: fields.projectUrl ?? '',
    published: publishedDate(one),
    requireLicenseAcceptance: fields.requireLicenseAcceptance?.toLowerCase() === 'true',
    summary: fields.summary ?? '',
    tags,
    title: fields.title ?? '',
    version: metadata === undefined ? normalized : `${normalized}+${metadata}`,
  }
}

function renderGroup(hive: Hive, { targetFramework, dependencies }: DependencyGroup, url: string): unknown {
  const group = `${url}#dependencygroup/${encodeURIComponent(targetFramework.toLowerCase())}`
  return {
    '@id': group,
    '@type': 'PackageDependencyGroup',
    ...(targetFramework === '' ? {} : { targetFramework }),
    ...(dependencies.length === 0
      ? {}
      : { dependencies: dependencies.map((dependency) => renderDependency(hive, dependency, group)) }),
  }
}

function renderDependency(hive: Hive, { id, range }: Dependency, group: string): unknown {
  return {
    '@id': `${group}/${encodeURIComponent(id.toLowerCase())}`,
    '@type': 'PackageDependency',
    id,
    range: renderRange(range),
    registration: `${renderHiveUrl(hive, id)}/index.json`,
  }
}

/** A bare version is a lower bound. https://learn.microsoft.com/nuget/concepts/package-versioning#version-ranges */
function renderRange(range: string): string {
  if (range === '') return '(, )'
  const version = findPackageVersion(range)
  return version === undefined ? range : `[${version.normalized}, )`
}

function publishedDate({ isListed, row }: PublishedVersion): string {
  return isListed ? new Date(row.writtenAtMs).toISOString() : UNLISTED_DATE
}
