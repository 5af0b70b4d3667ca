/**
 * A blob that is being fetched, read by those who wait for it while it arrives.
 *
 * The fetch tells how the blob grows (`BlobFollower`); readers follow what is written, each at its own pace. The digest of
 * the whole is known last, so each reader is given all but the end of what it asked for, and the end only once the blob is
 * known to be right and stored: whoever is given all of it was given the right bytes. When bytes that were passed on turn out
 * wrong or are lost, the stream fails, and what reads it can tell that something is missing.
 */

import { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import { type BlobStore, type ByteRange, CHUNK_BYTES, type StagedBlob, type StagedReader } from '../store/blobs.ts'

/** Told by a fetch how one blob grows. */
export interface BlobFollower {
  /**
   * The bytes come into this staging from now on, in order, or by chunks that the store gives once they are verified. Called
   * before the first write; what came before and is not in the staging is lost. @throws as `StagedBlob.openReader`
   */
  begin(staged: FollowedStaging | 'by chunks'): Promise<void>
  /** There is more to read: in the staging, or among the verified chunks that the store gives. */
  grown(): void
}

export type FollowedStaging = Pick<StagedBlob, 'offset' | 'size' | 'openReader'>

/** What a reader is not given before the digest of the whole is known to be right. */
export const WITHHELD_BYTES = 64 * 1024
/** Smaller blobs are here before following them would help anybody. */
const MIN_FOLLOWED_BYTES = 4 * WITHHELD_BYTES
const PIECE_BYTES = 256 * 1024

interface Source {
  readonly staged: FollowedStaging
  /** undefined where the staging cannot be followed. */
  readonly reader: StagedReader | undefined
}

/** Where one reader is. */
interface Cursor {
  readonly range: ByteRange
  readonly signal: AbortSignal
  at: number
  /** The `#lineage` of what was passed on. */
  lineage: number
}

export interface GrowingBlobOptions {
  readonly blobs: Pick<BlobStore, 'open' | 'openVerified'>
  readonly digest: Digest
  readonly size: number
  /** Nobody reads any more. */
  onIdle(): void
}

export class GrowingBlob implements BlobFollower {
  readonly #options: GrowingBlobOptions
  readonly #waiting = new Set<() => void>()
  #source: Source | 'chunks' | undefined
  /** Rises whenever bytes that may have been passed on are lost. */
  #lineage = 0
  #version = 0
  #readers = 0
  #state: 'growing' | 'here' | FeedmeshError = 'growing'

  constructor(options: GrowingBlobOptions) {
    this.#options = options
  }

  get readers(): number {
    return this.#readers
  }

  /** Bytes that are here without a gap, as far as the fetch goes in order. */
  get arrivedBytes(): number {
    return this.#staged?.staged.size ?? 0
  }

  /** What comes in order. */
  get #staged(): Source | undefined {
    return this.#source === 'chunks' ? undefined : this.#source
  }

  async begin(staged: FollowedStaging | 'by chunks'): Promise<void> {
    if (this.#options.size < MIN_FOLLOWED_BYTES) return
    const before = this.#source
    const next = staged === 'by chunks' ? 'chunks' : { staged, reader: await staged.openReader?.() }
    if (isLost(before, next)) this.#lineage += 1
    this.#source = next
    if (before !== 'chunks') await before?.reader?.[Symbol.asyncDispose]()
    this.grown()
  }

  grown(): void {
    this.#version += 1
    const waiting = [...this.#waiting]
    this.#waiting.clear()
    for (const wake of waiting) wake()
  }

  /** How the fetch ended: the blob is known to the store, or why not. */
  end(error: FeedmeshError | undefined): void {
    this.#state = error ?? 'here'
    this.grown()
    if (this.#readers === 0) this.#close()
  }

  /** Resolves with the first bytes. @throws why there are none */
  async open(range: ByteRange): Promise<Readable> {
    const leaving = new AbortController()
    const cursor: Cursor = { range, signal: leaving.signal, at: range.start, lineage: this.#lineage }
    this.#readers += 1
    try {
      const first = await this.#next(cursor)
      return this.#stream(cursor, first, leaving)
    } catch (error) {
      this.#leave()
      throw error
    }
  }

  #stream(cursor: Cursor, first: Uint8Array | null, leaving: AbortController): Readable {
    let ready: Uint8Array | null | undefined = first
    const next = async () => {
      const piece = ready === undefined ? await this.#next(cursor) : ready
      ready = undefined
      return piece
    }
    return new Readable({
      highWaterMark: PIECE_BYTES,
      read() {
        next().then(
          (piece) => this.push(piece),
          (error: unknown) => this.destroy(asFeedmeshError(error)),
        )
      },
      destroy: (error, done) => {
        leaving.abort()
        this.#leave()
        done(error)
      },
    })
  }

  /** null at the end of the range. */
  async #next(cursor: Cursor): Promise<Uint8Array | null> {
    const { range, signal } = cursor
    while (cursor.at < range.end) {
      const version = this.#version
      this.#verifyLineage(cursor)
      const piece = await this.#find(cursor, version)
      // What was read before bytes were lost may be such bytes.
      this.#verifyLineage(cursor)
      if (piece !== undefined && piece.length > 0) {
        cursor.at += piece.length
        return piece
      }
      if (this.#version === version) await this.#wait(signal)
    }
    return null
  }

  /** @throws why the reader cannot go on */
  #verifyLineage(cursor: Cursor): void {
    cursor.signal.throwIfAborted()
    if (this.#state instanceof FeedmeshError) throw this.#state
    if (cursor.lineage === this.#lineage) return
    if (cursor.at > cursor.range.start)
      throw new FeedmeshError(
        'CORRUPT',
        `the first ${cursor.at} bytes of ${this.#options.digest} came from a peer that could not finish them; ask again`,
      )
    cursor.lineage = this.#lineage
  }

  async #find(cursor: Cursor, version: number): Promise<Uint8Array | undefined> {
    try {
      return this.#state === 'here' ? await this.#findStored(cursor) : await this.#findArrived(cursor)
    } catch (error) {
      // The staging may have ended meanwhile.
      if (this.#version !== version) return undefined
      throw error
    }
  }

  async #findArrived({ at, range }: Cursor): Promise<Uint8Array | undefined> {
    const source = this.#source
    // Verified chunks are right; that they make up the whole is known last.
    const end =
      source === 'chunks' ? Math.min(range.end, this.#options.size - WITHHELD_BYTES) : range.end - WITHHELD_BYTES
    if (source === 'chunks')
      return at < end ? await this.#findVerified({ start: at, end: Math.min(end, at + PIECE_BYTES) }) : undefined
    const maxBytes = Math.min(PIECE_BYTES, end - at, (source?.staged.size ?? 0) - at)
    return maxBytes > 0 ? await source?.reader?.read(at, maxBytes) : undefined
  }

  async #findVerified({ start, end }: ByteRange): Promise<Uint8Array | undefined> {
    const { blobs, digest } = this.#options
    const chunkEnd = (Math.floor(start / CHUNK_BYTES) + 1) * CHUNK_BYTES
    await using pieces = await blobs.openVerified(digest, { start, end: Math.min(end, chunkEnd) })
    return pieces === undefined ? undefined : await collect(pieces)
  }

  /** From the staging while it is open: the blob may be gone from the store before a slow reader is through. */
  async #findStored({ at, range }: Cursor): Promise<Uint8Array> {
    const { blobs, digest, size } = this.#options
    const maxBytes = Math.min(PIECE_BYTES, range.end - at)
    const source = this.#staged
    const piece = source?.staged.size === size ? await source.reader?.read(at, maxBytes) : undefined
    if (piece !== undefined && piece.length > 0) return piece
    return await collect((await blobs.open(digest, { start: at, end: at + maxBytes })) as AsyncIterable<Uint8Array>)
  }

  #wait(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#waiting.delete(wake)
        reject(signal.reason as Error)
      }
      if (signal.aborted) return leave()
      this.#waiting.add(wake)
      signal.addEventListener('abort', leave, { once: true })
    })
  }

  #leave(): void {
    this.#readers -= 1
    if (this.#readers > 0) return
    this.#options.onIdle()
    if (this.#state !== 'growing') this.#close()
  }

  #close(): void {
    const reader = this.#staged?.reader
    this.#source = undefined
    void reader?.[Symbol.asyncDispose]().then(undefined, () => undefined) // Nothing was written through it.
  }
}

/** Whether bytes that may have been passed on are not among those that follow. */
function isLost(before: Source | 'chunks' | undefined, next: Source | 'chunks'): boolean {
  if (before === undefined) return false
  if (before === 'chunks' || next === 'chunks') return before !== next
  return next.staged.offset < before.staged.size
}

async function collect(pieces: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const copies: Buffer[] = []
  for await (const piece of pieces) copies.push(Buffer.from(piece))
  return copies.length === 1 ? (copies[0] ?? Buffer.alloc(0)) : Buffer.concat(copies)
}
