/**
 * Packages of a debian feed as rows. Unit = package name; a .deb is an immutable row `p/<suite>/<component>/<version>/<arch>`,
 * so that one version may be in several suites; its metadata holds the control data as it is in the file.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import type { FeedFile, FeedRow, FeedUnit } from '../../../src/feeds/feed.ts'
import { isObject, parseJson } from '../request-body.ts'
import { findField, type PackageControl, parseControl } from './control.ts'

export const DEB_ROLE = 'deb'
export const DEFAULT_SUITE = 'stable'
export const DEFAULT_COMPONENT = 'main'

/** Where in a feed a package is. */
export interface Placement {
  readonly suite: string
  readonly component: string
}

export interface PackageKey extends Placement {
  readonly version: string
  readonly architecture: string
}

/** What the row of a .deb holds beside the file. */
export interface PackageMeta {
  readonly md5: string
  readonly sha1: string
  /** The control file, without line feeds at its end. */
  readonly control: string
}

const PLACE = /^[a-z0-9][a-z0-9.+~-]{0,63}$/

/** @throws BAD_INPUT */
export function parsePlacement(suite = DEFAULT_SUITE, component = DEFAULT_COMPONENT): Placement {
  for (const [what, name] of [
    ['suite', suite],
    ['component', component],
  ])
    if (!PLACE.test(name ?? '') || name?.includes('..'))
      throw new FeedmeshError(
        'BAD_INPUT',
        `not a name of a ${what}: ${JSON.stringify(name?.slice(0, 80))}; use lower-case letters, digits, dots and dashes`,
      )
  return { suite, component }
}

export function packageKey({ suite, component, version, architecture }: PackageKey): string {
  return `p/${suite}/${component}/${version}/${architecture}`
}

export function parsePackageKey(key: string): PackageKey | undefined {
  const [p, suite, component, version, architecture, ...rest] = key.split('/')
  if (p !== 'p' || architecture === undefined || rest.length > 0) return undefined
  if (!PLACE.test(suite ?? '') || !PLACE.test(component ?? '')) return undefined
  return { suite: suite ?? '', component: component ?? '', version: version ?? '', architecture }
}

/** As Debian names files: without the epoch. */
export function debName(name: string, { version, architecture }: Omit<PackageKey, keyof Placement>): string {
  return `${name}_${version.replace(/^\d+:/, '')}_${architecture}.deb`
}

/** Path below the feed. Versions that differ in nothing but their epoch are apart from each other. */
export function poolPath(name: string, key: PackageKey): string {
  const initial = name.startsWith('lib') ? name.slice(0, 4) : name.slice(0, 1)
  const epoch = /^(\d+):/.exec(key.version)?.[1]
  const folder = `pool/${key.suite}/${key.component}/${initial}/${name}`
  return `${folder}/${epoch === undefined ? '' : `epoch-${epoch}/`}${debName(name, key)}`
}

/** @throws BAD_PACKAGE when the name of the file says otherwise than its control data */
export function verifyFileName(fileName: string, control: PackageControl): void {
  const { version } = control
  const names = [version.replace(/^\d+:/, ''), version.replace(':', '%3a'), version.replace(':', '%3A'), version]
  if (names.some((text) => fileName === `${control.package}_${text}_${control.architecture}.deb`)) return
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `the file is named ${JSON.stringify(fileName.slice(0, 200))}, but its control data says ${debName(control.package, control)}`,
  )
}

export function encodePackageMeta(meta: PackageMeta): Buffer {
  return Buffer.from(JSON.stringify(meta))
}

/**
 * Rows may be another node's: what does not agree with itself is not served.
 * @throws BAD_INPUT, BAD_PACKAGE
 */
export function decodePackageMeta(name: string, key: PackageKey, bytes: Uint8Array): PackageMeta {
  const meta = parseJson(bytes, 'metadata of the package')
  const { md5, sha1, control } = isObject(meta) ? meta : {}
  const isHex = typeof md5 === 'string' && typeof sha1 === 'string' && /^[0-9a-f]{72}$/.test(md5 + sha1)
  if (!isHex || typeof control !== 'string')
    throw new FeedmeshError('BAD_PACKAGE', `the metadata of ${name} ${key.version} cannot be read`)
  const parsed = parseControl(control)
  const isSame = parsed.package === name && parsed.version === key.version && parsed.architecture === key.architecture
  if (!isSame || control.endsWith('\n'))
    throw new FeedmeshError('BAD_PACKAGE', `the metadata of ${name} ${key.version} is of another package`)
  return { md5, sha1, control }
}

export interface StoredPackage {
  readonly key: PackageKey
  readonly row: FeedRow
  readonly file: FeedFile
}

/** The packages of a unit, in order of their keys. */
export function listPackages(unit: FeedUnit | undefined): StoredPackage[] {
  return (unit?.rows ?? []).flatMap((row) => {
    const key = row.rowClass === 'immutable' ? parsePackageKey(row.key) : undefined
    const file = row.files.find(({ role }) => role === DEB_ROLE)
    return key === undefined || file === undefined ? [] : [{ key, row, file }]
  })
}

export function sha256Of(file: FeedFile): string {
  return file.digest.slice('sha256:'.length)
}

/** The paragraph of a package in `Packages`, with the empty line that ends it. */
export function renderParagraph(name: string, { key, file }: StoredPackage, meta: PackageMeta): string {
  const control = parseControl(meta.control)
  const lines = [`Package: ${name}`]
  for (const [field, text] of control.fields) if (field !== 'package' && isFilled(control, field)) lines.push(text)
  lines.push(
    `Filename: ${poolPath(name, key)}`,
    `Size: ${file.size}`,
    `MD5sum: ${meta.md5}`,
    `SHA1: ${meta.sha1}`,
    `SHA256: ${sha256Of(file)}`,
  )
  return `${lines.join('\n')}\n\n`
}

/** Fields may be empty in a package, but not in an index. */
function isFilled(control: PackageControl, field: string): boolean {
  return findField(control, field) !== ''
}
