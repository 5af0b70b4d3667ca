/**
 * Search and autocompletion: https://learn.microsoft.com/nuget/api/search-query-service-resource and
 * https://learn.microsoft.com/nuget/api/search-autocomplete-service-resource
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { isSemVer2Wanted, type NugetCall, parseCount, parseParameters, sendJson } from './call.ts'
import type { CatalogPackage, CatalogVersion } from './package-facts.ts'
import { renderContentUrl, renderHiveUrl } from './registration.ts'

const DEFAULT_TAKE = 20
const MAX_TAKE = 1000
const MAX_SKIP = 100_000
const MAX_WORDS = 20

export interface SearchFilter {
  readonly words: readonly string[]
  readonly isPrereleaseWanted: boolean
  readonly isSemVer2Wanted: boolean
  readonly packageType: string
}

interface Match {
  readonly id: string
  /** Rising; the last one represents the package. */
  readonly versions: readonly CatalogVersion[]
  readonly score: number
}

export function parseWords(text: string): string[] {
  const words = text
    .toLowerCase()
    .split(/[\s,;"]+/)
    .filter((word) => word !== '')
  if (words.length > MAX_WORDS)
    throw new FeedmeshError('BAD_INPUT', `a search has at most ${MAX_WORDS} words, not ${words.length}`)
  return words
}

/** 0 = no match; every word has to be found somewhere. */
export function scoreOf({ id, title, tags, summary, description }: CatalogVersion, words: readonly string[]): number {
  let score = 0.1
  for (const word of words) {
    const [, field, value = ''] = /^(id|packageid):(.+)$/.exec(word) ?? []
    const name = id.toLowerCase()
    if (field !== undefined) {
      if (field === 'packageid' ? name !== value : !name.includes(value)) return 0
      continue
    }
    if (name === word) score += 2
    else if (name.includes(word)) score += 1
    else if (`${title}\n${tags}`.toLowerCase().includes(word)) score += 0.5
    else if (`${summary}\n${description}`.toLowerCase().includes(word)) score += 0.2
    else return 0
  }
  return score
}

export async function answerSearch(call: NugetCall): Promise<unknown> {
  const { request, host, catalog } = call
  const feed = await host.getFeed(request, 'read')
  const parameters = parseParameters(request)
  const filter = parseFilter(parameters)
  const [skip, take] = parseWindow(parameters)
  const matches = await findMatches(catalog.list(feed), filter)
  const baseUrl = host.baseUrl(request)
  const data: unknown[] = []
  for (const match of matches.slice(skip, skip + take)) {
    data.push(renderMatch(match, { baseUrl, isSemVer2: filter.isSemVer2Wanted }))
  }
  return sendJson(call, { totalHits: matches.length, data })
}

/** `q` completes ids, `id` lists the versions of one package. */
export async function answerAutocomplete(call: NugetCall): Promise<unknown> {
  const { request, host, catalog } = call
  const feed = await host.getFeed(request, 'read')
  const parameters = parseParameters(request)
  const filter = parseFilter(parameters)
  const id = parameters.get('id')
  if (id !== undefined) {
    const found = await catalog.find(feed, id.toLowerCase())
    const versions = found === undefined ? [] : visibleVersions(found, filter)
    return sendJson(call, { totalHits: versions.length, data: versions.map(({ version }) => version.normalized) })
  }
  const [skip, take] = parseWindow(parameters)
  const prefix = (parameters.get('q') ?? '').toLowerCase()
  const matches = await findMatches(catalog.list(feed), { ...filter, words: [] })
  const ids = matches.filter((match) => match.id.toLowerCase().includes(prefix)).map((match) => match.id)
  return sendJson(call, { totalHits: ids.length, data: ids.slice(skip, skip + take) })
}

function parseFilter(parameters: ReadonlyMap<string, string>): SearchFilter {
  return {
    words: parseWords(parameters.get('q') ?? ''),
    isPrereleaseWanted: parameters.get('prerelease')?.toLowerCase() === 'true',
    isSemVer2Wanted: isSemVer2Wanted(parameters),
    packageType: parameters.get('packagetype')?.toLowerCase() ?? '',
  }
}

function parseWindow(parameters: ReadonlyMap<string, string>): [number, number] {
  return [parseCount(parameters.get('skip'), 0, MAX_SKIP), parseCount(parameters.get('take'), DEFAULT_TAKE, MAX_TAKE)]
}

async function findMatches(packages: AsyncIterable<readonly CatalogPackage[]>, filter: SearchFilter): Promise<Match[]> {
  const matches: Match[] = []
  for await (const page of packages) {
    for (const one of page) {
      const last = one.versions.findLast((version) => isVisible(version, filter))
      if (last === undefined || !hasType(last, filter.packageType)) continue
      const score = scoreOf(last, filter.words)
      if (score > 0) matches.push({ id: last.id, versions: visibleVersions(one, filter), score })
    }
  }
  return matches.sort((a, b) => b.score - a.score || (a.id.toLowerCase() < b.id.toLowerCase() ? -1 : 1))
}

function isVisible(one: CatalogVersion, filter: SearchFilter): boolean {
  return one.isListed && (filter.isPrereleaseWanted || !one.isPrerelease) && (filter.isSemVer2Wanted || !one.isSemVer2)
}

function visibleVersions({ versions }: CatalogPackage, filter: SearchFilter): CatalogVersion[] {
  return versions.filter((one) => isVisible(one, filter))
}

/** A package that names no type is a dependency. */
function hasType({ packageTypes }: CatalogVersion, wanted: string): boolean {
  const types = packageTypes === '' ? ['dependency'] : packageTypes.toLowerCase().split(' ')
  return wanted === '' || types.includes(wanted)
}

function renderMatch(
  { id, versions }: Match,
  hive: { readonly baseUrl: string; readonly isSemVer2: boolean },
): unknown {
  const url = renderHiveUrl(hive, id)
  const last = versions.at(-1)
  if (last === undefined) throw new FeedmeshError('INTERNAL', 'a match has versions')
  return {
    '@id': `${url}/index.json`,
    '@type': 'Package',
    registration: `${url}/index.json`,
    id,
    version: last.version.normalized,
    description: last.description,
    summary: last.summary,
    title: last.title,
    tags: last.tags.split(/[\s,;]+/).filter((tag) => tag !== ''),
    authors: last.authors.split(',').map((author) => author.trim()),
    totalDownloads: 0,
    verified: false,
    packageTypes: (last.packageTypes === '' ? 'Dependency' : last.packageTypes).split(' ').map((name) => ({ name })),
    packageContent: renderContentUrl(hive.baseUrl, id, last.version),
    versions: versions.map(({ version }) => ({
      '@id': `${url}/${version.key}.json`,
      version: version.normalized,
      downloads: 0,
    })),
  }
}
