/**
 * What searches and listings look through: a few facts of every version, in memory, brought up to date package by package when
 * somebody asks and the feed has changed. It is left as notes of the feed, so that the next process does not read every
 * manifest again.
 */

import { setImmediate } from 'node:timers/promises'
import { isFeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit, UnitSummary } from '../../../src/feeds/feed.ts'
import { ByteCache } from '../byte-cache.ts'
import { readCatalog, type StampedPackage, writeCatalog, writeChanges } from './catalog-notes.ts'
import { type CatalogPackage, factsBytes, summarise } from './package-facts.ts'
import { listVersionRows, type PublishedVersion, parsePublished, type VersionRow } from './published-package.ts'

/** About 300,000 versions of all feeds; more are read anew with each question. */
const MAX_BYTES = 192 * 1024 ** 2
/** Packages that were asked for by their ids. */
const MAX_SINGLE_BYTES = 64 * 1024 ** 2
const PAGE = 500
/** Packages that are read at a time. */
const READ_AHEAD = 12
/** Manifests of one package that are read at a time. */
const READ_VERSIONS = 16
/** So many changed packages are worth a note; the next process reads fewer by itself. */
const MIN_NOTED = 100

interface FeedCatalog {
  /** Of the feed when it was looked at; undefined before. */
  revision: string | undefined
  /** In order of their names; those that memory has no room for are without `held`. */
  units: readonly CatalogUnit[]
  bytes: number
  /** Read from the feed since the pages of the notes were written. */
  readonly changed: Set<string>
  /** Of `changed`, those that no note has. */
  unnoted: number
  running: Promise<void> | undefined
}

interface CatalogUnit {
  readonly unit: string
  readonly stamp: string
  readonly held: { readonly found: CatalogPackage | undefined } | undefined
}

export class PackageCatalog {
  readonly #feeds = new Map<string, FeedCatalog>()
  readonly #single = new ByteCache<CatalogPackage>(MAX_SINGLE_BYTES)

  /** All packages in byte order of their ids, some at a time. */
  async *list(feed: Feed): AsyncGenerator<readonly CatalogPackage[]> {
    const catalog = await this.#refresh(feed)
    let page: CatalogPackage[] = []
    for (const { unit, held } of catalog.units) {
      const found = held === undefined ? await readPackage(feed, unit) : held.found
      if (found !== undefined) page.push(found)
      if (page.length < PAGE) continue
      yield page
      page = []
    }
    yield page
  }

  /** One package, as `list` gives it, without a look at any other. */
  async find(feed: Feed, name: string): Promise<CatalogPackage | undefined> {
    const unit = await feed.findUnit(name)
    if (unit === undefined) return undefined
    const key = `${feed.name} ${name} ${unit.digest}`
    const known = this.#single.find(key)
    if (known !== undefined) return known
    const found = await describeUnit(feed, unit)
    if (found !== undefined) this.#single.set(key, found, factsBytes(found))
    return found
  }

  /** The catalogue of the feed as it is now, or was while it was brought up to date. One reader at a time. */
  async #refresh(feed: Feed): Promise<FeedCatalog> {
    const catalog = this.#open(feed)
    // Who comes while it is being read may have missed a change; the second time it began later than the question.
    for (let turn = 0; turn < 2 && catalog.revision !== feed.revision; turn += 1) {
      catalog.running ??= this.#read(feed, catalog).finally(() => {
        catalog.running = undefined
      })
      await catalog.running
    }
    return catalog
  }

  #open(feed: Feed): FeedCatalog {
    const known = this.#feeds.get(feed.name)
    this.#feeds.delete(feed.name)
    const catalog = known ?? {
      revision: undefined,
      units: [],
      bytes: 0,
      changed: new Set(),
      unnoted: 0,
      running: undefined,
    }
    this.#feeds.set(feed.name, catalog)
    return catalog
  }

  async #read(feed: Feed, catalog: FeedCatalog): Promise<void> {
    const { revision } = feed
    const known = new Map(catalog.units.map((one) => [one.unit, one]))
    if (catalog.revision === undefined) await readNotes(feed, known)
    const units: CatalogUnit[] = []
    let bytes = 0
    const room = this.#makeRoom(catalog)
    const add = (one: StampedPackage) => {
      const size = one.found === undefined ? 100 : factsBytes(one.found)
      const isHeld = bytes + size <= room
      if (isHeld) bytes += size
      units.push({ unit: one.unit, stamp: one.stamp, held: isHeld ? { found: one.found } : undefined })
    }
    for await (const page of listPages(feed)) {
      for (const one of await this.#readPage(feed, page, { catalog, known })) add(one)
      // A feed of many packages takes a while; other requests go on meanwhile.
      await setImmediate()
    }
    Object.assign(catalog, { revision, units, bytes })
    await note(feed, catalog)
  }

  async #readPage(
    feed: Feed,
    page: readonly UnitSummary[],
    { catalog, known }: { readonly catalog: FeedCatalog; readonly known: ReadonlyMap<string, CatalogUnit> },
  ): Promise<readonly StampedPackage[]> {
    return await mapAhead(page, READ_AHEAD, async (summary): Promise<StampedPackage> => {
      const { unit } = summary
      const stamp = stampOf(summary)
      const before = known.get(unit)
      if (before?.stamp === stamp && before.held !== undefined) return { unit, stamp, found: before.held.found }
      if (before?.stamp !== stamp) {
        catalog.changed.add(unit)
        catalog.unnoted += 1
      }
      return { unit, stamp, found: await readPackage(feed, unit) }
    })
  }

  /** What is left for a feed; others that were not asked for lately make room. */
  #makeRoom(mine: FeedCatalog): number {
    let others = 0
    for (const catalog of this.#feeds.values()) if (catalog !== mine) others += catalog.bytes
    for (const [name, catalog] of this.#feeds) {
      if (others <= MAX_BYTES / 2) break
      if (catalog === mine || catalog.running !== undefined) continue
      this.#feeds.delete(name)
      others -= catalog.bytes
    }
    return MAX_BYTES - others
  }
}

/** Differs as soon as anything of the unit does. */
function stampOf({ changedAtMs, rows, bytes }: UnitSummary): string {
  return `${changedAtMs} ${rows} ${bytes}`
}

async function readNotes(feed: Feed, known: Map<string, CatalogUnit>): Promise<void> {
  for await (const page of readCatalog(feed)) {
    for (const { unit, stamp, found } of page) known.set(unit, { unit, stamp, held: { found } })
    await setImmediate()
  }
}

/** Left for the next process once that is worth it. */
async function note(feed: Feed, catalog: FeedCatalog): Promise<void> {
  const { units, changed, unnoted } = catalog
  if (unnoted < MIN_NOTED) return
  const stamped = units.flatMap(({ unit, stamp, held }): StampedPackage[] =>
    held === undefined ? [] : [{ unit, stamp, found: held.found }],
  )
  try {
    const isFew = changed.size <= units.length / 10
    const isNoted =
      isFew &&
      (await writeChanges(
        feed,
        stamped.filter(({ unit }) => changed.has(unit)),
      ))
    if (!isNoted) {
      await writeCatalog(feed, stamped)
      changed.clear()
    }
    catalog.unnoted = 0
  } catch (error) {
    // A disk that is full keeps nobody from reading; the next process reads the manifests again.
    if (!isFeedmeshError(error, 'STORAGE_FULL', 'STORAGE_IO', 'ABORTED')) throw error
  }
}

async function* listPages(feed: Feed): AsyncGenerator<readonly UnitSummary[]> {
  for (let after: string | undefined; ; ) {
    const page: UnitSummary[] = []
    for await (const unit of feed.list({ limit: PAGE, ...(after === undefined ? {} : { after }) })) page.push(unit)
    yield page
    after = page.at(-1)?.unit
    if (page.length < PAGE) return
  }
}

async function readPackage(feed: Feed, name: string): Promise<CatalogPackage | undefined> {
  const unit = await feed.findUnit(name)
  return unit === undefined ? undefined : await describeUnit(feed, unit)
}

async function describeUnit(feed: Feed, unit: FeedUnit): Promise<CatalogPackage | undefined> {
  const found = await mapAhead(listVersionRows(unit), READ_VERSIONS, async (row) =>
    findPublished(row, await feed.readMeta(row.row)),
  )
  return summarise(
    unit,
    found.filter((one) => one !== undefined),
  )
}

/** Rows may be another node's: one that cannot be read hides itself, and not the feed. */
function findPublished(row: VersionRow, meta: Uint8Array): PublishedVersion | undefined {
  try {
    return parsePublished(row, meta)
  } catch (error) {
    if (isFeedmeshError(error, 'BAD_PACKAGE', 'CORRUPT')) return undefined
    throw error
  }
}

/** Results in the order of `items`, so many under way at a time. */
async function mapAhead<T, R>(
  items: readonly T[],
  ahead: number,
  work: (item: T) => Promise<R>,
): Promise<readonly R[]> {
  const results: R[] = []
  const next = items.entries()
  const worker = async () => {
    for (const [at, item] of next) results[at] = await work(item)
  }
  await Promise.all(Array.from({ length: Math.min(ahead, items.length) }, worker))
  return results
}
