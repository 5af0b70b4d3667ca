/**
 * A row: what a feed says about one (unit, key), in a fixed binary form without options, so that equal content has equal
 * bytes. All numbers are big-endian; texts are UTF-8 with a length before them. Specified in `protocols/mesh/README.md`.
 *
 *   row  = version(1) class(1) stamp(8) unitLen(2) unit keyLen(2) key metaLen(2) meta fileCount(2) file*
 *   file = roleLen(1) role algorithm(1) digest(32|64) size(8) [chunkRoot(32) exactly when size ≥ 8 MiB]
 *
 * Metadata of more than 1 KiB is a file with the role `meta`, and `meta` is empty then.
 */

import { FeedmeshError } from '../errors.ts'
import { algorithmOf, type Digest, type DigestAlgorithm, digestBytes, digestFromBytes, sha256 } from './digest.ts'
import type { Stamp } from './stamp.ts'

export const ROW_CLASSES = ['immutable', 'register', 'flag', 'burn', 'tombstone'] as const
export type KnownRowClass = (typeof ROW_CLASSES)[number]
/** Classes of later versions are kept and passed on, and shown to nobody. */
export type RowClass = KnownRowClass | `unknown-${number}`

export interface RowFile {
  /** 1–64 bytes. */
  readonly role: string
  readonly digest: Digest
  /** Bytes, below 2^48. */
  readonly size: number
  /** sha256 of the list of chunk hashes; present exactly when `size` ≥ CHUNKED_FROM_BYTES. */
  readonly chunkRoot?: Digest
}

export interface Row {
  readonly rowClass: RowClass
  readonly stamp: Stamp
  /** 1–1024 bytes. */
  readonly unit: string
  /** 1–1024 bytes; unique within the unit. */
  readonly key: string
  /** At most MAX_INLINE_META_BYTES. */
  readonly meta: Uint8Array
  readonly files: readonly RowFile[]
}

export const MAX_NAME_BYTES = 1024
export const MAX_INLINE_META_BYTES = 1024
export const MAX_ROW_FILES = 4096
/** Role of the file that holds metadata too long to be inline. */
export const META_ROLE = 'meta'
/** From this size on a file has a chunk list. */
export const CHUNKED_FROM_BYTES = 8 * 1024 * 1024
const MAX_FILE_BYTES = 2 ** 48
const ROW_VERSION = 1
/** Largest encoded row, bytes. */
export const MAX_ROW_BYTES = 1 << 20

function classCode(rowClass: RowClass): number {
  const known = ROW_CLASSES.indexOf(rowClass as KnownRowClass)
  if (known >= 0) return known
  const code = Number(rowClass.slice('unknown-'.length))
  if (className(code) !== rowClass || code > 255) throw new FeedmeshError('BAD_INPUT', `a row of class ${rowClass}`)
  return code
}

function className(code: number): RowClass {
  return ROW_CLASSES[code] ?? `unknown-${code}`
}

function shortText(text: string, lengthBytes: 1 | 2, max: number, what: string): Buffer {
  const encoded = Buffer.from(text)
  if (encoded.length < 1 || encoded.length > max || !text.isWellFormed()) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `${what} must have 1 to ${max} bytes of UTF-8: ${JSON.stringify(text.slice(0, 80))}`,
    )
  }
  const out = Buffer.alloc(lengthBytes + encoded.length)
  out.writeUIntBE(encoded.length, 0, lengthBytes)
  encoded.copy(out, lengthBytes)
  return out
}

/** A unit's or a row's name with its length before it. @throws BAD_INPUT */
export function encodeName(text: string, what: 'unit' | 'key'): Buffer {
  return shortText(text, 2, MAX_NAME_BYTES, what)
}

function encodeFile(file: RowFile): Buffer {
  if (!Number.isSafeInteger(file.size) || file.size < 0 || file.size >= MAX_FILE_BYTES)
    throw new FeedmeshError('BAD_INPUT', `file ${file.role}: a size of ${file.size} bytes`)
  if ((file.chunkRoot !== undefined) !== file.size >= CHUNKED_FROM_BYTES) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `file ${file.role}: a chunk root is needed exactly from ${CHUNKED_FROM_BYTES} bytes on`,
    )
  }
  const size = Buffer.alloc(8)
  size.writeBigUInt64BE(BigInt(file.size))
  const algorithm = Buffer.from([algorithmOf(file.digest) === 'sha256' ? 1 : 2])
  const parts = [shortText(file.role, 1, 64, 'file role'), algorithm, digestBytes(file.digest), size]
  if (file.chunkRoot !== undefined) parts.push(digestBytes(file.chunkRoot))
  return Buffer.concat(parts)
}

/** @throws BAD_INPUT when a limit of the format is broken */
export function encodeRow(row: Row): Uint8Array {
  if (row.meta.length > MAX_INLINE_META_BYTES)
    throw new FeedmeshError('BAD_INPUT', `inline metadata of ${row.meta.length} bytes`)
  if (row.files.length > MAX_ROW_FILES)
    throw new FeedmeshError('BAD_INPUT', `a row may name at most ${MAX_ROW_FILES} files`)
  if (hasMetaFault(row.meta, row.files)) throw new FeedmeshError('BAD_INPUT', META_FAULT)
  if (row.stamp < 0n || row.stamp >= 1n << 64n) throw new FeedmeshError('BAD_INPUT', `a stamp of ${row.stamp}`)
  const head = Buffer.alloc(10)
  head[0] = ROW_VERSION
  head[1] = classCode(row.rowClass)
  head.writeBigUInt64BE(row.stamp, 2)
  const metaLength = Buffer.alloc(2)
  metaLength.writeUInt16BE(row.meta.length)
  const fileCount = Buffer.alloc(2)
  fileCount.writeUInt16BE(row.files.length)
  const [unit, key] = [encodeName(row.unit, 'unit'), encodeName(row.key, 'key')]
  return Buffer.concat([head, unit, key, metaLength, row.meta, fileCount, ...row.files.map(encodeFile)])
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads the fixed binary forms of this folder; every step is bounded by the bytes that are there. */
export class BinaryReader {
  readonly #bytes: Buffer
  readonly #what: string
  #at = 0

  constructor(encoded: Uint8Array, what: string) {
    this.#bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength)
    this.#what = what
  }

  get rest(): number {
    return this.#bytes.length - this.#at
  }

  take(length: number): Buffer {
    if (this.rest < length)
      throw new FeedmeshError('PEER_INVALID', `${this.#what}: cut off after ${this.#bytes.length} bytes`)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  uint(size: 1 | 2 | 4 | 6): number {
    return this.take(size).readUIntBE(0, size)
  }

  uint64(): bigint {
    return this.take(8).readBigUInt64BE()
  }

  /** Text with its length before it. */
  text(lengthBytes: 1 | 2, max: number): string {
    const length = this.uint(lengthBytes)
    if (length < 1 || length > max) throw new FeedmeshError('PEER_INVALID', `${this.#what}: a name of ${length} bytes`)
    try {
      return utf8.decode(this.take(length))
    } catch (cause) {
      if (cause instanceof FeedmeshError) throw cause
      throw new FeedmeshError('PEER_INVALID', `${this.#what}: a name that is not UTF-8`, { cause })
    }
  }

  end(): void {
    if (this.rest > 0) throw new FeedmeshError('PEER_INVALID', `${this.#what}: ${this.rest} bytes too many`)
  }
}

function decodeFile(reader: BinaryReader): RowFile {
  const role = reader.text(1, 64)
  const code = reader.uint(1)
  if (code !== 1 && code !== 2) throw new FeedmeshError('PEER_INVALID', `row: unknown digest algorithm ${code}`)
  const algorithm: DigestAlgorithm = code === 1 ? 'sha256' : 'sha512'
  const digest = digestFromBytes(algorithm, reader.take(code === 1 ? 32 : 64))
  const size = reader.uint64()
  if (size >= MAX_FILE_BYTES) throw new FeedmeshError('PEER_INVALID', `row: a file of ${size} bytes`)
  if (size < CHUNKED_FROM_BYTES) return { role, digest, size: Number(size) }
  return { role, digest, size: Number(size), chunkRoot: digestFromBytes('sha256', reader.take(32)) }
}

/** @throws PEER_INVALID for bytes that are not exactly one row in its one form */
export function decodeRow(encoded: Uint8Array): Row {
  const reader = new BinaryReader(encoded, 'row')
  const version = reader.uint(1)
  if (version !== ROW_VERSION)
    throw new FeedmeshError('PEER_INVALID', `row: version ${version} is not known here; update this node`)
  const rowClass = className(reader.uint(1))
  const stamp = reader.uint64()
  const unit = reader.text(2, MAX_NAME_BYTES)
  const key = reader.text(2, MAX_NAME_BYTES)
  const metaLength = reader.uint(2)
  if (metaLength > MAX_INLINE_META_BYTES)
    throw new FeedmeshError('PEER_INVALID', `row: ${metaLength} bytes of inline metadata`)
  const meta = reader.take(metaLength)
  const fileCount = reader.uint(2)
  if (fileCount > MAX_ROW_FILES) throw new FeedmeshError('PEER_INVALID', `row: ${fileCount} files`)
  const files = Array.from({ length: fileCount }, () => decodeFile(reader))
  reader.end()
  if (hasMetaFault(meta, files)) throw new FeedmeshError('PEER_INVALID', META_FAULT)
  return { rowClass, stamp, unit, key, meta, files }
}

const META_FAULT = 'row: metadata is either inline or, above 1 KiB, one file'

/** Whether metadata has more than one form in this row. */
function hasMetaFault(meta: Uint8Array, files: readonly RowFile[]): boolean {
  const metaFiles = files.filter((file) => file.role === META_ROLE)
  const [file] = metaFiles
  return file !== undefined && (metaFiles.length > 1 || meta.length > 0 || file.size <= MAX_INLINE_META_BYTES)
}

/** Digest of a row as the state trie commits to it. */
export function rowDigest(encoded: Uint8Array): Buffer {
  return sha256(Uint8Array.of(0x13), encoded)
}

/**
 * Place of a row in a trie: 16 bytes that all rows of the unit share, then 16 of the key. `salt` is the feed's own for its
 * state (so that nobody can prepare colliding names for all feeds), and empty for the digest of a view.
 */
export function placeOf(salt: Uint8Array, unit: string, key: string): Buffer {
  const unitBytes = Buffer.from(unit)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(unitBytes.length)
  const keyHalf = sha256(Uint8Array.of(0x16), salt, length, unitBytes, Buffer.from(key)).subarray(0, 16)
  return Buffer.concat([unitPlace(salt, unit), keyHalf])
}

/** The first half of `placeOf` for every row of `unit`. */
export function unitPlace(salt: Uint8Array, unit: string): Buffer {
  return sha256(Uint8Array.of(0x15), salt, Buffer.from(unit)).subarray(0, 16)
}

/** Digest of what a row says, without when it was written: two rows that agree here are the same thing. */
export function contentDigest(row: Row): Buffer {
  return sha256(Uint8Array.of(0x18), encodeRow({ ...row, stamp: 0n }))
}

/** Byte order of names and keys in UTF-8: the order in which rows, units and feeds list them. */
export function compareKeys(a: string, b: string): number {
  return a === b ? 0 : Buffer.compare(Buffer.from(a), Buffer.from(b))
}
