/**
 * Deterministic CBOR (RFC 8949 §4.2) with typed shapes.
 *
 * A shape says how one value looks on the wire and parses it strictly; every limit stands in the shape. Records are maps
 * with small integer keys, as in the CDDL files under `protocols/mesh/`. Keys that a record does not know are skipped, so
 * that a later minor version may add some; everything else that deviates is PEER_INVALID.
 */

import { encode } from 'cborg'
import { FeedmeshError } from '../errors.ts'
import { type CborValue, decodeDeterministic } from './cbor-decoder.ts'

/** What a shape is made of; the CDDL files are held against it. */
export type ShapeForm =
  | { readonly type: 'uint'; readonly max: bigint }
  | { readonly type: 'bytes'; readonly min: number; readonly max: number }
  | { readonly type: 'text'; readonly max: number }
  | { readonly type: 'bool' | 'null' }
  | { readonly type: 'word'; readonly words: readonly string[] }
  | { readonly type: 'list'; readonly item: ShapeForm; readonly max: number }
  | { readonly type: 'nullable'; readonly inner: ShapeForm }
  | { readonly type: 'record' | 'oneOf'; readonly fields: Readonly<Record<string, readonly [number, ShapeForm]>> }

export interface Shape<T> {
  readonly form: ShapeForm
  toCbor(value: T): unknown
  /** @throws PEER_INVALID; `path` names the field */
  fromCbor(value: unknown, path: string): T
  /** As a field of a record: what is meant, and never written, where the field is not there. */
  readonly absent?: { readonly value: T }
}

export type Shaped<S> = S extends Shape<infer T> ? T : never

function invalid(path: string, expected: string): FeedmeshError {
  return new FeedmeshError('PEER_INVALID', `${path}: expected ${expected}`)
}

export function uint(max = Number.MAX_SAFE_INTEGER): Shape<number> {
  return {
    form: { type: 'uint', max: BigInt(max) },
    toCbor: (value) => value,
    fromCbor: (value, path) => {
      if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= max) return value
      throw invalid(path, `an unsigned integer up to ${max}`)
    },
  }
}

/** Unsigned 64-bit number as bigint. */
export const uint64: Shape<bigint> = {
  form: { type: 'uint', max: (1n << 64n) - 1n },
  toCbor: (value) => (value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value),
  fromCbor: (value, path) => {
    const number = typeof value === 'number' && Number.isSafeInteger(value) ? BigInt(value) : value
    if (typeof number === 'bigint' && number >= 0n && number < 1n << 64n) return number
    throw invalid(path, 'an unsigned 64-bit integer')
  },
}

/** Byte string of exactly `size` bytes, or of up to `max`. */
export function bytes(limit: { readonly size: number } | { readonly max: number }): Shape<Uint8Array> {
  const [min, max] = 'size' in limit ? [limit.size, limit.size] : [0, limit.max]
  return {
    form: { type: 'bytes', min, max },
    toCbor: (value) => value,
    fromCbor: (value, path) => {
      if (value instanceof Uint8Array && value.length >= min && value.length <= max) return value
      throw invalid(path, 'size' in limit ? `${limit.size} bytes` : `at most ${limit.max} bytes`)
    },
  }
}

export function text(maxBytes: number): Shape<string> {
  return {
    form: { type: 'text', max: maxBytes },
    toCbor: (value) => value,
    fromCbor: (value, path) => {
      if (typeof value === 'string' && value.isWellFormed() && Buffer.byteLength(value) <= maxBytes) return value
      throw invalid(path, `text of at most ${maxBytes} bytes`)
    },
  }
}

export const bool: Shape<boolean> = {
  form: { type: 'bool' },
  toCbor: (value) => value,
  fromCbor: (value, path) => {
    if (typeof value === 'boolean') return value
    throw invalid(path, 'true or false')
  },
}

/** One of a fixed list of words; on the wire its index. */
export function word<const W extends readonly string[]>(words: W): Shape<W[number]> {
  return {
    form: { type: 'word', words },
    toCbor: (value) => words.indexOf(value),
    fromCbor: (value, path) => {
      const found = typeof value === 'number' ? words[value] : undefined
      if (found !== undefined) return found
      throw invalid(path, `0 to ${words.length - 1} (${words.join(', ')})`)
    },
  }
}

export function list<T>(item: Shape<T>, max: number): Shape<readonly T[]> {
  return {
    form: { type: 'list', item: item.form, max },
    toCbor: (value) => value.map((entry) => item.toCbor(entry)),
    fromCbor: (value, path) => {
      if (!Array.isArray(value) || value.length > max) throw invalid(path, `a list of at most ${max}`)
      return value.map((entry: unknown, index) => item.fromCbor(entry, `${path}[${index}]`))
    },
  }
}

export function nullable<T>(inner: Shape<T>): Shape<T | null> {
  return {
    form: { type: 'nullable', inner: inner.form },
    toCbor: (value) => (value === null ? null : inner.toCbor(value)),
    fromCbor: (value, path) => (value === null ? null : inner.fromCbor(value, path)),
  }
}

/** A field of a record that is left out when it is `absent`. */
export function optional<T extends string | number | boolean>(inner: Shape<T>, absent: T): Shape<T> {
  return {
    ...inner,
    absent: { value: absent },
    fromCbor: (value, path) => {
      const parsed = inner.fromCbor(value, path)
      if (parsed === absent) throw invalid(path, `nothing instead of ${absent}`)
      return parsed
    },
  }
}

type FieldTable<F> = { readonly [K in keyof F]: readonly [key: number, shape: Shape<F[K]>] }

function formOf(
  type: 'record' | 'oneOf',
  fields: readonly (readonly [string, readonly [number, { readonly form: ShapeForm }]])[],
): ShapeForm {
  return { type, fields: Object.fromEntries(fields.map(([name, [key, shape]]) => [name, [key, shape.form] as const])) }
}

/** A map with integer keys; every field is required that is not `optional`. */
export function record<T>(fields: FieldTable<T>): Shape<T> {
  const entries = Object.entries(fields) as [keyof T & string, readonly [number, Shape<T[keyof T]>]][]
  return {
    form: formOf('record', entries),
    toCbor: (value) => {
      const written = entries.filter(([name, [, { absent }]]) => absent === undefined || absent.value !== value[name])
      return new Map(written.map(([name, [key, shape]]) => [key, shape.toCbor(value[name])]))
    },
    fromCbor: (value, path) => {
      if (!(value instanceof Map)) throw invalid(path, 'a map')
      const result: Partial<T> = {}
      for (const [name, [key, shape]] of entries) {
        if (!value.has(key) && shape.absent === undefined) throw invalid(`${path}.${name}`, 'a value')
        if (!value.has(key)) result[name] = shape.absent?.value as T[typeof name]
        else result[name] = shape.fromCbor(value.get(key), `${path}.${name}`) as T[typeof name]
      }
      return result as T
    },
  }
}

/** A map whose first key (0) holds the name of the variant as an index, and whose other keys are that variant's record. */
export function oneOf<V extends Record<string, object>>(
  variants: {
    readonly [K in keyof V]: readonly [tag: number, shape: Shape<V[K]>]
  },
): Shape<{ readonly [K in keyof V]: { readonly kind: K } & V[K] }[keyof V]> {
  type Any = { readonly kind: keyof V } & V[keyof V]
  const entries = Object.entries(variants) as [keyof V & string, readonly [number, Shape<V[keyof V]>]][]
  return {
    form: formOf('oneOf', entries),
    toCbor: (value: Any) => {
      const [tag, shape] = variants[value.kind]
      const map = shape.toCbor(value) as Map<number, unknown>
      return new Map<number, unknown>([[0, tag], ...map])
    },
    fromCbor: (value, path) => {
      const tag: unknown = value instanceof Map ? value.get(0) : undefined
      const found = entries.find(([, [candidate]]) => candidate === tag)
      if (found === undefined)
        throw invalid(path, `a message of a known kind, not ${typeof tag === 'number' ? tag : typeof tag}`)
      return Object.assign(found[1][1].fromCbor(value, `${path}.${found[0]}`), { kind: found[0] })
    },
  }
}

export function encodeCbor<T>(shape: Shape<T>, value: T): Uint8Array {
  return encode(shape.toCbor(value))
}

/** @throws PEER_INVALID for bytes that are not the deterministic encoding of one value of the shape; `what` names it. */
export function decodeCbor<T>(shape: Shape<T>, encoded: Uint8Array, what: string): T {
  let value: CborValue
  try {
    value = decodeDeterministic(encoded)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : 'unreadable'
    throw new FeedmeshError('PEER_INVALID', `${what}: not deterministic CBOR (${why})`, { cause })
  }
  return shape.fromCbor(value, what)
}
