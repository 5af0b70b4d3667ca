/**
 * Looks through a tar archive while it streams by: names, sizes and the content of the few members that are asked for.
 * Format: POSIX.1-2017 pax interchange format, with the GNU extensions for long names and large sizes.
 *
 * Strict on purpose. An archive that two readers could understand differently is refused, since what is checked here must
 * be what a client unpacks.
 */

import { FeedmeshError } from '../../src/errors.ts'
import { GrowingBuffer } from './growing-buffer.ts'

export interface TarMember {
  readonly name: string
  readonly type: 'file' | 'directory' | 'symlink' | 'link' | 'other'
  /** Target of a symlink or link, else empty. */
  readonly linkName: string
  readonly size: number
}

export interface TarScan {
  readonly maxMembers: number
  /** Refuse an archive without its end mark: an unpacker could find more behind what was seen here. */
  readonly isEndNeeded?: boolean
  /** Called for each member in order; may throw to refuse it. Returns how many bytes of its content it wants at most, 0 = none. */
  onMember(member: TarMember): number
  /** The whole content of a member that was asked for. */
  onContent(member: TarMember, content: Buffer): void
  /** Called with every piece of the content of a file as it streams by; the bytes are the caller's only until it returns. */
  onPiece?(member: TarMember, piece: Buffer): void
}

const BLOCK = 512
/** Extended headers hold a few names of at most some KiB each. */
const MAX_EXTENSION_BYTES = 64 * 1024

type Extension = 'pax' | 'global' | 'name' | 'linkName'

interface Body {
  readonly size: number
  readonly collected: GrowingBuffer | undefined
  readonly onPiece?: (piece: Buffer) => void
  readonly finish: (content: Buffer) => void
}

export class TarScanner {
  readonly #scan: TarScan
  readonly #header = new GrowingBuffer()
  #body: Body | undefined
  #taken = 0
  #members = 0
  #hasEnded = false
  /** What extended headers say about the member that follows. */
  #next: { name?: string; linkName?: string; size?: number } = {}

  constructor(scan: TarScan) {
    this.#scan = scan
  }

  /** @throws BAD_PACKAGE and what the callbacks throw */
  push(chunk: Buffer): void {
    let rest = chunk
    while (rest.length > 0) rest = this.#body === undefined ? this.#pushHeader(rest) : this.#pushBody(this.#body, rest)
  }

  /** @throws BAD_PACKAGE when the archive is cut off. */
  end(): void {
    const isBetween = this.#body === undefined && this.#header.size === 0
    const isEndNeeded = this.#scan.isEndNeeded === true || this.#members === 0
    if (!isBetween || (isEndNeeded && !this.#hasEnded)) throw bad('it is cut off')
  }

  #pushHeader(chunk: Buffer): Buffer {
    const missing = BLOCK - this.#header.size
    if (chunk.length < missing) {
      this.#header.append(chunk)
      return chunk.subarray(chunk.length)
    }
    if (this.#header.size === 0) {
      this.#startMember(chunk.subarray(0, BLOCK))
    } else {
      this.#header.append(chunk.subarray(0, missing))
      this.#startMember(this.#header.bytes())
      this.#header.clear()
    }
    return chunk.subarray(missing)
  }

  #pushBody(body: Body, chunk: Buffer): Buffer {
    const padded = Math.ceil(body.size / BLOCK) * BLOCK
    const content = chunk.subarray(0, Math.max(0, body.size - this.#taken))
    body.collected?.append(content)
    if (content.length > 0) body.onPiece?.(content)
    const used = Math.min(chunk.length, padded - this.#taken)
    this.#taken += used
    if (this.#taken === padded) this.#finishBody(body)
    return chunk.subarray(used)
  }

  #finishBody(body: Body): void {
    this.#body = undefined
    this.#taken = 0
    if (body.collected !== undefined) body.finish(body.collected.bytes())
  }

  #startMember(block: Buffer): void {
    if (block.every((byte) => byte === 0)) {
      this.#hasEnded = true
      return
    }
    if (this.#hasEnded) throw bad('it has members after its end')
    verifyChecksum(block)
    this.#members += 1
    if (this.#members > this.#scan.maxMembers)
      throw bad(`it has more than the ${this.#scan.maxMembers} members that are allowed`)
    const flag = String.fromCharCode(block[156] ?? 0)
    const extension = findExtension(flag)
    const size = parseNumber(block.subarray(124, 136))
    if (extension === undefined) this.#startContent(block, flag, size)
    else this.#startExtension(extension, size)
  }

  #startExtension(extension: Extension, size: number): void {
    if (size > MAX_EXTENSION_BYTES) throw bad(`it has an extended header of ${size} bytes`)
    const finish = (content: Buffer) => {
      if (extension === 'pax' || extension === 'global') this.#applyRecords(extension, content)
      else this.#next[extension] = text(content)
    }
    this.#setBody({ size, collected: new GrowingBuffer(), finish })
  }

  #applyRecords(extension: Extension, content: Buffer): void {
    for (const [key, value] of parseRecords(content)) {
      if (key !== 'path' && key !== 'linkpath' && key !== 'size') continue
      if (extension === 'global') throw bad(`it sets ${key} for all members at once`)
      if (key === 'path') this.#next.name = value
      else if (key === 'linkpath') this.#next.linkName = value
      else if (/^\d{1,15}$/.test(value)) this.#next.size = Number(value)
      else throw bad(`it has the size ${JSON.stringify(value.slice(0, 40))}`)
    }
  }

  #startContent(block: Buffer, flag: string, headerSize: number): void {
    const type = memberType(flag)
    const next = this.#next
    this.#next = {}
    const declared = next.size ?? headerSize
    const size = type === 'file' || type === 'other' ? declared : 0
    if (size !== declared) throw bad(`its member ${JSON.stringify(flag)} is no file, yet has content`)
    const member: TarMember = {
      name: next.name ?? headerName(block),
      type,
      linkName: type === 'link' || type === 'symlink' ? (next.linkName ?? text(block.subarray(157, 257))) : '',
      size,
    }
    const wanted = this.#scan.onMember(member)
    if (wanted > 0 && size > wanted) throw bad(`its member ${member.name} has more than ${wanted} bytes`)
    const collected = wanted > 0 ? new GrowingBuffer() : undefined
    this.#setBody({
      size,
      collected,
      finish: (content) => this.#scan.onContent(member, content),
      onPiece: (piece) => this.#scan.onPiece?.(member, piece),
    })
  }

  #setBody(body: Body): void {
    this.#body = body
    this.#taken = 0
    if (body.size === 0) this.#finishBody(body)
  }
}

function findExtension(flag: string): Extension | undefined {
  switch (flag) {
    case 'x':
      return 'pax'
    case 'g':
      return 'global'
    case 'L':
      return 'name'
    case 'K':
      return 'linkName'
    default:
      return undefined
  }
}

function memberType(flag: string): TarMember['type'] {
  switch (flag) {
    case '\0':
    case '0':
    case '7':
      return 'file'
    case '1':
      return 'link'
    case '2':
      return 'symlink'
    case '5':
      return 'directory'
    default:
      return 'other'
  }
}

function headerName(block: Buffer): string {
  const name = text(block.subarray(0, 100))
  const isUstar = block.toString('latin1', 257, 263) === 'ustar\0'
  const prefix = isUstar ? text(block.subarray(345, 500)) : ''
  return prefix === '' ? name : `${prefix}/${name}`
}

/** Octal text, or base 256 when the first bit is set (GNU). */
function parseNumber(field: Buffer): number {
  const first = field[0] ?? 0
  if (first === 0x80) {
    const value = field.readBigUInt64BE(field.length - 8)
    if (value <= BigInt(Number.MAX_SAFE_INTEGER)) return Number(value)
  } else if (/^ *[0-7]*[ \0]*$/.test(field.toString('latin1'))) {
    return Number.parseInt(text(field).trim() || '0', 8)
  }
  throw bad('a header has a size that is no number')
}

function verifyChecksum(block: Buffer): void {
  const stated = parseNumber(block.subarray(148, 156))
  const sum = block.reduce((total, byte, at) => total + (at >= 148 && at < 156 ? 0x20 : byte), 0)
  if (sum !== stated) throw bad('the checksum of a header is wrong')
}

/** Records of the form `<length> <key>=<value>\n`, the length counting all of the record. */
function* parseRecords(content: Buffer): Iterable<readonly [key: string, value: string]> {
  let at = 0
  while (at < content.length) {
    const space = content.indexOf(0x20, at)
    const digits = space === -1 ? '' : content.toString('latin1', at, space)
    const end = at + Number(digits)
    const record = content.toString('utf8', space + 1, end - 1)
    const equals = record.indexOf('=')
    const isWhole = /^[1-9]\d{0,5}$/.test(digits) && end <= content.length && content[end - 1] === 0x0a && equals > 0
    if (!isWhole) throw bad('an extended header cannot be read')
    yield [record.slice(0, equals), record.slice(equals + 1)]
    at = end
  }
}

/** Text up to the first NUL. */
function text(field: Buffer): string {
  const end = field.indexOf(0)
  return field.toString('utf8', 0, end === -1 ? field.length : end)
}

function bad(reason: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the file is not a tar archive that can be trusted: ${reason}`)
}
