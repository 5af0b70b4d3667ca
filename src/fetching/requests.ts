/** Requests under way: what a peer was asked for, and how much of it has come. */

import type { PeerInFetch } from './fetch-peers.ts'
import { firstLookMs, type Pace } from './hedging.ts'
import type { Part } from './parts.ts'

/** What one request asks of one peer: one large part from an offset on, or several small ones. */
export interface PlannedRequest {
  readonly id: number
  readonly peer: string
  readonly parts: readonly RequestedPart[]
}

export interface RequestedPart {
  readonly name: string
  readonly digest: string
  /** Where the part begins in the blob. */
  readonly start: number
  /** Range of the blob. */
  readonly from: number
  readonly to: number
  /** Nothing that is here of the part may be used, and nothing that this request leaves behind. */
  readonly isAlone: boolean
}

interface Source {
  readonly part: Part
  /** Bytes that have not come. */
  owed: number
}

export interface Request {
  readonly id: number
  readonly peer: PeerInFetch
  /** Parts that the peer still owes, by name, in the order in which it was asked. */
  readonly sources: Map<string, Source>
  readonly load: number
  readonly isHedge: boolean
  /** A peer that was asked later gave what this one owed. */
  isOvertaken: boolean
  pace: Pace
  nextLookAtMs: number
}

/** A peer takes four large requests at once, or eight of small parts: two on a stream, so that none stands idle. */
export const MAX_PEER_LOAD = 8
/** All peers together. */
export const MAX_TOTAL_LOAD = 16
/** What clients came to wait for finds so much more room when the rest has filled its own. */
const URGENT_ROOM = 2
/** Small parts of one request. */
export const MAX_PACK = 32
const LARGE_LOAD = 2
const PACK_LOAD = 1

export function loadOf(part: Part): number {
  return part.isSmall ? PACK_LOAD : LARGE_LOAD
}

/** Load under way at which the part has to wait: of all peers together, and of one. */
export function roomFor({ isHastened }: Part, maxLoad: number): readonly [number, number] {
  return isHastened ? [MAX_TOTAL_LOAD * URGENT_ROOM, MAX_PEER_LOAD * URGENT_ROOM] : [maxLoad, MAX_PEER_LOAD]
}

export function beginRequest(
  id: number,
  peer: PeerInFetch,
  about: { readonly load: number; readonly isHedge: boolean },
  nowMs: number,
): Request {
  const { rttMs, id: peerId } = peer.about
  peer.load += about.load
  const pace = { peer: peerId, startedAtMs: nowMs, lookedAtMs: nowMs, moved: 0, movedAtLook: 0, recent: undefined }
  const nextLookAtMs = nowMs + firstLookMs(rttMs)
  return { id, peer, sources: new Map(), ...about, isOvertaken: false, pace, nextLookAtMs }
}

export function addPart(request: Request, part: Part): void {
  const owed = part.size - part.held
  request.sources.set(part.name, { part, owed })
  request.peer.owedBytes += owed
  part.underWay += 1
}

/** Another offset than was planned: the order of what is asked stays. */
export function moveStart(request: Request, name: string, held: number): Part | undefined {
  const source = request.sources.get(name)
  if (source === undefined) return undefined
  request.peer.owedBytes -= source.owed
  source.owed = source.part.size - held
  request.peer.owedBytes += source.owed
  return source.part
}

/** The part is no longer expected from this request. */
export function removePart(request: Request, name: string): Part | undefined {
  const source = request.sources.get(name)
  if (source === undefined) return undefined
  request.sources.delete(name)
  request.peer.owedBytes -= source.owed
  source.part.underWay -= 1
  return source.part
}

export function noteMoved(request: Request, name: string, bytes: number): Part | undefined {
  const source = request.sources.get(name)
  request.pace = { ...request.pace, moved: request.pace.moved + bytes }
  if (source === undefined) return undefined
  const paid = Math.min(source.owed, bytes)
  source.owed -= paid
  request.peer.owedBytes -= paid
  return source.part
}

export function restOf(request: Request): number {
  let rest = 0
  for (const { owed } of request.sources.values()) rest += owed
  return rest
}

export function renderRequest(request: Request): PlannedRequest {
  const parts = [...request.sources.values()].map(
    ({ part }): RequestedPart => ({
      name: part.name,
      digest: part.blob.digest,
      start: part.start,
      from: part.start + part.held,
      to: part.start + part.size,
      isAlone: part.isAlone,
    }),
  )
  return { id: request.id, peer: request.peer.about.id, parts }
}
