/**
 * rpm packs with xz and has it check blocks by SHA-256, which the decoder used here does not know. The blocks are taken over as they
 * are, without their checks: the digests that a package has of its payload say more. https://tukaani.org/xz/xz-file-format.txt
 */

import { crc32 } from 'node:zlib'
import { ByteReader } from '../byte-reader.ts'
import { badRpm } from './header.ts'

const MAGIC = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])
const FOOTER_MAGIC = Buffer.from('YZ')
/** Of the check of a block, by its kind. */
const CHECK_BYTES = [0, 4, 4, 4, 8, 8, 8, 16, 16, 16, 32, 32, 32, 64, 64, 64]
const NO_CHECK = Buffer.from([0, 0])
/** Each takes a record of the index. */
const MAX_BLOCKS = 100_000

interface Block {
  /** Header and content, without what fills it up. */
  readonly size: number
  readonly unpackedSize: number
}

/** @throws BAD_PACKAGE; what `source` throws */
export async function* withoutXzChecks(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
  using reader = new ByteReader(source)
  const head = await reader.read(12)
  const checkBytes = CHECK_BYTES[(head[7] ?? 0) & 0x0f] ?? 0
  if (!head.subarray(0, 6).equals(MAGIC)) throw badRpm('its payload is not packed with xz as it says')
  yield Buffer.concat([MAGIC, NO_CHECK, checksumOf(NO_CHECK)])
  const blocks: Block[] = []
  for (let first = await reader.read(1); first[0] !== 0; first = await reader.read(1)) {
    if (blocks.length >= MAX_BLOCKS) throw badRpm(`its payload has more than ${MAX_BLOCKS} blocks of xz`)
    const header = Buffer.concat([first, await reader.read(((first[0] ?? 0) + 1) * 4 - 1)])
    yield header
    const block = yield* passContent(reader, header.length)
    blocks.push(block)
    const padding = -block.size & 3
    await reader.read(padding + checkBytes)
    yield Buffer.alloc(padding)
  }
  yield renderEnd(blocks)
  await reader.drain()
}

/** Passes on the chunks of LZMA2 until the last. */
async function* passContent(reader: ByteReader, headerBytes: number): AsyncGenerator<Buffer, Block> {
  let [size, unpackedSize] = [headerBytes, 0]
  for (;;) {
    const control = await reader.read(1)
    const kind = control[0] ?? 0
    size += 1
    yield control
    if (kind === 0) return { size, unpackedSize }
    const isPacked = kind >= 0x80
    if (!isPacked && kind > 2) throw badRpm('its payload has a chunk of xz that is none')
    const sizes = await reader.read(isPacked ? (kind >= 0xc0 ? 5 : 4) : 2)
    yield sizes
    unpackedSize += (isPacked ? (kind & 0x1f) << 16 : 0) + sizes.readUInt16BE(0) + 1
    const contentBytes = sizes.readUInt16BE(isPacked ? 2 : 0) + 1
    size += sizes.length + contentBytes
    yield* reader.take(contentBytes)
  }
}

/** Index and footer. */
function renderEnd(blocks: readonly Block[]): Buffer {
  const records = blocks.flatMap(({ size, unpackedSize }) => [renderNumber(size), renderNumber(unpackedSize)])
  const listed = Buffer.concat([Buffer.alloc(1), renderNumber(blocks.length), ...records])
  const index = Buffer.concat([listed, Buffer.alloc(-listed.length & 3)])
  const sizeAndFlags = Buffer.alloc(6)
  // In groups of four bytes with the checksum, less one.
  sizeAndFlags.writeUInt32LE(index.length / 4)
  return Buffer.concat([index, checksumOf(index), checksumOf(sizeAndFlags), sizeAndFlags, FOOTER_MAGIC])
}

function checksumOf(bytes: Buffer): Buffer {
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32LE(crc32(bytes))
  return checksum
}

/** Seven bits in each byte, the lowest first. */
function renderNumber(value: number): Buffer {
  const bytes: number[] = []
  let rest = value
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80)
  return Buffer.from([...bytes, rest])
}
