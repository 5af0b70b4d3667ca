/**
 * How a trie node travels while two tries are compared: short hints instead of whole hashes. A hint that collides costs a
 * repetition, never a wrong state, because the whole root is recomputed before anything is adopted.
 *
 *   empty = 00
 *   leaf  = 01 hint(4)*                                        one an entry, in order of place
 *   inner = 02 pathLen(1) path present(2) (count(1…7) hint(4))*
 *   wide  = 03 pathLen(1) path present(2) (count(1…7) hash(32))*
 *
 * `present` has a bit for each child that is there, the highest for nibble 0; a child of up to 32 entries is a leaf.
 * `count` has seven bits a byte, the lowest first; all bytes but its last have the highest bit set, and the last is not 0.
 * A hint is four bytes of a hash, from a position that the state's root decides: so nobody can prepare entries that share
 * one, and two that happen to do so no longer do in the next state. A wide node is proved by the hash that its parent, or
 * the manifest, names it by.
 */

import { sha256 } from '../../../src/catalog/digest.ts'
import { BinaryReader } from '../../../src/catalog/row.ts'
import { LEAF_ENTRIES, type NodeRef, nibbleAfter, packPath, type TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { HASH_BYTES, HINT_BYTES } from './messages.ts'

export interface RemoteChild {
  readonly nibble: number
  readonly count: number
  /** Whole in a wide node, else its hint. */
  readonly hash: Buffer
}

export type RemoteNode =
  | { readonly kind: 'empty' }
  | { readonly kind: 'leaf'; readonly hints: readonly Buffer[] }
  | { readonly kind: 'inner'; readonly path: string; readonly wide: boolean; readonly children: readonly RemoteChild[] }

/** What stands for a hash of 32 bytes while tries of the state `stateRoot` are compared. */
export function hintOf(hash: Uint8Array, stateRoot: Uint8Array): Uint8Array {
  const at = (stateRoot[0] ?? 0) % (HASH_BYTES - HINT_BYTES + 1)
  return hash.subarray(at, at + HINT_BYTES)
}

/** Whether `name`, a whole hash or a hint, is that of `hash`. */
export function isNameOf(name: Uint8Array, hash: Uint8Array, stateRoot: Uint8Array): boolean {
  return Buffer.compare(name, name.length === HASH_BYTES ? hash : hintOf(hash, stateRoot)) === 0
}

/** Stands for an entry, place and digest. In hex digits. */
export function hintOfEntry(entry: TrieEntry, stateRoot: Uint8Array): string {
  const hash = sha256(Uint8Array.of(0x17), entry.place, entry.digest)
  return Buffer.from(hintOf(hash, stateRoot)).toString('hex')
}

export function encodeLeaf(entries: readonly TrieEntry[], stateRoot: Uint8Array): Uint8Array {
  if (entries.length === 0) return Uint8Array.of(0)
  const hints = entries.map((entry) => hintOfEntry(entry, stateRoot)).join('')
  return Buffer.concat([Uint8Array.of(1), Buffer.from(hints, 'hex')])
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

interface Inner {
  readonly path: string
  readonly children: readonly NodeRef[]
}

function encodeChildren(
  kind: number,
  { path, children }: Inner,
  shorten: (hash: Uint8Array) => Uint8Array,
): Uint8Array {
  let present = 0
  for (const child of children) present |= 0x8000 >> nibbleAfter(path, child)
  const parts = children.flatMap((child) => [encodeCount(child.count), shorten(child.hash)])
  return Buffer.concat([Uint8Array.of(kind), packPath(path), Uint8Array.of(present >> 8, present & 0xff), ...parts])
}

export function encodeInner(node: Inner, stateRoot: Uint8Array): Uint8Array {
  return encodeChildren(2, node, (hash) => hintOf(hash, stateRoot))
}

export function encodeWide(node: Inner): Uint8Array {
  return encodeChildren(3, node, (hash) => hash)
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
  const present = reader.uint(2)
  const children: RemoteChild[] = []
  for (let nibble = 0; nibble < 16; nibble += 1) {
    if ((present & (0x8000 >> nibble)) === 0) continue
    const count = decodeCount(reader)
    children.push({ nibble, count, hash: Buffer.from(reader.take(wide ? HASH_BYTES : HINT_BYTES)) })
  }
  if (reader.rest > 0) throw new FeedmeshError('PEER_INVALID', 'sync: bytes after the last child of a trie node')
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
