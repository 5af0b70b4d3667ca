/**
 * Fetches blobs from a peer over channels of the host: several of them, several requests under way on each, resumed by offset
 * after a break and over restarts. Bytes are hashed while they are written; nothing unverified becomes known to the store.
 */

import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import { Exchange, parseError } from '../../protocols/mesh/exchange.ts'
import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { MeshHost } from '../network/host.ts'
import { type BlobStore, MAX_INLINE_BYTES, type StagedBlob } from '../store/blobs.ts'
import type { Records } from '../store/records.ts'

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

export interface BlobFetcherOptions {
  readonly host: MeshHost
  readonly records: Records
  readonly blobs: BlobStore
  readonly reach: ReachFaultPoint
  /** What a peer has to give while a blob is waited for; unlimited unless told. */
  readonly progress?: ProgressRule
}

const STREAMS = 4
/** Requests under way on one stream; only small blobs wait behind each other. */
const PIPELINE = 64
/** Small blobs that share one batch. */
const BATCH = 64

/** A stream that broke this often is not opened again in this fetch. */
const MAX_BREAKS = 3

interface Work {
  readonly signal: AbortSignal
  readonly onOutcome: (outcome: BlobOutcome) => void
}

interface Pending {
  readonly wanted: WantedBlob
  readonly staged: StagedBlob
}

type BlobExchange = Exchange<BlobRequest, BlobReply>

export class BlobFetcher {
  readonly #options: BlobFetcherOptions

  constructor(options: BlobFetcherOptions) {
    this.#options = options
  }

  /** Calls `onOutcome` once for each wanted blob, in any order. Throws only when `signal` is aborted. */
  async fetchAll(
    peer: string,
    wanted: readonly WantedBlob[],
    work: { readonly signal: AbortSignal; readonly onOutcome: (outcome: BlobOutcome) => void },
  ): Promise<void> {
    // Large ones first, so that none is left alone at the end.
    const queue = (await this.#findOnDisk(wanted, work)).sort((a, b) => a.size - b.size)
    const streams = Array.from({ length: Math.min(STREAMS, queue.length) }, () => this.#runStream(peer, queue, work))
    await Promise.all(streams)
    work.signal.throwIfAborted()
  }

  /** Those that have to be fetched: bytes that a lost database left on disk are made known again. */
  async #findOnDisk(wanted: readonly WantedBlob[], work: Work): Promise<WantedBlob[]> {
    const missing: WantedBlob[] = []
    for (const one of wanted) {
      if (work.signal.aborted) break
      if (one.size > MAX_INLINE_BYTES && (await this.#isReadmitted(one))) work.onOutcome({ wanted: one })
      else missing.push(one)
    }
    return missing
  }

  /** Where the disk does not give them, the peer is asked. */
  async #isReadmitted({ digest }: WantedBlob): Promise<boolean> {
    try {
      return await this.#options.blobs.readmit(digest)
    } catch (error) {
      if (isFeedmeshError(error, 'STORAGE_IO', 'CORRUPT')) return false
      throw error
    }
  }

  /** Takes work off the queue until it is empty; a broken stream is opened again, and fails what is left after MAX_BREAKS. */
  async #runStream(peer: string, queue: WantedBlob[], work: Work): Promise<void> {
    for (let breaks = 1; queue.length > 0 && !work.signal.aborted; breaks += 1) {
      const pending: Pending[] = []
      try {
        const channel = await this.#options.host.open(peer, BLOB_PROTOCOL, work.signal)
        await using exchange: BlobExchange = new Exchange(channel, {
          out: blobRequest,
          in: blobReply,
          what: BLOB_PROTOCOL,
          progress: this.#options.progress,
        })
        await this.#drainQueue(exchange, queue, { pending, onOutcome: work.onOutcome })
      } catch (error) {
        for (const interrupted of pending) await leave(interrupted)
        queue.push(...pending.map((one) => one.wanted))
        if (breaks < MAX_BREAKS && !work.signal.aborted) continue
        for (const wanted of queue.splice(0)) work.onOutcome({ wanted, error: asFeedmeshError(error) })
      }
    }
  }

  async #drainQueue(
    exchange: BlobExchange,
    queue: WantedBlob[],
    state: { pending: Pending[]; onOutcome: (outcome: BlobOutcome) => void },
  ): Promise<void> {
    const { pending, onOutcome } = state
    const sealed: { wanted: WantedBlob; writes: Awaited<ReturnType<StagedBlob['seal']>>['writes'] }[] = []
    const store = async () => {
      const batch = sealed.splice(0)
      if (batch.length === 0) return
      try {
        await this.#options.records.write(batch.flatMap((one) => one.writes))
        this.#options.reach('adopt.blob')
        for (const { wanted } of batch) onOutcome({ wanted })
      } catch (error) {
        for (const { wanted } of batch) onOutcome({ wanted, error: asFeedmeshError(error) })
      }
    }
    try {
      while (queue.length > 0 || pending.length > 0) {
        if (pending.length <= PIPELINE / 2) await this.#askMore(exchange, queue, state)
        const next = pending[0]
        if (next === undefined) continue
        const outcome = await this.#receive(exchange, next)
        pending.shift()
        if (outcome instanceof FeedmeshError) onOutcome({ wanted: next.wanted, error: outcome })
        else sealed.push({ wanted: next.wanted, writes: outcome.writes })
        if (sealed.length >= BATCH || pending.length === 0) await store()
      }
    } finally {
      // Also when the stream breaks: what arrived whole is kept and told.
      await store()
    }
    await exchange.end()
  }

  /** Fills the pipeline; the requests go out in one write. */
  async #askMore(
    exchange: BlobExchange,
    queue: WantedBlob[],
    state: { pending: Pending[]; onOutcome: (outcome: BlobOutcome) => void },
  ): Promise<void> {
    const requests: BlobRequest[] = []
    while (queue.length > 0 && mayAsk(state.pending, queue.at(-1)!)) {
      const request = await this.#prepare(queue.pop()!, state)
      if (request !== undefined) requests.push(request)
    }
    await exchange.sendAll(requests)
  }

  /** Makes room for the blob; undefined when there is none, which has been told. */
  async #prepare(
    wanted: WantedBlob,
    state: { pending: Pending[]; onOutcome: (outcome: BlobOutcome) => void },
  ): Promise<BlobRequest | undefined> {
    let staged: StagedBlob
    try {
      // Small blobs are not worth taking up again: they cost less than finding out.
      const resume =
        wanted.size > MAX_INLINE_BYTES || wanted.digest.startsWith('sha512:') ? { resume: wanted.digest } : {}
      staged = await this.#options.blobs.stage({ maxBytes: wanted.size, ...resume })
    } catch (error) {
      state.onOutcome({ wanted, error: asFeedmeshError(error) })
      return undefined
    }
    state.pending.push({ wanted, staged })
    const { unit, key, digest } = wanted
    return { kind: 'get', feedId: feedIdBytes(wanted.feedId), unit, key, digest, offset: staged.offset }
  }

  /** The sealed blob, or why this one failed while the stream goes on. @throws when the stream is broken */
  async #receive(exchange: BlobExchange, pending: Pending) {
    const { wanted, staged } = pending
    exchange.expect()
    const reply = await exchange.receive()
    if (reply.kind === 'error') {
      await leave(pending)
      return parseError(reply)
    }
    if (staged.offset + reply.length !== wanted.size) {
      throw new FeedmeshError(
        'PEER_INVALID',
        `${wanted.digest} of ${wanted.unit} has ${staged.offset + reply.length} bytes at the peer instead of ${wanted.size}`,
      )
    }
    for await (const piece of exchange.receiveBytes(reply.length)) await staged.write(piece)
    try {
      return await staged.seal(wanted.digest)
    } catch (error) {
      await staged[Symbol.asyncDispose]()
      return asFeedmeshError(error)
    }
  }
}

function mayAsk(pending: readonly Pending[], next: WantedBlob): boolean {
  return (
    pending.length === 0 ||
    (pending.length < PIPELINE &&
      next.size <= MAX_INLINE_BYTES &&
      pending.every(({ wanted }) => wanted.size <= MAX_INLINE_BYTES))
  )
}

/** What arrived of a large blob stays for the next attempt, unless the disk does not let it; then it is fetched anew. */
async function leave({ wanted, staged }: Pending): Promise<void> {
  try {
    if (staged.size > 0 && wanted.size > MAX_INLINE_BYTES) await staged.keep()
  } catch (error) {
    if (!isFeedmeshError(error)) throw error
  } finally {
    await staged[Symbol.asyncDispose]()
  }
}
