/** Changes to what is published: deprecations, tags, unpublishing. The plans are pure; the rows come from `readPackage`. */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed, RowDraft, UnitChange } from '../../../src/feeds/feed.ts'
import { deprecatedKey, type PublishDocument, parseDeprecation, tagKey, versionKey } from './format.ts'
import { parseTag, parseVersion } from './names.ts'
import { type PackageView, readPackage, renderRev, resolveTags } from './package-view.ts'

/** Plans and makes a change to a package that exists. @throws NOT_FOUND and what `plan` throws */
export async function editPackage(feed: Feed, name: string, plan: (view: PackageView) => UnitChange): Promise<void> {
  await feed.change(name, async (current) => {
    if (current === undefined) throw new FeedmeshError('NOT_FOUND', `no such package: ${name}`)
    return plan(await readPackage(feed, current))
  })
}

/** `PUT /:package` without a tarball: `npm deprecate` sends the whole document back with other messages. */
export function planDeprecations(view: PackageView, document: PublishDocument): UnitChange {
  if (document.rev !== undefined) verifyRev(view, document.rev)
  const versions = getVersions(document)
  const put: RowDraft[] = []
  const drop: string[] = []
  for (const [version, manifest] of versions) {
    verifyKnown(view, version)
    const wanted = parseDeprecation(manifest.deprecated)
    const current = view.deprecated.get(version)?.message
    if (wanted === current) continue
    if (wanted === undefined) drop.push(deprecatedKey(version))
    else put.push({ key: deprecatedKey(version), rowClass: 'flag', meta: Buffer.from(wanted), files: [] })
  }
  return { put, drop }
}

/** `PUT /:package/-rev/:rev`: versions that the document lacks are unpublished, its tags are the tags. */
export function planReplacement(view: PackageView, document: PublishDocument, rev: string): UnitChange {
  verifyRev(view, rev)
  const versions = getVersions(document)
  for (const version of versions.keys()) verifyKnown(view, version)
  const removed = [...view.versions.keys()].filter((version) => !versions.has(version))
  const resolved = resolveTags(view)
  const moved = [...document.distTags].filter(
    ([tag, version]) => resolved.get(tag) !== version && view.versions.has(version) && !removed.includes(version),
  )
  const kept = new Set(moved.map(([tag]) => tag))
  const dropped = [...view.tags.keys()].filter((tag) => !document.distTags.has(tag))
  const burned = planBurn(view, removed, new Set([...kept, ...dropped]))
  return {
    put: [...(burned.put ?? []), ...moved.map(([tag, version]) => tagDraft(tag, version))],
    drop: [...(burned.drop ?? []), ...dropped.map(tagKey)],
  }
}

/** `DELETE /:package/-rev/:rev` */
export function planUnpublishAll(view: PackageView, rev: string): UnitChange {
  if (view.versions.size === 0) throw new FeedmeshError('NOT_FOUND', `no such package: ${view.unit.unit}`)
  verifyRev(view, rev)
  const all = planBurn(view, [...view.versions.keys()], new Set(view.tags.keys()))
  return { put: all.put ?? [], drop: [...(all.drop ?? []), ...[...view.tags.keys()].map(tagKey)] }
}

/** `DELETE /:package/-/:file/-rev/:rev`: the last step of an unpublish whose first has burned the version already. */
export function planUnpublish(view: PackageView, version: string, rev: string): UnitChange {
  if (view.burned.has(version)) return {}
  if (!view.versions.has(version))
    throw new FeedmeshError('NOT_FOUND', `version not found: ${view.unit.unit}@${version}`)
  verifyRev(view, rev)
  return planBurn(view, [version], new Set())
}

/** `PUT /-/package/:package/dist-tags/:tag` */
export function planTag(view: PackageView, tag: string, target: unknown): UnitChange {
  const version = parseVersion(target)
  if (!view.versions.has(version))
    throw new FeedmeshError('NOT_FOUND', `version not found: ${view.unit.unit}@${version}`)
  return view.tags.get(tag) === version ? {} : { put: [tagDraft(tag, version)] }
}

/** `DELETE /-/package/:package/dist-tags/:tag` */
export function planUntag(view: PackageView, tag: string): UnitChange {
  if (tag === 'latest')
    throw new FeedmeshError('BAD_INPUT', 'the tag latest can be moved to another version, not removed')
  if (!view.tags.has(tag)) throw new FeedmeshError('NOT_FOUND', `${view.unit.unit} has no tag ${tag}`)
  return { drop: [tagKey(tag)] }
}

/** Invariant: a name and version once published are never used again; their key is burned. */
function planBurn(view: PackageView, versions: readonly string[], otherTags: ReadonlySet<string>): UnitChange {
  const gone = new Set(versions)
  const tags = [...view.tags].filter(([tag, version]) => gone.has(version) && !otherTags.has(tag))
  return {
    put: versions.map((version) => ({
      key: versionKey(version),
      rowClass: 'burn',
      meta: new Uint8Array(0),
      files: [],
    })),
    drop: [
      ...versions.filter((version) => view.deprecated.has(version)).map(deprecatedKey),
      ...tags.map(([tag]) => tagKey(tag)),
    ],
  }
}

function tagDraft(tag: string, version: string): RowDraft {
  return { key: tagKey(parseTag(tag)), rowClass: 'register', meta: Buffer.from(version), files: [] }
}

function getVersions(document: PublishDocument) {
  if (document.versions === undefined) {
    throw new FeedmeshError('BAD_INPUT', 'owners and stars are not kept here: access is given by API keys')
  }
  return document.versions
}

function verifyKnown(view: PackageView, version: string): void {
  if (view.versions.has(version)) return
  throw new FeedmeshError(
    'BAD_INPUT',
    `${view.unit.unit}@${version} is not published, and the request brings no tarball for it`,
  )
}

function verifyRev(view: PackageView, rev: string): void {
  const current = renderRev(view.unit)
  if (rev === current) return
  throw new FeedmeshError(
    'CONFLICT',
    `${view.unit.unit} has changed: the edit is of revision ${rev.slice(0, 80)}, now it is ${current}`,
  )
}
