/** What a vector is, and how its values are written down. */

import { sha256 } from '../../../src/catalog/digest.ts'
import type { Row } from '../../../src/catalog/row.ts'
import type { Signer } from '../../../src/catalog/signed.ts'
import { createSeedSigner } from '../../../src/catalog/token.ts'

export type Json = string | number | boolean | null | readonly Json[] | { readonly [name: string]: Json }

export interface Vector {
  /** Folder below `protocols/mesh`; ends in `-refuse` when a reader must refuse it, with the code of `facts.code`. */
  readonly folder: string
  /** What the reader is to do: README.md lists the kinds. */
  readonly kind: string
  /** One sentence. */
  readonly what: string
  readonly facts: { readonly [name: string]: Json }
  /** Bytes by the name of their file, without `.hex`. */
  readonly bytes: { readonly [name: string]: Uint8Array }
}

/** Bytes as `h'…'`, 64-bit numbers as decimal text, words and numbers as they are. */
export function toJson(value: unknown): Json {
  if (value instanceof Uint8Array) return `h'${Buffer.from(value).toString('hex')}'`
  if (typeof value === 'bigint') return value.toString()
  if (Array.isArray(value)) return value.map(toJson)
  if (typeof value === 'object' && value !== null)
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, toJson(inner)]))
  return value as string | number | boolean | null
}

/** Like `toJson`, with metadata as text where it is text. */
export function rowToJson(row: Row): Json {
  const text = Buffer.from(row.meta).toString()
  const isText = row.meta.length > 0 && Buffer.from(text).equals(row.meta) && /^[\x20-\x7e\n]*$/.test(text)
  return { ...(toJson(row) as object), meta: isText ? text : toJson(row.meta) }
}

/** A key that exists for these vectors only. */
export function signerOf(name: string): Signer {
  return createSeedSigner(sha256(`feedmesh vectors: key of ${name}`))
}

/** Bytes that look random and are always the same. */
export function noise(name: string, size = 32): Buffer {
  return sha256(`feedmesh vectors: ${name}`).subarray(0, size)
}

/** 2026-01-01T00:00:00Z, ms. */
export const START = 1_767_225_600_000
export const HOUR = 3_600_000
