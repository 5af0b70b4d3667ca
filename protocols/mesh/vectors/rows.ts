/** Rows of every feed type, operations, tombstones: the binary forms, and bytes that are none. */

import { encodeOperation, type Operation } from '../../../src/catalog/operation.ts'
import { contentDigest, encodeRow, placeOf, type Row, rowDigest } from '../../../src/catalog/row.ts'
import { encodeTombstone, type TombstoneTarget } from '../../../src/catalog/view.ts'
import { stampAt } from '../../../src/catalog/stamp.ts'
import { ITEMS } from './items.ts'
import { feedId } from './objects.ts'
import { noise, rowToJson, START, toJson, type Vector } from './vector.ts'

export const SALT = noise('salt', 16)

function fileName(row: Row, at: number): string {
  return `row-${at + 1}`
}

export function itemVectors(): Vector[] {
  return ITEMS.map((item) => ({
    folder: `vectors/rows/${item.name}`,
    kind: 'rows',
    what: item.what,
    facts: {
      salt: toJson(SALT),
      rows: item.rows.map((row, at) => ({
        bytes: `${fileName(row, at)}.hex`,
        value: rowToJson(row),
        rowDigest: toJson(rowDigest(encodeRow(row))),
        contentDigest: toJson(contentDigest(row)),
        place: toJson(placeOf(SALT, row.unit, row.key)),
        viewPlace: toJson(placeOf(new Uint8Array(0), row.unit, row.key)),
      })),
      documents: item.documents.map((_, at) => `meta-${at + 1}.hex`),
    },
    bytes: {
      ...Object.fromEntries(item.rows.map((row, at) => [fileName(row, at), encodeRow(row)])),
      ...Object.fromEntries(item.documents.map((document, at) => [`meta-${at + 1}`, document])),
    },
  }))
}

/** Builds rows byte by byte, also wrong ones. */
class RowBytes {
  readonly parts: Buffer[] = []

  constructor(version = 1, rowClass = 0, stamp = stampAt(START)) {
    const head = Buffer.alloc(10)
    head[0] = version
    head[1] = rowClass
    head.writeBigUInt64BE(stamp, 2)
    this.parts.push(head)
  }

  number(value: number | bigint, size: 1 | 2 | 8): this {
    const bytes = Buffer.alloc(size)
    if (size === 8) bytes.writeBigUInt64BE(BigInt(value))
    else bytes.writeUIntBE(Number(value), 0, size)
    this.parts.push(bytes)
    return this
  }

  raw(bytes: Uint8Array): this {
    this.parts.push(Buffer.from(bytes))
    return this
  }

  name(bytes: Uint8Array | string): this {
    return this.number(Buffer.from(bytes).length, 2).raw(Buffer.from(bytes))
  }

  names(): this {
    return this.name('unit').name('key')
  }

  file(role: string, size: number | bigint, change: { algorithm?: number; chunkRoot?: boolean } = {}): this {
    const { algorithm = 1, chunkRoot = size >= 8 * 1024 * 1024 } = change
    this.number(role.length, 1).raw(Buffer.from(role)).number(algorithm, 1).raw(noise(role)).number(size, 8)
    return chunkRoot ? this.raw(noise('chunks')) : this
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.parts)
  }
}

const row = (version?: number, rowClass?: number): RowBytes => new RowBytes(version, rowClass)
const MIB8 = 8 * 1024 * 1024

export function rowVectors(): Vector[] {
  const refuse = (name: string, what: string, bytes: RowBytes | Uint8Array): Vector => ({
    folder: `vectors/rows/${name}-refuse`,
    kind: 'row',
    what,
    facts: { bytes: 'bytes.hex', code: 'PEER_INVALID' },
    bytes: { bytes: bytes instanceof Uint8Array ? bytes : bytes.bytes },
  })
  const accept = (name: string, what: string, value: Row): Vector => ({
    folder: `vectors/rows/${name}`,
    kind: 'row',
    what,
    facts: { bytes: 'bytes.hex', value: rowToJson(value) },
    bytes: { bytes: encodeRow(value) },
  })
  const whole = row().names().number(0, 2).number(1, 2).file('content', 5)
  const base = { rowClass: 'immutable', stamp: stampAt(START), unit: 'unit', key: 'key', meta: new Uint8Array(0), files: [] } as const
  return [
    accept('smallest', 'no metadata, no files', base),
    accept('longest-names', 'names of 1024 bytes', { ...base, unit: 'ü'.repeat(512), key: 'k'.repeat(1024) }),
    accept('longest-inline-metadata', 'metadata of 1024 bytes', { ...base, meta: Buffer.alloc(1024, 0xff) }),
    accept('class-of-later', 'a class that is not known yet is kept', { ...base, rowClass: 'unknown-200' }),
    accept('stamp-largest', 'the largest stamp', { ...base, stamp: (1n << 64n) - 1n }),
    refuse('empty', 'no bytes', new Uint8Array(0)),
    refuse('version-unknown', 'version 2', row(2).names().number(0, 2).number(0, 2)),
    refuse('cut-off', 'the last byte is missing', whole.bytes.subarray(0, -1)),
    refuse('byte-too-many', 'one byte follows', Buffer.concat([whole.bytes, Buffer.of(0)])),
    refuse('unit-empty', 'a unit of 0 bytes', row().name('').name('key').number(0, 2).number(0, 2)),
    refuse('key-empty', 'a key of 0 bytes', row().name('unit').name('').number(0, 2).number(0, 2)),
    refuse('unit-too-long', 'a unit of 1025 bytes', row().name('u'.repeat(1025)).name('key').number(0, 2).number(0, 2)),
    refuse('key-too-long', 'a key of 1025 bytes', row().name('unit').name('k'.repeat(1025)).number(0, 2).number(0, 2)),
    refuse('unit-not-utf8', 'a unit that is not UTF-8', row().name(Buffer.from('756e69ff', 'hex')).name('key').number(0, 2).number(0, 2)),
    refuse('unit-surrogate', 'a unit with half a surrogate pair', row().name(Buffer.from('eda080', 'hex')).name('key').number(0, 2).number(0, 2)),
    refuse('metadata-too-long', 'metadata of 1025 bytes inline', row().names().number(1025, 2).raw(Buffer.alloc(1025)).number(0, 2)),
    refuse('files-too-many', 'says that 4097 files follow', row().names().number(0, 2).number(4097, 2)),
    refuse('role-empty', 'a role of 0 bytes', row().names().number(0, 2).number(1, 2).file('', 5)),
    refuse('role-too-long', 'a role of 65 bytes', row().names().number(0, 2).number(1, 2).file('r'.repeat(65), 5)),
    refuse('algorithm-unknown', 'a digest of algorithm 3', row().names().number(0, 2).number(1, 2).file('content', 5, { algorithm: 3 })),
    refuse('size-too-large', 'a file of 2^48 bytes', row().names().number(0, 2).number(1, 2).file('content', 2n ** 48n)),
    refuse('chunk-root-missing', 'a file of 8 MiB without chunk root', row().names().number(0, 2).number(1, 2).file('content', MIB8, { chunkRoot: false })),
    refuse('chunk-root-too-many', 'a file under 8 MiB with chunk root', row().names().number(0, 2).number(1, 2).file('content', MIB8 - 1, { chunkRoot: true })),
    refuse('metadata-twice', 'metadata inline and as a file', row().names().name('meta').number(1, 2).file('meta', 2000)),
    refuse('metadata-in-two-files', 'two files with metadata', row().names().number(0, 2).number(2, 2).file('meta', 2000).file('meta', 2001)),
    refuse('metadata-short-as-file', 'metadata of 1024 bytes as a file', row().names().number(0, 2).number(1, 2).file('meta', 1024)),
  ]
}

const TARGET: TombstoneTarget = { feedId: feedId.toString('hex'), key: 'v/1.0.0', stamp: stampAt(START), content: noise('content') }

export function operationVectors(): Vector[] {
  const accept = (name: string, what: string, value: Operation): Vector => ({
    folder: `vectors/operations/${name}`,
    kind: 'operation',
    what,
    facts: {
      bytes: 'bytes.hex',
      value: value.kind === 'put' ? { kind: 'put', row: rowToJson(value.row) } : toJson(value),
    },
    bytes: { bytes: encodeOperation(value) },
  })
  const refuse = (name: string, what: string, bytes: Uint8Array): Vector => ({
    folder: `vectors/operations/${name}-refuse`,
    kind: 'operation',
    what,
    facts: { bytes: 'bytes.hex', code: 'PEER_INVALID' },
    bytes: { bytes },
  })
  const drop = encodeOperation({ kind: 'drop', unit: 'left-pad', key: 'v/1.0.0' })
  return [
    accept('put', 'a row was written', { kind: 'put', row: ITEMS[0]!.rows[1]! }),
    accept('drop', 'a row was dropped', { kind: 'drop', unit: 'left-pad', key: 'v/1.0.0' }),
    refuse('empty', 'no bytes', new Uint8Array(0)),
    refuse('kind-unknown', 'kind 3', Buffer.of(3, 0)),
    refuse('drop-cut-off', 'the last byte is missing', drop.subarray(0, -1)),
    refuse('drop-byte-too-many', 'one byte follows', Buffer.concat([drop, Buffer.of(0)])),
    refuse('put-of-nothing', 'a put without its row', Buffer.of(1)),
  ]
}

export function tombstoneVectors(): Vector[] {
  const bytes = encodeTombstone(TARGET)
  const refuse = (name: string, what: string, wrong: Uint8Array): Vector => ({
    folder: `vectors/tombstones/${name}-refuse`,
    kind: 'tombstone',
    what,
    facts: { bytes: 'bytes.hex', code: 'PEER_INVALID' },
    bytes: { bytes: wrong },
  })
  return [
    {
      folder: 'vectors/tombstones/tombstone',
      kind: 'tombstone',
      what: 'the metadata of a tombstone',
      facts: { bytes: 'bytes.hex', value: toJson(TARGET) },
      bytes: { bytes },
    },
    refuse('empty', 'no bytes', new Uint8Array(0)),
    refuse('cut-off', 'the last byte is missing', bytes.subarray(0, -1)),
    refuse('byte-too-many', 'one byte follows', Buffer.concat([bytes, Buffer.of(0)])),
  ]
}
