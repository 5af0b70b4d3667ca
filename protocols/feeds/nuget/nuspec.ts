/**
 * The manifest inside a package. https://learn.microsoft.com/nuget/reference/nuspec and, for the elements that only
 * Chocolatey knows, https://docs.chocolatey.org/en-us/create/create-packages
 */

import { XMLValidator } from 'fast-xml-parser'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import { findPackageVersion, type PackageVersion } from './package-version.ts'
import { parseXml, type XmlElement } from './xml-reader.ts'

export const MAX_NUSPEC_BYTES = 1024 * 1024
const MAX_ID_LENGTH = 100
const MAX_DEPENDENCIES = 5000

export interface Dependency {
  readonly id: string
  /** As the publisher wrote it; empty = any version. */
  readonly range: string
}

export interface DependencyGroup {
  /** Empty = for every framework. */
  readonly targetFramework: string
  readonly dependencies: readonly Dependency[]
}

export interface Nuspec {
  /** As the publisher wrote it. */
  readonly id: string
  readonly version: PackageVersion
  /** As the publisher wrote it. */
  readonly originalVersion: string
  /** Simple elements of `metadata` by name: `title`, `authors`, `projectUrl`… */
  readonly fields: Readonly<Record<string, string>>
  readonly tags: readonly string[]
  readonly minClientVersion: string | undefined
  readonly dependencyGroups: readonly DependencyGroup[]
  readonly packageTypes: readonly string[]
}

/** A manifest that was pushed. @throws BAD_PACKAGE */
export function parseNuspec(bytes: Uint8Array): Nuspec {
  const text = decodeText(bytes)
  const nuspec = readText(text)
  // After the reader, which stops at deep nesting: the validator would list every open element.
  const verdict = XMLValidator.validate(text)
  if (verdict !== true)
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec is not well-formed XML, see its line ${verdict.err.line}`)
  return nuspec
}

/** A manifest that was parsed when it was pushed: what clients read from it is looked at, not each character. @throws BAD_PACKAGE */
export function decodeNuspec(bytes: Uint8Array): Nuspec {
  return readText(decodeText(bytes))
}

function readText(text: string): Nuspec {
  const metadata = findMetadata(text)
  if (metadata === undefined) throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec has no package/metadata element')
  const fields: Record<string, string> = Object.create(null)
  const first = new Map(metadata.children.toReversed().map((child) => [child.name, child]))
  for (const [name, { text: content, children }] of first) if (children.length === 0) fields[name] = content.trim()
  const id = parsePackageId(fields.id)
  const version = findPackageVersion(fields.version ?? '')
  if (version === undefined) {
    const shown = JSON.stringify(fields.version?.slice(0, 140)) ?? 'no version'
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec of ${id} has ${shown}, which NuGet cannot read as a version`)
  }
  return {
    id,
    version,
    originalVersion: fields.version ?? '',
    fields,
    tags: (fields.tags ?? '').split(/[\s,;]+/).filter((tag) => tag !== ''),
    minClientVersion: metadata.attributes.get('minClientVersion'),
    dependencyGroups: readDependencies(metadata),
    packageTypes: childrenOf(childOf(metadata, 'packageTypes'), 'packageType').flatMap(
      ({ attributes }) => attributes.get('name') ?? [],
    ),
  }
}

/** @throws BAD_PACKAGE. Rule: NuGet's PackageIdValidator */
function parsePackageId(id: string | undefined): string {
  if (id !== undefined && isPackageId(id)) return id
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `the .nuspec has the id ${JSON.stringify(id?.slice(0, 120)) ?? 'missing'}; an id is up to ${MAX_ID_LENGTH} letters and digits, with single dots or dashes between them`,
  )
}

export function isPackageId(id: string): boolean {
  return (
    id.length <= MAX_ID_LENGTH && /^[\p{L}\p{Nd}_]+(?:[.-][\p{L}\p{Nd}_]+)*$/u.test(id) && id === id.normalize('NFC')
  )
}

function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes
  const isUtf16 = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)
  const encoding = isUtf16 ? (first === 0xff ? 'utf-16le' : 'utf-16be') : 'utf-8'
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes)
  } catch (cause) {
    throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec is neither UTF-8 nor UTF-16', { cause })
  }
}

function findMetadata(text: string): XmlElement | undefined {
  if (/<!(?:DOCTYPE|ENTITY)/i.test(text)) throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec declares a DOCTYPE')
  try {
    const root = parseXml(text)
    return root.name === 'package' ? childOf(root, 'metadata') : undefined
  } catch (cause) {
    if (!isFeedmeshError(cause, 'BAD_INPUT')) throw cause
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec is ${cause.message}`, { cause })
  }
}

function readDependencies(metadata: XmlElement): DependencyGroup[] {
  const all = childOf(metadata, 'dependencies')
  const flat = childrenOf(all, 'dependency').flatMap(readDependency)
  const groups = childrenOf(all, 'group').map((group) => ({
    targetFramework: group.attributes.get('targetFramework') ?? '',
    dependencies: childrenOf(group, 'dependency').flatMap(readDependency),
  }))
  const found = flat.length === 0 ? groups : [{ targetFramework: '', dependencies: flat }, ...groups]
  const count = found.reduce((sum, group) => sum + 1 + group.dependencies.length, 0)
  if (count > MAX_DEPENDENCIES)
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec names more than ${MAX_DEPENDENCIES} dependencies`)
  return found
}

function readDependency({ attributes }: XmlElement): Dependency[] {
  const id = attributes.get('id')
  if (id === undefined) return []
  if (!isPackageId(id))
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec depends on ${JSON.stringify(id.slice(0, 120))}, which is no id`)
  const range = attributes.get('version') ?? ''
  if (!/^[0-9A-Za-z.+\-*,[\]() ]{0,256}$/.test(range))
    throw new FeedmeshError(
      'BAD_PACKAGE',
      `the .nuspec depends on ${id} ${JSON.stringify(range.slice(0, 120))}, which is no range`,
    )
  return [{ id, range: range.trim() }]
}

function childrenOf(element: XmlElement | undefined, name: string): readonly XmlElement[] {
  return element?.children.filter((child) => child.name === name) ?? []
}

function childOf(element: XmlElement, name: string): XmlElement | undefined {
  return element.children.find((child) => child.name === name)
}
