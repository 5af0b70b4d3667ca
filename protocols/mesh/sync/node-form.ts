/**
 * How a trie node travels while two tries are compared: short hints instead of whole hashes. A hint that collides costs a
 * repetition, never a wrong state, because the whole root is recomputed before anything is adopted.
 *
 *   empty = 00
 *   leaf  = 01 hint(8)*                                        one an entry, in order of place
 *   inner = 02 pathLen(1) path (nibble·2+leaf(1) count(1…7) hash(8))*
 *   wide  = 03 pathLen(1) path (nibble·2+leaf(1) count(1…7) hash(32))*
 *
 * `count` has seven bits a byte, the lowest first; all bytes but its last have the highest bit set, and the last is not 0.
 * A wide node is proved by the hash that its parent, or the manifest, names it by.
 */

import { sha256 } from '../../../src/catalog/digest.ts'
import { BinaryReader } from '../../../src/catalog/row.ts'
import { LEAF_ENTRIES, type NodeRef, nibbleAfter, packPath, type TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { HASH_BYTES, HINT_BYTES } from './messages.ts'

export interface RemoteChild {
  readonly nibble: number
  readonly leaf: boolean
  readonly count: number
  /** Whole in a wide node, else its first bytes. */
  readonly hash: Buffer
}

export type RemoteNode =
  | { readonly kind: 'empty' }
  | { readonly kind: 'leaf'; readonly hints: readonly Buffer[] }
  | { readonly kind: 'inner'; readonly path: string; readonly wide: boolean; readonly children: readonly RemoteChild[] }

/** Stands for an entry, place and digest. */
export function hintOf(entry: TrieEntry): Buffer {
  return sha256(Uint8Array.of(0x17), entry.place, entry.digest).subarray(0, HINT_BYTES)
}

export function encodeLeaf(entries: readonly TrieEntry[]): Uint8Array {
  if (entries.length === 0) return Uint8Array.of(0)
  return Buffer.concat([Uint8Array.of(1), ...entries.map(hintOf)])
}

/** Bytes of a count: up to 2^48 - 1. */
const MAX_COUNT_BYTES = 7

function encodeCount(count: number): Buffer {
  const bytes: number[] = []
  let rest = count
  while (rest > 0x7f) {
    bytes.push((rest % 0x80) | 0x80)
    rest = Math.floor(rest / 0x80)
  }
  return Buffer.from([...bytes, rest])
}

function decodeCount(reader: BinaryReader): number {
  let count = 0
  let scale = 1
  for (let taken = 1; ; taken += 1) {
    const byte = reader.uint(1)
    count += (byte & 0x7f) * scale
    if (byte < 0x80) {
      if (byte === 0) throw new FeedmeshError('PEER_INVALID', 'sync: a count of 0, or with a byte too many')
      return count
    }
    if (taken === MAX_COUNT_BYTES) throw new FeedmeshError('PEER_INVALID', 'sync: a count that does not end')
    scale *= 0x80
  }
}

export function encodeInner(path: string, children: readonly NodeRef[], wide = false): Uint8Array {
  const hashBytes = wide ? HASH_BYTES : HINT_BYTES
  const parts = children.flatMap((child) => [
    Uint8Array.of(nibbleAfter(path, child) * 2 + (child.leaf ? 1 : 0)),
    encodeCount(child.count),
    child.hash.subarray(0, hashBytes),
  ])
  return Buffer.concat([Uint8Array.of(wide ? 3 : 2), packPath(path), ...parts])
}

function splitHints(data: Buffer): Buffer[] {
  if (data.length % HINT_BYTES !== 0) throw new FeedmeshError('PEER_INVALID', 'sync: a leaf whose hints are cut off')
  const count = data.length / HINT_BYTES
  if (count === 0 || count > LEAF_ENTRIES)
    throw new FeedmeshError('PEER_INVALID', `sync: a leaf has 1 to ${LEAF_ENTRIES} entries, not ${count}`)
  return Array.from({ length: data.length / HINT_BYTES }, (_, index) =>
    data.subarray(index * HINT_BYTES, (index + 1) * HINT_BYTES),
  )
}

function decodeInner(reader: BinaryReader, wide: boolean): RemoteNode {
  const nibbles = reader.uint(1)
  if (nibbles > 63) throw new FeedmeshError('PEER_INVALID', `sync: a trie node at depth ${nibbles}`)
  const packed = reader.take(Math.ceil(nibbles / 2)).toString('hex')
  const path = packed.slice(0, nibbles)
  if (packed.length > nibbles && !packed.endsWith('0'))
    throw new FeedmeshError('PEER_INVALID', 'sync: the path of a trie node is not padded with 0')
  const children: RemoteChild[] = []
  while (reader.rest > 0) {
    const code = reader.uint(1)
    const nibble = code >> 1
    if (nibble > 15 || nibble <= (children.at(-1)?.nibble ?? -1))
      throw new FeedmeshError('PEER_INVALID', 'sync: children of a trie node out of order')
    const count = decodeCount(reader)
    const leaf = code % 2 === 1
    if (leaf !== count <= LEAF_ENTRIES)
      throw new FeedmeshError('PEER_INVALID', `sync: a ${leaf ? 'leaf' : 'node'} of ${count} entries`)
    children.push({ nibble, leaf, count, hash: Buffer.from(reader.take(wide ? HASH_BYTES : HINT_BYTES)) })
  }
  if (children.length < 2)
    throw new FeedmeshError('PEER_INVALID', 'sync: an inner trie node with fewer than two children')
  return { kind: 'inner', path, wide, children }
}

/** @throws PEER_INVALID */
export function decodeNode(encoded: Uint8Array): RemoteNode {
  const reader = new BinaryReader(encoded, 'sync: trie node')
  const kind = reader.uint(1)
  if (kind === 0 && reader.rest === 0) return { kind: 'empty' }
  if (kind === 1) return { kind: 'leaf', hints: splitHints(reader.take(reader.rest)) }
  if (kind === 2 || kind === 3) return decodeInner(reader, kind === 3)
  throw new FeedmeshError('PEER_INVALID', `sync: a trie node of kind ${kind}`)
}
