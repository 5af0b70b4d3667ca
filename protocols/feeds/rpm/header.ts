/**
 * The two headers of an .rpm: tagged values, an index of 16-byte entries before a store of bytes.
 * https://rpm-software-management.github.io/rpm/manual/format_v4.html · format_header.html
 */

import { FeedmeshError } from '../../../src/errors.ts'

/** magic(3) version(1) reserved(4) entries(4) storeBytes(4) */
export const HEADER_INTRO_BYTES = 16
const MAGIC = 0x8eade801
const ENTRY_BYTES = 16

export interface HeaderLimits {
  readonly maxEntries: number
  readonly maxStoreBytes: number
}

const TYPES = { int16: 3, int32: 4, int64: 5, string: 6, binary: 7, stringArray: 8, i18n: 9 } as const
/** By type: null, char, int8, int16, int32, int64; the others are strings or bytes. */
const SIZES = [0, 1, 1, 2, 4, 8, 0, 1, 0, 0]

interface Entry {
  readonly type: number
  readonly offset: number
  readonly count: number
}

export function badRpm(reason: string): FeedmeshError {
  return new FeedmeshError('BAD_PACKAGE', `the file is not an RPM package that can be trusted: ${reason}`)
}

/** Bytes of entries and store that follow an intro. @throws BAD_PACKAGE */
export function parseHeaderIntro(
  intro: Buffer,
  { maxEntries, maxStoreBytes }: HeaderLimits,
): { readonly entries: number; readonly storeBytes: number; readonly size: number } {
  if (intro.readUInt32BE(0) !== MAGIC) throw badRpm('a header does not begin as it should')
  const [entries, storeBytes] = [intro.readUInt32BE(8), intro.readUInt32BE(12)]
  if (entries === 0 || entries > maxEntries)
    throw badRpm(`a header has ${entries} entries; up to ${maxEntries} are read`)
  if (storeBytes > maxStoreBytes) throw badRpm(`a header has ${storeBytes} bytes; up to ${maxStoreBytes} are read`)
  return { entries, storeBytes, size: entries * ENTRY_BYTES + storeBytes }
}

/** Values of tags. A tag that is there with another type than it is asked for is an error. */
export class RpmHeader {
  readonly #entries = new Map<number, Entry>()
  readonly #store: Buffer

  /** @throws BAD_PACKAGE when an entry is out of bounds, or a tag is there twice */
  constructor(body: Buffer, entries: number) {
    this.#store = body.subarray(entries * ENTRY_BYTES)
    for (let at = 0; at < entries; at += 1) {
      const from = at * ENTRY_BYTES
      const tag = body.readUInt32BE(from)
      const entry = {
        type: body.readUInt32BE(from + 4),
        offset: body.readUInt32BE(from + 8),
        count: body.readUInt32BE(from + 12),
      }
      const size = SIZES[entry.type]
      const end = entry.offset + Math.max(1, size ?? 0) * entry.count
      if (size === undefined || entry.count === 0 || end > this.#store.length)
        throw badRpm(`the header entry ${tag} does not lie within the header`)
      if (this.#entries.has(tag)) throw badRpm(`the header has the entry ${tag} twice`)
      this.#entries.set(tag, entry)
    }
  }

  has(tag: number): boolean {
    return this.#entries.has(tag)
  }

  /** The only or, of texts in several languages, the first string. */
  findString(tag: number): string | undefined {
    const entry = this.#find(tag, TYPES.string, TYPES.i18n, TYPES.stringArray)
    return entry === undefined ? undefined : this.#readStrings(tag, { ...entry, count: 1 })[0]
  }

  /** Empty where the tag is not there. */
  strings(tag: number): string[] {
    const entry = this.#find(tag, TYPES.stringArray, TYPES.string, TYPES.i18n)
    return entry === undefined ? [] : this.#readStrings(tag, entry)
  }

  /** Unsigned; empty where the tag is not there. */
  numbers(tag: number): number[] {
    const entry = this.#find(tag, TYPES.int16, TYPES.int32, TYPES.int64)
    if (entry === undefined) return []
    const size = SIZES[entry.type] ?? 0
    return Array.from({ length: entry.count }, (_, at) => {
      const from = entry.offset + at * size
      return size === 8 ? Number(this.#store.readBigUInt64BE(from)) : this.#store.readUIntBE(from, size)
    })
  }

  findNumber(tag: number): number | undefined {
    return this.numbers(tag)[0]
  }

  findBytes(tag: number): Buffer | undefined {
    const entry = this.#find(tag, TYPES.binary)
    return entry === undefined ? undefined : this.#store.subarray(entry.offset, entry.offset + entry.count)
  }

  #find(tag: number, ...types: number[]): Entry | undefined {
    const entry = this.#entries.get(tag)
    if (entry !== undefined && !types.includes(entry.type))
      throw badRpm(`the header entry ${tag} is of type ${entry.type}`)
    return entry
  }

  #readStrings(tag: number, { offset, count }: Entry): string[] {
    const strings: string[] = []
    for (let at = offset; strings.length < count; ) {
      const end = this.#store.indexOf(0, at)
      if (end === -1) throw badRpm(`the header entry ${tag} does not end within the header`)
      strings.push(decodeText(this.#store.subarray(at, end)))
      at = end + 1
    }
    return strings
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Old packages are written in whatever their builder used. */
function decodeText(bytes: Buffer): string {
  try {
    return UTF8.decode(bytes)
  } catch {
    return bytes.toString('latin1')
  }
}
