/** The properties of a package in NuGet's version 2 and Chocolatey: their types, and what they are of a version. */

import type { DependencyGroup } from './nuspec.ts'
import type { ODataType, ODataValue } from './odata-filter.ts'
import type { CatalogVersion } from './package-facts.ts'
import type { PublishedVersion } from './published-package.ts'

const UNLISTED_MS = Date.UTC(1900, 0, 1)
type EdmType = 'String' | 'Boolean' | 'Int32' | 'Int64' | 'DateTime'

/** In the order in which documents give them. */
export const V2_PROPERTIES: Readonly<Record<string, EdmType>> = {
  Id: 'String',
  Version: 'String',
  NormalizedVersion: 'String',
  Title: 'String',
  Authors: 'String',
  Owners: 'String',
  Description: 'String',
  Summary: 'String',
  ReleaseNotes: 'String',
  Copyright: 'String',
  Language: 'String',
  Tags: 'String',
  Dependencies: 'String',
  ProjectUrl: 'String',
  IconUrl: 'String',
  LicenseUrl: 'String',
  GalleryDetailsUrl: 'String',
  ReportAbuseUrl: 'String',
  MinClientVersion: 'String',
  RequireLicenseAcceptance: 'Boolean',
  DevelopmentDependency: 'Boolean',
  IsLatestVersion: 'Boolean',
  IsAbsoluteLatestVersion: 'Boolean',
  IsPrerelease: 'Boolean',
  Listed: 'Boolean',
  Created: 'DateTime',
  LastUpdated: 'DateTime',
  Published: 'DateTime',
  LastEdited: 'DateTime',
  DownloadCount: 'Int32',
  VersionDownloadCount: 'Int32',
  PackageSize: 'Int64',
  PackageHash: 'String',
  PackageHashAlgorithm: 'String',
  ProjectSourceUrl: 'String',
  PackageSourceUrl: 'String',
  DocsUrl: 'String',
  MailingListUrl: 'String',
  BugTrackerUrl: 'String',
  IsApproved: 'Boolean',
  PackageStatus: 'String',
  PackageSubmittedStatus: 'String',
  PackageTestResultStatus: 'String',
  PackageTestResultStatusDate: 'DateTime',
  PackageValidationResultStatus: 'String',
  PackageValidationResultDate: 'DateTime',
  PackageCleanupResultDate: 'DateTime',
  PackageReviewedDate: 'DateTime',
  PackageApprovedDate: 'DateTime',
  PackageReviewer: 'String',
  IsDownloadCacheAvailable: 'Boolean',
  DownloadCacheDate: 'DateTime',
  DownloadCache: 'String',
  PackageScanStatus: 'String',
  PackageScanResultDate: 'DateTime',
  PackageScanFlagResult: 'String',
}

export function isV2Property(name: string): boolean {
  return Object.hasOwn(V2_PROPERTIES, name)
}

const FILTER_TYPES: Readonly<Record<EdmType, ODataType>> = {
  String: 'text',
  Boolean: 'truth',
  Int32: 'number',
  Int64: 'number',
  DateTime: 'time',
}

/** What a filter may compare the property to; undefined for none. */
export function findV2Type(name: string): ODataType | undefined {
  const type = isV2Property(name) ? V2_PROPERTIES[name] : undefined
  return type === undefined ? undefined : FILTER_TYPES[type]
}

type ReadFacts = (one: CatalogVersion, isSemVer2: boolean) => ODataValue
type ReadPublished = (one: PublishedVersion) => ODataValue

const latestOf = (one: CatalogVersion, isSemVer2: boolean) => (isSemVer2 ? one.latest.semVer2 : one.latest.semVer1)
const written: ReadFacts = (one) => one.publishedAtMs

const FACTS: Readonly<Record<string, ReadFacts>> = {
  Id: (one) => one.id,
  Version: (one) => one.originalVersion,
  NormalizedVersion: (one) => one.version.normalized,
  Title: (one) => one.title,
  Description: (one) => one.description,
  Summary: (one) => one.summary,
  Authors: (one) => one.authors,
  Tags: (one) => (one.tags === '' ? '' : ` ${one.tags} `),
  PackageSize: (one) => one.size,
  IsLatestVersion: (one, isSemVer2) => latestOf(one, isSemVer2).isLatest,
  IsAbsoluteLatestVersion: (one, isSemVer2) => latestOf(one, isSemVer2).isAbsoluteLatest,
  IsPrerelease: (one) => one.isPrerelease,
  Listed: (one) => one.isListed,
  Published: (one) => (one.isListed ? one.publishedAtMs : UNLISTED_MS),
  Created: written,
  LastUpdated: written,
  LastEdited: written,
  DownloadCount: () => 0,
  VersionDownloadCount: () => 0,
  PackageHashAlgorithm: () => 'SHA512',
  IsApproved: () => true,
  PackageStatus: () => 'Approved',
  PackageSubmittedStatus: () => 'Ready',
  PackageTestResultStatus: () => 'Unknown',
  RequireLicenseAcceptance: () => false,
  DevelopmentDependency: () => false,
  IsDownloadCacheAvailable: () => false,
}

const TEXTS =
  'Title Description Summary Authors Owners ReleaseNotes Copyright Language ProjectUrl IconUrl LicenseUrl ProjectSourceUrl PackageSourceUrl DocsUrl MailingListUrl BugTrackerUrl'.split(
    ' ',
  )
const isTrue = (text: string | undefined) => text?.toLowerCase() === 'true'

const PUBLISHED: Readonly<Record<string, ReadPublished>> = {
  ...Object.fromEntries(
    TEXTS.map((name): [string, ReadPublished] => [name, ({ nuspec }) => nuspec.fields[elementOf(name)] ?? null]),
  ),
  Tags: ({ nuspec }) => (nuspec.tags.length === 0 ? null : ` ${nuspec.tags.join(' ')} `),
  Dependencies: ({ nuspec }) => renderDependencies(nuspec.dependencyGroups),
  MinClientVersion: ({ nuspec }) => nuspec.minClientVersion ?? null,
  RequireLicenseAcceptance: ({ nuspec }) => isTrue(nuspec.fields.requireLicenseAcceptance),
  DevelopmentDependency: ({ nuspec }) => isTrue(nuspec.fields.developmentDependency),
  PackageHash: ({ sha512 }) => sha512,
}

/** What can be asked of every version without reading what its publisher wrote; times are Unix times in ms. */
export function readCatalogProperty(one: CatalogVersion, name: string, isSemVer2: boolean): ODataValue {
  return FACTS[name]?.(one, isSemVer2) ?? null
}

/** All of a version. */
export function readV2Property(
  name: string,
  { facts, published, isSemVer2 }: { facts: CatalogVersion; published: PublishedVersion; isSemVer2: boolean },
): ODataValue {
  const read = PUBLISHED[name]
  return read === undefined ? readCatalogProperty(facts, name, isSemVer2) : read(published)
}

function elementOf(name: string): string {
  return name.charAt(0).toLowerCase() + name.slice(1)
}

/** `id:range:framework`, joined by `|`; a framework without dependencies is `::framework`. */
function renderDependencies(groups: readonly DependencyGroup[]): string {
  const parts = groups.flatMap(({ targetFramework, dependencies }) => {
    if (dependencies.length === 0) return targetFramework === '' ? [] : [`::${shortFramework(targetFramework)}`]
    return dependencies.map(({ id, range }) =>
      targetFramework === '' ? `${id}:${range}` : `${id}:${range}:${shortFramework(targetFramework)}`,
    )
  })
  return parts.join('|')
}

/** `.NETFramework4.5` as `net45`: the delimiters of the list must not be in it. */
function shortFramework(name: string): string {
  return name
    .replace(
      /^\.NETFramework,?(?:Version=v)?([\d.]+)$/i,
      (_whole, version: string) => `net${version.replaceAll('.', '')}`,
    )
    .replace(/^\.NETStandard,?(?:Version=v)?([\d.]+)$/i, 'netstandard$1')
    .replace(/[:|]/g, '')
}
