/**
 * Decodes deterministic CBOR (RFC 8949 §4.2.1) and nothing else: shortest heads, definite lengths, maps with ascending
 * unsigned integer keys, well-formed UTF-8; no tags, floats or undefined. So equal values have equal bytes, without encoding
 * again to compare.
 *
 * Invariant: work and memory are in proportion to the input, and bounded by MAX_CBOR_ITEMS: a map that takes a peer one byte
 * takes this node two hundred.
 */

export type CborValue = number | bigint | string | boolean | null | Uint8Array | CborValue[] | Map<number, CborValue>

/** Values in one encoded object, those inside others included. */
export const MAX_CBOR_ITEMS = 65_536
const MAX_DEPTH = 16

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Thrown for every deviation; `decodeCbor` turns it into the error of the node. */
export class CborError extends Error {
  override readonly name = 'CborError'
}

class Decoder {
  readonly #bytes: Buffer
  #at = 0
  #items = 0

  constructor(encoded: Uint8Array) {
    this.#bytes = Buffer.from(encoded.buffer, encoded.byteOffset, encoded.byteLength)
  }

  value(depth: number): CborValue {
    this.#items += 1
    if (this.#items > MAX_CBOR_ITEMS) throw new CborError(`more than ${MAX_CBOR_ITEMS} values`)
    if (depth > MAX_DEPTH) throw new CborError(`nested deeper than ${MAX_DEPTH}`)
    const first = this.#take(1)[0]!
    const major = first >> 5
    if (major === 7) return simpleValue(first)
    const argument = this.#argument(first & 31)
    if (major === 0) return argument
    if (major === 1) return negative(argument)
    if (major === 2) return Uint8Array.from(this.#take(argument))
    if (major === 3) return this.#text(argument)
    if (major === 4) return this.#array(argument, depth)
    if (major === 5) return this.#map(argument, depth)
    throw new CborError('a tag')
  }

  end(): void {
    if (this.#at < this.#bytes.length) throw new CborError(`${this.#bytes.length - this.#at} bytes too many`)
  }

  #take(length: number | bigint): Buffer {
    if (length > this.#bytes.length - this.#at) throw new CborError(`cut off after ${this.#bytes.length} bytes`)
    const start = this.#at
    this.#at += Number(length)
    return this.#bytes.subarray(start, this.#at)
  }

  #argument(info: number): number | bigint {
    if (info < 24) return info
    if (info > 27) throw new CborError('an indefinite length or a reserved head')
    const size = 1 << (info - 24)
    const raw = this.#take(size)
    if (size === 8) return longArgument(raw.readBigUInt64BE())
    const value = raw.readUIntBE(0, size)
    const smallest = size === 1 ? 24 : size === 2 ? 0x100 : 0x1_0000
    if (value < smallest) throw new CborError('a head that is not the shortest')
    return value
  }

  #text(length: number | bigint): string {
    const raw = this.#take(length)
    try {
      return utf8.decode(raw)
    } catch {
      throw new CborError('text that is not UTF-8')
    }
  }

  #count(count: number | bigint): number {
    if (count > this.#bytes.length - this.#at) throw new CborError(`cut off after ${this.#bytes.length} bytes`)
    return Number(count)
  }

  #array(argument: number | bigint, depth: number): CborValue[] {
    const count = this.#count(argument)
    const items: CborValue[] = []
    for (let index = 0; index < count; index += 1) items.push(this.value(depth + 1))
    return items
  }

  #map(argument: number | bigint, depth: number): Map<number, CborValue> {
    const count = this.#count(argument)
    const map = new Map<number, CborValue>()
    let last = -1
    for (let index = 0; index < count; index += 1) {
      const key = this.value(depth + 1)
      if (typeof key !== 'number' || key <= last) throw new CborError('map keys that are not ascending integers')
      last = key
      map.set(key, this.value(depth + 1))
    }
    return map
  }
}

function longArgument(value: bigint): number | bigint {
  if (value < 0x1_0000_0000n) throw new CborError('a head that is not the shortest')
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value
}

function negative(argument: number | bigint): number | bigint {
  const value = -1n - BigInt(argument)
  return value >= BigInt(Number.MIN_SAFE_INTEGER) ? Number(value) : value
}

function simpleValue(first: number): CborValue {
  if (first === 0xf4) return false
  if (first === 0xf5) return true
  if (first === 0xf6) return null
  throw new CborError(`a float or simple value (${first.toString(16)})`)
}

/** @throws CborError for bytes that are not exactly one value in its deterministic form */
export function decodeDeterministic(encoded: Uint8Array): CborValue {
  const decoder = new Decoder(encoded)
  const value = decoder.value(0)
  decoder.end()
  return value
}
