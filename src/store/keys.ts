/**
 * The only spelling of database keys.
 *
 * A key = one ASCII byte that names the table, then fixed-width parts, then at most one part of variable width at the end.
 * `F` is a feed's local number (u32, interned once), all numbers are big-endian so that byte order is numeric order.
 */

import { algorithmOf, type Digest, digestBytes } from '../catalog/digest.ts'
import type { KeyRange } from './records.ts'

function table(letter: string, ...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([Buffer.from(letter, 'latin1'), ...parts])
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

export function u64(value: bigint | number): Buffer {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64BE(BigInt(value))
  return bytes
}

/** All keys that start with `prefix`. */
export function under(prefix: Uint8Array): KeyRange {
  return { gte: prefix, lt: after(prefix) }
}

/** The first key in byte order that does not start with `prefix`. */
export function after(prefix: Uint8Array): Buffer {
  const end = Buffer.from(prefix)
  for (let i = end.length - 1; i >= 0; i -= 1) {
    const byte = end[i] ?? 0
    if (byte < 0xff) {
      end[i] = byte + 1
      return end.subarray(0, i + 1)
    }
  }
  return Buffer.alloc(64, 0xff)
}

function digestKey(digest: Digest): Buffer {
  return Buffer.concat([Buffer.from([algorithmOf(digest) === 'sha256' ? 1 : 2]), digestBytes(digest)])
}

export const keys = {
  /** Schema version, incarnation and other single facts about the data folder. */
  fact: (name: string) => table('!', Buffer.from(name)),
  /** Blob facts: where it is, size, chunk root. */
  blob: (digest: Digest) => table('b', digestKey(digest)),
  blobs: () => under(table('b')),
  /** Bytes of a blob of at most 64 KiB. */
  blobBytes: (digest: Digest) => table('c', digestKey(digest)),
} as const
