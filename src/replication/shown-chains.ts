/** Chains of grants that peers without a link have shown, until they show others. Whether one holds is asked at each use. */

import type { FeedId } from '../catalog/charter.ts'

export type Chain = readonly Uint8Array[]

/** Peers remembered; who was silent longest goes first. */
const MAX_PEERS = 512
/** Feeds of one peer. */
export const MAX_SHOWN_FEEDS = 64

export class ShownChains {
  readonly #peers = new Map<string, Map<FeedId, Chain>>()

  find(peer: string, feedId: FeedId): Chain | undefined {
    return this.#peers.get(peer)?.get(feedId)
  }

  /** Feeds that the peer has shown a chain for. */
  *of(peer: string): Iterable<readonly [FeedId, Chain]> {
    yield* this.#peers.get(peer) ?? []
  }

  keep(peer: string, feedId: FeedId, chain: Chain): void {
    const feeds = this.#peers.get(peer) ?? new Map<FeedId, Chain>()
    feeds.delete(feedId)
    // Copies: what was decoded is a view of a whole frame.
    feeds.set(
      feedId,
      chain.map((link) => Uint8Array.from(link)),
    )
    dropOldest(feeds, MAX_SHOWN_FEEDS)
    this.#peers.delete(peer)
    this.#peers.set(peer, feeds)
    dropOldest(this.#peers, MAX_PEERS)
  }
}

function dropOldest(map: Map<string, unknown>, max: number): void {
  for (const key of map.keys()) {
    if (map.size <= max) return
    map.delete(key)
  }
}
