/**
 * Reads an .rpm while it is being stored: lead, signature header, header, payload. Nothing is unpacked to disk; every digest that the
 * package has of itself is compared. https://rpm-software-management.github.io/rpm/manual/format_v4.html
 */

import { createHash, type Hash } from 'node:crypto'
import { ByteReader } from '../byte-reader.ts'
import { type Packing, type UnpackLimits, unpack } from '../unpack.ts'
import { CpioScanner } from './cpio-scanner.ts'
import { badRpm, HEADER_INTRO_BYTES, type HeaderLimits, parseHeaderIntro, RpmHeader } from './header.ts'
import {
  MAX_FILES,
  type PackageFile,
  type PackageIdentity,
  type PackageInfo,
  readIdentity,
  readInfo,
} from './package-info.ts'
import { SIGNATURE_TAGS, TAGS } from './tags.ts'

export interface RpmPackage extends PackageIdentity, PackageInfo {
  /** Where the header is in the file: clients may fetch it alone. */
  readonly headerStart: number
  readonly headerEnd: number
  /** Size of the payload when it is not packed. */
  readonly archiveBytes: number
  /** Whether a signature of the publisher's is in it. Nobody has verified it. */
  readonly isSigned: boolean
}

export interface RpmLimits {
  readonly signature: HeaderLimits
  readonly header: HeaderLimits
  readonly payload: UnpackLimits
}

export const RPM_LIMITS: RpmLimits = {
  // Signatures of single files are in it, too.
  signature: { maxEntries: 64, maxStoreBytes: 16 * 1024 ** 2 },
  header: { maxEntries: 1024, maxStoreBytes: 32 * 1024 ** 2 },
  payload: { maxBytes: 16 * 1024 ** 3, maxRatio: 250 },
}

const LEAD_BYTES = 96
const LEAD_MAGIC = 0xedabeedb
/** The signature header is filled up to a multiple of this. */
const ALIGNMENT = 8
const PIECE_BYTES = 64 * 1024
const BINARY_SIGNATURES = [SIGNATURE_TAGS.dsaHeader, SIGNATURE_TAGS.rsaHeader, SIGNATURE_TAGS.pgp, SIGNATURE_TAGS.gpg]

/** Number of the kind of packet, in OpenPGP. */
const SIGNATURE_PACKET = 2

/**
 * Reads all of `source`.
 * @throws BAD_PACKAGE; what `source` throws
 */
export async function readRpm(source: AsyncIterable<Uint8Array>, limits: RpmLimits = RPM_LIMITS): Promise<RpmPackage> {
  using reader = new ByteReader(source)
  await readLead(reader)
  const signature = (await readHeader(reader, limits.signature)).header
  await reader.read((ALIGNMENT - (reader.position % ALIGNMENT)) % ALIGNMENT)
  const headerStart = reader.position
  const { header, bytes } = await readHeader(reader, limits.header)
  const headerEnd = reader.position
  verifyHeaderDigests(signature, bytes)
  const identity = readIdentity(header)
  const info = readInfo(header)
  const payload = new PayloadDigests(signature, header, bytes)
  const unpacked = await readPayload(reader, { header, files: info.files, payload, limits: limits.payload })
  payload.verify()
  const { archiveSize, longArchiveSize } = SIGNATURE_TAGS
  return {
    ...identity,
    ...info,
    headerStart,
    headerEnd,
    archiveBytes: signature.findNumber(longArchiveSize) ?? signature.findNumber(archiveSize) ?? unpacked,
    isSigned: hasSignature(signature),
  }
}

/** https://www.rfc-editor.org/rfc/rfc9580#section-4.2 */
function hasSignature(header: RpmHeader): boolean {
  const binary = BINARY_SIGNATURES.flatMap((tag) => header.findBytes(tag) ?? [])
  const texts = header.strings(SIGNATURE_TAGS.openPgp).map((text) => Buffer.from(text, 'base64'))
  return [...binary, ...texts].some((packet) => {
    const first = packet[0] ?? 0
    const kind = (first & 0x40) === 0 ? (first & 0x3c) >> 2 : first & 0x3f
    return first >= 0x80 && kind === SIGNATURE_PACKET
  })
}

async function readLead(reader: ByteReader): Promise<void> {
  const lead = await reader.read(LEAD_BYTES)
  const [major, signatureKind] = [lead[4] ?? 0, lead.readUInt16BE(78)]
  if (lead.readUInt32BE(0) !== LEAD_MAGIC) throw badRpm('it does not begin like one')
  // 5: a header of its own. Anything else was given up before the year 2000.
  if (major < 3 || major > 4 || signatureKind !== 5) throw badRpm(`it is of format ${major}, which is not read here`)
}

async function readHeader(reader: ByteReader, limits: HeaderLimits): Promise<{ header: RpmHeader; bytes: Buffer }> {
  const intro = await reader.read(HEADER_INTRO_BYTES)
  const { entries, size } = parseHeaderIntro(intro, limits)
  const body = await reader.read(size)
  return { header: new RpmHeader(body, entries), bytes: Buffer.concat([intro, body]) }
}

function verifyHeaderDigests(signature: RpmHeader, header: Buffer): void {
  const stated = [
    ['sha256', signature.findString(SIGNATURE_TAGS.sha256Header)],
    ['sha1', signature.findString(SIGNATURE_TAGS.sha1Header)],
  ] as const
  for (const [algorithm, digest] of stated)
    if (digest !== undefined && digest.toLowerCase() !== createHash(algorithm).update(header).digest('hex'))
      throw badRpm(`the ${algorithm} of its header is another than it says; it was damaged or changed`)
  const isTold = stated.some(([, digest]) => digest !== undefined) || signature.has(SIGNATURE_TAGS.md5)
  if (!isTold) throw badRpm('it has no digest of its header')
}

/** Numbers of algorithms as in OpenPGP. */
const DIGEST_ALGORITHMS: Readonly<Record<number, string>> = { 8: 'sha256', 9: 'sha384', 10: 'sha512', 11: 'sha224' }

interface StatedDigest {
  readonly what: string
  readonly hash: Hash
  readonly stated: string
}

/** What a package says of its payload, packed and unpacked, against what it is. */
class PayloadDigests {
  readonly #packed: StatedDigest[] = []
  readonly #unpacked: StatedDigest[] = []
  readonly #statedBytes: number | undefined
  #packedBytes = 0

  constructor(signature: RpmHeader, header: RpmHeader, headerBytes: Buffer) {
    const md5 = signature.findBytes(SIGNATURE_TAGS.md5)
    if (md5 !== undefined)
      this.#packed.push({
        what: 'md5 of its content',
        hash: createHash('md5').update(headerBytes),
        stated: md5.toString('hex'),
      })
    const algorithm = DIGEST_ALGORITHMS[header.findNumber(TAGS.payloadDigestAlgorithm) ?? 8]
    for (const [tag, what, digests] of [
      [TAGS.payloadDigest, 'digest of its payload', this.#packed],
      [TAGS.payloadDigestUnpacked, 'digest of its unpacked payload', this.#unpacked],
    ] as const) {
      const stated = header.findString(tag)?.toLowerCase()
      if (stated === undefined) continue
      if (algorithm === undefined) throw badRpm(`the ${what} is of an unknown algorithm`)
      digests.push({ what, hash: createHash(algorithm), stated })
    }
    const { size, longSize } = SIGNATURE_TAGS
    const whole = signature.findNumber(longSize) ?? signature.findNumber(size)
    this.#statedBytes = whole === undefined ? undefined : whole - headerBytes.length
    if (this.#packed.length === 0) throw badRpm('it has no digest of its payload')
  }

  addPacked(piece: Buffer): void {
    this.#packedBytes += piece.length
    for (const { hash } of this.#packed) hash.update(piece)
  }

  addUnpacked(piece: Buffer): void {
    for (const { hash } of this.#unpacked) hash.update(piece)
  }

  /** @throws BAD_PACKAGE */
  verify(): void {
    if (this.#statedBytes !== undefined && this.#statedBytes !== this.#packedBytes)
      throw badRpm(`its payload has ${this.#packedBytes} bytes, not ${this.#statedBytes} as it says; it is cut off`)
    for (const { what, hash, stated } of [...this.#packed, ...this.#unpacked])
      if (hash.digest('hex') !== stated) throw badRpm(`the ${what} is another than it says; it was damaged or changed`)
  }
}

const PACKINGS: Readonly<Record<string, Packing>> = { gzip: 'gz', xz: 'xz', zstd: 'zst' }

function findPacking(header: RpmHeader, first: Buffer): Packing {
  const format = header.findString(TAGS.payloadFormat) ?? 'cpio'
  if (format !== 'cpio') throw badRpm(`its payload is in the format ${JSON.stringify(format.slice(0, 40))}, not cpio`)
  const compressor = header.findString(TAGS.payloadCompressor)
  // Without a word it is packed with gzip, or not at all.
  if (compressor === undefined) return first[0] === 0x1f ? 'gz' : ''
  const packing = Object.hasOwn(PACKINGS, compressor) ? PACKINGS[compressor] : undefined
  if (packing !== undefined) return packing
  throw badRpm(`its payload is packed with ${JSON.stringify(compressor.slice(0, 40))}; use gzip, xz or zstd`)
}

interface PayloadReading {
  readonly header: RpmHeader
  readonly files: readonly PackageFile[]
  readonly payload: PayloadDigests
  readonly limits: UnpackLimits
}

/** @returns how many bytes came out of it */
async function readPayload(reader: ByteReader, { header, files, payload, limits }: PayloadReading): Promise<number> {
  const paths = new Set(files.map(({ folder, name }) => (folder + name).replace(/^\//, '')))
  const scanner = new CpioScanner({
    maxMembers: MAX_FILES,
    onMember(name) {
      if (!paths.has(name.replace(/^\.?\//, '')))
        throw badRpm(`its payload has ${JSON.stringify(name.slice(0, 200))}, which its header does not list`)
    },
  })
  const first = await readPiece(reader)
  if (first === undefined) throw badRpm('it has no payload')
  async function* packed(): AsyncGenerator<Buffer> {
    for (let piece: Buffer | undefined = first; piece !== undefined; piece = await readPiece(reader)) {
      payload.addPacked(piece)
      yield piece
    }
  }
  let size = 0
  const packing = findPacking(header, first)
  for await (const piece of unpack(packed(), packing, { subject: 'its payload', limits })) {
    size += piece.length
    payload.addUnpacked(piece)
    scanner.push(piece)
  }
  scanner.end()
  // A reader of packed content may stop before the end of the file.
  for (let piece = await readPiece(reader); piece !== undefined; piece = await readPiece(reader))
    payload.addPacked(piece)
  return size
}

/** What comes next; undefined at the end. */
async function readPiece(reader: ByteReader): Promise<Buffer | undefined> {
  if (await reader.isAtEnd()) return undefined
  const { value } = await reader.take(PIECE_BYTES).next()
  return value ?? undefined
}
