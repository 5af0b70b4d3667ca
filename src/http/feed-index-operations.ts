/** What an operator can do with the signed indexes of feeds: a part of `NodeOperations`. */

import type { SignedIndexes } from '../feeds/signed-index.ts'
import type { Actor } from './operations.ts'

/** Who signs the lists that package clients trust. */
export interface IndexSettings {
  readonly name: string
  /** `replica`: the index of the feed it pulls from is served as it is. */
  readonly index: 'own' | 'replica'
  /** Whether an operator has said so. */
  readonly chosen: boolean
  /** OpenPGP fingerprints of the keys that clients are given. */
  readonly keys: readonly string[]
}

export interface FeedIndexOperations {
  /** What the clients of a feed see of signed indexes. @throws NOT_FOUND; BAD_INPUT for types without */
  openIndexes(name: string): SignedIndexes
  showIndex(name: string): Promise<IndexSettings>
  /** @throws CONFLICT when the feed cannot be that */
  setIndexMode(name: string, index: IndexSettings['index'], actor: Actor): Promise<IndexSettings>
  /** The feed signs with a new key from now on; clients need it, and are given the old ones, too. */
  renewIndexKey(name: string, actor: Actor): Promise<IndexSettings>
  /** @throws NOT_FOUND when the key is not on this node */
  exportIndexKey(name: string, actor: Actor): Promise<{ readonly name: string; readonly key: string }>
}
