/** The ledger as the asking side of the sync protocol sees it. */

import { type LocalState, refOfEntries } from '../../protocols/mesh/sync/asker.ts'
import type { NodeRef, TrieEntry } from '../catalog/trie.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import { findInner, RecordTrie } from '../ledger/record-trie.ts'
import type { Records } from '../store/records.ts'

export class LedgerLocalState implements LocalState {
  readonly #state: FeedState
  readonly #trie: RecordTrie

  constructor(records: Records, state: FeedState) {
    this.#state = state
    this.#trie = RecordTrie.ofState(records, state.number, state.generation)
  }

  get salt(): Uint8Array {
    return this.#state.charter.value.salt
  }

  get count(): number {
    return this.#state.root.count
  }

  async findRef(slot: string): Promise<Pick<NodeRef, 'count' | 'hash'> | undefined> {
    return (await findInner(this.#trie, this.#state.root, slot)) ?? refOfEntries(await this.#trie.entries(slot))
  }

  async entries(path: string): Promise<TrieEntry[]> {
    return await this.#trie.entries(path)
  }
}
