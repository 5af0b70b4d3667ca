/**
 * Limits on what is sent and received of blobs: of each link, of each feed of this node and of the node, each way, each a true
 * total over all streams and lanes. A piece waits for its link first, so that a slow link takes nothing of what others share.
 */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import type { Registry } from '../ledger/registry.ts'
import type { Book, Link } from './book.ts'
import { RateBucket, type RateClock } from './rate-bucket.ts'

export interface RateLimitsOptions extends RateClock {
  readonly book: Book
  readonly registry: Registry
  /** Bytes a second of the node; 0 = as the network allows. */
  readonly nodeRate: number
}

/** Whose bytes they are. */
export interface Traffic {
  readonly peer: string
  readonly feedId: FeedId
  /** A client waits: it goes before what nobody waits for. */
  readonly isWaited?: boolean
  readonly signal?: AbortSignal
}

type Direction = 'sent' | 'received'

/** A peer is not to be left without a byte for long: at a low rate pieces are small. */
const SLICES_PER_S = 16
const MIN_SLICE_BYTES = 4 * 1024
/** How long a limit that was changed may still count as it was. */
const KNOWN_FOR_MS = 1000
/** Limits that are used by nobody are forgotten when there are so many. */
const MAX_BUCKETS = 1000

interface Limit {
  readonly key: string
  readonly rate: number
}

interface Asked {
  readonly bytes: number
  readonly limits: readonly Limit[]
  readonly traffic: Traffic
}

export class RateLimits {
  readonly #options: RateLimitsOptions
  readonly #buckets = new Map<string, RateBucket>()
  /** By peer and feed. */
  readonly #known = new Map<string, { readonly limits: readonly Limit[]; readonly untilMs: number }>()

  constructor(options: RateLimitsOptions) {
    this.#options = options
  }

  /** Resolves when so many bytes may be sent. undefined: at once. */
  send(bytes: number, traffic: Traffic): Promise<void> | undefined {
    const limits = this.#limitsOf(traffic)
    return limits.length === 0 ? undefined : this.#take('sent', { bytes, limits, traffic })
  }

  async #take(direction: Direction, asked: Asked): Promise<void> {
    const { bytes, limits, traffic } = asked
    for (const { key, rate } of limits)
      await this.#bucket(`${direction} ${key}`, rate).take(bytes, traffic.isWaited === true, traffic.signal)
  }

  /** `pieces`, read no faster than they may be received. */
  receive(pieces: AsyncIterable<Uint8Array>, traffic: Traffic): AsyncIterable<Uint8Array> {
    return this.#limitsOf(traffic).length === 0 ? pieces : this.#receive(pieces, traffic)
  }

  async *#receive(pieces: AsyncIterable<Uint8Array>, traffic: Traffic): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      const bytes = piece.length
      yield piece
      await this.#take('received', { bytes, limits: this.#limitsOf(traffic), traffic })
    }
  }

  /** `pieces`, no faster than they may be sent. */
  pace(pieces: AsyncIterable<Uint8Array>, traffic: Traffic): AsyncIterable<Uint8Array> {
    return this.#limitsOf(traffic).length === 0 ? pieces : this.#pace(pieces, traffic)
  }

  async *#pace(pieces: AsyncIterable<Uint8Array>, traffic: Traffic): AsyncGenerator<Uint8Array> {
    for await (const piece of pieces) {
      const limits = this.#limitsOf(traffic)
      const lowest = Math.min(...limits.map(({ rate }) => rate))
      const slice = Math.max(MIN_SLICE_BYTES, Math.floor(lowest / SLICES_PER_S))
      for (let at = 0; at < piece.length; at += slice) {
        const part = piece.subarray(at, at + slice)
        await this.#take('sent', { bytes: part.length, limits, traffic })
        yield part
      }
    }
  }

  #limitsOf({ peer, feedId }: Traffic): readonly Limit[] {
    const key = `${peer} ${feedId}`
    const nowMs = this.#options.now()
    const known = this.#known.get(key)
    if (known !== undefined && nowMs < known.untilMs) return known.limits
    if (this.#known.size >= MAX_BUCKETS) this.#known.clear()
    const limits = this.#findLimits(peer, feedId)
    this.#known.set(key, { limits, untilMs: nowMs + KNOWN_FOR_MS })
    return limits
  }

  /** Those of links first, that of the node last. */
  #findLimits(peer: string, feedId: FeedId): Limit[] {
    const { book, registry, nodeRate } = this.#options
    const limits: Limit[] = []
    for (const link of book.linksWith(peer)) {
      const rate = book.replications.find(link.replication)?.maxRate ?? 0
      const key = `link ${link.replication} ${peer}`
      if (rate > 0 && this.#isAbout(link, feedId) && !limits.some((one) => one.key === key)) limits.push({ key, rate })
    }
    for (const local of registry.locals.values())
      if (local.maxRate > 0 && this.#options.registry.reaches(local.id, feedId))
        limits.push({ key: `feed ${local.id}`, rate: local.maxRate })
    if (nodeRate > 0) limits.push({ key: 'node', rate: nodeRate })
    return limits
  }

  #isAbout(link: Link, feedId: FeedId): boolean {
    return (
      this.#options.registry.reaches(feedIdText(link.local), feedId) ||
      this.#options.registry.reaches(feedIdText(link.remote), feedId)
    )
  }

  #bucket(key: string, rate: number): RateBucket {
    const known = this.#buckets.get(key)
    if (known !== undefined) {
      known.rate = rate
      return known
    }
    if (this.#buckets.size >= MAX_BUCKETS)
      for (const [old, bucket] of this.#buckets) if (bucket.isIdle) this.#buckets.delete(old)
    const bucket = new RateBucket(this.#options, rate)
    this.#buckets.set(key, bucket)
    return bucket
  }
}
