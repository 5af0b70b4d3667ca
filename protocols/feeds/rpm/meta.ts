/** What the row of a package holds beside its file: JSON, in one form only, so that a package has the same row wherever it was published. */

import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'
import type { Dependency } from './dependencies.ts'
import {
  type ChangelogEntry,
  type FileType,
  type PackageFile,
  type PackageInfo,
  TEXT_FIELDS,
  type TextField,
} from './package-info.ts'
import type { RpmPackage } from './rpm-file.ts'
import { DEPENDENCY_KINDS, type DependencyKind } from './tags.ts'

export interface PackageMeta extends PackageInfo {
  readonly headerStart: number
  readonly headerEnd: number
  readonly archiveBytes: number
}

/** One letter for each file. */
const FILE_TYPES: Readonly<Record<FileType, string>> = { '': '-', dir: 'd', ghost: 'g' }
const FILE_TYPE_OF = new Map(Object.entries(FILE_TYPES).map(([type, letter]) => [letter, type as FileType]))
const NUMBERS = ['headerStart', 'headerEnd', 'archiveBytes', 'installedBytes', 'builtAt'] as const

function encodeDependency({ name, flags = '', version = '', pre }: Dependency): unknown[] {
  if (pre === true) return [name, flags, version, 1]
  return flags === '' ? [name] : [name, flags, version]
}

export function encodeMeta(info: RpmPackage): Buffer {
  const folders = [...new Set(info.files.map(({ folder }) => folder))]
  const indexes = new Map(folders.map((folder, at) => [folder, at]))
  return Buffer.from(
    JSON.stringify({
      ...Object.fromEntries(NUMBERS.map((name) => [name, info[name]])),
      ...Object.fromEntries(TEXT_FIELDS.map((name) => [name, info.texts[name]])),
      ...Object.fromEntries(DEPENDENCY_KINDS.map((kind) => [kind, info.dependencies[kind].map(encodeDependency)])),
      changelog: info.changelog.map(({ author, time, text }) => [author, time, text]),
      folders,
      fileFolders: info.files.map(({ folder }) => indexes.get(folder)),
      fileNames: info.files.map(({ name }) => name),
      fileTypes: info.files.map(({ type }) => FILE_TYPES[type]).join(''),
    }),
  )
}

function bad(what: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the metadata of a package has no proper ${what}`)
}

type Fields = Readonly<Record<string, unknown>>

function getList(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name]
  if (!Array.isArray(value)) throw bad(name)
  return value
}

function getStrings(fields: Fields, name: string): readonly string[] {
  const list = getList(fields, name)
  if (!list.every((one) => typeof one === 'string')) throw bad(name)
  return list
}

function getNumber(value: unknown, name: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) throw bad(name)
  return value
}

function getText(fields: Fields, name: TextField): string {
  const value = fields[name]
  if (typeof value !== 'string') throw bad(name)
  return value
}

function decodeDependency(value: unknown, kind: DependencyKind): Dependency {
  const [name, flags = '', version = '', pre] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof name !== 'string' || typeof flags !== 'string' || typeof version !== 'string') throw bad(kind)
  if (!/^(?:LT|GT|EQ|LE|GE)?$/.test(flags) || (pre !== undefined && pre !== 1)) throw bad(kind)
  return {
    name,
    ...(flags === '' ? {} : { flags }),
    ...(version === '' ? {} : { version }),
    ...(pre === 1 ? { pre: true } : {}),
  }
}

function decodeFiles(fields: Fields): PackageFile[] {
  const folders = getStrings(fields, 'folders')
  const indexes = getList(fields, 'fileFolders')
  const names = getStrings(fields, 'fileNames')
  const types = fields.fileTypes
  if (typeof types !== 'string' || indexes.length !== names.length || types.length !== names.length) throw bad('files')
  return names.map((name, at) => {
    const folder = folders[getNumber(indexes[at], 'files')]
    const type = FILE_TYPE_OF.get(types[at] ?? '')
    if (folder === undefined || type === undefined) throw bad('files')
    return { folder, name, type }
  })
}

function decodeChange(value: unknown): ChangelogEntry {
  const [author, time, text] = Array.isArray(value) ? (value as unknown[]) : []
  if (typeof author !== 'string' || typeof text !== 'string') throw bad('changelog')
  return { author, time: getNumber(time, 'changelog'), text }
}

/** Rows may be another node's. @throws BAD_INPUT, BAD_PACKAGE */
export function decodeMeta(bytes: Uint8Array): PackageMeta {
  const fields = parseJson(bytes, 'metadata of the package')
  if (!isObject(fields)) throw bad('form')
  const [headerStart, headerEnd, archiveBytes, installedBytes, builtAt] = NUMBERS.map((name) =>
    getNumber(fields[name], name),
  ) as [number, number, number, number, number]
  const byName = <K extends string, V>(names: readonly K[], valueOf: (name: K) => V) =>
    Object.fromEntries(names.map((name) => [name, valueOf(name)])) as Record<K, V>
  return {
    headerStart,
    headerEnd,
    archiveBytes,
    installedBytes,
    builtAt,
    texts: byName(TEXT_FIELDS, (name) => getText(fields, name)),
    dependencies: byName(DEPENDENCY_KINDS, (kind) =>
      getList(fields, kind).map((value) => decodeDependency(value, kind)),
    ),
    files: decodeFiles(fields),
    changelog: getList(fields, 'changelog').map(decodeChange),
  }
}
