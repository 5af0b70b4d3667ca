/**
 * Packages of an rpm feed as rows. Unit = name of the package; an .rpm is an immutable row `p/<epoch>:<version>-<release>.<arch>`; its
 * metadata holds what the index says of it, so that every node can list it without its file.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { type FeedFile, type FeedRow, type FeedUnit, MAX_META_BYTES } from '../../../src/feeds/feed.ts'
import { isIdentity, type PackageIdentity } from './package-info.ts'

export const RPM_ROLE = 'rpm'
const KEY_PREFIX = 'p/'
/** Lists tell packages by it. */
const DIGEST_PREFIX = 'sha256:'
export const PACKAGES_FOLDER = 'packages'

export type PackageKey = Omit<PackageIdentity, 'name'>

export function packageKey({ epoch, version, release, arch }: PackageKey): string {
  return `${KEY_PREFIX}${epoch}:${version}-${release}.${arch}`
}

/** undefined for other rows. */
export function parsePackageKey(name: string, key: string): PackageIdentity | undefined {
  const [, epoch = '', version = '', release = '', arch = ''] =
    /^p\/(0|[1-9]\d{0,9}):([^-]+)-([^-]+)\.([^.-]+)$/.exec(key) ?? []
  const identity = { name, epoch: Number(epoch), version, release, arch }
  return epoch !== '' && isIdentity(identity) ? identity : undefined
}

/** As rpm names files: without the epoch. */
export function rpmName({ name, version, release, arch }: PackageIdentity): string {
  return `${name}-${version}-${release}.${arch}.rpm`
}

/** The name of the package that a file is called after; undefined when it is not called as rpm names files. */
export function findPackageName(fileName: string): string | undefined {
  return /^(.+)-[^-]+-[^-]+\.[^.-]+\.rpm$/.exec(fileName)?.[1]
}

/** Path below the feed. Versions that differ in nothing but their epoch are apart from each other. */
export function packagePath(identity: PackageIdentity): string {
  const folder = identity.epoch === 0 ? PACKAGES_FOLDER : `${PACKAGES_FOLDER}/epoch-${identity.epoch}`
  return `${folder}/${rpmName(identity)}`
}

/** @throws BAD_PACKAGE when the name of the file says otherwise than its header */
export function verifyFileName(fileName: string, identity: PackageIdentity): void {
  if (fileName === rpmName(identity)) return
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `the file is named ${JSON.stringify(fileName.slice(0, 200))}, but its header says ${rpmName(identity)}`,
  )
}

/** @throws BAD_PACKAGE */
export function verifyMetaSize(identity: PackageIdentity, meta: Uint8Array): void {
  if (meta.length <= MAX_META_BYTES) return
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `what is to be listed of ${rpmName(identity)} (names of its files above all) takes ${meta.length} bytes; up to ${MAX_META_BYTES} are kept`,
  )
}

export interface StoredPackage {
  readonly identity: PackageIdentity
  readonly row: FeedRow
  readonly file: FeedFile
}

/** The packages of a unit, in order of their keys. */
export function listPackages(unit: FeedUnit | undefined): StoredPackage[] {
  return (unit?.rows ?? []).flatMap((row) => {
    const identity = row.rowClass === 'immutable' ? parsePackageKey(row.unit, row.key) : undefined
    const file = row.files.find(({ role, digest }) => role === RPM_ROLE && digest.startsWith(DIGEST_PREFIX))
    return identity === undefined || file === undefined ? [] : [{ identity, row, file }]
  })
}

export function sha256Of(file: FeedFile): string {
  return file.digest.slice(DIGEST_PREFIX.length)
}
