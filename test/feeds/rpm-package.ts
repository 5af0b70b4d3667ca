/** RPM packages made in memory, well-formed or not. */

import { createHash } from 'node:crypto'
import { promisify } from 'node:util'
import { crc32, gzip, zstdCompress } from 'node:zlib'
import { SIGNATURE_TAGS, TAGS } from '../../protocols/feeds/rpm/tags.ts'

export interface RpmFile {
  /** From the root folder. */
  readonly path: string
  readonly content?: string | Buffer
  readonly isFolder?: boolean
}

type Value =
  | string
  | readonly string[]
  | { readonly latin1: string }
  | { readonly int32: readonly number[] }
  | { readonly int16: readonly number[] }
  | Buffer

export interface RpmOptions {
  readonly name?: string
  readonly epoch?: number
  readonly version?: string
  readonly release?: string
  readonly arch?: string
  readonly summary?: string
  readonly files?: readonly RpmFile[]
  readonly packing?: 'gz' | 'xz' | 'zst' | ''
  /** Further entries of the header, or others than usual; undefined takes one away. */
  readonly header?: Readonly<Record<number, Value | undefined>>
  readonly signature?: Readonly<Record<number, Value | undefined>>
  /** The payload before it is packed, instead of what follows from the files. */
  readonly payload?: Buffer
}

export function createCpio(
  members: readonly { readonly name: string; readonly content: Buffer; readonly mode: number }[],
) {
  const parts: Buffer[] = []
  const pad = (size: number) => Buffer.alloc((4 - (size % 4)) % 4)
  for (const { name, content, mode } of [...members, { name: 'TRAILER!!!', content: Buffer.alloc(0), mode: 0 }]) {
    const text = Buffer.from(`${name}\0`)
    const fields = [1, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, text.length, 0]
    const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`)
    parts.push(head, text, pad(head.length + text.length), content, pad(content.length))
  }
  return Buffer.concat(parts)
}

function encodeValue(value: Value): { type: number; align: number; count: number; bytes: Buffer } {
  if (typeof value === 'string') return { type: 6, align: 1, count: 1, bytes: Buffer.from(`${value}\0`) }
  if (Buffer.isBuffer(value)) return { type: 7, align: 1, count: value.length, bytes: value }
  if ('latin1' in value) return { type: 6, align: 1, count: 1, bytes: Buffer.from(`${value.latin1}\0`, 'latin1') }
  if ('int32' in value) {
    const bytes = Buffer.alloc(value.int32.length * 4)
    for (const [at, number] of value.int32.entries()) bytes.writeUInt32BE(number, at * 4)
    return { type: 4, align: 4, count: value.int32.length, bytes }
  }
  if ('int16' in value) {
    const bytes = Buffer.alloc(value.int16.length * 2)
    for (const [at, number] of value.int16.entries()) bytes.writeUInt16BE(number, at * 2)
    return { type: 3, align: 2, count: value.int16.length, bytes }
  }
  return { type: 8, align: 1, count: value.length, bytes: Buffer.from(value.map((text) => `${text}\0`).join('')) }
}

/** Entries in ascending order of their tags; `again` adds one a second time. */
export function encodeHeader(values: Readonly<Record<number, Value | undefined>>, again?: number): Buffer {
  const tags = Object.entries(values).flatMap(([tag, value]) => {
    if (value === undefined || (Array.isArray(value) && value.length === 0)) return []
    const entry = [Number(tag), value] as const
    return again === Number(tag) ? [entry, entry] : [entry]
  })
  const entries: Buffer[] = []
  const store: Buffer[] = []
  let size = 0
  for (const [tag, value] of tags) {
    const { type, align, count, bytes } = encodeValue(value)
    const padding = (align - (size % align)) % align
    store.push(Buffer.alloc(padding), bytes)
    const entry = Buffer.alloc(16)
    for (const [at, number] of [tag, type, size + padding, count].entries()) entry.writeUInt32BE(number, at * 4)
    entries.push(entry)
    size += padding + bytes.length
  }
  const intro = Buffer.alloc(16)
  intro.writeUInt32BE(0x8eade801)
  intro.writeUInt32BE(entries.length, 8)
  intro.writeUInt32BE(size, 12)
  return Buffer.concat([intro, ...entries, ...store])
}

export function createLead(name: string): Buffer {
  const lead = Buffer.alloc(96)
  lead.writeUInt32BE(0xedabeedb)
  lead[4] = 3
  lead.writeUInt16BE(1, 8)
  lead.write(name.slice(0, 65), 10)
  lead.writeUInt16BE(1, 76)
  lead.writeUInt16BE(5, 78)
  return lead
}

function checksum(bytes: Buffer): Buffer {
  const sum = Buffer.alloc(4)
  sum.writeUInt32LE(crc32(bytes))
  return sum
}

function xzNumber(value: number): number[] {
  return value < 0x80 ? [value] : [(value % 0x80) | 0x80, ...xzNumber(Math.floor(value / 0x80))]
}

/** As rpm has it, with blocks that are checked by SHA-256; what is in them is not made any smaller. */
function packXz(content: Buffer): Buffer {
  const flags = Buffer.from([0, 0x0a])
  const parts = [Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0]), flags, checksum(flags)]
  const head = Buffer.from([2, 0, 0x21, 1, 8, 0, 0, 0])
  const records: number[] = []
  const blocks = Math.max(1, Math.ceil(content.length / 65_536))
  for (let at = 0; at < blocks; at += 1) {
    const part = content.subarray(at * 65_536, (at + 1) * 65_536)
    const size = Buffer.alloc(2)
    size.writeUInt16BE(part.length - 1)
    const chunks = Buffer.concat([Buffer.from([1]), size, part, Buffer.from([0])])
    const check = createHash('sha256').update(part).digest()
    parts.push(head, checksum(head), chunks, Buffer.alloc(-chunks.length & 3), check)
    records.push(...xzNumber(12 + chunks.length + 32), ...xzNumber(part.length))
  }
  const listed = Buffer.from([0, ...xzNumber(blocks), ...records])
  const index = Buffer.concat([listed, Buffer.alloc(-listed.length & 3)])
  const backward = Buffer.alloc(4)
  backward.writeUInt32LE(index.length / 4)
  const end = Buffer.concat([backward, flags])
  return Buffer.concat([...parts, index, checksum(index), checksum(end), end, Buffer.from('YZ')])
}

const COMPRESSORS = { gz: 'gzip', xz: 'xz', zst: 'zstd', '': undefined } as const

async function pack(content: Buffer, packing: RpmOptions['packing']): Promise<Buffer> {
  if (packing === '') return content
  if (packing === 'xz') return packXz(content)
  return packing === 'zst' ? await promisify(zstdCompress)(content) : await promisify(gzip)(content)
}

function filesOf(files: readonly RpmFile[]): Record<number, Value> {
  const folders = [...new Set(files.map(({ path }) => path.slice(0, path.lastIndexOf('/') + 1)))]
  const int32 = files.map(({ path }) => folders.indexOf(path.slice(0, path.lastIndexOf('/') + 1)))
  return files.length === 0
    ? {}
    : {
        [TAGS.fileModes]: { int16: files.map(({ isFolder }) => (isFolder === true ? 0o040755 : 0o100644)) },
        [TAGS.fileFlags]: { int32: files.map(() => 0) },
        [TAGS.dirIndexes]: { int32 },
        [TAGS.baseNames]: files.map(({ path }) => path.slice(path.lastIndexOf('/') + 1)),
        [TAGS.dirNames]: folders,
      }
}

export async function createRpm(options: RpmOptions = {}): Promise<Buffer> {
  const { name = 'tool', version = '1.0', release = '1', arch = 'noarch', packing = 'gz' } = options
  const files = options.files ?? [{ path: `/usr/share/${name}`, content: Buffer.alloc(8000, `${name} ${version}`) }]
  const members = files.map(({ path, content = '', isFolder }) => ({
    name: `.${path}`,
    content: Buffer.from(content as string),
    mode: isFolder === true ? 0o040755 : 0o100644,
  }))
  const unpacked = options.payload ?? createCpio(members)
  const payload = await pack(unpacked, packing)
  const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
  const header = encodeHeader({
    [TAGS.name]: name,
    [TAGS.version]: version,
    [TAGS.release]: release,
    [TAGS.epoch]: options.epoch === undefined ? undefined : { int32: [options.epoch] },
    [TAGS.summary]: options.summary ?? 'does something',
    [TAGS.description]: 'In more\nthan one line.',
    [TAGS.buildTime]: { int32: [1_700_000_000] },
    [TAGS.size]: { int32: [members.reduce((sum, { content }) => sum + content.length, 0)] },
    [TAGS.license]: 'MIT',
    [TAGS.arch]: arch,
    [TAGS.sourceRpm]: `${name}-${version}-${release}.src.rpm`,
    1047: [name],
    1112: { int32: [8] },
    1113: [`${options.epoch === undefined ? '' : `${options.epoch}:`}${version}-${release}`],
    ...filesOf(files),
    [TAGS.payloadFormat]: 'cpio',
    [TAGS.payloadCompressor]: COMPRESSORS[packing],
    [TAGS.payloadDigest]: [sha256(payload)],
    [TAGS.payloadDigestAlgorithm]: { int32: [8] },
    [TAGS.payloadDigestUnpacked]: [sha256(unpacked)],
    ...options.header,
  })
  const signature = encodeHeader({
    [SIGNATURE_TAGS.sha1Header]: createHash('sha1').update(header).digest('hex'),
    [SIGNATURE_TAGS.sha256Header]: sha256(header),
    [SIGNATURE_TAGS.size]: { int32: [header.length + payload.length] },
    [SIGNATURE_TAGS.md5]: createHash('md5').update(header).update(payload).digest(),
    [SIGNATURE_TAGS.archiveSize]: { int32: [unpacked.length] },
    ...options.signature,
  })
  const lead = createLead(name)
  const padding = Buffer.alloc((8 - ((lead.length + signature.length) % 8)) % 8)
  return Buffer.concat([lead, signature, padding, header, payload])
}
