/** Which peer is asked for a part. */

import type { FetchPeer, PeerInFetch } from './fetch-peers.ts'
import type { Part } from './parts.ts'
import type { PeerMemory } from './peer-memory.ts'

/** Where this node is. */
export interface Place {
  readonly site: string
  readonly region: string
}

export type Distance = 0 | 1 | 2

/** Same site, same region, the rest; who says nothing of where it is, is of the rest. */
export function distanceOf(own: Place, peer: FetchPeer): Distance {
  if (own.site !== '' && own.site === peer.site) return 0
  return own.region !== '' && own.region === peer.region ? 1 : 2
}

/** Whether there is any sense in asking the peer for the part. */
export function mayGive(peer: PeerInFetch, part: Part): boolean {
  if (peer.out !== undefined || part.refusals.has(peer.about.id)) return false
  return peer.about.holds !== 'told' || peer.holdings.has(part.name)
}

/** A peer that refused this much in a row and said nothing of what it has is no longer asked before others. */
const MANY_MISSES = 8

/** Nobody knows whether it has the part, and mostly it had not. */
function isPoor(peer: PeerInFetch, part: Part): boolean {
  return peer.about.holds === 'unknown' && peer.misses >= MANY_MISSES && !peer.holdings.has(part.name)
}

export interface Judgement {
  readonly own: Place
  readonly memory: PeerMemory
  readonly nowMs: number
}

/**
 * Smaller is asked first, whatever the speed: bytes are to come from as near as possible, so that a site costs the others
 * little. Behind all of them are, in this order, peers that hardly have anything, that have to be dialled first, that
 * somebody else overtook or that broke off this very part, and that lied: they are asked where nobody else is left.
 */
export function rankOf(peer: PeerInFetch, part: Part, { own, memory, nowMs }: Judgement): number {
  const doubts =
    (isPoor(peer, part) ? 1 : 0) +
    (peer.about.isConnected ? 0 : 2) +
    (peer.isSlow || part.breaks.has(peer.about.id) ? 4 : 0) +
    (peer.lies > 0 || memory.isSetAside(peer.about.id, nowMs) ? 8 : 0)
  return doubts * 3 + distanceOf(own, peer.about)
}

/** Until the part is here, when it is asked for after what the peer owes already. */
export function expectedMs(peer: PeerInFetch, bytes: number, memory: PeerMemory): number {
  return (peer.about.rttMs ?? 0) + (peer.owedBytes + bytes) / memory.expectedPace(peer.about.id)
}

export interface Choice {
  /** Rank of the best that may give the part, busy or not; undefined when nobody may. */
  readonly bestRank: number | undefined
  /** undefined when those that should be asked are busy. */
  readonly peer: PeerInFetch | undefined
}

export interface Search {
  readonly isFree: (peer: PeerInFetch) => boolean
  /** Whether anybody who is free will do. */
  readonly isUrgent: boolean
}

/**
 * The quickest of the best rank. What nobody waits for is left until one of these is free, instead of being fetched from
 * farther away meanwhile; a client gets whoever is free.
 */
export function choosePeer(
  peers: Iterable<PeerInFetch>,
  part: Part,
  judgement: Judgement,
  { isFree, isUrgent }: Search,
): Choice {
  let bestRank: number | undefined
  let chosen: { readonly peer: PeerInFetch; readonly rank: number; readonly ms: number } | undefined
  for (const peer of peers) {
    if (!mayGive(peer, part)) continue
    const rank = rankOf(peer, part, judgement)
    bestRank = Math.min(bestRank ?? rank, rank)
    if (!isFree(peer)) continue
    const ms = expectedMs(peer, part.size - part.held, judgement.memory)
    if (chosen === undefined || rank < chosen.rank || (rank === chosen.rank && ms < chosen.ms))
      chosen = { peer, rank, ms }
  }
  const mayTake = isUrgent || chosen?.rank === bestRank
  return { bestRank, peer: mayTake ? chosen?.peer : undefined }
}
