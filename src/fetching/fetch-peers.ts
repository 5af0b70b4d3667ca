/** The peers of one fetch: what they have, what they do, and how they have behaved in it. */

import type { FeedmeshError } from '../errors.ts'
import { hashText } from './rendezvous.ts'

export interface FetchPeer {
  readonly id: string
  /** Empty: it says nothing of where it is. */
  readonly site: string
  readonly region: string
  readonly isConnected: boolean
  readonly rttMs?: number | undefined
  /** `all` of what is wanted, only what `noteHoldings` tells of, or who knows. */
  readonly holds: 'all' | 'told' | 'unknown'
  /** Whether it fetches by the same rules what this node wants, as long as it does not have it. */
  readonly isFetching?: boolean
}

export interface PeerInFetch {
  about: FetchPeer
  readonly hash: number
  readonly holdings: Set<string>
  /** How much is under way at it; see `load` of requests. */
  load: number
  /** Bytes that it still has to give. */
  owedBytes: number
  /** Refusals since it last gave something. */
  misses: number
  hasGiven: boolean
  lies: number
  /** Breaks since it last finished a part; those of one moment are one. */
  breaks: number
  /** The newest request of the time when it broke last: what was asked for before says nothing new. */
  brokeAtRequest: number
  /** Somebody else was faster at what it had begun. */
  isSlow: boolean
  /** It let what was its turn to fetch wait, and has told of nothing since. */
  isIdle: boolean
  /** When it last told of something new. */
  heardAtMs: number
  /** Why it is asked for nothing any more. */
  out: FeedmeshError | undefined
}

/** This often a connection is tried again that gave nothing whole in between. */
const MAX_BREAKS = 3
/** A peer whose bytes were wrong this often is asked for nothing more, also where nobody else is. */
const MAX_LIES = 3

export function joinFetch(about: FetchPeer, nowMs: number): PeerInFetch {
  return {
    about,
    hash: hashText(about.id),
    holdings: new Set(),
    load: 0,
    owedBytes: 0,
    misses: 0,
    hasGiven: false,
    lies: 0,
    breaks: 0,
    brokeAtRequest: 0,
    isSlow: false,
    isIdle: false,
    heardAtMs: nowMs,
    out: undefined,
  }
}

export function noteGiven(peer: PeerInFetch): void {
  peer.misses = 0
  peer.breaks = 0
  peer.hasGiven = true
}

/** Requests that break together break once. */
export function noteBreak(peer: PeerInFetch, request: number, newestRequest: number, error: FeedmeshError): void {
  if (request <= peer.brokeAtRequest) return
  peer.brokeAtRequest = newestRequest
  peer.breaks += 1
  if (peer.breaks >= MAX_BREAKS) peer.out = error
}

export function noteLie(peer: PeerInFetch, error: FeedmeshError): void {
  peer.lies += 1
  if (peer.lies >= MAX_LIES) peer.out = error
}
