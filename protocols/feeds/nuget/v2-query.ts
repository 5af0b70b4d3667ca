/**
 * The query options of NuGet's version 2: `$filter`, `$orderby`, `$skip`, `$top`, `$select`, `$inlinecount`, `$format`.
 * https://www.odata.org/documentation/odata-version-2-0/uri-conventions (section 4)
 */

import type { FastifyRequest } from 'fastify'
import { FeedmeshError } from '../../../src/errors.ts'
import { isSemVer2Wanted, parseCount, parseParameters } from './call.ts'
import { type ODataFilter, parseODataFilter } from './odata-filter.ts'
import type { CatalogVersion } from './package-facts.ts'
import { comparePackageVersions } from './package-version.ts'
import { findV2Type, isV2Property, readCatalogProperty, V2_PROPERTIES } from './v2-properties.ts'

const MAX_PAGE = 100
const MAX_SKIP = 10_000_000
const MAX_ORDERS = 8

export interface V2Query {
  readonly parameters: ReadonlyMap<string, string>
  readonly filter: ODataFilter | undefined
  readonly orders: readonly { readonly property: string; readonly isFalling: boolean }[]
  readonly skip: number
  /** Undefined = all, page by page. */
  readonly top: number | undefined
  /** Names of properties, in order. */
  readonly select: readonly string[]
  readonly isCountWanted: boolean
  readonly isJson: boolean
  readonly isSemVer2: boolean
}

export interface V2Page {
  readonly versions: readonly CatalogVersion[]
  /** Of all pages, `$skip` and `$top` left aside. */
  readonly count: number
  /** Where the next page starts; undefined on the last. */
  readonly next: { readonly skip: number; readonly top: number | undefined } | undefined
}

/** @throws BAD_INPUT */
export function parseV2Query(request: FastifyRequest): V2Query {
  const parameters = parseParameters(request)
  const filter = parameters.get('$filter')?.trim() ?? ''
  const format = parseChoice(parameters, '$format', ['atom', 'json'])
  const top = parameters.get('$top')
  return {
    parameters,
    filter: filter === '' ? undefined : parseODataFilter(filter, findV2Type),
    orders: parseOrders(parameters.get('$orderby') ?? ''),
    skip: parseCount(parameters.get('$skip'), 0, MAX_SKIP),
    top: top === undefined || top === '' ? undefined : parseCount(top, 0, MAX_SKIP),
    select: parseSelect(parameters.get('$select') ?? ''),
    isCountWanted: parseChoice(parameters, '$inlinecount', ['none', 'allpages']) === 'allpages',
    isJson: format === 'json' || (format === undefined && isJsonAccepted(request.headers.accept)),
    isSemVer2: isSemVer2Wanted(parameters),
  }
}

/** A text parameter of a function, in single quotes. */
export function findText(query: V2Query, name: string): string | undefined {
  const value = query.parameters.get(name.toLowerCase())
  if (value === undefined) return undefined
  const [, quoted] = /^'((?:[^']|'')*)'$/.exec(value.trim()) ?? []
  if (quoted !== undefined) return quoted.replaceAll("''", "'")
  if (value.includes("'")) throw malformed(name, value)
  return value
}

export function findBoolean(query: V2Query, name: string): boolean {
  const value = query.parameters.get(name.toLowerCase())?.toLowerCase() ?? 'false'
  if (value === 'true' || value === 'false') return value === 'true'
  throw malformed(name, value)
}

/** Filters and sorts. */
export function selectVersions(versions: Iterable<CatalogVersion>, query: V2Query): CatalogVersion[] {
  const { filter, isSemVer2 } = query
  const matches: CatalogVersion[] = []
  for (const one of versions) {
    if (one.isSemVer2 && !isSemVer2) continue
    if (filter === undefined || filter.isMatch((name) => readCatalogProperty(one, name, isSemVer2))) matches.push(one)
  }
  return matches
}

export function sortVersions(versions: CatalogVersion[], { orders, isSemVer2 }: V2Query): CatalogVersion[] {
  return versions.sort((a, b) => {
    for (const { property, isFalling } of orders) {
      const order = compareBy(a, b, { property, isSemVer2 })
      if (order !== 0) return isFalling ? -order : order
    }
    return compareTexts(a.unit, b.unit) || comparePackageVersions(a.version, b.version)
  })
}

export function cutPage(versions: readonly CatalogVersion[], { skip, top }: V2Query): V2Page {
  const size = Math.min(top ?? MAX_PAGE, MAX_PAGE)
  const page = versions.slice(skip, skip + size)
  const after = skip + page.length
  const rest = top === undefined ? undefined : top - page.length
  const hasNext = page.length > 0 && after < versions.length && rest !== 0
  return { versions: page, count: versions.length, next: hasNext ? { skip: after, top: rest } : undefined }
}

function compareBy(
  a: CatalogVersion,
  b: CatalogVersion,
  { property, isSemVer2 }: { readonly property: string; readonly isSemVer2: boolean },
): number {
  if (property === 'Version' || property === 'NormalizedVersion') return comparePackageVersions(a.version, b.version)
  if (property === 'Id') return compareTexts(a.unit, b.unit)
  const [x, y] = [readCatalogProperty(a, property, isSemVer2), readCatalogProperty(b, property, isSemVer2)]
  if (x === y || x === null || y === null) return 0
  return x < y ? -1 : 1
}

function compareTexts(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}

function parseOrders(text: string): V2Query['orders'] {
  if (text.trim() === '') return []
  const parts = text.split(',')
  if (parts.length > MAX_ORDERS) throw malformed('$orderby', text)
  return parts.map((part) => {
    const [, property = '', direction] = /^\s*(\w+)(?:\s+(asc|desc))?\s*$/.exec(part) ?? []
    if (!isV2Property(property)) throw malformed('$orderby', part)
    return { property, isFalling: direction === 'desc' }
  })
}

function parseSelect(text: string): string[] {
  const names = text.split(',').map((name) => name.trim())
  if (text.trim() === '' || names.includes('*')) return Object.keys(V2_PROPERTIES)
  const unknown = names.find((name) => !isV2Property(name))
  if (unknown !== undefined) throw malformed('$select', unknown)
  return names
}

function parseChoice(parameters: ReadonlyMap<string, string>, name: string, choices: readonly string[]) {
  const value = parameters.get(name)
  if (value !== undefined && !choices.includes(value)) throw malformed(name, value)
  return value
}

function isJsonAccepted(accept: string | undefined): boolean {
  return accept !== undefined && /application\/json/i.test(accept) && !/application\/(?:atom\+)?xml/i.test(accept)
}

function malformed(option: string, value: string): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', `${option} cannot be understood: ${JSON.stringify(value.slice(0, 80))}`)
}
