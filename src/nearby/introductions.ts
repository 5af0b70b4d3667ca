/** Who reads which feed here, as the readers say of themselves: what the answering end of introductions remembers. Pure. */

import { type IntroducedPeer, MAX_INTRODUCED } from '../../protocols/mesh/nearby/messages.ts'
import type { FeedId } from '../catalog/charter.ts'
import { isServed, type ServeSetting } from '../catalog/policy.ts'
import { choosePeers, type PeerCounts } from './choose-peers.ts'

/** An introduction that was not repeated for this long is forgotten. */
const LIFETIME_MS = 10 * 60_000
/** Peers remembered of one feed, the longest unheard go first. */
const MAX_PEERS_OF_FEED = 2048
/** At most MAX_INTRODUCED in all: a large site leaves room for some farther away. */
const COUNTS: PeerCounts = { site: 40, region: 12, elsewhere: 12 }

export interface Introduction extends IntroducedPeer {
  readonly serve: ServeSetting
}

interface Remembered extends Introduction {
  readonly atMs: number
}

export class Introductions {
  readonly #feeds = new Map<FeedId, Map<string, Remembered>>()

  /** Whether it says something new. */
  note(feedId: FeedId, about: Introduction, nowMs: number): boolean {
    const peers = this.#feeds.get(feedId) ?? new Map<string, Remembered>()
    this.#feeds.set(feedId, peers)
    const known = peers.get(about.peerId)
    const isNews = known === undefined || isExpired(known, nowMs) || !isSame(known, about)
    peers.delete(about.peerId)
    peers.set(about.peerId, { ...about, atMs: nowMs })
    const [oldest] = peers.keys()
    if (peers.size > MAX_PEERS_OF_FEED && oldest !== undefined) peers.delete(oldest)
    return isNews
  }

  /** Others that read the feed and serve the peer, nearest first. */
  othersFor(feedId: FeedId, peerId: string, nowMs: number): IntroducedPeer[] {
    return this.#choose(feedId, peerId, nowMs, (other, own) => isServed(other.serve, other, own)).map(render)
  }

  /** Those to whom the peer, which is new, is of use. */
  toTell(feedId: FeedId, peerId: string, nowMs: number): string[] {
    return this.#choose(feedId, peerId, nowMs, (other, own) => isServed(own.serve, own, other)).map((one) => one.peerId)
  }

  find(feedId: FeedId, peerId: string): IntroducedPeer | undefined {
    const found = this.#feeds.get(feedId)?.get(peerId)
    return found && render(found)
  }

  /** The peer has gone. */
  drop(peerId: string): void {
    for (const [feedId, peers] of this.#feeds) {
      peers.delete(peerId)
      if (peers.size === 0) this.#feeds.delete(feedId)
    }
  }

  #choose(
    feedId: FeedId,
    peerId: string,
    nowMs: number,
    isFit: (other: Introduction, own: Introduction) => boolean,
  ): Remembered[] {
    const peers = this.#feeds.get(feedId)
    const own = peers?.get(peerId)
    if (peers === undefined || own === undefined) return []
    const fit = [...peers.values()].filter((other) => !isExpired(other, nowMs) && isFit(other, own))
    return choosePeers(own, fit, COUNTS).slice(0, MAX_INTRODUCED)
  }
}

function isExpired({ atMs }: Remembered, nowMs: number): boolean {
  return nowMs - atMs >= LIFETIME_MS
}

function isSame(a: Introduction, b: Introduction): boolean {
  return JSON.stringify(render(a)) === JSON.stringify(render(b)) && a.serve === b.serve
}

function render({ peerId, addresses, site, region, availability }: IntroducedPeer): IntroducedPeer {
  return { peerId, addresses, site, region, availability }
}
