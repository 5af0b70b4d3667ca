/** One fetch per site: of the neighbours that want a part which none of them has, one fetches it from afar. */

import type { PeerInFetch } from './fetch-peers.ts'
import type { Part } from './parts.ts'
import { distanceOf, type Place } from './peer-choice.ts'
import type { PeerMemory } from './peer-memory.ts'
import { type Contender, comesBefore } from './rendezvous.ts'
import type { Request } from './requests.ts'

/** How long a neighbour may be silent before the next one fetches the part itself, beside what the part takes. */
const SILENCE_MS = 3000
/** The same while a client waits. */
const SILENCE_WAITED_MS = 500
/** A neighbour may be so much slower than this node is with what it fetches from afar. */
const SLOWER = 2
/** Bytes per ms at which a neighbour fetches where this node does not know better: 0.5 MB/s. */
const UNKNOWN_PACE = 500
/** However slow the far link is, ms. */
const MAX_LIMIT_MS = 30_000
const MAX_LIMIT_WAITED_MS = 10_000

/** Neighbours that fetch what they lack, lack this, and come before this node for it. */
function neighboursBefore(peers: Iterable<PeerInFetch>, part: Part, own: Place & Contender): PeerInFetch[] {
  const before: PeerInFetch[] = []
  for (const peer of peers) {
    const { about } = peer
    if (about.isFetching !== true || !about.isConnected || peer.isIdle || peer.out !== undefined) continue
    if (distanceOf(own, about) !== 0 || peer.holdings.has(part.name)) continue
    if (comesBefore(part.hash, { id: about.id, hash: peer.hash }, own)) before.push(peer)
  }
  return before
}

/**
 * Until when the part is left to neighbours, by the present knowledge; undefined when it is this node's turn. Every piece of
 * news from one that comes before starts the time anew: it is at work. Without news the second takes over after one limit,
 * the third after two, so that not all of them do at once; and what else is the silent ones' turn is no longer left to them.
 */
export function waitForSiteUntil(
  peers: Iterable<PeerInFetch>,
  part: Part,
  own: Place & Contender,
  known: { readonly nowMs: number; readonly sinceMs: number; readonly farPace: number | undefined },
): number | undefined {
  const before = neighboursBefore(peers, part, own)
  if (before.length === 0) return undefined
  const heardAtMs = Math.max(known.sinceMs, ...before.map((peer) => peer.heardAtMs))
  const untilMs = heardAtMs + before.length * limitOf(part, known.farPace)
  if (untilMs > known.nowMs) return untilMs
  for (const peer of before) peer.isIdle = true
  return undefined
}

function limitOf({ isWaited, size }: Part, farPace = UNKNOWN_PACE * SLOWER): number {
  const takesMs = (size * SLOWER) / Math.max(1, farPace)
  if (isWaited) return Math.min(MAX_LIMIT_WAITED_MS, SILENCE_WAITED_MS + takesMs)
  return Math.min(MAX_LIMIT_MS, SILENCE_MS + takesMs)
}

/** A request tells how fast the far link is once it has run for so long, ms. */
const TELLING_MS = 1000

/** Bytes per ms of the slowest request that this node has under way elsewhere, else of those it had: a neighbour's is as slow. */
export function slowestFarPace(
  own: Place,
  known: { readonly requests: Iterable<Request>; readonly peers: Iterable<PeerInFetch>; readonly memory: PeerMemory },
  nowMs: number,
): number | undefined {
  const paces: number[] = []
  for (const { peer, pace } of known.requests) {
    const tookMs = nowMs - pace.startedAtMs
    if (tookMs >= TELLING_MS && distanceOf(own, peer.about) > 0) paces.push(pace.moved / tookMs)
  }
  if (paces.length > 0) return Math.min(...paces)
  for (const { about } of known.peers) {
    const pace = distanceOf(own, about) > 0 ? known.memory.findPace(about.id) : undefined
    if (pace !== undefined) paces.push(pace)
  }
  return paces.length > 0 ? Math.min(...paces) : undefined
}
