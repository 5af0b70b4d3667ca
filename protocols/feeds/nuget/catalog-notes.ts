/**
 * The catalogue of a feed between two processes: pages of packages as notes of the feed. Each package comes with the stamp of
 * its unit, so that whoever reads it can tell what has changed since; any mixture of older and newer pages will do.
 */

import { isFeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import { isObject, parseJson } from '../request-body.ts'
import { type CatalogPackage, createPackage, factsBytes, TEXTS, type VersionFacts } from './package-facts.ts'
import { findPackageVersion, isPrerelease } from './package-version.ts'

/** Another one when what is said of a version changes: notes of other formats count for nothing. */
const FORMAT = 1
const MAX_PAGES = 100_000
/** As counted by `factsBytes`, which JSON may exceed three times over. */
const PAGE_BYTES = 512 * 1024
/** Larger packages are read anew by the next process; so are changes of that size, as a part of everything. */
const MAX_PAGE_BYTES = 2 * 1024 ** 2
const HEAD = 'catalog'
const CHANGES = 'catalog/changes'

/** undefined: a unit that has no version. */
export interface StampedPackage {
  readonly unit: string
  readonly stamp: string
  readonly found: CatalogPackage | undefined
}

function pageName(at: number): string {
  return `catalog/${at}`
}

type StoredVersion = readonly [
  originalVersion: string,
  /** 1 listed, 2 SemVer 2. */
  flags: number,
  publishedAtMs: number,
  size: number,
  /** Places in the texts of the page: id, title, description, summary, tags, authors, package types. */
  ...texts: number[],
]
type StoredPackage = readonly [unit: string, stamp: string, hasSymbols: 0 | 1, versions: readonly StoredVersion[]]

function encodePage(packages: readonly StampedPackage[]): Buffer {
  const texts = new Map<string, number>()
  const place = (text: string) => {
    const known = texts.get(text)
    if (known !== undefined) return known
    texts.set(text, texts.size)
    return texts.size - 1
  }
  const stored = packages.map(({ unit, stamp, found }): StoredPackage => {
    const versions = (found?.versions ?? []).map((one): StoredVersion => {
      const flags = Number(one.isListed) + 2 * Number(one.isSemVer2)
      const all = [one.id, ...TEXTS.map((name) => one[name]), one.packageTypes].map(place)
      return [one.originalVersion, flags, one.publishedAtMs, one.size, ...all]
    })
    return [unit, stamp, found?.hasSymbols === true ? 1 : 0, versions]
  })
  return Buffer.from(JSON.stringify({ format: FORMAT, texts: [...texts.keys()], packages: stored }))
}

/** Nothing of a page that cannot be read: it is computed anew. */
function decodePage(bytes: Uint8Array): StampedPackage[] {
  const page = parseNote(bytes)
  if (!Array.isArray(page?.texts) || !Array.isArray(page.packages)) return []
  const texts: readonly unknown[] = page.texts
  return page.packages.flatMap((stored: unknown) => {
    const found = decodePackage(stored, texts)
    return found === undefined ? [] : [found]
  })
}

function decodePackage(stored: unknown, texts: readonly unknown[]): StampedPackage | undefined {
  if (!Array.isArray(stored)) return undefined
  const [unit, stamp, hasSymbols, versions] = stored as readonly unknown[]
  if (typeof unit !== 'string' || typeof stamp !== 'string' || !Array.isArray(versions)) return undefined
  const facts: VersionFacts[] = []
  for (const version of versions as readonly unknown[]) {
    const one = decodeVersion(unit, version, texts)
    if (one === undefined) return undefined
    facts.push(one)
  }
  return { unit, stamp, found: facts.length === 0 ? undefined : createPackage(unit, facts, hasSymbols === 1) }
}

function decodeVersion(unit: string, stored: unknown, texts: readonly unknown[]): VersionFacts | undefined {
  if (!Array.isArray(stored) || stored.length !== 11) return undefined
  const [originalVersion, flags, publishedAtMs, size, ...places] = stored as readonly unknown[]
  const isNumbers = [flags, publishedAtMs, size, ...places].every((one) => typeof one === 'number')
  if (typeof originalVersion !== 'string' || !isNumbers) return undefined
  const version = findPackageVersion(originalVersion)
  const [id, title, description, summary, tags, authors, packageTypes] = places.map((at) => texts[at as number])
  const isTexts = [id, title, description, summary, tags, authors, packageTypes].every((one) => typeof one === 'string')
  if (version === undefined || !isTexts) return undefined
  return {
    unit,
    id: id as string,
    version,
    originalVersion,
    title: title as string,
    description: description as string,
    summary: summary as string,
    tags: tags as string,
    authors: authors as string,
    packageTypes: packageTypes as string,
    isListed: ((flags as number) & 1) !== 0,
    isPrerelease: isPrerelease(version),
    isSemVer2: ((flags as number) & 2) !== 0,
    publishedAtMs: publishedAtMs as number,
    size: size as number,
  }
}

function parseNote(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const note = parseJson(bytes, 'a note of the feed')
    return isObject(note) && note.format === FORMAT ? note : undefined
  } catch (error) {
    if (isFeedmeshError(error, 'BAD_INPUT')) return undefined
    throw error
  }
}

async function countPages(feed: Feed): Promise<number> {
  const stored = await feed.notes.find(HEAD)
  const pages = stored === undefined ? undefined : parseNote(stored)?.pages
  return typeof pages === 'number' ? Math.min(pages, MAX_PAGES) : 0
}

/** What an earlier process has left; later ones of a unit replace earlier ones. */
export async function* readCatalog(feed: Feed): AsyncGenerator<readonly StampedPackage[]> {
  const pages = await countPages(feed)
  for (let at = 0; at < pages; at += 1) {
    const page = await feed.notes.find(pageName(at))
    if (page !== undefined) yield decodePage(page)
  }
  const changes = await feed.notes.find(CHANGES)
  if (changes !== undefined) yield decodePage(changes)
}

function bytesOf({ found }: StampedPackage): number {
  return found === undefined ? 100 : factsBytes(found)
}

function* cutPages(packages: readonly StampedPackage[]): Generator<readonly StampedPackage[]> {
  let page: StampedPackage[] = []
  let bytes = 0
  for (const one of packages) {
    const size = bytesOf(one)
    if (size > MAX_PAGE_BYTES) continue
    if (bytes + size > PAGE_BYTES && page.length > 0) {
      yield page
      page = []
      bytes = 0
    }
    page.push(one)
    bytes += size
  }
  if (page.length > 0) yield page
}

/** All of it, in place of what was left before. @throws STORAGE_FULL, STORAGE_IO */
export async function writeCatalog(feed: Feed, packages: readonly StampedPackage[]): Promise<void> {
  const before = await countPages(feed)
  let pages = 0
  for (const page of cutPages(packages)) {
    await feed.notes.set(new Map([[pageName(pages), encodePage(page)]]))
    pages += 1
  }
  const notes = new Map<string, Uint8Array | undefined>([[CHANGES, undefined]])
  notes.set(HEAD, Buffer.from(JSON.stringify({ format: FORMAT, pages })))
  for (let at = pages; at < before; at += 1) notes.set(pageName(at), undefined)
  await feed.notes.set(notes)
}

/** What differs from the pages that are there; false when that is too much. @throws STORAGE_FULL, STORAGE_IO */
export async function writeChanges(feed: Feed, packages: readonly StampedPackage[]): Promise<boolean> {
  if (packages.reduce((bytes, one) => bytes + bytesOf(one), 0) > MAX_PAGE_BYTES) return false
  await feed.notes.set(new Map([[CHANGES, encodePage(packages)]]))
  return true
}
