/**
 * npm documents to rows and back, without any I/O.
 * https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md · https://github.com/npm/registry/blob/main/docs/responses/package-metadata.md
 *
 * Rows of a package: `v/<version>` (immutable, or burned after an unpublish), `tag/<tag>` (register: the version),
 * `v/<version>#deprecated` (flag on the version: the message).
 */

import { flagKey } from '../../../src/catalog/view.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'
import { baseName, parseVersion, tarballName } from './names.ts'

type Json = Readonly<Record<string, unknown>>

/** Metadata of a `v/` row: what the publisher said, but for what only this registry can say. */
export interface VersionRecord {
  /** The version's manifest with `dist`, but without `dist.tarball`, `deprecated` and readme. */
  readonly manifest: Json
  /** Fields for the root of the packument while this version is `latest`. */
  readonly root: Json
}

export interface PublishDocument {
  /** Absent in edits that are not about versions. */
  readonly versions: ReadonlyMap<string, Json> | undefined
  readonly distTags: ReadonlyMap<string, string>
  readonly rev: string | undefined
  readonly root: Json
}

/** Hashes of a stored tarball, lower-case hex. */
export interface TarballHashes {
  readonly sha1: string
  readonly sha512: string
}

export type DocumentKind = 'full' | 'abbreviated' | 'write'

/** One version in a packument; the base URL of the registry goes between the two parts. */
export interface VersionFragment {
  readonly head: Buffer
  readonly tail: Buffer
}

const ROOT_FIELDS = [
  'description',
  'readme',
  'readmeFilename',
  'maintainers',
  'author',
  'contributors',
  'keywords',
  'license',
  'repository',
  'homepage',
  'bugs',
] as const

const ABBREVIATED_FIELDS = [
  'name',
  'version',
  'dependencies',
  'optionalDependencies',
  'devDependencies',
  'bundleDependencies',
  'bundledDependencies',
  'peerDependencies',
  'peerDependenciesMeta',
  'acceptDependencies',
  'bin',
  'directories',
  'engines',
  'os',
  'cpu',
  'libc',
  '_hasShrinkwrap',
  'hasInstallScript',
  'funding',
] as const

const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall'] as const

export const versionKey = (version: string): string => `v/${version}`
export const tagKey = (tag: string): string => `tag/${tag}`
export const deprecatedKey = (version: string): string => flagKey(versionKey(version), 'deprecated')

export type PackageKey = { readonly kind: 'version' | 'tag' | 'deprecated'; readonly name: string }

const DEPRECATED_SUFFIX = flagKey('', 'deprecated')

/** What a row of a package is about; undefined for keys of later versions. */
export function findPackageKey(key: string): PackageKey | undefined {
  if (key.startsWith('tag/')) return { kind: 'tag', name: key.slice('tag/'.length) }
  if (!key.startsWith('v/')) return undefined
  const name = key.slice('v/'.length)
  if (name.endsWith(DEPRECATED_SUFFIX)) return { kind: 'deprecated', name: name.slice(0, -DEPRECATED_SUFFIX.length) }
  return { kind: 'version', name }
}

/** @throws BAD_INPUT when the document is not about `name` or not a packument at all. */
export function parsePublishDocument(document: unknown, name: string): PublishDocument {
  if (!isObject(document)) throw new FeedmeshError('BAD_INPUT', 'the publish document is not a JSON object')
  const named = document.name ?? document._id
  if (named !== name)
    throw new FeedmeshError('BAD_INPUT', `the document is of ${JSON.stringify(named)}, the URL of ${name}`)
  const versions = isObject(document.versions) ? Object.entries(document.versions) : undefined
  const tags = isObject(document['dist-tags']) ? Object.entries(document['dist-tags']) : []
  return {
    versions:
      versions && new Map(versions.map(([version, manifest]) => [version, parseManifest(name, version, manifest)])),
    distTags: new Map(tags.map(([tag, version]) => [tag, parseVersion(version)])),
    rev: typeof document._rev === 'string' ? document._rev : undefined,
    root: document,
  }
}

function parseManifest(name: string, version: string, manifest: unknown): Json {
  parseVersion(version)
  if (!isObject(manifest) || manifest.version !== version || manifest.name !== name) {
    throw new FeedmeshError('BAD_INPUT', `versions["${version}"] is no manifest of ${name}@${version}`)
  }
  return manifest
}

/** @throws BAD_PACKAGE when the publisher announced other bytes than arrived. */
export function verifyDist(dist: unknown, hashes: TarballHashes): void {
  if (!isObject(dist)) return
  if (typeof dist.shasum === 'string' && dist.shasum.toLowerCase() !== hashes.sha1) {
    throw new FeedmeshError(
      'BAD_PACKAGE',
      `the tarball has sha1 ${hashes.sha1}, dist.shasum says ${dist.shasum.slice(0, 80)}`,
    )
  }
  const integrity = typeof dist.integrity === 'string' ? dist.integrity.split(/\s+/) : []
  for (const entry of integrity) {
    const [, algorithm, value = ''] = /^(sha1|sha512)-([^?]*)/.exec(entry) ?? []
    const actual = algorithm === 'sha1' ? hashes.sha1 : hashes.sha512
    if (algorithm !== undefined && Buffer.from(value, 'base64').toString('hex') !== actual) {
      throw new FeedmeshError('BAD_PACKAGE', `the tarball does not have the dist.integrity ${entry.slice(0, 120)}`)
    }
  }
}

/** The metadata of a version's row. `root` is the document around the manifest or the manifest itself. */
export function createVersionRecord(manifest: Json, root: Json, hashes: TarballHashes): VersionRecord {
  const { readme, readmeFilename, deprecated: _deprecated, dist, ...kept } = manifest
  const {
    tarball: _tarball,
    signatures: _signatures,
    attestations: _attestations,
    ...distKept
  } = isObject(dist) ? dist : {}
  const integrity = `sha512-${Buffer.from(hashes.sha512, 'hex').toString('base64')}`
  const source: Json = { readme, readmeFilename, ...kept, ...withoutEmpty(root) }
  return {
    manifest: {
      ...kept,
      ...normaliseBin(kept),
      _id: `${String(manifest.name)}@${String(manifest.version)}`,
      dist: { ...distKept, integrity, shasum: hashes.sha1 },
    },
    root: Object.fromEntries(ROOT_FIELDS.filter((key) => source[key] !== undefined).map((key) => [key, source[key]])),
  }
}

function withoutEmpty(fields: Json): Json {
  return Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined && value !== null && value !== ''),
  )
}

/** `"bin": "cli.js"` stands for a command of the package's own name; installers want the long form. */
function normaliseBin(manifest: Json): Json {
  return typeof manifest.bin === 'string' ? { bin: { [baseName(String(manifest.name))]: manifest.bin } } : {}
}

export function encodeVersionRecord(record: VersionRecord): Uint8Array {
  return Buffer.from(JSON.stringify(record))
}

/** @throws CORRUPT */
export function decodeVersionRecord(meta: Uint8Array): VersionRecord {
  const record = parseJson(meta, 'metadata of an npm version')
  if (!isObject(record) || !isObject(record.manifest) || !isObject(record.root)) {
    throw new FeedmeshError('CORRUPT', 'the metadata of an npm version is not what a publish wrote')
  }
  return { manifest: record.manifest, root: record.root }
}

/** One version's part of a document of `kind`. */
export function renderVersion(
  record: VersionRecord,
  deprecated: string | undefined,
  kind: DocumentKind,
): VersionFragment {
  const { dist, ...manifest } = record.manifest
  const name = String(manifest.name)
  const version = String(manifest.version)
  const fields = { ...selectFields(manifest, kind), ...(deprecated === undefined ? {} : { deprecated }) }
  const file = `/${name}/-/${tarballName(name, version)}`
  return {
    head: Buffer.from(`${JSON.stringify(fields).slice(0, -1)},"dist":{"tarball":"`),
    tail: Buffer.from(`${JSON.stringify(file).slice(1)},${JSON.stringify(dist).slice(1)}}`),
  }
}

function selectFields(manifest: Json, kind: DocumentKind): Json {
  if (kind === 'full') return manifest
  if (kind === 'write') return { name: manifest.name, version: manifest.version }
  const { scripts } = manifest
  const hasScript = isObject(scripts) && INSTALL_SCRIPTS.some((script) => typeof scripts[script] === 'string')
  const selected = ABBREVIATED_FIELDS.filter((key) => manifest[key] !== undefined).map((key) => [key, manifest[key]])
  return {
    ...Object.fromEntries(selected),
    ...(hasScript || manifest.gypfile === true ? { hasInstallScript: true } : {}),
  }
}

/** The text of a JSON string without its quotes, as it stands in a document. */
export function renderBaseUrl(baseUrl: string): Buffer {
  return Buffer.from(JSON.stringify(baseUrl).slice(1, -1))
}

/** @throws BAD_INPUT: text for `npm deprecate` */
export function parseDeprecation(value: unknown): string | undefined {
  if (value === undefined || value === null || value === false || value === '') return undefined
  if (typeof value === 'string' && value.length <= 16_384) return value
  if (value === true) return 'this version is deprecated'
  throw new FeedmeshError('BAD_INPUT', 'the deprecation message is no text of at most 16384 characters')
}
