/** The ledger as the asking side of the sync protocol sees it. */

import { type LocalState, refOfEntries } from '../../protocols/mesh/sync/asker.ts'
import { decodeRow } from '../catalog/row.ts'
import type { NodeRef, TrieEntry } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import { RecordTrie } from '../ledger/record-trie.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import { findInner } from './sync-source.ts'

export class LedgerLocalState implements LocalState {
  readonly #records: Records
  readonly #state: FeedState
  readonly #trie: RecordTrie

  constructor(records: Records, state: FeedState) {
    this.#records = records
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

  async getName(place: Buffer): Promise<{ readonly unit: string; readonly key: string }> {
    const stored = await this.#records.find(keys.row(this.#state.number, this.#state.generation, place))
    if (stored === undefined) throw new FeedmeshError('CONFLICT', 'the feed changed while it was compared')
    return decodeRow(stored)
  }
}
