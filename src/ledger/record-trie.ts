/** Tries over the records of the store: a feed's state (leaves = rows) and a feed's view (leaves = digests). */

import { rowDigest } from '../catalog/row.ts'
import {
  type InnerNode,
  type NodeRef,
  packPath,
  type TrieEntry,
  type TrieSource,
  type TrieUpdate,
} from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import { after, keys } from '../store/keys.ts'
import type { KeyRange, Records, Write } from '../store/records.ts'
import { decodeInnerNode, encodeInnerNode } from './node-codec.ts'

/** Length of the key before the 32-byte place. */
function placeOffset(keyOf: (place: Uint8Array) => Uint8Array): number {
  return keyOf(new Uint8Array(0)).length
}

function rangeOf(path: string, keyOf: (place: Uint8Array) => Uint8Array): KeyRange {
  const odd = path.length % 2 === 1
  const from = Buffer.from(odd ? `${path}0` : path, 'hex')
  const to = Buffer.from(odd ? `${path}f` : path, 'hex')
  return { gte: keyOf(from), lt: after(keyOf(to)) }
}

export class RecordTrie implements TrieSource {
  readonly #records: Records
  readonly #nodeKey: (path: Uint8Array) => Uint8Array
  readonly #entryKey: (place: Uint8Array) => Uint8Array
  readonly #digestOf: (value: Uint8Array) => Buffer

  private constructor(
    records: Records,
    layout: {
      nodeKey: (path: Uint8Array) => Uint8Array
      entryKey: (place: Uint8Array) => Uint8Array
      digestOf: (value: Uint8Array) => Buffer
    },
  ) {
    this.#records = records
    this.#nodeKey = layout.nodeKey
    this.#entryKey = layout.entryKey
    this.#digestOf = layout.digestOf
  }

  static ofState(records: Records, feed: number, generation: number): RecordTrie {
    return new RecordTrie(records, {
      nodeKey: (path) => keys.node(feed, generation, path),
      entryKey: (place) => keys.row(feed, generation, place),
      digestOf: rowDigest,
    })
  }

  static ofView(
    records: Records,
    { number, generation }: { readonly number: number; readonly generation: number },
  ): RecordTrie {
    return new RecordTrie(records, {
      nodeKey: (path) => keys.viewNode(number, generation, path),
      entryKey: (place) => keys.viewRow(number, generation, place),
      digestOf: (value) => Buffer.from(value),
    })
  }

  async getNode(path: string): Promise<InnerNode> {
    const stored = await this.#records.find(this.#nodeKey(packPath(path)))
    if (stored === undefined)
      throw new FeedmeshError('CORRUPT', `trie node ${path || 'root'} is missing; run feedmesh verify --repair`)
    return decodeInnerNode(stored)
  }

  async entries(path: string): Promise<TrieEntry[]> {
    const entries: TrieEntry[] = []
    const offset = placeOffset(this.#entryKey)
    for await (const [key, value] of this.#records.scan(rangeOf(path, this.#entryKey))) {
      entries.push({ place: Buffer.from(key.subarray(offset)), digest: this.#digestOf(value) })
    }
    return entries
  }

  /** Row bytes under a path, in order of place. */
  async *values(
    path: string,
    afterPlace?: Uint8Array,
  ): AsyncGenerator<readonly [place: Uint8Array, value: Uint8Array]> {
    const range = rangeOf(path, this.#entryKey)
    const next = Buffer.concat([this.#entryKey(afterPlace ?? new Uint8Array(0)), Uint8Array.of(0)])
    const gte = afterPlace !== undefined && next.compare(range.gte) > 0 ? next : range.gte
    const offset = placeOffset(this.#entryKey)
    for await (const [key, value] of this.#records.scan({ gte, lt: range.lt })) yield [key.subarray(offset), value]
  }

  nodeWrites(update: TrieUpdate): Write[] {
    return [...update.nodes].map(([path, node]) => {
      const key = this.#nodeKey(packPath(path))
      return node === undefined ? { type: 'del', key } : { type: 'put', key, value: encodeInnerNode(node) }
    })
  }
}

/** Follows inner nodes from the root to the one that holds exactly what is under `slot`; undefined when that is a leaf or nothing. */
export async function findInner(trie: RecordTrie, root: NodeRef, slot: string): Promise<NodeRef | undefined> {
  let ref: NodeRef | undefined = root
  while (ref !== undefined && !ref.leaf) {
    const path: string = ref.path
    if (path.startsWith(slot)) return ref
    if (!slot.startsWith(path)) return undefined
    const nibble = slot[path.length]
    const node = await trie.getNode(path)
    ref = node.children.find((child) => child.path[path.length] === nibble)
  }
  return undefined
}
