/**
 * A history-independent Merkle radix trie: 32-byte places → 32-byte digests.
 *
 * Its form is a function of the set of entries alone:
 *   up to 32 entries   leaf   hash = H(10 | (place | digest)*)                       in order of place
 *   more               inner  hash = H(11 | path length(1) | path | children(2) | (count(6) | hash)*)
 * where `path` is the longest prefix (in nibbles) that all entries share, packed two nibbles a byte, and `children` is a
 * bit per nibble that follows it. So two nodes that hold the same entries have the same root, however they got there.
 *
 * Only inner nodes are stored; the entries of a leaf are read from wherever the rows are. Paths are strings of hex digits.
 */

import { sha256 } from './digest.ts'

export const LEAF_ENTRIES = 32

export interface TrieEntry {
  /** 32 bytes. */
  readonly place: Buffer
  /** 32 bytes. */
  readonly digest: Buffer
}

/** A change to one place; without digest the entry goes. */
export interface TrieChange {
  readonly place: Buffer
  readonly digest: Buffer | undefined
}

/** What a parent (or the feed's state, for the root) knows of a node. */
export interface NodeRef {
  /** Inner node: the prefix all its entries share. Leaf: the slot it hangs in (parent's path and one nibble, empty at the root). */
  readonly path: string
  readonly leaf: boolean
  readonly count: number
  /** 32 bytes. */
  readonly hash: Buffer
}

export interface InnerNode {
  readonly path: string
  /** In order of the nibble that follows `path`; at least two. */
  readonly children: readonly NodeRef[]
}

export interface TrieSource {
  /** The inner node with exactly this path. @throws CORRUPT when it is missing */
  getNode(path: string): Promise<InnerNode>
  /** All entries whose place starts with `path`, in order of place. */
  entries(path: string): Promise<TrieEntry[]>
}

export interface TrieUpdate {
  readonly root: NodeRef
  /** Inner nodes to store (value) or remove (undefined), by path. */
  readonly nodes: ReadonlyMap<string, InnerNode | undefined>
}

export const EMPTY_ROOT: NodeRef = { path: '', leaf: true, count: 0, hash: sha256(Uint8Array.of(0x10)) }

export function leafHash(entries: readonly TrieEntry[]): Buffer {
  const parts: Uint8Array[] = [Uint8Array.of(0x10)]
  for (const entry of entries) parts.push(entry.place, entry.digest)
  return sha256(Buffer.concat(parts))
}

/** Nibbles packed two a byte, the last one padded with 0, after their number. */
export function packPath(path: string): Buffer {
  return Buffer.concat([Uint8Array.of(path.length), Buffer.from(path.length % 2 === 0 ? path : `${path}0`, 'hex')])
}

export function nibbleAfter(path: string, child: NodeRef): number {
  return Number.parseInt(child.path[path.length] ?? '0', 16)
}

export function innerHash(node: InnerNode): Buffer {
  let bitmap = 0
  const parts: Uint8Array[] = []
  for (const child of node.children) {
    bitmap |= 1 << nibbleAfter(node.path, child)
    const count = Buffer.alloc(6)
    count.writeUIntBE(child.count, 0, 6)
    parts.push(count, child.hash)
  }
  return sha256(
    Buffer.concat([Uint8Array.of(0x11), packPath(node.path), Uint8Array.of(bitmap >> 8, bitmap & 0xff), ...parts]),
  )
}

export function refOf(node: InnerNode): NodeRef {
  const count = node.children.reduce((sum, child) => sum + child.count, 0)
  return { path: node.path, leaf: false, count, hash: innerHash(node) }
}

function commonPrefix(a: string, b: string): string {
  let length = 0
  while (length < a.length && a[length] === b[length]) length += 1
  return a.slice(0, length)
}

const hex = (place: Buffer): string => place.toString('hex')

/** The trie of `entries` (sorted, distinct places), which all lie in `slot`; emits every inner node. */
export function buildTrie(
  entries: readonly TrieEntry[],
  slot = '',
  emit: (node: InnerNode) => void = () => {},
): NodeRef {
  if (entries.length <= LEAF_ENTRIES) return { path: slot, leaf: true, count: entries.length, hash: leafHash(entries) }
  const path = commonPrefix(hex(entries[0]!.place), hex(entries.at(-1)!.place))
  const children: NodeRef[] = []
  let from = 0
  while (from < entries.length) {
    const nibble = nibbleAt(entries[from]!.place, path.length)
    const to = firstBeyond(entries, from, { depth: path.length, nibble })
    children.push(buildTrie(entries.slice(from, to), path + nibble.toString(16), emit))
    from = to
  }
  const node: InnerNode = { path, children }
  emit(node)
  return refOf(node)
}

function nibbleAt(place: Buffer, depth: number): number {
  const byte = place[depth >> 1] ?? 0
  return depth % 2 === 0 ? byte >> 4 : byte & 15
}

/** Index of the first entry from `from` on whose nibble at `depth` is larger: a binary search. */
function firstBeyond(entries: readonly TrieEntry[], from: number, at: { depth: number; nibble: number }): number {
  let low = from
  let high = entries.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (nibbleAt(entries[middle]!.place, at.depth) <= at.nibble) low = middle + 1
    else high = middle
  }
  return low
}

/** `entries` with `changes` applied; both sorted by place. */
export function mergeChanges(entries: readonly TrieEntry[], changes: readonly TrieChange[]): TrieEntry[] {
  const merged: TrieEntry[] = []
  let at = 0
  for (const change of changes) {
    while (at < entries.length && entries[at]!.place.compare(change.place) < 0) merged.push(entries[at++]!)
    if (at < entries.length && entries[at]!.place.equals(change.place)) at += 1
    if (change.digest !== undefined) merged.push({ place: change.place, digest: change.digest })
  }
  return merged.concat(entries.slice(at))
}

/** Applies one batch of changes; reads only the nodes on their paths. */
class Updater {
  readonly #source: TrieSource
  readonly nodes = new Map<string, InnerNode | undefined>()

  constructor(source: TrieSource) {
    this.#source = source
  }

  /** The node for `slot` after `changes` (sorted, all inside the slot), or undefined when nothing is left in it. */
  async apply(slot: string, ref: NodeRef | undefined, changes: readonly TrieChange[]): Promise<NodeRef | undefined> {
    if (changes.length === 0) return ref
    if (ref === undefined) return this.#build(slot, mergeChanges([], changes))
    if (ref.leaf) return this.#build(slot, mergeChanges(await this.#source.entries(slot), changes))
    const inside = changes.filter((change) => hex(change.place).startsWith(ref.path))
    const outside = changes.filter((change) => change.digest !== undefined && !hex(change.place).startsWith(ref.path))
    if (outside.length === 0) return this.#applyInside(slot, ref, inside)
    return this.#split(slot, ref, { inside, outside })
  }

  #build(slot: string, entries: readonly TrieEntry[]): NodeRef | undefined {
    if (entries.length === 0) return undefined
    return buildTrie(entries, slot, (node) => this.nodes.set(node.path, node))
  }

  async #applyInside(slot: string, ref: NodeRef, changes: readonly TrieChange[]): Promise<NodeRef | undefined> {
    const node = await this.#source.getNode(ref.path)
    return this.#inner(slot, ref.path, { children: node.children, changes })
  }

  /** Changes that do not share the compressed path: a new inner node above the old one. */
  async #split(
    slot: string,
    ref: NodeRef,
    changes: { inside: readonly TrieChange[]; outside: readonly TrieChange[] },
  ): Promise<NodeRef | undefined> {
    const path = changes.outside.reduce((prefix, change) => commonPrefix(prefix, hex(change.place)), ref.path)
    const all = [...changes.inside, ...changes.outside].sort((a, b) => a.place.compare(b.place))
    return this.#inner(slot, path, { children: [ref], changes: all })
  }

  async #inner(
    slot: string,
    path: string,
    state: { children: readonly NodeRef[]; changes: readonly TrieChange[] },
  ): Promise<NodeRef | undefined> {
    const children: NodeRef[] = []
    for (let nibble = 0; nibble < 16; nibble += 1) {
      const child = state.children.find((candidate) => nibbleAfter(path, candidate) === nibble)
      const changes = state.changes.filter((change) => nibbleAt(change.place, path.length) === nibble)
      const next = await this.apply(path + nibble.toString(16), child, changes)
      if (next !== undefined) children.push(next)
    }
    const count = children.reduce((sum, child) => sum + child.count, 0)
    if (count > LEAF_ENTRIES && children.length > 1) {
      const node: InnerNode = { path, children }
      this.nodes.set(path, node)
      return refOf(node)
    }
    this.nodes.set(path, undefined)
    if (count > LEAF_ENTRIES) return children[0]
    return this.#build(slot, mergeChanges(await this.#source.entries(slot), state.changes))
  }
}

/** @returns the new root and the inner nodes that changed; nothing is stored. `changes` may be in any order, places distinct. */
export async function updateTrie(
  source: TrieSource,
  root: NodeRef,
  changes: readonly TrieChange[],
): Promise<TrieUpdate> {
  const sorted = [...changes].sort((a, b) => a.place.compare(b.place))
  const updater = new Updater(source)
  const next = await updater.apply('', root.count === 0 ? undefined : root, sorted)
  return { root: next ?? EMPTY_ROOT, nodes: updater.nodes }
}
