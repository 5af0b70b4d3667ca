/**
 * Fetches blobs from the peers that may have them, over channels of the host: several peers, several channels to each, several
 * requests under way on each, resumed by offset after a break, at another peer, and over restarts.
 */

import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { type FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { FetchPlan } from '../fetching/fetch-plan.ts'
import { PeerMemory } from '../fetching/peer-memory.ts'
import type { MeshHost } from '../network/host.ts'
import { type BlobStore, MAX_INLINE_BYTES } from '../store/blobs.ts'
import type { Records } from '../store/records.ts'
import { BlobFetch } from './blob-fetch.ts'

export interface WantedBlob {
  readonly feedId: FeedId
  readonly unit: string
  readonly key: string
  readonly digest: Digest
  readonly size: number
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
}

/** What is under way of a fetch that nobody waits for while a client waits for another: one large blob. */
const BACKGROUND_LOAD = 2

const NOWHERE: Place = { site: '', region: '' }

export class BlobFetcher {
  readonly #options: BlobFetcherOptions
  readonly #memory = new PeerMemory()
  readonly #background = new Map<FetchPlan, BlobFetch>()
  #waiting = 0

  constructor(options: BlobFetcherOptions) {
    this.#options = options
  }

  /** Whom of `peers` to ask, and when, is decided by a plan; their order does not count. Throws only when `signal` is aborted. */
  async fetchAll(peers: readonly string[], wanted: readonly WantedBlob[], work: BlobWork): Promise<void> {
    const missing = await this.#findMissing(wanted, work)
    if (missing.length > 0) await this.#fetch(peers, missing, work)
    work.signal.throwIfAborted()
  }

  async #fetch(peers: readonly string[], missing: readonly WantedBlob[], work: BlobWork): Promise<void> {
    const plan = this.#planFor(peers)
    const isWaited = work.isWaited === true
    plan.want(missing.map(({ digest, size }) => ({ digest, size, isWaited })))
    const fetch = new BlobFetch(this.#options, plan, new Map(missing.map((one) => [one.digest, one])), work)
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
