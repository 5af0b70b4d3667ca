/** What is planned: blobs, cut into the parts that are asked for and proved one by one. */

import type { FeedmeshError } from '../errors.ts'
import { hashText, weigh } from './rendezvous.ts'

export interface PlannedBlob {
  readonly digest: string
  readonly size: number
  /** Size of the parts that can be asked for and verified alone; without it the blob is one part. */
  readonly partBytes?: number
  /** A client waits for it. */
  readonly isWaited?: boolean
  /** Little, and others wait for it: asked for first, and not left to neighbours. */
  readonly isDirect?: boolean
  /** Numbers of the parts that are here. */
  readonly here?: ReadonlySet<number>
}

/** Whose the bytes are that an earlier fetch left. */
export const EARLIER = ''

export interface Part {
  /** The digest, of a part of many with `#` and its number. */
  readonly name: string
  readonly blob: PlannedBlob
  readonly index: number
  /** Offset in the blob. */
  readonly start: number
  readonly size: number
  readonly hash: number
  /** Many are asked for at once, and none is taken up again. */
  readonly isSmall: boolean
  /** Parts are asked for from the lowest on. */
  order: number
  /** A client waits for it. */
  isWaited: boolean
  /** A client came to wait for it after it was planned: it has room of its own. */
  isHastened: boolean
  /** Bytes from the start on that are here, not verified. */
  held: number
  /** Peers that gave them, EARLIER among them. */
  givers: readonly string[]
  /** Bytes of several were wrong together: from now on one peer gives all of it, so that it is known whose they are. */
  isAlone: boolean
  /** Requests under way for it. */
  underWay: number
  isOver: boolean
  /** Why peers will not be asked for it any more. */
  refusals: ReadonlyMap<string, FeedmeshError>
  /** Peers at which it broke, and how often after little. */
  breaks: ReadonlyMap<string, number>
  /** When the planner first could have asked for it. */
  readySinceMs: number | undefined
}

const NOTHING: ReadonlyMap<string, never> = new Map<string, never>()

/**
 * A waiting client's first, and from its beginning on; then large ones, so that none is left alone at the end; then small
 * ones. Within these each node has an order of its own, so that nodes that start together fetch different ones first and
 * then have something to exchange.
 */
function orderOf(part: { isSmall: boolean; hash: number; index: number; isFirst: boolean }, nodeHash: number): number {
  if (part.isFirst) return part.index
  const rank = 0xffffffff - weigh(part.hash, nodeHash)
  return (part.isSmall ? 2 : 1) * 2 ** 32 + rank
}

/** What was begun is finished first, but for what clients wait for. */
export function hasten(part: Part): Part {
  part.order = Math.min(part.order, 2 ** 32 - 1)
  return part
}

/** A client waits for it now, too. */
export function makeUrgent(part: Part): void {
  part.isWaited = true
  part.isHastened = true
  part.order = part.index
}

/** Every blob has at least one part, an empty one too. */
export function cutIntoParts(blob: PlannedBlob, smallBytes: number, nodeHash: number): Part[] {
  const partBytes = Math.max(1, blob.partBytes ?? blob.size)
  const count = Math.max(1, Math.ceil(blob.size / partBytes))
  return Array.from({ length: count }, (_, index): Part => {
    const name = count === 1 ? blob.digest : `${blob.digest}#${index}`
    const size = Math.min(partBytes, blob.size - index * partBytes)
    const [hash, isSmall, isWaited] = [hashText(name), size <= smallBytes, blob.isWaited === true]
    const isFirst = isWaited || blob.isDirect === true
    return {
      name,
      blob,
      index,
      start: index * partBytes,
      size,
      hash,
      isSmall,
      order: orderOf({ isSmall, hash, index, isFirst }, nodeHash),
      isWaited,
      isHastened: false,
      held: 0,
      givers: [],
      isAlone: false,
      underWay: 0,
      isOver: blob.here?.has(index) === true,
      refusals: NOTHING,
      breaks: NOTHING,
      readySinceMs: undefined,
    }
  })
}

/** Nothing that is here of the part counts any more. */
export function beginAnew(part: Part): void {
  part.held = 0
  part.givers = []
}

/** The peer has it now: what it answered before counts no more. */
export function forgetRefusal(part: Part, peer: string): void {
  if (part.refusals.get(peer)?.code !== 'NOT_FOUND') return
  const refusals = new Map(part.refusals)
  refusals.delete(peer)
  part.refusals = refusals
}

export function refuse(part: Part, peer: string, error: FeedmeshError): void {
  part.refusals = new Map(part.refusals).set(peer, error)
}

/** A part that broke at a peer this often, without much having come, is not asked for there again. */
const MAX_BREAKS = 2

export function noteBreak(part: Part, peer: string, error: FeedmeshError, cameFar: boolean): void {
  const breaks = (part.breaks.get(peer) ?? 0) + (cameFar ? 0 : 1)
  part.breaks = new Map(part.breaks).set(peer, breaks)
  if (breaks >= MAX_BREAKS) refuse(part, peer, error)
}
