/**
 * NuGet's protocol version 2, an OData 2 service. Who calls: choco, Debian's nuget, nuget.exe with a v2 source.
 * The exact queries clients send are in test/feeds/nuget-v2.test.ts.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import {
  renderAtomEntry,
  renderAtomFeed,
  renderJsonEntry,
  renderJsonFeed,
  renderMetadata,
  renderServiceDocument,
  type V2Entry,
} from './atom.ts'
import { type NugetCall, type NugetHandler, sendDocument, sendJson } from './call.ts'
import type { CatalogVersion } from './package-facts.ts'
import { comparePackageVersions, findPackageVersion } from './package-version.ts'
import { listVersionRows } from './published-package.ts'
import { parseWords, scoreOf } from './search.ts'
import { cutPage, findBoolean, findText, parseV2Query, selectVersions, sortVersions, type V2Query } from './v2-query.ts'
import { isInRange } from './version-range.ts'

const ATOM_TYPE = 'application/atom+xml;type=feed;charset=utf-8'
const ENTRY_TYPE = 'application/atom+xml;type=entry;charset=utf-8'
const XML_TYPE = 'application/xml;charset=utf-8'
const MAX_UPDATED_PACKAGES = 500

type Source = (call: NugetCall, feed: Feed, query: V2Query) => Promise<CatalogVersion[]>

const SOURCES: Readonly<Record<string, Source>> = {
  Packages: findPackages,
  Search: searchPackages,
  FindPackagesById: findPackagesById,
  GetUpdates: findUpdates,
}

/** What answers a GET below the feed; undefined = nothing. */
export function findV2Handler(segments: readonly string[]): NugetHandler | undefined {
  const [resource = '', option = '', ...more] = segments
  if (more.length > 0) return undefined
  if (resource === '' && option === '') return answerServiceDocument
  if (resource === '$metadata' && option === '') return answerMetadata
  return findSetHandler(resource, option)
}

function findSetHandler(resource: string, option: string): NugetHandler | undefined {
  const [, name = '', argument = ''] = /^(\w+)(?:\((.*)\))?$/s.exec(resource) ?? []
  const source = Object.hasOwn(SOURCES, name) ? SOURCES[name] : undefined
  if (source === undefined) return undefined
  if (argument.trim() !== '') {
    return name === 'Packages' && option === '' ? (call) => answerEntry(call, argument) : undefined
  }
  if (option === '') return (call) => answerListing(call, name, source)
  return option === '$count' ? (call) => answerCount(call, source) : undefined
}

async function answerServiceDocument(call: NugetCall): Promise<unknown> {
  await call.host.getFeed(call.request, 'read')
  return send(call, renderServiceDocument(call.host.baseUrl(call.request)), XML_TYPE)
}

async function answerMetadata(call: NugetCall): Promise<unknown> {
  await call.host.getFeed(call.request, 'read')
  return send(call, renderMetadata(), XML_TYPE)
}

async function answerListing(call: NugetCall, title: string, source: Source): Promise<unknown> {
  const { request, host } = call
  const feed = await host.getFeed(request, 'read')
  const query = parseV2Query(request)
  const page = cutPage(sortVersions(await source(call, feed, query), query), query)
  const rendering = { baseUrl: host.baseUrl(request), select: query.select, isSemVer2: query.isSemVer2 }
  const listing = {
    title,
    entries: await readEntries(call, feed, page.versions),
    count: query.isCountWanted ? page.count : undefined,
    nextUrl: page.next === undefined ? undefined : renderNextUrl(call, title, page.next),
  }
  if (query.isJson) return sendJson(call, renderJsonFeed(listing, rendering))
  return send(call, renderAtomFeed(listing, rendering), ATOM_TYPE)
}

async function answerCount(call: NugetCall, source: Source): Promise<unknown> {
  const feed = await call.host.getFeed(call.request, 'read')
  const query = parseV2Query(call.request)
  return send(call, String((await source(call, feed, query)).length), 'text/plain; charset=utf-8')
}

async function answerEntry(call: NugetCall, argument: string): Promise<unknown> {
  const { request, host, catalog } = call
  const feed = await host.getFeed(request, 'read')
  const query = parseV2Query(request)
  const { id, version } = parseEntityKey(argument)
  const wanted = findPackageVersion(version)
  const found = wanted === undefined ? undefined : await catalog.find(feed, id.toLowerCase())
  const facts = found?.versions.filter((one) => one.version.key === wanted?.key) ?? []
  const [entry] = await readEntries(call, feed, facts)
  if (entry === undefined) {
    const name = JSON.stringify(`${id.slice(0, 120)} ${version.slice(0, 140)}`)
    throw new FeedmeshError('NOT_FOUND', `no package ${name} in feed ${feed.name}`)
  }
  const rendering = { baseUrl: host.baseUrl(request), select: query.select, isSemVer2: true }
  if (query.isJson) return sendJson(call, { d: renderJsonEntry(entry, rendering) })
  return send(call, renderAtomEntry(entry, rendering), ENTRY_TYPE)
}

/** `Id='x',Version='1.0'` in either order. */
function parseEntityKey(argument: string): { readonly id: string; readonly version: string } {
  const parts = [...argument.matchAll(/(?:^|,)\s*(Id|Version)\s*=\s*'((?:[^']|'')*)'\s*(?=,|$)/g)]
  const find = (name: string) => parts.find((part) => part[1] === name)?.[2]?.replaceAll("''", "'")
  const [id, version] = [find('Id'), find('Version')]
  if (id !== undefined && version !== undefined && parts.length === 2) return { id, version }
  const message = `Packages(${argument.slice(0, 80)}) does not name a package: Packages(Id='ID',Version='VERSION')`
  throw new FeedmeshError('BAD_INPUT', message)
}

async function findPackages({ catalog }: NugetCall, feed: Feed, query: V2Query): Promise<CatalogVersion[]> {
  const id = query.filter?.id
  if (id !== undefined) return selectVersions((await catalog.find(feed, id))?.versions ?? [], query)
  const found: CatalogVersion[] = []
  for await (const page of catalog.list(feed)) {
    for (const { versions } of page) for (const one of selectVersions(versions, query)) found.push(one)
  }
  return found
}

async function searchPackages(call: NugetCall, feed: Feed, query: V2Query): Promise<CatalogVersion[]> {
  const words = parseWords(findText(query, 'searchTerm') ?? '')
  const isPrereleaseWanted = findBoolean(query, 'includePrerelease')
  const found = await findPackages(call, feed, query)
  return found.filter((one) => one.isListed && (isPrereleaseWanted || !one.isPrerelease) && scoreOf(one, words) > 0)
}

async function findPackagesById({ catalog }: NugetCall, feed: Feed, query: V2Query): Promise<CatalogVersion[]> {
  const id = findText(query, 'id')
  if (id === undefined) throw new FeedmeshError('BAD_INPUT', "FindPackagesById() needs id='ID'")
  return selectVersions((await catalog.find(feed, id.toLowerCase()))?.versions ?? [], query)
}

/** Newer versions of what the client has: ids, versions and constraints are lists with `|` between. */
async function findUpdates({ catalog }: NugetCall, feed: Feed, query: V2Query): Promise<CatalogVersion[]> {
  const list = (name: string) => (findText(query, name) ?? '').split('|').map((part) => part.trim())
  const [ids, versions, constraints] = [list('packageIds'), list('versions'), list('versionConstraints')]
  if (ids.length > MAX_UPDATED_PACKAGES || ids.length !== versions.length)
    throw new FeedmeshError(
      'BAD_INPUT',
      `GetUpdates() takes up to ${MAX_UPDATED_PACKAGES} packageIds and as many versions`,
    )
  const isPrereleaseWanted = findBoolean(query, 'includePrerelease')
  const isAllWanted = findBoolean(query, 'includeAllVersions')
  const found: CatalogVersion[] = []
  for (const [at, id] of ids.entries()) {
    if (id === '') continue
    const current = findPackageVersion(versions[at] ?? '')
    const newer = selectVersions((await catalog.find(feed, id.toLowerCase()))?.versions ?? [], query).filter(
      (one) =>
        one.isListed &&
        (isPrereleaseWanted || !one.isPrerelease) &&
        (current === undefined || comparePackageVersions(one.version, current) > 0) &&
        isInRange(one.version, constraints[at] ?? ''),
    )
    found.push(...(isAllWanted ? newer : newer.slice(-1)))
  }
  return found
}

/** What a listing shows of versions, one unit after the other. */
async function readEntries(call: NugetCall, feed: Feed, versions: readonly CatalogVersion[]): Promise<V2Entry[]> {
  const units = new Map<string, ReturnType<typeof listVersionRows>>()
  const entries: V2Entry[] = []
  for (const facts of versions) {
    let rows = units.get(facts.unit)
    if (rows === undefined) {
      const unit = await feed.findUnit(facts.unit)
      rows = unit === undefined ? [] : listVersionRows(unit)
      units.set(facts.unit, rows)
    }
    const row = rows.find(({ version }) => version.key === facts.version.key)
    // A version may go between the listing and this.
    if (row !== undefined) entries.push({ facts, published: await call.published.read(feed, row) })
  }
  return entries
}

function renderNextUrl(
  { request, host }: NugetCall,
  title: string,
  { skip, top }: { readonly skip: number; readonly top: number | undefined },
): string {
  const url = request.raw.url ?? ''
  const at = url.indexOf('?')
  const parameters = new URLSearchParams(at < 0 ? '' : url.slice(at + 1))
  parameters.set('$skip', String(skip))
  if (top !== undefined) parameters.set('$top', String(top))
  return `${host.baseUrl(request)}/${title}()?${parameters.toString().replaceAll('+', '%20').replaceAll('%24', '$')}`
}

function send(call: NugetCall, document: string, contentType: string): Promise<unknown> {
  call.reply.header('dataserviceversion', '2.0;')
  return sendDocument(call, document, contentType)
}
