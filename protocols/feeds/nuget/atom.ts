/** The documents of NuGet's version 2: Atom and JSON of OData 2, the service document and the schema. */

import type { ODataValue } from './odata-filter.ts'
import type { CatalogVersion } from './package-facts.ts'
import type { PublishedVersion } from './published-package.ts'
import { readV2Property, V2_PROPERTIES } from './v2-properties.ts'
import { escapeXml } from './xml.ts'

const DATA = 'http://schemas.microsoft.com/ado/2007/08/dataservices'
const NAMESPACES = `xmlns="http://www.w3.org/2005/Atom" xmlns:d="${DATA}" xmlns:m="${DATA}/metadata"`
const HEADER = '<?xml version="1.0" encoding="utf-8"?>\n'

export interface V2Entry {
  readonly facts: CatalogVersion
  readonly published: PublishedVersion
}

export interface V2Rendering {
  /** URL of the feed without a slash at its end. */
  readonly baseUrl: string
  readonly select: readonly string[]
  readonly isSemVer2: boolean
}

export interface V2Listing {
  readonly entries: readonly V2Entry[]
  /** Name of what was asked for: `Packages`, `Search`… */
  readonly title: string
  readonly count: number | undefined
  readonly nextUrl: string | undefined
}

export function renderAtomFeed({ entries, title, count, nextUrl }: V2Listing, rendering: V2Rendering): string {
  const { baseUrl } = rendering
  const updated = entries.reduce((latest, { facts }) => Math.max(latest, facts.publishedAtMs), 0)
  return [
    `${HEADER}<feed xml:base="${escapeXml(baseUrl)}/" ${NAMESPACES}>`,
    count === undefined ? '' : `<m:count>${count}</m:count>`,
    `<title type="text">${title}</title><id>${escapeXml(baseUrl)}/${title}</id><updated>${renderTime(updated)}</updated>`,
    `<link rel="self" title="${title}" href="${title}" />`,
    ...(entries.length === 0 ? ['<author><name /></author>'] : []),
    ...entries.map((entry) => renderEntry(entry, rendering, '')),
    nextUrl === undefined ? '' : `<link rel="next" href="${escapeXml(nextUrl)}" />`,
    '</feed>',
  ].join('\n')
}

export function renderAtomEntry(entry: V2Entry, rendering: V2Rendering): string {
  return HEADER + renderEntry(entry, rendering, ` xml:base="${escapeXml(rendering.baseUrl)}/" ${NAMESPACES}`)
}

/** https://www.odata.org/documentation/odata-version-2-0/json-format */
export function renderJsonFeed({ entries, count, nextUrl }: V2Listing, rendering: V2Rendering): unknown {
  return {
    d: {
      results: entries.map((entry) => renderJsonEntry(entry, rendering)),
      ...(count === undefined ? {} : { __count: String(count) }),
      ...(nextUrl === undefined ? {} : { __next: nextUrl }),
    },
  }
}

export function renderJsonEntry(entry: V2Entry, rendering: V2Rendering): Record<string, unknown> {
  const uri = entryUrl(entry, rendering)
  const metadata = {
    id: uri,
    uri,
    type: 'NuGetGallery.V2FeedPackage',
    media_src: downloadUrl(entry, rendering),
    content_type: 'application/zip',
  }
  const properties = rendering.select.map((name) => {
    const value = readV2Property(name, { ...entry, isSemVer2: rendering.isSemVer2 })
    const type = V2_PROPERTIES[name]
    if (type === 'DateTime' && typeof value === 'number') return [name, `/Date(${value})/`]
    return [name, type === 'Int64' ? String(value) : value]
  })
  return { __metadata: metadata, ...Object.fromEntries(properties) }
}

export function renderServiceDocument(baseUrl: string): string {
  return `${HEADER}<service xml:base="${escapeXml(baseUrl)}/" xmlns="http://www.w3.org/2007/app" xmlns:atom="http://www.w3.org/2005/Atom"><workspace><atom:title>Default</atom:title><collection href="Packages"><atom:title>Packages</atom:title></collection></workspace></service>`
}

/** choco reads from it what it may ask. */
export function renderMetadata(): string {
  const properties = Object.entries(V2_PROPERTIES).map(([name, type]) => {
    const isKey = name === 'Id' || name === 'Version'
    return `<Property Name="${name}" Type="Edm.${type}" Nullable="${isKey || type !== 'String' ? 'false' : 'true'}" />`
  })
  const call = (name: string, ...parameters: readonly (readonly [string, string])[]) =>
    `<FunctionImport Name="${name}" ReturnType="Collection(NuGetGallery.V2FeedPackage)" EntitySet="Packages" m:HttpMethod="GET">${parameters
      .map(([parameter, type]) => `<Parameter Name="${parameter}" Type="Edm.${type}" Mode="In" />`)
      .join('')}</FunctionImport>`
  return `${HEADER}<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"><edmx:DataServices xmlns:m="${DATA}/metadata" m:DataServiceVersion="2.0">
<Schema Namespace="NuGetGallery" xmlns="http://schemas.microsoft.com/ado/2006/04/edm"><EntityType Name="V2FeedPackage" m:HasStream="true"><Key><PropertyRef Name="Id" /><PropertyRef Name="Version" /></Key>
${properties.join('\n')}
</EntityType><EntityContainer Name="FeedContext_x0060_1" m:IsDefaultEntityContainer="true"><EntitySet Name="Packages" EntityType="NuGetGallery.V2FeedPackage" />
${call('Search', ['searchTerm', 'String'], ['targetFramework', 'String'], ['includePrerelease', 'Boolean'], ['semVerLevel', 'String'])}
${call('FindPackagesById', ['id', 'String'], ['semVerLevel', 'String'])}
${call('GetUpdates', ['packageIds', 'String'], ['versions', 'String'], ['includePrerelease', 'Boolean'], ['includeAllVersions', 'Boolean'], ['targetFrameworks', 'String'], ['versionConstraints', 'String'], ['semVerLevel', 'String'])}
</EntityContainer></Schema></edmx:DataServices></edmx:Edmx>`
}

function renderEntry(entry: V2Entry, rendering: V2Rendering, attributes: string): string {
  const { id, fields } = entry.published.nuspec
  const link = entryUrl(entry, rendering)
  const name = escapeXml(link.slice(rendering.baseUrl.length + 1))
  const properties = rendering.select.map((property) =>
    renderProperty(property, readV2Property(property, { ...entry, isSemVer2: rendering.isSemVer2 })),
  )
  return `<entry${attributes}><id>${escapeXml(link)}</id><category term="NuGetGallery.V2FeedPackage" scheme="${DATA}/scheme" /><link rel="edit" title="V2FeedPackage" href="${name}" />
<title type="text">${escapeXml(id)}</title><summary type="text">${escapeXml(fields.summary ?? '')}</summary><updated>${renderTime(entry.facts.publishedAtMs)}</updated><author><name>${escapeXml(fields.authors ?? '')}</name></author>
<content type="application/zip" src="${escapeXml(downloadUrl(entry, rendering))}" />
<m:properties>${properties.join('')}</m:properties></entry>`
}

function renderProperty(name: string, value: ODataValue): string {
  const type = V2_PROPERTIES[name] ?? 'String'
  const typed = type === 'String' ? '' : ` m:type="Edm.${type}"`
  if (value === null) return `<d:${name}${typed} m:null="true" />`
  const text = type === 'DateTime' && typeof value === 'number' ? renderTime(value) : String(value)
  return `<d:${name}${typed}>${escapeXml(text)}</d:${name}>`
}

function entryUrl({ published }: V2Entry, { baseUrl }: V2Rendering): string {
  const { id, originalVersion } = published.nuspec
  return `${baseUrl}/Packages(Id='${encodeURIComponent(id)}',Version='${encodeURIComponent(originalVersion)}')`
}

function downloadUrl({ published }: V2Entry, { baseUrl }: V2Rendering): string {
  return `${baseUrl}/package/${encodeURIComponent(published.nuspec.id)}/${published.version.normalized}`
}

function renderTime(timeMs: number): string {
  return new Date(timeMs).toISOString()
}
