/**
 * This node's side of one neighbour: a peer without a link that reads the same feeds. Connects, says hello, shows its chains,
 * follows, and hears what the neighbour has; begins again, ever later, when that breaks off.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { FeedPosition } from '../replication/nearby.ts'
import type { Chain } from '../replication/shown-chains.ts'
import { HeardNews, type HeardParts } from './heard-news.ts'
import { NearbyStream, type Push } from './nearby-stream.ts'
import { Retries } from './retries.ts'

const CONNECT_TIMEOUT_MS = 10_000
const RETRY = { firstMs: 4000, maxMs: 10 * 60_000 }
/** A feed that the neighbour does not let this node read, or not yet. */
const REFUSED = { firstMs: 4000, maxMs: 5 * 60_000 }
/** A stream that held this long counts as good: what breaks it is no failure to begin with. */
const STABLE_MS = 60_000
const SHUN_MS = 10 * 60_000
/** Keeps the stream from being idle at the neighbour. */
const FOLLOW_AGAIN_MS = 3 * 60_000
/** The one of the two whose PeerId is greater leaves it to the other to dial, for this long. */
const DEFER_MS = 2000

export interface NeighbourOptions {
  readonly host: MeshHost
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1). */
  readonly random: () => number
  /** Exchanges hellos. */
  readonly greet: (peer: string, signal: AbortSignal) => Promise<void>
  /** The chain that lets this node read the feed. */
  readonly findChain: (feedId: FeedId) => Chain | undefined
  readonly addressesOf: (peer: string) => readonly string[]
  readonly onNews: (feedId: FeedId, peer: string, parts: readonly HeardParts[]) => void
  /** The neighbour lets this node read the feed. */
  readonly onFollowed: (feedId: FeedId, peer: string) => void
  /** It could not be reached for the `failures`th time in a row. */
  readonly onFailure: (peer: string, failures: number) => void
}

interface Followed {
  readonly chain: Chain
  readonly againAtMs: number
  readonly availability: 'full' | 'on-demand'
}

export class Neighbour implements AsyncDisposable {
  readonly peerId: string
  readonly #options: NeighbourOptions
  readonly #stopping = new AbortController()
  readonly #heard = new HeardNews()
  readonly #retries: Retries
  readonly #refused = new Map<FeedId, Retries>()
  readonly #followed = new Map<FeedId, Followed>()
  #feeds: ReadonlySet<FeedId> = new Set()
  #stream: NearbyStream | undefined
  #openedAtMs = 0
  #working: Promise<void> | undefined

  constructor(peerId: string, options: NeighbourOptions) {
    this.peerId = peerId
    this.#options = options
    const { host, elapsedMs } = options
    this.#retries = new Retries(RETRY, elapsedMs() + (host.peerId < peerId ? 0 : DEFER_MS))
  }

  /** Does what is due, for these feeds. */
  act(feeds: ReadonlySet<FeedId>): void {
    this.#feeds = feeds
    for (const feedId of this.#followed.keys()) if (!feeds.has(feedId)) this.#lose(feedId)
    const now = this.#options.elapsedMs()
    if (this.#working !== undefined || this.#stopping.signal.aborted) return
    const due = [...feeds].filter((feedId) => this.#isDue(feedId, now))
    if (due.length === 0 || (this.#stream === undefined && !this.#retries.isDue(now))) return
    this.#working = this.#attend(due).finally(() => {
      this.#working = undefined
    })
  }

  /** It is there now, whoever dialled. */
  hurry(): void {
    this.#retries.hurry(this.#options.elapsedMs())
  }

  /** Whether blobs of the feed may be asked of it now. */
  follows(feedId: FeedId): boolean {
    return this.#followed.has(feedId)
  }

  holdsAll(feedId: FeedId, at: FeedPosition | undefined): boolean {
    return this.#heard.holdsAll(feedId, at)
  }

  fetchesAll(feedId: FeedId): boolean {
    return this.#followed.get(feedId)?.availability === 'full'
  }

  told(feedId: FeedId): HeardParts[] {
    return this.#followed.has(feedId) ? this.#heard.told(feedId) : []
  }

  #isDue(feedId: FeedId, now: number): boolean {
    const chain = this.#options.findChain(feedId)
    if (chain === undefined) return false
    const followed = this.#followed.get(feedId)
    if (followed !== undefined) return followed.chain !== chain || now >= followed.againAtMs
    return this.#refused.get(feedId)?.isDue(now) !== false
  }

  async #attend(due: readonly FeedId[]): Promise<void> {
    try {
      this.#stream ??= await this.#open()
      const stream = this.#stream
      await Promise.all(due.map((feedId) => this.#follow(stream, feedId)))
    } catch (error) {
      this.#fail(asFeedmeshError(error))
    }
  }

  async #open(): Promise<NearbyStream> {
    const { host, setTimer, elapsedMs, greet, addressesOf } = this.#options
    using limit = startTimeLimit(setTimer, CONNECT_TIMEOUT_MS, this.#stopping.signal)
    await host.connect(this.peerId, addressesOf(this.peerId), limit.signal)
    await greet(this.peerId, limit.signal)
    const onPush = (push: Push) => this.#onPush(push)
    const { signal } = this.#stopping
    const stream = await NearbyStream.open(this.peerId, { host, setTimer, elapsedMs, signal, onPush })
    this.#openedAtMs = elapsedMs()
    void this.#watch(stream)
    return stream
  }

  async #watch(stream: NearbyStream): Promise<void> {
    const error = await stream.closed
    if (this.#stream === stream) this.#fail(error)
  }

  async #follow(stream: NearbyStream, feedId: FeedId): Promise<void> {
    const { findChain, elapsedMs, random, onFollowed } = this.#options
    const chain = findChain(feedId)
    if (chain === undefined) return
    const id = feedIdBytes(feedId)
    try {
      if (this.#followed.get(feedId)?.chain !== chain) await stream.ask({ kind: 'show', feedId: id, chain })
      const { availability } = await stream.ask({ kind: 'follow', feedId: id })
      if (this.#stream !== stream || !this.#feeds.has(feedId)) return
      this.#followed.set(feedId, { chain, availability, againAtMs: elapsedMs() + FOLLOW_AGAIN_MS })
      this.#refused.delete(feedId)
      onFollowed(feedId, this.peerId)
    } catch (error) {
      if (!isFeedmeshError(error, 'NOT_FOUND', 'TOKEN_REVOKED', 'BUSY')) throw error
      this.#lose(feedId)
      const refused = this.#refused.get(feedId) ?? new Retries(REFUSED, 0)
      refused.fail(elapsedMs(), random())
      this.#refused.set(feedId, refused)
    }
  }

  #onPush(push: Push): void {
    const feedId = feedIdText(push.feedId)
    if (push.kind === 'newcomers')
      throw new FeedmeshError('PEER_INVALID', 'newcomers from a peer that was not asked who reads the feed')
    // What was on its way when the feed was let go of.
    if (!this.#feeds.has(feedId)) return
    if (push.kind === 'gone') return this.#lose(feedId)
    const parts = this.#heard.hear(push)
    if (parts.length > 0) this.#options.onNews(feedId, this.peerId, parts)
  }

  #lose(feedId: FeedId): void {
    this.#followed.delete(feedId)
    this.#heard.forget(feedId)
  }

  #fail(error: FeedmeshError): void {
    const { elapsedMs, random, log, onFailure } = this.#options
    if (this.#stopping.signal.aborted) return
    const stream = this.#stream
    this.#stream = undefined
    for (const feedId of this.#followed.keys()) this.#lose(feedId)
    void stream?.[Symbol.asyncDispose]()
    const now = elapsedMs()
    if (stream !== undefined && now - this.#openedAtMs >= STABLE_MS) this.#retries.succeed()
    this.#retries.fail(now, random())
    if (error.code === 'PEER_INVALID' || error.code === 'IDENTITY_DUPLICATED') this.#retries.putOff(now + SHUN_MS)
    if (error.code === 'INTERNAL') log.error({ err: error.cause ?? error }, 'following a neighbour failed')
    else log.debug({ err: error, peer: this.peerId }, 'a neighbour cannot be followed now')
    onFailure(this.peerId, this.#retries.failures)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the neighbour is let go of'))
    await this.#working
    await this.#stream?.[Symbol.asyncDispose]()
  }
}
