/** When a second peer is asked for what a first one is giving: whoever is first wins, and the other is cancelled. */

import type { PeerMemory } from './peer-memory.ts'

/** How often requests are looked at, and how long the first look waits, beside a few round trips. */
export const HEDGE_CHECK_MS = 500
const ROUND_TRIPS = 4
/** At most so many second requests at once: they are for exceptions, not for a link that is slow for everybody. */
export const MAX_HEDGES = 4

/** Much slower: less than half of what nine of ten requests reached. */
const SLOW_SHARE = 0.1
const MUCH_SLOWER = 0.5
/** Where nothing was measured yet, bytes per ms. */
const UNKNOWN_SLOW_PACE = 64

/** What the second peer is expected to reach is not its best: three of four requests reached more. */
const CAREFUL_SHARE = 0.25
/** A second request has to save at least so much, ms, and two thirds of what is left. */
const MIN_GAIN_MS = 1000
const MIN_GAIN_FACTOR = 3

/** Weight of what moved since the last look. */
const RECENT_WEIGHT = 0.5

export interface Pace {
  readonly peer: string
  readonly startedAtMs: number
  readonly lookedAtMs: number
  /** Bytes that have moved, and those of them at the last look. */
  readonly moved: number
  readonly movedAtLook: number
  /** Bytes per ms, the last seconds; undefined before the first look. */
  readonly recent: number | undefined
}

/** Bytes per ms of late, so that a request that began well and then stands still is noticed. */
export function recentPace(pace: Pace, nowMs: number): number {
  const now = (pace.moved - pace.movedAtLook) / Math.max(1, nowMs - pace.lookedAtMs)
  return pace.recent === undefined ? now : pace.recent + RECENT_WEIGHT * (now - pace.recent)
}

/** Not before an answer can have come. */
export function firstLookMs(rttMs: number | undefined): number {
  return HEDGE_CHECK_MS + ROUND_TRIPS * (rttMs ?? 0)
}

/** Against what the peer, or where it is new, what everybody usually reaches. */
export function isMuchSlower(peer: string, paceNow: number, memory: PeerMemory): boolean {
  const usual = memory.slowPace(peer, SLOW_SHARE)
  return paceNow < (usual === undefined ? UNKNOWN_SLOW_PACE : usual * MUCH_SLOWER)
}

/** Not for what is nearly done: the rest has to come much earlier from the other peer, its own start included. */
export function isWorthIt(
  restBytes: number,
  paceNow: number,
  other: { readonly peer: string; readonly rttMs: number | undefined },
  memory: PeerMemory,
): boolean {
  const leftMs = paceNow <= 0 ? Number.POSITIVE_INFINITY : restBytes / paceNow
  const otherPace = memory.slowPace(other.peer, CAREFUL_SHARE) ?? memory.expectedPace(other.peer)
  const otherMs = 2 * (other.rttMs ?? 0) + restBytes / otherPace
  return leftMs > otherMs + MIN_GAIN_MS && leftMs > MIN_GAIN_FACTOR * otherMs
}
