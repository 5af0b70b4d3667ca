/** The rows of one package, sorted by what they say. */

import { createHash } from 'node:crypto'
import type { Feed, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { findPackageKey } from './format.ts'
import { compareVersions, findVersionOrder, isPrerelease, type OrderedVersion } from './version-order.ts'

export interface Deprecation {
  readonly row: FeedRow
  readonly message: string
}

export interface PackageView {
  readonly unit: FeedUnit
  /** Published versions in SemVer order. */
  readonly versions: ReadonlyMap<string, FeedRow>
  /** Versions that were unpublished and can never be published again. */
  readonly burned: ReadonlySet<string>
  /** As stored: a tag may name a version that is gone. */
  readonly tags: ReadonlyMap<string, string>
  readonly deprecated: ReadonlyMap<string, Deprecation>
}

/** Reads the small rows of a package: tags and deprecations, not the manifests. */
export async function readPackage(feed: Feed, unit: FeedUnit): Promise<PackageView> {
  const versions: { readonly order: OrderedVersion; readonly row: FeedRow }[] = []
  const burned = new Set<string>()
  const tags = new Map<string, string>()
  const deprecated = new Map<string, Deprecation>()
  for (const row of unit.rows) {
    const about = findPackageKey(row.key)
    if (about === undefined) continue
    if (about.kind === 'tag') tags.set(about.name, await readText(feed, row))
    else if (about.kind === 'deprecated') deprecated.set(about.name, { row, message: await readText(feed, row) })
    else if (row.rowClass === 'burn') burned.add(about.name)
    else {
      const order = findVersionOrder(about.name)
      if (order !== undefined) versions.push({ order, row })
    }
  }
  versions.sort((a, b) => compareVersions(a.order, b.order))
  return { unit, versions: new Map(versions.map(({ order, row }) => [order.text, row])), burned, tags, deprecated }
}

/** The tags alone, as stored. */
export async function readTags(feed: Feed, unit: FeedUnit): Promise<PackageView['tags']> {
  const tags = new Map<string, string>()
  for (const row of unit.rows) {
    const about = findPackageKey(row.key)
    if (about?.kind === 'tag') tags.set(about.name, await readText(feed, row))
  }
  return tags
}

/** Tags that can be installed. `latest` always names something: what it was set to, else the highest version. */
export function resolveTags(view: PackageView): Map<string, string> {
  const tags = new Map([...view.tags].filter(([, version]) => view.versions.has(version)))
  const highest = tags.has('latest') ? undefined : highestOf(view)
  if (highest !== undefined) tags.set('latest', highest)
  return tags
}

/** The highest release, or the highest prerelease when there is no release. */
function highestOf({ versions }: PackageView): string | undefined {
  const ordered = [...versions.keys()]
  return ordered.findLast((version) => !isPrerelease(version)) ?? ordered.at(-1)
}

/** CouchDB-like revision: changes with the package, the same at every node that holds the same rows. */
export function renderRev(unit: FeedUnit): string {
  return `${unit.rows.length}-${createHash('sha256').update(unit.digest).digest('hex').slice(0, 32)}`
}

async function readText(feed: Feed, row: FeedRow): Promise<string> {
  return Buffer.from(await feed.readMeta(row)).toString('utf8')
}
