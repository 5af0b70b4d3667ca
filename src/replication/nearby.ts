/**
 * What a fetch knows of the peers near this node: who they are, what they have, what they are about to fetch themselves.
 * It is a hint: whoever tells something wrong costs a request, never a wrong byte.
 */

import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'

/** A state of a feed: its manifest's epoch and seq. */
export interface FeedPosition {
  readonly epoch: number
  readonly seq: number
}

export interface NearPeer {
  readonly id: string
  readonly site: string
  readonly region: string
  /** `all` that the position asked for names, or only what it tells. */
  readonly holds: 'all' | 'told'
  /** It fetches by itself all that it does not have of the feed. */
  readonly isFetching: boolean
}

/**
 * A peer has these chunks of a blob, verified: indexes from 0 on, of `CHUNK_BYTES` each; `all` of a blob that is whole. None at
 * all is a sign of life: the peer is at work, or may be asked from now on.
 */
export interface PartNews {
  readonly peer: string
  readonly digest: Digest
  readonly parts: readonly number[] | 'all'
}

export interface Nearby {
  /** Peers that this node may ask for blobs of the feed though no link leads to them; `at` is the state whose blobs are wanted. */
  peersFor(feedId: FeedId, at?: FeedPosition): readonly NearPeer[]
  /** Hears what these peers tell until disposed of; what they told of blobs that they have not finished comes at once. */
  listen(feedId: FeedId, onNews: (news: PartNews) => void): Disposable
  /** Tells them that this node is at work on blobs of the feed, again and again until disposed of. */
  work(feedId: FeedId): Disposable
  /** Tells them soon, many at once. Chunks are told of only after they can be read from the store. */
  tell(feedId: FeedId, digest: Digest, parts: readonly number[] | 'all'): void
}
