/** `GET /-/v1/search`: https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md#get-v1search */

import type { Feed, UnitSummary } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { decodeVersionRecord } from './format.ts'
import { readPackage, resolveTags } from './package-view.ts'

const MAX_CACHE_BYTES = 16 * 1024 ** 2
const PAGE = 500
const MAX_SIZE = 250
const DEFAULT_SIZE = 20

export interface SearchQuery {
  readonly words: readonly string[]
  readonly keywords: readonly string[]
  readonly scope: string | undefined
  readonly size: number
  readonly from: number
}

/** What a package shows in a result; undefined when nothing of it is left to install. */
interface Summary {
  readonly name: string
  readonly version: string
  readonly description: string
  readonly keywords: readonly string[]
  readonly date: string
}

export function parseSearchQuery(parameters: URLSearchParams): SearchQuery {
  const terms = (parameters.get('text') ?? '')
    .toLowerCase()
    .slice(0, 1000)
    .split(/\s+/)
    .filter((term) => term !== '')
  const qualified = (name: string) =>
    terms.filter((term) => term.startsWith(`${name}:`)).map((term) => term.slice(name.length + 1))
  const [scope] = qualified('scope')
  return {
    words: terms.filter((term) => !/^[a-z-]+:/.test(term)),
    keywords: qualified('keywords').flatMap((list) => list.split(',')),
    scope: scope?.replace(/^@/, ''),
    size: parseCount(parameters.get('size'), DEFAULT_SIZE, MAX_SIZE),
    from: parseCount(parameters.get('from'), 0, Number.MAX_SAFE_INTEGER),
  }
}

export class PackageSearch {
  readonly #summaries = new ByteCache<{ readonly summary: Summary | undefined }>(MAX_CACHE_BYTES)

  async find(feed: Feed, query: SearchQuery): Promise<{ objects: unknown[]; total: number; time: string }> {
    const matches: { readonly summary: Summary; readonly score: number }[] = []
    for await (const unit of listAll(feed, query.scope === undefined ? '' : `@${query.scope}/`)) {
      const summary = await this.#summarise(feed, unit)
      const score = summary === undefined ? 0 : scoreOf(summary, query)
      if (summary !== undefined && score > 0) matches.push({ summary, score })
    }
    matches.sort((a, b) => b.score - a.score || (a.summary.name < b.summary.name ? -1 : 1))
    const page = matches.slice(query.from, query.from + query.size)
    return {
      objects: page.map(({ summary, score }) => renderMatch(summary, score)),
      total: matches.length,
      time: new Date().toISOString(),
    }
  }

  async #summarise(feed: Feed, { unit, changedAtMs }: UnitSummary): Promise<Summary | undefined> {
    const key = `${feed.name} ${unit} ${changedAtMs}`
    const known = this.#summaries.find(key)
    if (known !== undefined) return known.summary
    const summary = await readSummary(feed, unit)
    this.#summaries.set(key, { summary }, JSON.stringify(summary ?? '').length * 2 + 64)
    return summary
  }
}

async function* listAll(feed: Feed, prefix: string): AsyncIterable<UnitSummary> {
  let after: string | undefined
  for (;;) {
    let count = 0
    for await (const unit of feed.list({ prefix, limit: PAGE, ...(after === undefined ? {} : { after }) })) {
      count += 1
      after = unit.unit
      yield unit
    }
    if (count < PAGE) return
  }
}

async function readSummary(feed: Feed, name: string): Promise<Summary | undefined> {
  const unit = await feed.findUnit(name)
  const view = unit && (await readPackage(feed, unit))
  const version = view && resolveTags(view).get('latest')
  const row = version === undefined ? undefined : view?.versions.get(version)
  if (row === undefined || version === undefined) return undefined
  const { root } = decodeVersionRecord(await feed.readMeta(row))
  const keywords = Array.isArray(root.keywords) ? root.keywords.filter((word) => typeof word === 'string') : []
  const description = typeof root.description === 'string' ? root.description : ''
  return { name, version, description, keywords, date: new Date(row.writtenAtMs).toISOString() }
}

/** 0 = no match; every word has to be found somewhere. */
function scoreOf({ name, description, keywords }: Summary, query: SearchQuery): number {
  const lowered = keywords.map((keyword) => keyword.toLowerCase())
  if (!query.keywords.every((keyword) => lowered.includes(keyword))) return 0
  let score = 0.1
  for (const word of query.words) {
    const found = scoreWord(word, name.toLowerCase(), lowered, description.toLowerCase())
    if (found === 0) return 0
    score += found / query.words.length
  }
  return score
}

function scoreWord(word: string, name: string, keywords: readonly string[], description: string): number {
  if (name === word) return 1
  if (name.includes(word)) return 0.7
  if (keywords.includes(word)) return 0.5
  return description.includes(word) || keywords.some((keyword) => keyword.includes(word)) ? 0.2 : 0
}

function renderMatch(summary: Summary, score: number) {
  const { name, version, description, keywords, date } = summary
  const scope = name.startsWith('@') ? name.slice(1, name.indexOf('/')) : 'unscoped'
  const detail = { quality: score, popularity: score, maintenance: score }
  return {
    package: {
      name,
      scope,
      version,
      description,
      keywords,
      date,
      links: {},
      publisher: { username: '' },
      maintainers: [],
    },
    score: { final: score, detail },
    searchScore: score,
  }
}

function parseCount(text: string | null, fallback: number, max: number): number {
  return text !== null && /^\d{1,15}$/.test(text) ? Math.min(Number(text), max) : fallback
}
