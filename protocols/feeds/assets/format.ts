/**
 * Assets to rows and back, without any I/O. The unit is the path, its one row the register `content` with the file
 * `content`; the metadata is JSON.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'

export const CONTENT_KEY = 'content'
export const CONTENT_ROLE = 'content'
const MAX_PATH_BYTES = 1024
const MAX_USER_METADATA = 100
const MAX_USER_TEXT = 4096

export interface UserValue {
  readonly value: string
  /** Whether downloads carry it as a response header. */
  readonly includeInResponseHeader: boolean
}

export interface AssetMeta {
  readonly contentType: string
  /** Lower-case hex of the content, by algorithm. */
  readonly hashes: Readonly<Record<string, string>>
  readonly userMetadata: Readonly<Record<string, UserValue>>
}

/**
 * The path of a file. Stored as given: no Unicode normalisation, case matters.
 * @throws BAD_INPUT for what a file system or a client could take for another path
 */
export function parseAssetPath(segments: readonly string[]): string {
  const path = segments.join('/')
  const name = JSON.stringify(path.slice(0, 200))
  if (Buffer.byteLength(path) > MAX_PATH_BYTES)
    throw new FeedmeshError('BAD_INPUT', `path ${name}… has more than ${MAX_PATH_BYTES} bytes`)
  for (const segment of path.split('/')) {
    if (segment === '' || segment === '.' || segment === '..') {
      throw new FeedmeshError('BAD_INPUT', `path ${name} has an empty, "." or ".." segment`)
    }
    // U+FFFF and U+10FFFF are no characters; the latter ends the range of a folder in listings.
    if (/[\p{Cc}\\\uFFFE\uFFFF\u{10FFFE}\u{10FFFF}]/u.test(segment) || !segment.isWellFormed()) {
      throw new FeedmeshError('BAD_INPUT', `path ${name} has a control character or a backslash`)
    }
  }
  return path
}

/** The prefix of all paths in a folder: empty or ending in `/`. */
export function parseFolder(segments: readonly string[]): string {
  const named = segments.at(-1) === '' ? segments.slice(0, -1) : segments
  return named.length === 0 ? '' : `${parseAssetPath(named)}/`
}

export function encodeAssetMeta(meta: AssetMeta): Uint8Array {
  return Buffer.from(JSON.stringify(meta))
}

/** @throws CORRUPT */
export function decodeAssetMeta(bytes: Uint8Array): AssetMeta {
  const meta = parseJson(bytes, 'metadata of an asset')
  if (
    !isObject(meta) ||
    typeof meta.contentType !== 'string' ||
    !isObject(meta.hashes) ||
    !isObject(meta.userMetadata)
  ) {
    throw new FeedmeshError('CORRUPT', 'the metadata of an asset is not what an upload wrote')
  }
  const hashes = Object.entries(meta.hashes).filter((entry): entry is [string, string] => typeof entry[1] === 'string')
  return {
    contentType: meta.contentType,
    hashes: Object.fromEntries(hashes),
    userMetadata: parseUserMetadata(meta.userMetadata),
  }
}

/** Body of `POST metadata/PATH`, applied to what is there. @throws BAD_INPUT */
export function applyMetadataUpdate(meta: AssetMeta, update: unknown): AssetMeta {
  if (!isObject(update)) throw new FeedmeshError('BAD_INPUT', 'a metadata update is a JSON object')
  const given = isObject(update.userMetadata) ? parseUserMetadata(update.userMetadata) : {}
  const isReplaced = update.userMetadataUpdateMode === 'replace'
  const userMetadata = isReplaced ? given : { ...meta.userMetadata, ...given }
  if (Object.keys(userMetadata).length > MAX_USER_METADATA) {
    throw new FeedmeshError('BAD_INPUT', `an asset has at most ${MAX_USER_METADATA} user metadata entries`)
  }
  const contentType = update.type === undefined ? meta.contentType : parseContentType(update.type)
  return { ...meta, contentType, userMetadata }
}

function parseUserMetadata(fields: Readonly<Record<string, unknown>>): Record<string, UserValue> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [parseUserName(name), parseUserValue(name, value)]),
  )
}

function parseUserName(name: string): string {
  if (/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$/.test(name)) return name
  throw new FeedmeshError(
    'BAD_INPUT',
    `user metadata name ${JSON.stringify(name.slice(0, 140))} cannot be a header name`,
  )
}

function parseUserValue(name: string, field: unknown): UserValue {
  const value = isObject(field) ? field.value : field
  if (typeof value !== 'string' || value.length > MAX_USER_TEXT || /[^\x20-\x7e\u00a0-\u00ff]/.test(value)) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `user metadata ${name} is not a line of up to ${MAX_USER_TEXT} Latin-1 characters`,
    )
  }
  const includeInResponseHeader = isObject(field) && field.includeInResponseHeader === true
  if (includeInResponseHeader && !/^x-/i.test(name)) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `user metadata ${name} cannot be a response header: only names with x- in front can`,
    )
  }
  return { value, includeInResponseHeader }
}

/** @throws BAD_INPUT */
export function parseContentType(text: unknown): string {
  const token = "[A-Za-z0-9!#$%&'*+.^_`|~-]+"
  const pattern = new RegExp(
    `^${token}/${token}(?: *; *${token}=(?:${token}|"[\\x20-\\x21\\x23-\\x5b\\x5d-\\x7e]*"))*$`,
  )
  if (typeof text === 'string' && text.length <= 256 && pattern.test(text)) return text
  throw new FeedmeshError(
    'BAD_INPUT',
    `content type ${JSON.stringify(text)?.slice(0, 300)} is not of the form type/subtype`,
  )
}

const TYPES: Readonly<Record<string, string>> = {
  '7z': 'application/x-7z-compressed',
  apk: 'application/vnd.android.package-archive',
  bz2: 'application/x-bzip2',
  css: 'text/css; charset=utf-8',
  csv: 'text/csv; charset=utf-8',
  deb: 'application/vnd.debian.binary-package',
  gif: 'image/gif',
  gz: 'application/gzip',
  htm: 'text/html; charset=utf-8',
  html: 'text/html; charset=utf-8',
  ico: 'image/vnd.microsoft.icon',
  iso: 'application/x-iso9660-image',
  jar: 'application/java-archive',
  jpeg: 'image/jpeg',
  jpg: 'image/jpeg',
  js: 'text/javascript; charset=utf-8',
  json: 'application/json',
  log: 'text/plain; charset=utf-8',
  md: 'text/markdown; charset=utf-8',
  mp4: 'video/mp4',
  pdf: 'application/pdf',
  png: 'image/png',
  ps1: 'text/plain; charset=utf-8',
  rpm: 'application/x-rpm',
  sh: 'text/plain; charset=utf-8',
  svg: 'image/svg+xml',
  tar: 'application/x-tar',
  tgz: 'application/gzip',
  txt: 'text/plain; charset=utf-8',
  wasm: 'application/wasm',
  webp: 'image/webp',
  xml: 'application/xml',
  xz: 'application/x-xz',
  yaml: 'application/yaml',
  yml: 'application/yaml',
  zip: 'application/zip',
  zst: 'application/zstd',
}

/** The type a file of this name has when its uploader did not say. */
export function guessContentType(path: string): string {
  const extension = /\.([a-z0-9]+)$/.exec(path.toLowerCase())?.[1] ?? ''
  return Object.hasOwn(TYPES, extension) ? (TYPES[extension] ?? '') : 'application/octet-stream'
}
