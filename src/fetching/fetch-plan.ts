/**
 * Plans how the parts of blobs are fetched from several peers. Whoever drives it tells what happened, then asks `decide` what
 * to do: which requests to send, which to cancel, when to come back. There is no clock, socket or chance in here.
 *
 * driver → plan: addPeer, want, then noteHoldings, arrived, done, refused, wrong, lied, broke, dropped as they happen
 * plan → driver: decide(nowMs), after each of these and at `wakeAtMs`
 *
 * Invariant: a part is waiting in the queue, or under way, or over.
 */

import type { FeedmeshError } from '../errors.ts'
import type { Decisions } from './decisions.ts'
import { type FetchPeer, noteBreak as noteBrokenPeer, noteGiven, type PeerInFetch } from './fetch-peers.ts'
import { HEDGE_CHECK_MS, isMuchSlower, isWorthIt, MAX_HEDGES, recentPace } from './hedging.ts'
import { PartQueue, type Verdict } from './part-queue.ts'
import {
  beginAnew,
  cutIntoParts,
  EARLIER,
  forgetRefusal,
  hasten,
  makeUrgent,
  noteBreak,
  type Part,
  type PlannedBlob,
  refuse,
} from './parts.ts'
import { mayGive, type Place } from './peer-choice.ts'
import type { PeerMemory } from './peer-memory.ts'
import { PeerTable } from './peer-table.ts'
import { PlannedBlobs } from './planned-blobs.ts'
import { hashText } from './rendezvous.ts'
import {
  addPart,
  beginRequest,
  loadOf,
  MAX_PACK,
  MAX_TOTAL_LOAD,
  moveStart,
  noteMoved,
  type Request,
  removePart,
  renderRequest,
  restOf,
  roomFor,
} from './requests.ts'

export interface FetchPlanOptions {
  readonly own: Place & { readonly id: string }
  readonly memory: PeerMemory
  /** Parts up to this size are asked for several at once. */
  readonly smallBytes: number
}

/** A request that moved less says nothing of a peer's speed; one that moved as much before it broke did not break at once. */
const WORTH_MEASURING_BYTES = 256 * 1024

/** Parts that are looked at in vain before the rest of the queue is left for the next time. */
const MAX_LOOKS = 512

/** What is left to neighbours is looked at this often: how fast the far link is may be known by then. */
const MAX_REST_MS = 2000

export class FetchPlan {
  readonly #options: FetchPlanOptions
  readonly #ownHash: number
  readonly #peers: PeerTable
  readonly #blobs = new PlannedBlobs()
  readonly #queue = new PartQueue()
  readonly #requests = new Map<number, Request>()
  #newestRequest = 0
  /** Whether something has happened by which more could be asked for. */
  #isNew = false
  #load = 0
  #maxLoad = MAX_TOTAL_LOAD
  #send: Request[] = []
  #cancel: number[] = []
  #failed: Decisions['failed'][number][] = []
  #lies: Decisions['lies'][number][] = []
  #wakeAtMs: number | undefined

  constructor(options: FetchPlanOptions) {
    this.#options = options
    this.#ownHash = hashText(options.own.id)
    this.#peers = new PeerTable(options.own, options.memory)
  }

  /** Whether every blob is here or has failed. */
  get isOver(): boolean {
    return this.#blobs.isEmpty
  }

  get connectedPeers(): number {
    return this.#peers.connected
  }

  /** Whether the blob is wanted, and neither here nor has failed. */
  has(digest: string): boolean {
    return this.#blobs.has(digest)
  }

  /** What may be under way at once from now on; requests that are under way go on. */
  limitLoad(maxLoad = MAX_TOTAL_LOAD): void {
    this.#maxLoad = maxLoad
    this.#isNew = true
  }

  /** A peer that may be asked, or what is new of one. */
  addPeer(about: FetchPeer, nowMs: number): void {
    this.#peers.add(about, nowMs)
    this.#isNew = true
  }

  want(blobs: readonly PlannedBlob[]): void {
    const added: Part[] = []
    for (const blob of blobs) {
      if (this.#blobs.has(blob.digest)) continue
      const parts = cutIntoParts(blob, this.#options.smallBytes, this.#ownHash)
      this.#blobs.add(blob.digest, parts)
      for (const part of parts) if (!part.isOver) added.push(part)
    }
    this.#queue.add(added)
    this.#isNew = true
  }

  /** A client has come to wait for the blob. */
  hasten(digest: string): void {
    const parts = this.#blobs.partsOf(digest)
    for (const part of parts) makeUrgent(part)
    this.#queue.wake(parts)
    this.#queue.sort()
    this.#isNew = true
  }

  /** The peer has these parts now, too; without any it says that it is at work. */
  noteHoldings(peer: string, names: readonly string[], nowMs: number): void {
    const known = this.#peers.find(peer)
    if (known === undefined) return
    known.heardAtMs = nowMs
    known.isIdle = false
    const parts = names.flatMap((name) => this.#blobs.findPart(name) ?? [])
    for (const part of parts) if (!known.holdings.has(part.name)) forgetRefusal(part, peer)
    for (const name of names) known.holdings.add(name)
    this.#queue.wake(parts)
    this.#isNew = true
  }

  /** Whether the request still counts for the part; what else it brings is thrown away. */
  expects(request: number, name: string): boolean {
    return this.#requests.get(request)?.sources.has(name) === true
  }

  /** So much of the part is here when the request is about to be sent: what an earlier fetch left, or less than was thought. */
  noteKept(request: number, name: string, bytes: number): void {
    const known = this.#requests.get(request)
    const part = known === undefined ? undefined : moveStart(known, name, bytes)
    if (part === undefined || part.held === bytes) return
    part.held = bytes
    part.givers = bytes === 0 ? [] : [EARLIER]
  }

  /** `moved` bytes have come, of which `kept` were new. */
  arrived(request: number, name: string, moved: number, kept: number): void {
    const known = this.#requests.get(request)
    const part = known === undefined ? undefined : noteMoved(known, name, moved)
    if (known === undefined || part === undefined || kept === 0) return
    part.held += kept
    if (!part.givers.includes(known.peer.about.id)) part.givers = [...part.givers, known.peer.about.id]
  }

  /** The part is here and verified. @returns whether all of its blob is */
  done(request: number, name: string, nowMs: number): boolean {
    const known = this.#requests.get(request)
    const part = known === undefined ? undefined : removePart(known, name)
    if (known === undefined || part === undefined || part.isOver) return false
    noteGiven(known.peer)
    part.isOver = true
    this.#cancelOthers(part, nowMs, known)
    this.#endIfEmpty(known, nowMs)
    return this.#blobs.finish(part)
  }

  /** The peer answered that it does not give the part; the request goes on. */
  refused(request: number, name: string, error: FeedmeshError, nowMs: number): void {
    const known = this.#requests.get(request)
    const part = known === undefined ? undefined : removePart(known, name)
    if (known === undefined || part === undefined) return
    known.peer.misses += 1
    if (error.code === 'BUSY') noteBreak(part, known.peer.about.id, error, false)
    else refuse(part, known.peer.about.id, error)
    this.#requeue(part)
    this.#endIfEmpty(known, nowMs)
  }

  /**
   * All of the part came, and it has another digest; the bytes are gone. Whoever gave all of it lied. Where several gave it,
   * or an earlier fetch left some, nobody can tell: then one peer is to give all of it.
   */
  wrong(request: number, name: string, error: FeedmeshError, nowMs: number): void {
    const known = this.#requests.get(request)
    const part = known === undefined ? undefined : removePart(known, name)
    if (known === undefined || part === undefined) return
    const [giver] = part.givers
    if (part.givers.length === 1 && giver !== undefined && giver !== EARLIER) this.#blame(giver, part, error, nowMs)
    else part.isAlone = true
    beginAnew(part)
    this.#cancelOthers(part, nowMs)
    this.#requeue(part)
    this.#endIfEmpty(known, nowMs)
  }

  /** The peer broke the protocol when it should have given the part; the request is over. */
  lied(request: number, name: string, error: FeedmeshError, nowMs: number): void {
    const part = this.#requests.get(request)?.sources.get(name)?.part
    if (part !== undefined) this.#blame(this.#requests.get(request)!.peer.about.id, part, error, nowMs)
    this.dropped(request, nowMs)
  }

  /** The connection is lost. Only the part that was to come next can be the reason. */
  broke(request: number, error: FeedmeshError, nowMs: number): void {
    const known = this.#requests.get(request)
    if (known === undefined) return
    const cameFar = known.pace.moved >= WORTH_MEASURING_BYTES
    const [next] = known.sources.values()
    if (next !== undefined) noteBreak(next.part, known.peer.about.id, error, cameFar)
    if (!cameFar) noteBrokenPeer(known.peer, request, this.#newestRequest, error)
    this.dropped(request, nowMs)
  }

  /** The request is over through no fault of the peer's. */
  dropped(request: number, nowMs: number): void {
    const known = this.#requests.get(request)
    if (known === undefined) return
    const names = [...known.sources.keys()]
    for (const name of names) {
      const part = removePart(known, name)
      if (part !== undefined) this.#requeue(part)
    }
    this.#endIfEmpty(known, nowMs)
  }

  /** This node cannot take the blob. */
  fail(digest: string, error: FeedmeshError, nowMs: number): void {
    if (!this.#blobs.has(digest)) return
    this.#failed.push({ digest, error })
    for (const part of this.#blobs.forget(digest)) {
      part.isOver = true
      this.#cancelOthers(part, nowMs)
    }
  }

  decide(nowMs: number): Decisions {
    this.#wakeAtMs = undefined
    this.#hedge(nowMs)
    if (this.#isNew || (this.#queue.nextDueMs ?? nowMs + 1) <= nowMs) {
      this.#isNew = false
      this.#assign(nowMs)
    }
    if (this.#queue.nextDueMs !== undefined) this.#wakeAt(this.#queue.nextDueMs)
    if (this.#peers.size > 1) for (const { nextLookAtMs } of this.#requests.values()) this.#wakeAt(nextLookAtMs)
    const [send, cancel, failed, lies] = [this.#send.map(renderRequest), this.#cancel, this.#failed, this.#lies]
    this.#send = []
    this.#cancel = []
    this.#failed = []
    this.#lies = []
    return { send, cancel, failed, lies, wakeAtMs: this.#wakeAtMs }
  }

  #wakeAt(ms: number): void {
    this.#wakeAtMs = Math.min(this.#wakeAtMs ?? ms, ms)
  }

  /** Gives free peers what waits, in its order. */
  #assign(nowMs: number): void {
    const packs = new Map<PeerInFetch, Request>()
    const hasRoom = (peer: PeerInFetch) => (packs.get(peer)?.sources.size ?? MAX_PACK) < MAX_PACK
    let looks = MAX_LOOKS
    this.#queue.take(nowMs, (part) => {
      const load = loadOf(part)
      const [maxLoad, maxPeerLoad] = roomFor(part, this.#maxLoad)
      const isFree = (peer: PeerInFetch) =>
        (part.isSmall && hasRoom(peer)) || (this.#load + load <= maxLoad && peer.load + load <= maxPeerLoad)
      if (looks === 0 || !this.#peers.hasAny(isFree)) return 'stop'
      const peer = this.#chooseFor(part, isFree, nowMs)
      if (typeof peer === 'string' || 'restUntilMs' in peer) {
        looks -= peer === 'left' ? 1 : 0
        return peer
      }
      const pack = part.isSmall && hasRoom(peer) ? packs.get(peer) : undefined
      const request = pack ?? this.#begin(peer, { load, isHedge: false }, nowMs)
      addPart(request, part)
      if (part.isSmall) packs.set(peer, request)
      return 'taken'
    })
  }

  /** Whom to ask now, or what becomes of the part: it is left for others to be free, rests, or has failed. */
  #chooseFor(part: Part, isFree: (peer: PeerInFetch) => boolean, nowMs: number): PeerInFetch | Verdict {
    part.readySinceMs ??= nowMs
    const { bestRank, peer } = this.#peers.choose(part, isFree, nowMs)
    if (bestRank === 0) return peer ?? 'left'
    const { isDirect = false } = part.blob
    const untilMs = isDirect ? undefined : this.#peers.waitsForSite(part, { requests: this.#requests, nowMs })
    if (untilMs !== undefined) return { restUntilMs: Math.min(untilMs, nowMs + MAX_REST_MS) }
    if (bestRank !== undefined) return peer ?? 'left'
    this.fail(part.blob.digest, this.#peers.refusalOf(part), nowMs)
    return 'taken'
  }

  /** A second request for what a peer gives much too slowly. */
  #hedge(nowMs: number): void {
    if (this.#peers.size < 2) return
    let hedges = [...this.#requests.values()].filter(({ isHedge }) => isHedge).length
    for (const request of this.#requests.values()) {
      if (request.nextLookAtMs > nowMs) continue
      const { pace } = request
      const recent = recentPace(pace, nowMs)
      request.pace = { ...pace, recent, lookedAtMs: nowMs, movedAtLook: pace.moved }
      request.nextLookAtMs = nowMs + HEDGE_CHECK_MS
      if (hedges >= MAX_HEDGES) continue
      if (isMuchSlower(pace.peer, recent, this.#options.memory) && this.#hedgeRequest(request, recent, nowMs))
        hedges += 1
    }
  }

  /** @returns whether there is one request more now */
  #hedgeRequest(request: Request, pace: number, nowMs: number): boolean {
    const [part] = [...request.sources.values()].map((source) => source.part)
    if (part === undefined || part.underWay > 1) return false
    const peer = this.#peers.findSecond(request, part, { requests: this.#requests, nowMs })
    if (peer === undefined) return false
    const other = { peer: peer.about.id, rttMs: peer.about.rttMs }
    if (!isWorthIt(restOf(request), pace, other, this.#options.memory)) return false
    if (part.isAlone) {
      // Two must not mix their bytes: somebody else gives all of it.
      this.#overtake(request)
      this.#cancel.push(request.id)
      this.dropped(request.id, nowMs)
      return false
    }
    const hedge = this.#begin(peer, { load: request.load, isHedge: true }, nowMs)
    for (const source of request.sources.values())
      if (!source.part.isAlone && mayGive(peer, source.part)) addPart(hedge, source.part)
    return true
  }

  /** What follows goes elsewhere first. */
  #overtake(request: Request): void {
    request.isOvertaken = true
    request.peer.isSlow = true
  }

  #begin(peer: PeerInFetch, about: { readonly load: number; readonly isHedge: boolean }, nowMs: number): Request {
    this.#newestRequest += 1
    const request = beginRequest(this.#newestRequest, peer, about, nowMs)
    this.#load += request.load
    this.#requests.set(request.id, request)
    this.#send.push(request)
    return request
  }

  /** Nobody else is to give the part any more; whoever gives nothing else is cancelled. */
  #cancelOthers(part: Part, nowMs: number, winner?: Request): void {
    if (part.underWay === 0) return
    const requests = [...this.#requests.values()]
    for (const request of requests) {
      if (removePart(request, part.name) === undefined || request.sources.size > 0) continue
      if (winner !== undefined && winner.id > request.id) this.#overtake(request)
      this.#cancel.push(request.id)
      this.#endIfEmpty(request, nowMs)
    }
  }

  #endIfEmpty(request: Request, nowMs: number): void {
    if (request.sources.size > 0 || !this.#requests.delete(request.id)) return
    this.#load -= request.load
    this.#isNew = true
    request.peer.load -= request.load
    const { moved, startedAtMs } = request.pace
    const { isOvertaken } = request
    if (moved < WORTH_MEASURING_BYTES && !isOvertaken) return
    const measured = { bytes: Math.max(1, moved), tookMs: nowMs - startedAtMs, isOvertaken }
    this.#options.memory.measure(request.peer.about.id, measured)
  }

  #requeue(part: Part): void {
    if (part.underWay > 0 || part.isOver) return
    if (part.isSmall || part.isAlone) beginAnew(part)
    this.#queue.add([part.held > 0 ? hasten(part) : part])
    this.#isNew = true
  }

  #blame(peer: string, part: Part, error: FeedmeshError, nowMs: number): void {
    this.#peers.blame(peer, part, error, nowMs)
    this.#lies.push({ peer, digest: part.blob.digest, error })
  }
}
