/**
 * How a trie node travels while two tries are compared: short hints instead of whole hashes. A hint that collides costs a
 * repetition, never a wrong state, because the whole root is recomputed before anything is adopted.
 *
 *   empty = 00
 *   leaf  = 01 hint(8)*                                        one an entry, in order of place
 *   inner = 02 pathLen(1) path (nibble·2+leaf(1) count(6) hash(8))*
 */

import { sha256 } from '../../../src/catalog/digest.ts'
import { BinaryReader } from '../../../src/catalog/row.ts'
import { LEAF_ENTRIES, type NodeRef, nibbleAfter, packPath, type TrieEntry } from '../../../src/catalog/trie.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { HINT_BYTES } from './messages.ts'

export interface RemoteChild {
  readonly nibble: number
  readonly leaf: boolean
  readonly count: number
  readonly hash: Buffer
}

export type RemoteNode =
  | { readonly kind: 'empty' }
  | { readonly kind: 'leaf'; readonly hints: readonly Buffer[] }
  | { readonly kind: 'inner'; readonly path: string; readonly children: readonly RemoteChild[] }

/** Stands for an entry, place and digest. */
export function hintOf(entry: TrieEntry): Buffer {
  return sha256(Uint8Array.of(0x17), entry.place, entry.digest).subarray(0, HINT_BYTES)
}

export function encodeLeaf(entries: readonly TrieEntry[]): Uint8Array {
  if (entries.length === 0) return Uint8Array.of(0)
  return Buffer.concat([Uint8Array.of(1), ...entries.map(hintOf)])
}

export function encodeInner(path: string, children: readonly NodeRef[]): Uint8Array {
  const parts = children.map((child) => {
    const head = Buffer.alloc(7)
    head[0] = nibbleAfter(path, child) * 2 + (child.leaf ? 1 : 0)
    head.writeUIntBE(child.count, 1, 6)
    return Buffer.concat([head, child.hash.subarray(0, HINT_BYTES)])
  })
  return Buffer.concat([Uint8Array.of(2), packPath(path), ...parts])
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

function decodeInner(reader: BinaryReader): RemoteNode {
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
    const count = reader.uint(6)
    const leaf = code % 2 === 1
    if (count === 0 || leaf !== count <= LEAF_ENTRIES)
      throw new FeedmeshError('PEER_INVALID', `sync: a ${leaf ? 'leaf' : 'node'} of ${count} entries`)
    children.push({ nibble, leaf, count, hash: Buffer.from(reader.take(HINT_BYTES)) })
  }
  if (children.length < 2)
    throw new FeedmeshError('PEER_INVALID', 'sync: an inner trie node with fewer than two children')
  return { kind: 'inner', path, children }
}

/** @throws PEER_INVALID */
export function decodeNode(encoded: Uint8Array): RemoteNode {
  const reader = new BinaryReader(encoded, 'sync: trie node')
  const kind = reader.uint(1)
  if (kind === 0 && reader.rest === 0) return { kind: 'empty' }
  if (kind === 1) return { kind: 'leaf', hints: splitHints(reader.take(reader.rest)) }
  if (kind === 2) return decodeInner(reader)
  throw new FeedmeshError('PEER_INVALID', `sync: a trie node of kind ${kind}`)
}
