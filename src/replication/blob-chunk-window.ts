/**
 * The blobs of one fetch that come by chunks, a few at a time in the order in which they are wanted: nodes of a site that fetch
 * the same then work at the same blobs, and have something to exchange.
 *
 * For each: its chunk list is fetched, unless it is here; what an earlier fetch left is verified; the chunks that are missing
 * are planned; once all are here the whole is sealed. Where the list cannot be had, or is of another content, the blob is
 * planned whole: then nobody is blamed for what the publisher has signed.
 */

import type { Digest } from '../catalog/digest.ts'
import { asFeedmeshError, type FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { PlannedBlob } from '../fetching/parts.ts'
import { type BlobStore, CHUNK_BYTES, type SealedBlob } from '../store/blobs.ts'
import { chunkListBytes } from '../store/staged-chunks.ts'
import { ChunkedBlob } from './blob-chunks.ts'
import type { WantedBlob } from './blob-fetcher.ts'

export type ChunkedWanted = WantedBlob & { readonly chunkRoot: Digest }

/** Blobs that come by chunks at once; each holds a file open. */
const MAX_AT_ONCE = 8

export interface ChunkWindowPort {
  readonly blobs: BlobStore
  readonly signal: AbortSignal
  /** Asks for blobs, or for the missing parts of one. */
  plan(blob: PlannedBlob): void
  /** Asks for the chunk list, which is told by `onList`. */
  fetchList(list: WantedBlob): void
  /** These chunks can be read. */
  onVerified(wanted: WantedBlob, indexes: readonly number[]): void
  /** Makes the blob known. */
  store(wanted: WantedBlob, sealed: SealedBlob): Promise<void>
  /** This node cannot take the blob. */
  fail(wanted: WantedBlob, error: FeedmeshError): void
  /** Something was planned, or is over. */
  act(): void
  /** What should not have happened. */
  onFault(error: unknown): void
  /** Those who read along are given verified chunks from now on. */
  follow(wanted: WantedBlob): Promise<void>
}

export class ChunkWindow {
  readonly #port: ChunkWindowPort
  #queue: ChunkedWanted[] = []
  /** Blobs whose outcome is not known yet; undefined while one is prepared. */
  readonly #active = new Map<string, ChunkedBlob | undefined>()
  readonly #urgent = new Set<string>()
  readonly #lists = new Map<string, PromiseWithResolvers<FeedmeshError | undefined>>()
  readonly #running = new Set<Promise<void>>()
  #isStopped = false

  constructor(port: ChunkWindowPort) {
    this.#port = port
  }

  /** Whether nothing is left to be planned or sealed, but what the plan has. */
  get isIdle(): boolean {
    return this.#queue.length === 0 && this.#running.size === 0
  }

  add(wanted: readonly ChunkedWanted[], isWaited: boolean): void {
    if (isWaited) for (const { digest } of wanted) this.#urgent.add(digest)
    this.#queue.push(...wanted)
    this.#admit()
  }

  /** Where the chunks of the blob are put together. */
  find(digest: string): ChunkedBlob | undefined {
    return this.#active.get(digest)
  }

  /** A client has come to wait for the blob. */
  hasten(digest: string): void {
    this.#urgent.add(digest)
    const next = this.#queue.find((one) => one.digest === digest)
    if (next === undefined) return
    this.#queue = this.#queue.filter((one) => one !== next)
    this.#begin(next)
  }

  isUrgent(digest: string): boolean {
    return this.#urgent.has(digest)
  }

  /** A chunk list is known to the store, or why it cannot be had. */
  onList(digest: string, error: FeedmeshError | undefined): void {
    this.#lists.get(digest)?.resolve(error)
    this.#lists.delete(digest)
  }

  /** The chunk that starts there is verified; with the last one the blob is sealed. */
  onChunk(blob: ChunkedBlob, start: number, isLast: boolean): void {
    this.#port.onVerified(blob.wanted, [start / CHUNK_BYTES])
    if (isLast) this.#run(() => this.#seal(blob))
  }

  /** The blob has failed: what is verified of it stays for the next fetch. */
  leave(digest: string): void {
    const blob = this.#active.get(digest)
    this.#active.delete(digest)
    if (blob !== undefined) this.#run(() => blob.leave())
    this.#admit()
  }

  /** What was not begun, which is no longer wanted. */
  drop(): readonly WantedBlob[] {
    const dropped = this.#queue
    this.#queue = []
    return dropped
  }

  /** Nothing more is asked for. What is verified stays. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#queue = []
    for (const digest of this.#lists.keys()) this.onList(digest, undefined)
    await Promise.all(this.#running)
    for (const blob of this.#active.values()) await blob?.leave()
    this.#active.clear()
  }

  #admit(): void {
    while (this.#active.size < MAX_AT_ONCE) {
      const next = this.#queue.shift()
      if (next === undefined) return
      this.#begin(next)
    }
  }

  #begin(wanted: ChunkedWanted): void {
    this.#active.set(wanted.digest, undefined)
    this.#run(() => this.#prepare(wanted))
  }

  #run(work: () => Promise<void>): void {
    const running = work()
      .catch((error: unknown) => this.#port.onFault(error))
      .finally(() => {
        this.#running.delete(running)
        this.#port.act()
      })
    this.#running.add(running)
  }

  async #prepare(wanted: ChunkedWanted): Promise<void> {
    const { digest, size } = wanted
    const blob = await this.#open(wanted)
    if (blob === undefined || this.#isStopped) {
      await blob?.leave()
      return
    }
    this.#active.set(digest, blob)
    const here = blob.verified
    this.#port.onVerified(wanted, here)
    if (blob.isWhole) return await this.#seal(blob)
    this.#port.plan({ digest, size, partBytes: CHUNK_BYTES, here: new Set(here), isWaited: this.isUrgent(digest) })
  }

  /** undefined when the blob has an outcome, or is planned whole. */
  async #open(wanted: ChunkedWanted): Promise<ChunkedBlob | undefined> {
    const { blobs, signal } = this.#port
    try {
      const chunkList = await this.#getList(wanted)
      if (this.#isStopped) return undefined
      if (chunkList === undefined) {
        this.#planWhole(wanted)
        return undefined
      }
      const blob = await ChunkedBlob.open(blobs, wanted, { chunkList, signal })
      await this.#port.follow(wanted)
      return blob
    } catch (thrown) {
      const error = asFeedmeshError(thrown)
      if (signal.aborted) return undefined
      if (error.code === 'PEER_INVALID') this.#planWhole(wanted)
      else this.#fail(wanted, error)
      return undefined
    }
  }

  /** undefined when nobody gives it, or it is not as long as it should be. */
  async #getList(wanted: ChunkedWanted): Promise<Uint8Array | undefined> {
    const { feedId, unit, key, chunkRoot, size, at } = wanted
    const here = await this.#findList(wanted)
    if (here !== undefined) return here
    const list: WantedBlob = { feedId, unit, key, digest: chunkRoot, size: chunkListBytes(size), ...(at ? { at } : {}) }
    const known = this.#lists.get(chunkRoot)
    const waiting = known ?? Promise.withResolvers<FeedmeshError | undefined>()
    this.#lists.set(chunkRoot, waiting)
    if (known === undefined) {
      this.#port.fetchList(list)
      this.#port.act()
    }
    const error = await waiting.promise
    return error === undefined && !this.#isStopped ? await this.#findList(wanted) : undefined
  }

  async #findList({ chunkRoot, size }: ChunkedWanted): Promise<Uint8Array | undefined> {
    try {
      return await this.#port.blobs.read(chunkRoot, chunkListBytes(size))
    } catch (error) {
      if (isFeedmeshError(error, 'NOT_FOUND', 'TOO_LARGE', 'CORRUPT')) return undefined
      throw error
    }
  }

  async #seal(blob: ChunkedBlob): Promise<void> {
    const { wanted } = blob
    const sealed = await blob.seal()
    if ('code' in sealed) {
      // No peer's fault: each chunk is as the publisher's list says.
      if (sealed.code === 'PEER_INVALID') this.#planWhole(wanted)
      else this.#fail(wanted, sealed)
      return
    }
    await this.#port.store(wanted, sealed)
    this.#active.delete(wanted.digest)
    await blob.close()
    this.#admit()
  }

  #planWhole({ digest, size }: WantedBlob): void {
    this.#active.delete(digest)
    this.#port.plan({ digest, size, isWaited: this.isUrgent(digest) })
    this.#admit()
  }

  #fail(wanted: WantedBlob, error: FeedmeshError): void {
    this.#active.delete(wanted.digest)
    this.#port.fail(wanted, error)
    this.#admit()
  }
}
