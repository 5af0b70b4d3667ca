/** All peers of one fetch, and whom of them to ask. */

import type { FeedmeshError } from '../errors.ts'
import { type FetchPeer, joinFetch, noteLie, type PeerInFetch } from './fetch-peers.ts'
import { type Part, refuse } from './parts.ts'
import { type Choice, choosePeer, distanceOf, type Place } from './peer-choice.ts'
import type { PeerMemory } from './peer-memory.ts'
import { combineRefusals } from './plan-errors.ts'
import { hashText } from './rendezvous.ts'
import { MAX_PEER_LOAD, type Request } from './requests.ts'
import { slowestFarPace, waitForSiteUntil } from './site-wait.ts'

/** Ranks from here on are peers of which little good is known in this fetch; see `rankOf`. */
const DOUBTFUL_RANK = 12

/** So much faster than what it is to replace has to be what a far peer gives at the moment … */
const MUCH_FASTER = 3
/** … unless that moves less than so many bytes per ms: hardly more than it is given up for. */
const STANDING_PACE = 8

/** What is under way, and when. */
export interface Moment {
  readonly nowMs: number
  readonly requests: ReadonlyMap<number, Request>
}

export class PeerTable {
  readonly #own: Place & { readonly id: string; readonly hash: number }
  readonly #memory: PeerMemory
  readonly #peers = new Map<string, PeerInFetch>()

  /** Whether any peer fetches as this node does. */
  #hasFetching = false

  constructor(own: Place & { readonly id: string }, memory: PeerMemory) {
    this.#own = { ...own, hash: hashText(own.id) }
    this.#memory = memory
  }

  get size(): number {
    return this.#peers.size
  }

  get connected(): number {
    let count = 0
    for (const { about } of this.#peers.values()) if (about.isConnected) count += 1
    return count
  }

  find(id: string): PeerInFetch | undefined {
    return this.#peers.get(id)
  }

  /** A new peer, or what is new of one. */
  add(about: FetchPeer, nowMs: number): void {
    const known = this.#peers.get(about.id)
    this.#hasFetching ||= about.isFetching === true
    if (known === undefined) this.#peers.set(about.id, joinFetch(about, nowMs))
    else known.about = about
  }

  /** Whether anybody is left for whom it holds; also where nobody is at all, so that what is wanted fails. */
  hasAny(isFree: (peer: PeerInFetch) => boolean): boolean {
    for (const peer of this.#peers.values()) if (isFree(peer)) return true
    return this.#peers.size === 0
  }

  /** Whom to ask for the part. */
  choose(part: Part, isFree: (peer: PeerInFetch) => boolean, nowMs: number): Choice {
    const judgement = { own: this.#own, memory: this.#memory, nowMs }
    return choosePeer(this.#peers.values(), part, judgement, { isFree, isUrgent: part.isWaited })
  }

  /** Until when the part is left to neighbours; undefined when it is this node's turn to fetch it from afar. */
  waitsForSite(part: Part, { requests, nowMs }: Moment): number | undefined {
    if (!this.#hasFetching) return undefined
    const peers = [...this.#peers.values()]
    const farPace = slowestFarPace(this.#own, { requests: requests.values(), peers, memory: this.#memory }, nowMs)
    return waitForSiteUntil(peers, part, this.#own, { nowMs, sinceMs: part.readySinceMs ?? nowMs, farPace })
  }

  /**
   * Somebody free for what a request still owes, of which `part` is the first, who was not asked for it yet; from afar only
   * when it is this node's turn to fetch it from there.
   */
  findSecond(request: Request, part: Part, moment: Moment): PeerInFetch | undefined {
    const { requests, nowMs } = moment
    const asked = new Set<PeerInFetch>()
    for (const { sources, peer } of requests.values()) if (sources.has(part.name)) asked.add(peer)
    const others = [...this.#peers.values()].filter((peer) => !asked.has(peer))
    const isFree = (peer: PeerInFetch) => peer.load + request.load <= MAX_PEER_LOAD
    const judgement = { own: this.#own, memory: this.#memory, nowMs }
    const { peer, bestRank } = choosePeer(others, part, judgement, { isFree, isUrgent: true })
    if (peer === undefined || bestRank === undefined || bestRank >= DOUBTFUL_RANK) return undefined
    if (distanceOf(this.#own, peer.about) === 0) return peer
    const leavesSite = distanceOf(this.#own, request.peer.about) === 0
    if (!leavesSite) return this.#mayHedgeAfar(peer, request, requests) ? peer : undefined
    return this.waitsForSite(part, moment) !== undefined ? undefined : peer
  }

  /**
   * What comes from afar twice costs the site another copy, and slows down everybody who is served there: where many fetch
   * the same each of their requests is slow. So where neighbours fetch, too, only instead of what stands nearly still, or
   * where the second peer gives this node other parts much faster at this moment.
   */
  #mayHedgeAfar(peer: PeerInFetch, { pace }: Request, requests: Moment['requests']): boolean {
    const slow = pace.recent ?? 0
    if (!this.#hasFetching || slow < STANDING_PACE) return true
    for (const other of requests.values())
      if (other.peer === peer && (other.pace.recent ?? 0) > slow * MUCH_FASTER) return true
    return false
  }

  /** The peer's bytes were wrong for certain. */
  blame(id: string, part: Part, error: FeedmeshError, nowMs: number): void {
    refuse(part, id, error)
    this.#memory.noteLie(id, nowMs)
    const known = this.#peers.get(id)
    if (known !== undefined) noteLie(known, error)
  }

  /** Why nobody gives the part. */
  refusalOf(part: Part): FeedmeshError {
    const refusals = [...this.#peers.values()].flatMap(({ about, out }) => {
      const error = part.refusals.get(about.id) ?? out
      return error === undefined ? [] : [{ peer: about.id, error }]
    })
    return combineRefusals(part.blob.digest, refusals)
  }
}
