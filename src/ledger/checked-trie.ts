/**
 * A stored trie that is believed only as far as its root vouches for it: every node and leaf on the way of an update is hashed
 * and compared. Without that, a flipped bit in a stored node would be signed with the next change.
 */

import { type InnerNode, leafHash, type NodeRef, refOf, type TrieEntry, type TrieSource } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'

export class CheckedTrie implements TrieSource {
  readonly #trie: TrieSource
  /** What the nodes read so far say of the ones below them; no two nodes of a trie have one path. */
  readonly #expected = new Map<string, NodeRef>()

  constructor(trie: TrieSource, root: NodeRef) {
    this.#trie = trie
    this.#expected.set(root.path, root)
  }

  async getNode(path: string): Promise<InnerNode> {
    const node = await this.#trie.getNode(path)
    const expected = this.#expected.get(path)
    if (expected?.leaf === false && !refOf(node).hash.equals(expected.hash)) throw damaged(path)
    for (const child of node.children) this.#expected.set(child.path, child)
    return node
  }

  async entries(path: string): Promise<TrieEntry[]> {
    const entries = await this.#trie.entries(path)
    const expected = this.#expected.get(path)
    if (expected?.leaf === true && !leafHash(entries).equals(expected.hash)) throw damaged(path)
    return entries
  }
}

function damaged(path: string): FeedmeshError {
  return new FeedmeshError(
    'CORRUPT',
    `stored rows under ${path || 'the root'} of a feed are not what was signed; nothing is changed on top of them: run feedmesh verify, then restore a backup, or remove the replication and add it again`,
  )
}
