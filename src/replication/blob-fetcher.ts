/**
 * Fetches blobs from the peers that may have them, over channels of the host: several peers, several channels to each, several
 * requests under way on each, resumed by offset after a break, at another peer, and over restarts.
 */

import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { CHUNKED_FROM_BYTES } from '../catalog/row.ts'
import { type FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { FetchPlan } from '../fetching/fetch-plan.ts'
import { PeerMemory } from '../fetching/peer-memory.ts'
import type { MeshHost } from '../network/host.ts'
import { type BlobStore, MAX_INLINE_BYTES } from '../store/blobs.ts'
import type { Records } from '../store/records.ts'
import type { ChunkedWanted } from './blob-chunk-window.ts'
import { BlobFetch } from './blob-fetch.ts'
import { BlobNeighbours } from './blob-neighbours.ts'
import { BlobsUnderWay } from './blob-under-way.ts'
import { ComingFiles } from './coming-files.ts'
import type { BlobFollower } from './growing-blob.ts'
import type { FeedPosition, Nearby } from './nearby.ts'
import type { RateLimits } from './rate-limits.ts'

export interface WantedBlob {
  readonly feedId: FeedId
  readonly unit: string
  readonly key: string
  readonly digest: Digest
  readonly size: number
  /** Of the row: with it a large blob may come by chunks, from several peers. */
  readonly chunkRoot?: Digest | undefined
  /** The state of the feed that names it. */
  readonly at?: FeedPosition | undefined
}

export interface BlobOutcome {
  readonly wanted: WantedBlob
  /** undefined when the blob is here now. */
  readonly error?: FeedmeshError
}

/** A peer whose bytes of a blob were wrong for certain, although another one gave the blob. */
export interface BlobLie {
  readonly peer: string
  readonly wanted: WantedBlob
  readonly error: FeedmeshError
}

export interface BlobWork {
  readonly signal: AbortSignal
  /** Called once for each wanted blob, in any order. */
  readonly onOutcome: (outcome: BlobOutcome) => void
  readonly onLie?: (lie: BlobLie) => void
  /** A client waits: what nobody waits for makes room. */
  readonly isWaited?: boolean
  /** Reads along, where one blob is wanted. */
  readonly follower?: BlobFollower
  /** No batch that follows is to name the blobs: they may be removed as soon as they are stored. */
  readonly namesNothing?: boolean
}

interface Place {
  readonly site: string
  readonly region: string
}

export interface BlobFetcherOptions {
  readonly host: MeshHost
  readonly records: Records
  readonly blobs: BlobStore
  readonly reach: ReachFaultPoint
  /** What a peer has to give while a blob is waited for; unlimited unless told, and then no peer is found to be slow. */
  readonly progress?: ProgressRule
  /** Where this node and its peers are; without it all of them are far away. */
  readonly hello?: Place
  readonly presence?: { find(peer: string): Place | undefined }
  /** On what is received. */
  readonly limits?: RateLimits
  /** Peers near this node; without it only those are asked that a fetch is given. */
  readonly nearby?: Nearby
}

/** Larger ones come whole: what is known of each of their chunks would be too much to hold. */
const MAX_CHUNKED_BYTES = 64 * 1024 ** 3

/** What is under way of a fetch that nobody waits for while a client waits for another: one large blob. */
const BACKGROUND_LOAD = 2

const NOWHERE: Place = { site: '', region: '' }

export class BlobFetcher {
  /** What this node fetches for rows that are not adopted yet. */
  readonly coming = new ComingFiles()
  readonly #options: BlobFetcherOptions
  readonly #memory = new PeerMemory()
  readonly #background = new Map<FetchPlan, BlobFetch>()
  readonly #underWay = new BlobsUnderWay()
  #waiting = 0

  constructor(options: BlobFetcherOptions) {
    this.#options = options
  }

  /**
   * Whom of `peers` and of those nearby to ask, and when, is decided by a plan; their order does not count. What another fetch
   * has under way is waited for, and fetched only if that fails. Throws only when `signal` is aborted.
   */
  async fetchAll(peers: readonly string[], wanted: readonly WantedBlob[], work: BlobWork): Promise<void> {
    let missing = await this.#findMissing(wanted, work)
    while (missing.length > 0 && !work.signal.aborted) {
      const [others, own] = [
        missing.filter((one) => this.#underWay.has(one)),
        missing.filter((one) => !this.#underWay.has(one)),
      ]
      const failed: WantedBlob[] = []
      await Promise.all([
        own.length > 0 ? this.#fetch(peers, own, work) : undefined,
        others.length > 0 ? this.#waitForOthers(others, work, (one) => failed.push(one)) : undefined,
      ])
      missing = failed
    }
    work.signal.throwIfAborted()
  }

  /** A client that waits hastens what it waits for. */
  async #waitForOthers(
    others: readonly WantedBlob[],
    work: BlobWork,
    onFailed: (one: WantedBlob) => void,
  ): Promise<void> {
    const isWaited = work.isWaited === true
    if (isWaited) this.#makeRoom(1)
    try {
      await Promise.all(
        others.map(async (one) => {
          if (await this.#underWay.waitFor(one, work)) work.onOutcome({ wanted: one })
          else if (!work.signal.aborted) onFailed(one)
        }),
      )
    } finally {
      if (isWaited) this.#makeRoom(-1)
    }
  }

  async #fetch(peers: readonly string[], missing: readonly WantedBlob[], asked: BlobWork): Promise<void> {
    using shared = this.#underWay.begin(missing)
    const onOutcome = (outcome: BlobOutcome) => {
      shared.settle(outcome.wanted, outcome.error === undefined)
      asked.onOutcome(outcome)
    }
    const work = { ...asked, onOutcome }
    const plan = this.#planFor(peers)
    const neighbours = this.#openNeighbours(plan, peers, missing)
    const isWaited = work.isWaited === true
    const chunked = await this.#findChunked(missing, plan, work)
    const wanted = new Map(missing.map((one) => [one.digest, one]))
    const fetch = new BlobFetch({ options: this.#options, plan, wanted, chunked, neighbours }, work)
    shared.start(fetch)
    if (isWaited) this.#makeRoom(1)
    else this.#background.set(plan, fetch)
    if (!isWaited && this.#waiting > 0) plan.limitLoad(BACKGROUND_LOAD)
    try {
      await fetch.run()
    } finally {
      if (isWaited) this.#makeRoom(-1)
      else this.#background.delete(plan)
    }
  }

  #planFor(peers: readonly string[]): FetchPlan {
    const { host, progress, hello = NOWHERE, presence } = this.#options
    const own = { id: host.peerId, site: hello.site, region: hello.region }
    const plan = new FetchPlan({ own, memory: this.#memory, smallBytes: MAX_INLINE_BYTES })
    const states = new Map(host.peers().map((peer) => [peer.peerId, peer]))
    for (const id of new Set(peers)) {
      const { site, region } = presence?.find(id) ?? NOWHERE
      const state = states.get(id)
      const isConnected = state?.connected === true
      plan.addPeer({ id, site, region, isConnected, rttMs: state?.rttMs, holds: 'unknown' }, progress?.now() ?? 0)
    }
    return plan
  }

  #openNeighbours(
    plan: FetchPlan,
    peers: readonly string[],
    missing: readonly WantedBlob[],
  ): BlobNeighbours | undefined {
    const { nearby, host, progress } = this.#options
    if (nearby === undefined) return undefined
    const linked = new Set(peers)
    const hasClock = progress !== undefined
    return new BlobNeighbours({ nearby, host, plan, linked, hasClock, now: () => progress?.now() ?? 0 }, missing)
  }

  /** One peer gives a blob quickest in one go; where it was begun by chunks it goes on by chunks. */
  async #findChunked(missing: readonly WantedBlob[], plan: FetchPlan, work: BlobWork): Promise<ChunkedWanted[]> {
    const digests = new Set<string>(missing.map(({ digest }) => digest))
    const chunked: ChunkedWanted[] = []
    for (const one of missing) {
      if (!isChunkable(one) || digests.has(one.chunkRoot) || work.signal.aborted) continue
      if (plan.connectedPeers > 1 || (await this.#hasKeptChunks(one))) chunked.push(one)
    }
    return chunked
  }

  /** Where the disk does not tell, what it has does not count. */
  async #hasKeptChunks({ digest }: WantedBlob): Promise<boolean> {
    try {
      return await this.#options.blobs.hasKeptChunks(digest)
    } catch (error) {
      if (isFeedmeshError(error, 'STORAGE_IO')) return false
      throw error
    }
  }

  #makeRoom(change: 1 | -1): void {
    const before = this.#waiting
    this.#waiting += change
    if (before > 0 && this.#waiting > 0) return
    for (const [plan, fetch] of this.#background) {
      plan.limitLoad(this.#waiting > 0 ? BACKGROUND_LOAD : undefined)
      fetch.act()
    }
  }

  /** Those that have to be fetched: bytes that a lost database left on disk are made known again. */
  async #findMissing(wanted: readonly WantedBlob[], work: BlobWork): Promise<WantedBlob[]> {
    const missing: WantedBlob[] = []
    for (const one of wanted) {
      if (work.signal.aborted) return []
      if (one.size > MAX_INLINE_BYTES && (await this.#isReadmitted(one))) work.onOutcome({ wanted: one })
      else missing.push(one)
    }
    return missing
  }

  /** Where the disk does not give them, the peers are asked. */
  async #isReadmitted({ digest }: WantedBlob): Promise<boolean> {
    try {
      return await this.#options.blobs.readmit(digest)
    } catch (error) {
      if (isFeedmeshError(error, 'STORAGE_IO', 'CORRUPT')) return false
      throw error
    }
  }
}

function isChunkable(one: WantedBlob): one is ChunkedWanted {
  return one.chunkRoot !== undefined && one.size >= CHUNKED_FROM_BYTES && one.size <= MAX_CHUNKED_BYTES
}
