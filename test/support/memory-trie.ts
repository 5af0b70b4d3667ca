/** A trie source over plain maps, for tests of the trie and of what is built on it. */

import {
  EMPTY_ROOT,
  type InnerNode,
  type NodeRef,
  type TrieChange,
  type TrieEntry,
  type TrieSource,
  updateTrie,
} from '../../src/catalog/trie.ts'
import { FeedmeshError } from '../../src/errors.ts'

export class MemoryTrie implements TrieSource {
  readonly nodes = new Map<string, InnerNode>()
  readonly rows = new Map<string, TrieEntry>()
  root: NodeRef = EMPTY_ROOT

  async getNode(path: string): Promise<InnerNode> {
    const node = this.nodes.get(path)
    if (node === undefined) throw new FeedmeshError('CORRUPT', `no trie node ${path}`)
    return node
  }

  async entries(path: string): Promise<TrieEntry[]> {
    const found = [...this.rows].filter(([place]) => place.startsWith(path))
    return found.sort(([a], [b]) => (a < b ? -1 : 1)).map(([, entry]) => entry)
  }

  async apply(changes: readonly TrieChange[]): Promise<void> {
    const update = await updateTrie(this, this.root, changes)
    this.root = update.root
    for (const [path, node] of update.nodes) {
      if (node === undefined) this.nodes.delete(path)
      else this.nodes.set(path, node)
    }
    for (const change of changes) {
      const place = change.place.toString('hex')
      if (change.digest === undefined) this.rows.delete(place)
      else this.rows.set(place, { place: change.place, digest: change.digest })
    }
  }
}
