/**
 * One blob on its way into the store by chunks that come in any order. A chunk counts once its sha256 is the listed one;
 * whoever reads sees only such. The hash of the whole follows the chunks that are here without a gap.
 *
 * A kill leaves the draft with whatever was written: the next staging reads it and counts what verifies.
 */

import { algorithmOf, type Digest, sha256Digest } from '../catalog/digest.ts'
import { CHUNKED_FROM_BYTES } from '../catalog/row.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { SparseDraft } from './blob-medium.ts'
import { type ByteRange, CHUNK_BYTES, type ChunkStageOptions, type SealedBlob, type StagedChunks } from './blobs.ts'
import { OpenChunk, PrefixHashes } from './chunk-hashes.ts'
import type { FinishedContent } from './staged-content.ts'
import { asStorageError } from './storage-errors.ts'

const HASH_BYTES = 32

export interface ChunkStagingHost {
  readonly reach: ReachFaultPoint
  openDraft(): Promise<SparseDraft>
  /** Puts a finished content to its final place. The draft is committed or discarded. */
  place(content: FinishedContent): Promise<SealedBlob>
  /** Nothing can be read from the staging any more. */
  release(): void
}

/** Bytes of the chunk list of a file. */
export function chunkListBytes(size: number): number {
  return Math.ceil(size / CHUNK_BYTES) * HASH_BYTES
}

function verifyChunkList({ digest, size, chunkRoot, chunkList }: ChunkStageOptions): void {
  if (size < CHUNKED_FROM_BYTES) throw new FeedmeshError('INTERNAL', `${digest} of ${size} bytes has no chunks`)
  const found = sha256Digest(chunkList)
  if (found !== chunkRoot)
    throw new FeedmeshError('PEER_INVALID', `the chunk list of ${digest} is ${found} instead of ${chunkRoot}`)
  const expected = chunkListBytes(size)
  if (chunkList.length === expected) return
  throw new FeedmeshError(
    'PEER_INVALID',
    `the chunk list of ${digest} has ${chunkList.length} bytes, a file of ${size} bytes has one of ${expected}`,
  )
}

export class StagedChunkSet implements StagedChunks {
  readonly count: number
  readonly #digest: Digest
  readonly #size: number
  readonly #chunkList: Buffer
  readonly #host: ChunkStagingHost
  readonly #draft: SparseDraft
  readonly #verified: Uint8Array
  readonly #open = new Map<number, OpenChunk>()
  /** Of the chunks before `#frontier`, all of them verified. */
  #prefix: PrefixHashes
  #frontier = 0
  /** Reads what came out of order; while it does, `#prefix` is in the middle of a chunk. */
  #readingBack: Promise<void> | undefined
  #readFailure: unknown
  readonly #underWay = new Set<Promise<unknown>>()
  #state: 'open' | 'sealed' | 'ended' = 'open'

  private constructor(options: ChunkStageOptions, host: ChunkStagingHost, draft: SparseDraft) {
    this.#digest = options.digest
    this.#size = options.size
    this.#chunkList = Buffer.from(options.chunkList)
    this.#host = host
    this.#draft = draft
    this.count = options.chunkList.length / HASH_BYTES
    this.#verified = new Uint8Array(this.count)
    this.#prefix = PrefixHashes.begin(['sha256', algorithmOf(options.digest)])
  }

  /** What the draft holds is verified chunk by chunk. @throws as `BlobStore.stageChunks` */
  static async begin(options: ChunkStageOptions, host: ChunkStagingHost): Promise<StagedChunkSet> {
    verifyChunkList(options)
    const draft = await host.openDraft()
    const staged = new StagedChunkSet(options, host, draft)
    try {
      await staged.#verifyKept(options.signal)
      return staged
    } catch (error) {
      if (options.signal?.aborted === true) await draft.keep()
      else await draft.discard()
      throw asStorageError(error, 'cannot read what was kept of a blob; it was removed')
    }
  }

  async #verifyKept(signal: AbortSignal | undefined): Promise<void> {
    for (let index = 0; index < this.count; index += 1) {
      const range = this.#rangeOf(index)
      if (range.end > this.#draft.initialSize) return
      if (signal?.aborted === true)
        throw new FeedmeshError('ABORTED', `reading what is here of ${this.#digest} was stopped`)
      const chunk = this.#beginChunk(index)
      for await (const piece of this.#draft.read(range)) {
        chunk.update(piece)
        chunk.held += piece.length
      }
      if (this.#isListed(index, chunk)) this.#admit(index, chunk)
    }
  }

  isVerified(index: number): boolean {
    return this.#verified[index] === 1
  }

  heldOf(index: number): number {
    return this.#open.get(index)?.held ?? 0
  }

  /** Whether all of the range may be read. */
  covers({ start, end }: ByteRange): boolean {
    if (this.#state === 'ended' || start < 0 || start >= end || end > this.#size) return false
    for (let index = Math.floor(start / CHUNK_BYTES); index * CHUNK_BYTES < end; index += 1)
      if (!this.isVerified(index)) return false
    return true
  }

  write(index: number, bytes: Uint8Array): Promise<void> {
    return this.#during(`write chunk ${index} of ${this.#digest}`, async () => {
      const { start, end } = this.#rangeOf(index)
      if (this.isVerified(index) || this.heldOf(index) + bytes.length > end - start)
        throw new FeedmeshError('TOO_LARGE', `chunk ${index} of ${this.#digest} has no more than ${end - start} bytes`)
      const chunk = this.#open.get(index) ?? this.#beginChunk(index)
      this.#open.set(index, chunk)
      try {
        // The disk writes while the processor hashes.
        const written = this.#draft.write(start + chunk.held, bytes)
        chunk.update(bytes)
        await written
        chunk.held += bytes.length
        this.#host.reach('blob.writing')
      } catch (error) {
        this.#open.delete(index)
        throw error
      }
    })
  }

  verify(index: number): Promise<void> {
    return this.#during(`verify chunk ${index} of ${this.#digest}`, async () => {
      const chunk = this.#open.get(index)
      const { start, end } = this.#rangeOf(index)
      if (chunk === undefined || chunk.held !== end - start)
        throw new FeedmeshError('INTERNAL', `chunk ${index} of ${this.#digest} has ${chunk?.held ?? 0} bytes here`)
      this.#open.delete(index)
      if (!this.#isListed(index, chunk)) {
        const message = `chunk ${index} of ${this.#digest} is not the listed one; its bytes were thrown away, fetch all of it again`
        throw new FeedmeshError('PEER_INVALID', message)
      }
      this.#admit(index, chunk)
      this.#host.reach('blob.chunk')
    })
  }

  forget(index: number): void {
    this.#open.delete(index)
  }

  async seal(): Promise<SealedBlob> {
    const hashes = await this.#during(`store ${this.#digest}`, async () => {
      this.#host.reach('blob.written')
      return await this.#finishHashes()
    })
    const algorithm = algorithmOf(this.#digest)
    try {
      const found = `${algorithm}:${hashes[algorithm]}`
      if (found !== this.#digest) {
        const message = `expected ${this.#digest}, got ${found} although each chunk is as listed; the chunk list is of another content, fetch all of it again without`
        throw new FeedmeshError('PEER_INVALID', message)
      }
      this.#state = 'sealed'
      const content = { digest: this.#digest, size: this.#size, hashes, chunkList: this.#chunkList }
      return await this.#host.place({ ...content, inline: undefined, draft: this.#draft })
    } catch (error) {
      // The first error is the one to report; should the bytes stay, they are verified before they are used.
      await this.#draft.discard().catch(() => undefined)
      this.#end()
      throw asStorageError(error, `cannot store ${this.#digest}`)
    }
  }

  async keep(): Promise<void> {
    this.#verifyOpen('keep chunks')
    await this.#settle()
    try {
      if (this.#verified.includes(1)) await this.#draft.keep()
      else await this.#draft.discard()
    } catch (error) {
      await this.#draft.discard().catch(() => undefined) // The first error is the one to report.
      throw asStorageError(error, `cannot keep chunks of ${this.#digest}`)
    } finally {
      this.#end()
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#state !== 'open') return this.#end()
    try {
      await this.#settle()
      await this.#draft.discard()
    } finally {
      this.#end()
    }
  }

  #rangeOf(index: number): ByteRange {
    const start = index * CHUNK_BYTES
    return { start, end: Math.min(start + CHUNK_BYTES, this.#size) }
  }

  #beginChunk(index: number): OpenChunk {
    const isNext = index === this.#frontier && this.#readingBack === undefined
    return new OpenChunk(isNext ? this.#prefix.copy() : undefined)
  }

  #isListed(index: number, chunk: OpenChunk): boolean {
    const at = index * HASH_BYTES
    return chunk.digest().equals(this.#chunkList.subarray(at, at + HASH_BYTES))
  }

  /** The chunk is verified. */
  #admit(index: number, chunk: OpenChunk): void {
    this.#verified[index] = 1
    if (chunk.ahead !== undefined && index === this.#frontier) {
      this.#prefix = chunk.ahead
      this.#frontier += 1
    }
    this.#readBack()
  }

  /** Hashes what follows on and came before its turn. */
  #readBack(): void {
    if (this.#state !== 'open' || this.#readingBack !== undefined || this.#readFailure !== undefined) return
    if (!this.isVerified(this.#frontier)) return
    this.#readingBack = this.#readOn()
      .catch((error: unknown) => {
        this.#readFailure = error
      })
      .finally(() => {
        this.#readingBack = undefined
        this.#readBack()
      })
  }

  async #readOn(): Promise<void> {
    while (this.#state === 'open' && this.isVerified(this.#frontier)) {
      const { start, end } = this.#rangeOf(this.#frontier)
      let bytes = 0
      for await (const piece of this.#draft.read({ start, end })) {
        this.#prefix.update(piece)
        bytes += piece.length
      }
      if (bytes !== end - start)
        throw new FeedmeshError('CORRUPT', `chunk ${this.#frontier} of ${this.#digest} is gone from the disk`)
      this.#frontier += 1
    }
  }

  async #finishHashes(): Promise<Record<string, string>> {
    while (this.#readingBack !== undefined) await this.#readingBack
    if (this.#readFailure !== undefined) throw this.#readFailure
    if (this.#frontier < this.count)
      throw new FeedmeshError('INTERNAL', `chunk ${this.#frontier} of ${this.#digest} is not verified`)
    return { ...this.#prefix.finish() }
  }

  #verifyOpen(what: string): void {
    if (this.#state !== 'open') throw new FeedmeshError('INTERNAL', `cannot ${what}: the staging is over`)
  }

  async #during<T>(what: string, run: () => Promise<T>): Promise<T> {
    this.#verifyOpen(what)
    const work = run()
    this.#underWay.add(work)
    try {
      return await work
    } catch (error) {
      throw asStorageError(error, `cannot ${what}`)
    } finally {
      this.#underWay.delete(work)
    }
  }

  /** Until nothing reads or writes the draft. */
  async #settle(): Promise<void> {
    this.#state = 'ended'
    await Promise.allSettled(this.#underWay)
    while (this.#readingBack !== undefined) await this.#readingBack
  }

  #end(): void {
    this.#state = 'ended'
    this.#host.release()
  }
}
