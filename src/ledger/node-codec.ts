/** Inner trie nodes as stored: children in order, each `nibbles(1) leaf(1) packed path, count(6), hash(32)`. Local form, not on any wire. */

import { BinaryReader } from '../catalog/row.ts'
import { type InnerNode, type NodeRef, packPath } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'

function encodeRef(ref: NodeRef): Buffer {
  const count = Buffer.alloc(6)
  count.writeUIntBE(ref.count, 0, 6)
  return Buffer.concat([Uint8Array.of(ref.leaf ? 1 : 0), packPath(ref.path), count, ref.hash])
}

function decodeRef(reader: BinaryReader): NodeRef {
  const leaf = reader.uint(1) === 1
  const nibbles = reader.uint(1)
  const path = reader
    .take(Math.ceil(nibbles / 2))
    .toString('hex')
    .slice(0, nibbles)
  const count = reader.uint(6)
  return { path, leaf, count, hash: Buffer.from(reader.take(32)) }
}

export function encodeInnerNode(node: InnerNode): Uint8Array {
  return Buffer.concat([packPath(node.path), ...node.children.map(encodeRef)])
}

/** @throws CORRUPT */
export function decodeInnerNode(encoded: Uint8Array): InnerNode {
  try {
    const reader = new BinaryReader(encoded, 'stored trie node')
    const nibbles = reader.uint(1)
    const path = reader
      .take(Math.ceil(nibbles / 2))
      .toString('hex')
      .slice(0, nibbles)
    const children: NodeRef[] = []
    while (reader.rest > 0) children.push(decodeRef(reader))
    return { path, children }
  } catch (cause) {
    throw new FeedmeshError('CORRUPT', 'a stored trie node cannot be read; run feedmesh verify --repair', { cause })
  }
}

export function encodeRoot(root: NodeRef): Uint8Array {
  return encodeRef(root)
}

export function decodeRoot(encoded: Uint8Array): NodeRef {
  return decodeRef(new BinaryReader(encoded, 'stored trie root'))
}
