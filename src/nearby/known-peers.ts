/** Who reads a feed, as this node was told or has seen; bounded, whoever tells it. Pure. */

import type { IntroducedPeer } from '../../protocols/mesh/nearby/messages.ts'
import type { FeedId } from '../catalog/charter.ts'

/** Peers of one feed; those without proof go first, the longest unmentioned of them before the others. */
export const MAX_KNOWN_PEERS = 256
/** Who was not reached so often in a row, and is not mentioned any more, is forgotten. */
const MAX_FAILURES = 8
const MENTIONED_MS = 10 * 60_000

export interface KnownPeer extends IntroducedPeer {
  /** Each has accepted the other's chain at some time. */
  readonly isProven: boolean
  readonly mentionedAtMs: number
}

export class KnownPeers {
  readonly #feeds = new Map<FeedId, Map<string, KnownPeer>>()
  /** Counts changes of what is to be kept over a restart. */
  revision = 0

  feeds(): FeedId[] {
    return [...this.#feeds.keys()]
  }

  of(feedId: FeedId): readonly KnownPeer[] {
    return [...(this.#feeds.get(feedId)?.values() ?? [])]
  }

  find(feedId: FeedId, peerId: string): KnownPeer | undefined {
    return this.#feeds.get(feedId)?.get(peerId)
  }

  /** Somebody said so. What is not told of a peer, its addresses for example, stays as it was. */
  mention(feedId: FeedId, peer: IntroducedPeer, nowMs: number): void {
    const known = this.find(feedId, peer.peerId)
    const addresses = peer.addresses.length === 0 ? (known?.addresses ?? []) : peer.addresses
    if (known === undefined || addresses.join() !== known.addresses.join()) this.revision += 1
    this.#put(feedId, { ...peer, addresses, isProven: known?.isProven === true, mentionedAtMs: nowMs })
  }

  /** It showed that it reads the feed, and took our chain. */
  prove(feedId: FeedId, peerId: string): void {
    const known = this.find(feedId, peerId)
    if (known === undefined || known.isProven) return
    this.#feeds.get(feedId)?.set(peerId, { ...known, isProven: true })
    this.revision += 1
  }

  /** It could not be reached for the `failures`th time in a row; `isInformed` when somebody is there to mention who reads the feed. */
  noteFailures(peerId: string, failures: number, now: { readonly ms: number; readonly isInformed: boolean }): void {
    if (failures < MAX_FAILURES) return
    for (const peers of this.#feeds.values()) {
      const known = peers.get(peerId)
      if (known === undefined || now.ms - known.mentionedAtMs < MENTIONED_MS) continue
      if (known.isProven && !now.isInformed) continue
      peers.delete(peerId)
      this.revision += 1
    }
  }

  /** It was of no use, and nobody has mentioned it since. */
  drop(feedId: FeedId, peerId: string, sinceMs: number): void {
    const known = this.find(feedId, peerId)
    if (known === undefined || known.isProven || known.mentionedAtMs > sinceMs) return
    this.#feeds.get(feedId)?.delete(peerId)
    this.revision += 1
  }

  forget(feedId: FeedId): void {
    if (this.#feeds.delete(feedId)) this.revision += 1
  }

  #put(feedId: FeedId, peer: KnownPeer): void {
    const peers = this.#feeds.get(feedId) ?? new Map<string, KnownPeer>()
    this.#feeds.set(feedId, peers)
    peers.delete(peer.peerId)
    peers.set(peer.peerId, peer)
    if (peers.size <= MAX_KNOWN_PEERS) return
    const oldest = [...peers.values()]
    const going = oldest.find(({ isProven }) => !isProven) ?? oldest[0]
    if (going !== undefined) peers.delete(going.peerId)
  }
}
