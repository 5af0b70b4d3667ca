/**
 * Packages to rows and back, without any I/O. The unit is the id in lower case. `v/<version>` is a version with its file
 * `nupkg`, `v/<version>#unlisted` hides it from search, `s/<version>` holds its symbols with the file `snupkg`; versions
 * are normalised and in lower case. The metadata of a version is a line of JSON, then the .nuspec byte for byte.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'

export const PACKAGE_ROLE = 'nupkg'
export const SYMBOLS_ROLE = 'snupkg'

export interface VersionMeta {
  /** Of the .nupkg, base64. */
  readonly sha512: string
  readonly nuspec: Uint8Array
}

/** A portable PDB inside a symbols package. */
export interface SymbolFile {
  /** Path in the archive. */
  readonly path: string
  /** 32 hex digits: its GUID as debuggers ask for it. */
  readonly id: string
}

export function versionKey(version: string): string {
  return `v/${version}`
}

export function unlistedKey(version: string): string {
  return `v/${version}#unlisted`
}

export function symbolsKey(version: string): string {
  return `s/${version}`
}

/** What a row is about, and the key of the version. */
export function findPackageKey(
  key: string,
): { readonly kind: 'version' | 'unlisted' | 'symbols'; readonly version: string } | undefined {
  const [, area, version = '', flag] = /^([vs])\/([^#]+)(#unlisted)?$/.exec(key) ?? []
  if (area === 'v') return { kind: flag === undefined ? 'version' : 'unlisted', version }
  return area === 's' && flag === undefined ? { kind: 'symbols', version } : undefined
}

export function encodeVersionMeta({ sha512, nuspec }: VersionMeta): Uint8Array {
  return Buffer.concat([Buffer.from(`${JSON.stringify({ sha512 })}\n`), nuspec])
}

/** @throws CORRUPT */
export function decodeVersionMeta(bytes: Uint8Array): VersionMeta {
  const end = bytes.indexOf(0x0a)
  const head = end < 0 ? undefined : parseJson(bytes.subarray(0, end), 'metadata of a package')
  if (!isObject(head) || typeof head.sha512 !== 'string')
    throw new FeedmeshError('CORRUPT', 'the metadata of a package is not what a push wrote')
  return { sha512: head.sha512, nuspec: bytes.subarray(end + 1) }
}

export function encodeSymbolsMeta(files: readonly SymbolFile[]): Uint8Array {
  return Buffer.from(JSON.stringify({ files }))
}

/** @throws CORRUPT */
export function decodeSymbolsMeta(bytes: Uint8Array): SymbolFile[] {
  const meta = parseJson(bytes, 'metadata of symbols')
  if (!isObject(meta) || !Array.isArray(meta.files))
    throw new FeedmeshError('CORRUPT', 'the metadata of symbols is not what a push wrote')
  return meta.files.flatMap((file: unknown) =>
    isObject(file) && typeof file.path === 'string' && typeof file.id === 'string'
      ? [{ path: file.path, id: file.id }]
      : [],
  )
}
