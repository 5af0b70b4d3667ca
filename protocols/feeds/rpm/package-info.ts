/**
 * What the index says of a package, taken from its header by createrepo_c's rules: how types of files are told, how many entries of a
 * changelog are listed.
 */

import { type Dependency, readDependencies } from './dependencies.ts'
import { badRpm, type RpmHeader } from './header.ts'
import { type DependencyKind, TAGS } from './tags.ts'

/** Files of a folder; `''` is an ordinary file. */
export type FileType = '' | 'dir' | 'ghost'

export interface PackageFile {
  /** Ends with a slash, or is empty in source packages. */
  readonly folder: string
  readonly name: string
  readonly type: FileType
}

export interface ChangelogEntry {
  readonly author: string
  /** Unix time, s. */
  readonly time: number
  readonly text: string
}

export interface PackageIdentity {
  readonly name: string
  readonly epoch: number
  readonly version: string
  readonly release: string
  /** `src` and `nosrc` for source packages. */
  readonly arch: string
}

export const TEXT_FIELDS = [
  'summary',
  'description',
  'packager',
  'url',
  'license',
  'vendor',
  'group',
  'buildHost',
  'sourceRpm',
] as const
export type TextField = (typeof TEXT_FIELDS)[number]

export interface PackageInfo {
  readonly texts: Readonly<Record<TextField, string>>
  /** Unix time, s. */
  readonly builtAt: number
  readonly installedBytes: number
  readonly dependencies: Readonly<Record<DependencyKind, readonly Dependency[]>>
  /** In the order of the header. */
  readonly files: readonly PackageFile[]
  /** Oldest first. */
  readonly changelog: readonly ChangelogEntry[]
}

export const MAX_FILES = 99_999
const MAX_CHANGELOG = 10

const NAME = /^[A-Za-z0-9_][A-Za-z0-9._+~^-]{0,127}$/
const VERSION = /^[A-Za-z0-9._+~^]{1,128}$/
const ARCH = /^[a-z0-9_]{1,32}$/

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 120))
}

export function isIdentity({ name, epoch, version, release, arch }: PackageIdentity): boolean {
  const isNumber = Number.isInteger(epoch) && epoch >= 0 && epoch <= 0xffffffff
  return isNumber && NAME.test(name) && VERSION.test(version) && VERSION.test(release) && ARCH.test(arch)
}

/** @throws BAD_PACKAGE */
export function readIdentity(header: RpmHeader): PackageIdentity {
  const get = (tag: number, what: string) => {
    const value = header.findString(tag)
    if (value === undefined) throw badRpm(`its header has no ${what}`)
    return value
  }
  const isSource = header.has(TAGS.sourcePackage) || !header.has(TAGS.sourceRpm)
  const sourceArch = header.has(TAGS.noSource) || header.has(TAGS.noPatch) ? 'nosrc' : 'src'
  const identity = {
    name: get(TAGS.name, 'name'),
    epoch: header.findNumber(TAGS.epoch) ?? 0,
    version: get(TAGS.version, 'version'),
    release: get(TAGS.release, 'release'),
    arch: isSource ? sourceArch : get(TAGS.arch, 'architecture'),
  }
  if (isIdentity(identity)) return identity
  const { name, version, release, arch } = identity
  throw badRpm(`its header says ${shown(`${name}-${version}-${release}.${arch}`)}, which no package can be called`)
}

/** @throws BAD_PACKAGE */
export function readInfo(header: RpmHeader): PackageInfo {
  const text = (tag: number, otherwise = '') => header.findString(tag) ?? otherwise
  const files = readFiles(header)
  return {
    texts: {
      summary: text(TAGS.summary),
      description: text(TAGS.description),
      packager: text(TAGS.packager),
      url: text(TAGS.url),
      license: text(TAGS.license),
      vendor: text(TAGS.vendor),
      group: text(TAGS.group, 'Unspecified'),
      buildHost: text(TAGS.buildHost),
      sourceRpm: text(TAGS.sourceRpm),
    },
    builtAt: header.findNumber(TAGS.buildTime) ?? 0,
    installedBytes: header.findNumber(TAGS.longSize) ?? header.findNumber(TAGS.size) ?? 0,
    dependencies: readDependencies(header, new Set(files.map(({ folder, name }) => folder + name))),
    files,
    changelog: readChangelog(header),
  }
}

const FOLDER_MODE = 0o040000
const MODE_KIND = 0o170000
const GHOST_FLAG = 1 << 6

function readFiles(header: RpmHeader): PackageFile[] {
  const paths = readPaths(header)
  if (paths.length > MAX_FILES) throw badRpm(`it has ${paths.length} files; up to ${MAX_FILES} are taken`)
  const modes = header.numbers(TAGS.fileModes)
  const flags = header.numbers(TAGS.fileFlags)
  if (modes.length !== paths.length || flags.length !== paths.length)
    throw badRpm('its lists of files do not fit together')
  return paths.map(({ folder, name }, at) => {
    verifyPath(folder, name)
    const isFolder = ((modes[at] ?? 0) & MODE_KIND) === FOLDER_MODE
    const type = ((flags[at] ?? 0) & GHOST_FLAG) === 0 ? '' : 'ghost'
    return { folder, name, type: isFolder ? 'dir' : type }
  })
}

function readPaths(header: RpmHeader): { folder: string; name: string }[] {
  const names = header.strings(TAGS.baseNames)
  const folders = header.strings(TAGS.dirNames)
  const indexes = header.numbers(TAGS.dirIndexes)
  if (names.length === 0)
    return header.strings(TAGS.oldFileNames).map((path) => {
      const slash = path.lastIndexOf('/') + 1
      return { folder: path.slice(0, slash), name: path.slice(slash) }
    })
  if (indexes.length !== names.length || header.has(TAGS.oldFileNames))
    throw badRpm('its lists of files do not fit together')
  return names.map((name, at) => {
    const folder = folders[indexes[at] ?? -1]
    if (folder === undefined) throw badRpm('its lists of files do not fit together')
    return { folder, name }
  })
}

/** @throws BAD_PACKAGE for files that would be somewhere else than where they say they are */
function verifyPath(folder: string, name: string): void {
  const isFolder = folder === '' || /^\/(?:[^/]+\/)*$/.test(folder)
  const segments = [...folder.split('/'), name]
  // The root folder itself has no name.
  const isName = !name.includes('/') && (name !== '' || folder === '/')
  if (isFolder && isName && !segments.some((segment) => segment === '..' || segment === '.')) return
  throw badRpm(`it has a file with the unsafe name ${shown(folder + name)}`)
}

/** The newest entries; of those with one time, each that is newer is told a second later, so that their order stays. */
function readChangelog(header: RpmHeader): ChangelogEntry[] {
  const times = header.numbers(TAGS.changelogTime)
  const authors = header.strings(TAGS.changelogName)
  const texts = header.strings(TAGS.changelogText)
  if (authors.length !== times.length || texts.length !== times.length)
    throw badRpm('its changelog does not fit together')
  const entries = times.slice(0, MAX_CHANGELOG).map((time, at) => ({
    author: (authors[at] ?? '').trimEnd(),
    time,
    text: texts[at] ?? '',
  }))
  const oldestFirst = entries.toReversed()
  const sameBefore = new Map<number, number>()
  return oldestFirst.map((entry) => {
    const same = sameBefore.get(entry.time) ?? 0
    sameBefore.set(entry.time, same + 1)
    return { ...entry, time: entry.time + same }
  })
}
