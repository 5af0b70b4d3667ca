/**
 * The trie of `catalog/trie.ts` from entries that come one after the other in order of place, however many: what is kept in
 * memory are the open nodes on the way to the newest entry, at most one a nibble, each with at most 16 branches.
 */

import { type InnerNode, LEAF_ENTRIES, leafHash, type NodeRef, refOf, type TrieEntry } from '../catalog/trie.ts'

/** A finished subtree: its entries while they fit into a leaf, else the node they became. */
interface Branch {
  /** A place in it. */
  readonly place: Buffer
  readonly content: readonly TrieEntry[] | NodeRef
}

/** A node that the next entry may still belong to. */
interface OpenNode {
  /** Nibbles that all its entries share. */
  readonly depth: number
  readonly branches: Branch[]
}

function isNode(content: Branch['content']): content is NodeRef {
  return 'hash' in content
}

function countOf({ content }: Branch): number {
  return isNode(content) ? content.count : content.length
}

/** Nibbles that two different places share. */
function sharedNibbles(a: Buffer, b: Buffer): number {
  let at = 0
  while (a[at] === b[at]) at += 1
  return (a[at]! ^ b[at]!) < 16 ? 2 * at + 1 : 2 * at
}

function refIn(slot: string, content: Branch['content']): NodeRef {
  if (isNode(content)) return content
  return { path: slot, leaf: true, count: content.length, hash: leafHash(content) }
}

export class StreamedTrie {
  readonly #emit: (node: InnerNode) => void
  readonly #open: OpenNode[] = []
  #newest: Branch | undefined

  /** `emit` is given every inner node as soon as nothing more can come into it. */
  constructor(emit: (node: InnerNode) => void) {
    this.#emit = emit
  }

  /** Places must rise. */
  add(entry: TrieEntry): void {
    const branch: Branch = { place: entry.place, content: [entry] }
    if (this.#newest !== undefined) {
      if (this.#newest.place.compare(entry.place) >= 0) throw new RangeError('trie entries out of order')
      const depth = sharedNibbles(this.#newest.place, entry.place)
      this.#closeBelow(depth)
      const top = this.#open.at(-1)
      if (top?.depth === depth) top.branches.push(this.#newest)
      else this.#open.push({ depth, branches: [this.#newest] })
    }
    this.#newest = branch
  }

  /** The root. */
  end(): NodeRef {
    this.#closeBelow(-1)
    return refIn('', this.#newest?.content ?? [])
  }

  #closeBelow(depth: number): void {
    for (let top = this.#open.at(-1); top !== undefined && top.depth > depth; top = this.#open.at(-1)) {
      this.#open.pop()
      if (this.#newest !== undefined) top.branches.push(this.#newest)
      this.#newest = this.#close(top)
    }
  }

  #close({ depth, branches }: OpenNode): Branch {
    const place = branches[0]!.place
    const count = branches.reduce((sum, branch) => sum + countOf(branch), 0)
    if (count <= LEAF_ENTRIES)
      return { place, content: branches.flatMap(({ content }) => (isNode(content) ? [] : content)) }
    const path = place.toString('hex').slice(0, depth)
    const children = branches.map((branch) => refIn(branch.place.toString('hex').slice(0, depth + 1), branch.content))
    const node: InnerNode = { path, children }
    this.#emit(node)
    return { place, content: refOf(node) }
  }
}
