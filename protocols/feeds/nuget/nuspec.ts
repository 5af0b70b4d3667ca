/**
 * The manifest inside a package. https://learn.microsoft.com/nuget/reference/nuspec and, for the elements that only
 * Chocolatey knows, https://docs.chocolatey.org/en-us/create/create-packages
 */

import { XMLParser, XMLValidator } from 'fast-xml-parser'
import { FeedmeshError } from '../../../src/errors.ts'
import { isObject } from '../request-body.ts'
import { findPackageVersion, type PackageVersion } from './package-version.ts'

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

type Element = Readonly<Record<string, unknown>>

/** @throws BAD_PACKAGE */
export function parseNuspec(bytes: Uint8Array): Nuspec {
  const metadata = findMetadata(decodeText(bytes))
  if (metadata === undefined) throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec has no package/metadata element')
  const fields: Record<string, string> = Object.create(null)
  for (const name of Object.keys(metadata)) {
    const text = name.startsWith('@') ? undefined : textOf(metadata[name])
    if (text !== undefined) fields[name] = text
  }
  const id = parsePackageId(fields.id)
  const version = findPackageVersion(fields.version ?? '')
  if (version === undefined) {
    const shown = JSON.stringify(fields.version?.slice(0, 140)) ?? 'no version'
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec of ${id} has ${shown}, which NuGet cannot read as a version`)
  }
  const minClientVersion = metadata['@minClientVersion']
  return {
    id,
    version,
    originalVersion: (fields.version ?? '').trim(),
    fields,
    tags: (fields.tags ?? '').split(/[\s,;]+/).filter((tag) => tag !== ''),
    minClientVersion: typeof minClientVersion === 'string' ? decodeEntities(minClientVersion) : undefined,
    dependencyGroups: readDependencies(metadata),
    packageTypes: elements(asElement(metadata.packageTypes)?.packageType).flatMap((type) => attribute(type, 'name')),
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

/** Entities are our own business, so that nothing can be declared: `decodeEntities`. */
function findMetadata(text: string): Element | undefined {
  if (/<!(?:DOCTYPE|ENTITY)/i.test(text)) throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec declares a DOCTYPE')
  const parser = new XMLParser({
    ignoreAttributes: false,
    attributeNamePrefix: '@',
    parseTagValue: false,
    parseAttributeValue: false,
    removeNSPrefix: true,
    ignoreDeclaration: true,
    ignorePiTags: true,
    processEntities: false,
    cdataPropName: '#cdata',
    maxNestedTags: 32,
  })
  let document: unknown
  try {
    document = parser.parse(text)
  } catch (cause) {
    throw new FeedmeshError('BAD_PACKAGE', 'the .nuspec is not well-formed XML', { cause })
  }
  // After the parser, which stops at deep nesting: the validator would list every open element.
  const verdict = XMLValidator.validate(text)
  if (verdict !== true)
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec is not well-formed XML, see its line ${verdict.err.line}`)
  const root = isObject(document) ? asElement(document.package) : undefined
  return asElement(root?.metadata)
}

function readDependencies(metadata: Element): DependencyGroup[] {
  const all = asElement(metadata.dependencies)
  const flat = elements(all?.dependency).flatMap(readDependency)
  const groups = elements(all?.group).map((group) => ({
    targetFramework: attribute(group, 'targetFramework')[0] ?? '',
    dependencies: elements(group.dependency).flatMap(readDependency),
  }))
  const found = flat.length === 0 ? groups : [{ targetFramework: '', dependencies: flat }, ...groups]
  const count = found.reduce((sum, group) => sum + 1 + group.dependencies.length, 0)
  if (count > MAX_DEPENDENCIES)
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec names more than ${MAX_DEPENDENCIES} dependencies`)
  return found
}

function readDependency(element: Element): Dependency[] {
  const [id] = attribute(element, 'id')
  if (id === undefined) return []
  if (!isPackageId(id))
    throw new FeedmeshError('BAD_PACKAGE', `the .nuspec depends on ${JSON.stringify(id.slice(0, 120))}, which is no id`)
  const [range = ''] = attribute(element, 'version')
  if (!/^[0-9A-Za-z.+\-*,[\]() ]{0,256}$/.test(range))
    throw new FeedmeshError(
      'BAD_PACKAGE',
      `the .nuspec depends on ${id} ${JSON.stringify(range.slice(0, 120))}, which is no range`,
    )
  return [{ id, range: range.trim() }]
}

/** A text-only element; undefined for one with children. */
function textOf(value: unknown): string | undefined {
  const one: unknown = Array.isArray(value) ? value[0] : value
  if (typeof one === 'string') return decodeEntities(one).trim()
  if (!isObject(one) || Object.keys(one).some((name) => !/^[@#]/.test(name))) return undefined
  const text = typeof one['#text'] === 'string' ? decodeEntities(one['#text']) : ''
  const sections: unknown[] = Array.isArray(one['#cdata']) ? one['#cdata'] : [one['#cdata']]
  return (text + sections.filter((section) => typeof section === 'string').join('')).trim()
}

function attribute(element: Element, name: string): string[] {
  const value = element[`@${name}`]
  return typeof value === 'string' ? [decodeEntities(value)] : []
}

function elements(value: unknown): Element[] {
  const all: unknown[] = Array.isArray(value) ? value : [value]
  return all.flatMap((one) => (isObject(one) ? [one] : typeof one === 'string' ? [{}] : []))
}

function asElement(value: unknown): Element | undefined {
  return elements(value)[0]
}

const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function decodeEntities(text: string): string {
  return text.replace(/&(?:#(\d{1,7})|#x([0-9a-f]{1,6})|([a-z]{2,4}));/gi, (whole, decimal, hex, name) => {
    if (name !== undefined) return Object.hasOwn(NAMED, name) ? (NAMED[name] ?? whole) : whole
    const code = decimal === undefined ? Number.parseInt(hex, 16) : Number(decimal)
    return code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : whole
  })
}
