/** Which of the known readers of its feeds a node keeps up with. Pure. */

import type { FeedId } from '../catalog/charter.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { isFeedmeshError } from '../errors.ts'
import type { FeedHere } from '../replication/feeds-here.ts'
import { choosePeers, type PeerCounts, type Placed } from './choose-peers.ts'
import type { KnownPeers } from './known-peers.ts'

const COUNTS: PeerCounts = { site: 32, region: 4, elsewhere: 4 }
/** Of all feeds together. */
const MAX_NEIGHBOURS = 64

/** Peers with the feeds they are neighbours for; those that serve a feed over a link are none for it. */
export function chooseNeighbours(
  own: Placed,
  feeds: Iterable<FeedHere>,
  known: KnownPeers,
): Map<string, ReadonlySet<FeedId>> {
  const chosen = new Map<string, Set<FeedId>>()
  for (const { feedId, servers, isOwn } of feeds) {
    // Of a feed made here there is nothing to learn from others: they come and ask.
    if (isOwn) continue
    const others = known.of(feedId).filter(({ peerId }) => !servers.includes(peerId))
    for (const { peerId } of choosePeers(own, others, COUNTS)) {
      const of = chosen.get(peerId) ?? new Set<FeedId>()
      if (of.size === 0 && chosen.size >= MAX_NEIGHBOURS) continue
      chosen.set(peerId, of.add(feedId))
    }
  }
  return chosen
}

export function isPeerId(text: string): boolean {
  try {
    publicKeyFromPeerId(text)
    return true
  } catch (error) {
    if (isFeedmeshError(error, 'BAD_INPUT')) return false
    throw error
  }
}
