/**
 * rpm and `xz --check=sha256` have blocks checked by SHA-256, which the decoder used here does not know: it is given the blocks
 * without their checks, and what comes out of it is held against them here. https://tukaani.org/xz/xz-file-format.txt
 */

import { createHash } from 'node:crypto'
import { crc32 } from 'node:zlib'
import { FeedmeshError } from '../../src/errors.ts'
import { ByteReader } from './byte-reader.ts'

const MAGIC = Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])
const FOOTER_MAGIC = Buffer.from('YZ')
const HEAD_BYTES = 12
/** None, CRC32 and CRC64. */
const CHECKS_OF_DECODER = [0, 1, 4]
const NO_CHECK = { flags: Buffer.from([0, 0]), bytes: 0 }
const SHA256 = { flags: Buffer.from([0, 10]), bytes: 32 }
/** Each takes a record of the index. */
const MAX_BLOCKS = 100_000

interface Block {
  /** Header and content, without what fills it up. */
  readonly size: number
  readonly unpackedSize: number
}

interface CheckedBlock extends Block {
  readonly sha256: Buffer
}

/** Of one archive; `subject` is what errors call it. */
export class XzChecks {
  readonly #subject: string
  /** Taken from the decoder's hands, with more to come out of it. */
  readonly #waiting: CheckedBlock[] = []
  #isNeeded = false
  #hash = createHash('sha256')
  #hashedBytes = 0

  constructor(subject: string) {
    this.#subject = subject
  }

  /** The archive as the decoder reads it. @throws BAD_PACKAGE; what `source` throws */
  async *takeOff(source: AsyncIterable<Uint8Array>): AsyncGenerator<Buffer> {
    using reader = new ByteReader(source)
    const head = await this.#readHead(reader)
    this.#isNeeded = head.equals(renderHead(SHA256.flags))
    if (!this.#isNeeded) {
      yield head
      yield* reader.takeRest()
      return
    }
    yield* this.#takeOffStream(reader)
    while (!(await reader.isAtEnd())) {
      if (!(await this.#readHead(reader)).equals(head)) throw this.#bad('is checked in several ways')
      yield* this.#takeOffStream(reader)
    }
  }

  /** To be called with all that the decoder gives. @throws BAD_PACKAGE */
  verify(unpacked: Uint8Array): void {
    if (!this.#isNeeded) return
    for (let at = 0; ; ) {
      const block = this.#waiting[0]
      const missing = (block?.unpackedSize ?? Number.POSITIVE_INFINITY) - this.#hashedBytes
      if (missing < 0) throw this.#bad('has a block of another size than it says')
      const part = unpacked.subarray(at, Math.min(unpacked.length, at + missing))
      this.#hash.update(part)
      this.#hashedBytes += part.length
      at += part.length
      if (block === undefined || part.length < missing) return
      if (!this.#hash.digest().equals(block.sha256))
        throw this.#bad('has a block with another SHA-256 than it says; it was damaged or changed')
      this.#waiting.shift()
      this.#hash = createHash('sha256')
      this.#hashedBytes = 0
    }
  }

  /** @throws BAD_PACKAGE */
  end(): void {
    this.verify(new Uint8Array(0))
    if (this.#waiting.length > 0 || (this.#isNeeded && this.#hashedBytes > 0)) throw this.#bad('is cut off')
  }

  #bad(why: string): FeedmeshError {
    return new FeedmeshError('BAD_PACKAGE', `${this.#subject} ${why}`)
  }

  async #readHead(reader: ByteReader): Promise<Buffer> {
    const head = await reader.read(HEAD_BYTES)
    if (!head.subarray(0, MAGIC.length).equals(MAGIC)) throw this.#bad('is not packed with xz as it says')
    const check = (head[7] ?? 0) & 0x0f
    if (check !== SHA256.flags[1] && !CHECKS_OF_DECODER.includes(check))
      throw this.#bad(`is packed with xz and a check (${check}) that is not supported; use crc32, crc64 or sha256`)
    return head
  }

  /** All but the head. */
  async *#takeOffStream(reader: ByteReader): AsyncGenerator<Buffer> {
    yield renderHead(NO_CHECK.flags)
    const blocks: Block[] = []
    for (let first = await reader.read(1); first[0] !== 0; first = await reader.read(1)) {
      if (blocks.length >= MAX_BLOCKS) throw this.#bad(`has more than ${MAX_BLOCKS} blocks of xz`)
      const header = Buffer.concat([first, await reader.read(((first[0] ?? 0) + 1) * 4 - 1)])
      yield header
      const block = yield* this.#passContent(reader, header.length)
      blocks.push(block)
      const padding = await reader.read(-block.size & 3)
      this.#waiting.push({ ...block, sha256: await reader.read(SHA256.bytes) })
      yield padding
    }
    const stated = renderEnd(blocks, SHA256).subarray(1)
    if (!(await reader.read(stated.length)).equals(stated))
      throw this.#bad('has an index of xz that is of other blocks')
    yield renderEnd(blocks, NO_CHECK)
  }

  /** Passes on the chunks of LZMA2 until the last. */
  async *#passContent(reader: ByteReader, headerBytes: number): AsyncGenerator<Buffer, Block> {
    let [size, unpackedSize] = [headerBytes, 0]
    for (;;) {
      const control = await reader.read(1)
      const kind = control[0] ?? 0
      size += 1
      yield control
      if (kind === 0) return { size, unpackedSize }
      const isPacked = kind >= 0x80
      if (!isPacked && kind > 2) throw this.#bad('has a chunk of xz that is none')
      const sizes = await reader.read(isPacked ? (kind >= 0xc0 ? 5 : 4) : 2)
      yield sizes
      unpackedSize += (isPacked ? (kind & 0x1f) << 16 : 0) + sizes.readUInt16BE(0) + 1
      const contentBytes = sizes.readUInt16BE(isPacked ? 2 : 0) + 1
      size += sizes.length + contentBytes
      yield* reader.take(contentBytes)
    }
  }
}

function renderHead(flags: Buffer): Buffer {
  return Buffer.concat([MAGIC, flags, checksumOf(flags)])
}

/** Index and footer. */
function renderEnd(blocks: readonly Block[], check: { readonly flags: Buffer; readonly bytes: number }): Buffer {
  const records = blocks.flatMap((block) => [renderNumber(block.size + check.bytes), renderNumber(block.unpackedSize)])
  const listed = Buffer.concat([Buffer.alloc(1), renderNumber(blocks.length), ...records])
  const index = Buffer.concat([listed, Buffer.alloc(-listed.length & 3)])
  const size = Buffer.alloc(4)
  // In groups of four bytes with the checksum, less one.
  size.writeUInt32LE(index.length / 4)
  const sizeAndFlags = Buffer.concat([size, check.flags])
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
