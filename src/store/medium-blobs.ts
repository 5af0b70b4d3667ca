/**
 * The blob store: an index record for each blob, its bytes in a record (up to 64 KiB) or in a medium.
 *
 * Invariant: an index record is written only after the bytes are on stable storage (or in the same batch), and removed
 * before them. So a crash leaves at most bytes that no record knows: drafts, and orphans at a final place. Sealing the
 * same content again replaces an orphan.
 */

import type { Readable } from 'node:stream'
import { algorithmOf, type Digest, sha256Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import { decodeBlobFacts, encodeBlobFacts, type StoredBlob } from './blob-facts.ts'
import type { BlobMedium, Draft } from './blob-medium.ts'
import { BlobReading } from './blob-reading.ts'
import {
  type BlobFacts,
  type BlobPieces,
  type BlobStore,
  type ByteRange,
  type ChunkStageOptions,
  type ListedBlob,
  MAX_INLINE_BYTES,
  type SealedBlob,
  type StagedBlob,
  type StagedChunks,
  type StageOptions,
} from './blobs.ts'
import { ContentHashes, type FinishedHashes } from './content-hashes.ts'
import { blobKeyDigest, keys } from './keys.ts'
import type { RecentlySealed } from './recently-sealed.ts'
import type { Records, Write } from './records.ts'
import { StagedChunkSet } from './staged-chunks.ts'
import { type FinishedContent, type FinishedDraft, StagedContent } from './staged-content.ts'
import { asStorageError } from './storage-errors.ts'

/** Orphans are looked up in the records this many at a time. */
const LOOKUP_COUNT = 256

export interface MediumBlobsOptions {
  readonly records: Records
  readonly medium: BlobMedium
  readonly reach: ReachFaultPoint
  readonly sealed: RecentlySealed
}

function indexWrite(digest: Digest, stored: StoredBlob): Write {
  return { type: 'put', key: keys.blob(digest), value: encodeBlobFacts(stored) }
}

function inlineWrites(digest: Digest, bytes: Uint8Array): Write[] {
  return [
    indexWrite(digest, { place: 'inline', size: bytes.length }),
    { type: 'put', key: keys.blobBytes(digest), value: bytes },
  ]
}

export class MediumBlobs implements BlobStore {
  readonly #records: Records
  readonly #medium: BlobMedium
  readonly #reading: BlobReading
  readonly #reach: ReachFaultPoint
  readonly #sealed: RecentlySealed
  readonly #resuming = new Set<Digest>()
  /** Those of `#resuming` that are staged by chunks. */
  readonly #chunked = new Map<Digest, StagedChunkSet>()

  constructor(options: MediumBlobsOptions) {
    this.#records = options.records
    this.#medium = options.medium
    this.#reading = new BlobReading(options.records, options.medium)
    this.#reach = options.reach
    this.#sealed = options.sealed
  }

  async find(digest: Digest): Promise<BlobFacts | undefined> {
    const stored = await this.#reading.find(digest)
    if (stored === undefined) return undefined
    return stored.chunkRoot ? { size: stored.size, chunkRoot: stored.chunkRoot } : { size: stored.size }
  }

  async has(digests: readonly Digest[]): Promise<boolean[]> {
    const found = await this.#records.findMany(digests.map((digest) => keys.blob(digest)))
    return found.map((record) => record !== undefined)
  }

  open(digest: Digest, range?: ByteRange): Promise<Readable> {
    return this.#reading.open(digest, range)
  }

  openPieces(digest: Digest, range?: ByteRange): Promise<BlobPieces> {
    return this.#reading.openPieces(digest, range)
  }

  read(digest: Digest, maxBytes: number): Promise<Uint8Array> {
    return this.#reading.read(digest, maxBytes)
  }

  findSmall(digests: readonly Digest[]): Promise<(Uint8Array | undefined)[]> {
    return this.#reading.findSmall(digests)
  }

  verifyBlob(digest: Digest, signal?: AbortSignal): Promise<'ok' | 'missing' | 'corrupt'> {
    return this.#reading.verify(digest, signal)
  }

  async stage(options: StageOptions): Promise<StagedBlob> {
    const resume = options.resume ?? options.resumeAs
    const release = resume === undefined ? () => {} : this.#reserve(resume)
    try {
      const kept = resume !== undefined && (await this.#medium.partialSize(resume)) > 0
      const createDraft = () => this.#createDraft(resume)
      const place = (content: FinishedContent) => this.#place(content)
      const draft = kept ? await createDraft() : undefined
      return await StagedContent.begin(options, { reach: this.#reach, createDraft, place, release }, draft)
    } catch (error) {
      release()
      throw asStorageError(error, 'cannot start to store a blob')
    }
  }

  async stageChunks(options: ChunkStageOptions): Promise<StagedChunks> {
    const { digest } = options
    const release = this.#reserve(digest)
    const openDraft = () => this.#medium.resumeSparse(digest)
    const place = (content: FinishedContent) => this.#place(content)
    try {
      const staged = await StagedChunkSet.begin(options, { reach: this.#reach, openDraft, place, release })
      this.#chunked.set(digest, staged)
      return staged
    } catch (error) {
      release()
      throw asStorageError(error, 'cannot start to store a blob by chunks')
    }
  }

  /** @returns what lets go of it again. @throws BUSY */
  #reserve(resume: Digest): () => void {
    if (this.#resuming.has(resume))
      throw new FeedmeshError('BUSY', `${resume} is being fetched already; try again later`)
    this.#resuming.add(resume)
    let isReserved = true
    return () => {
      if (!isReserved) return
      isReserved = false
      this.#resuming.delete(resume)
      this.#chunked.delete(resume)
    }
  }

  async hasKeptChunks(digest: Digest): Promise<boolean> {
    try {
      return !this.#chunked.has(digest) && (await this.#medium.hasSparse(digest))
    } catch (error) {
      throw asStorageError(error, `cannot look for chunks of ${digest}`)
    }
  }

  async openVerified(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
    const staged = this.#chunked.get(digest)
    if (staged?.covers(range) !== true) return undefined
    const pieces = await this.#openSparse(digest, range)
    // What was opened belongs to this staging only if it has lasted.
    if (this.#chunked.get(digest) === staged && staged.covers(range)) return pieces
    await pieces?.[Symbol.asyncDispose]()
    return undefined
  }

  async #openSparse(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
    try {
      return await this.#medium.openSparse(digest, range)
    } catch (error) {
      throw asStorageError(error, `cannot open chunks of ${digest}`)
    }
  }

  async partialSize(digest: Digest): Promise<number> {
    try {
      return await this.#medium.partialSize(digest)
    } catch (error) {
      throw asStorageError(error, `cannot look for a part of ${digest}`)
    }
  }

  remove(digest: Digest): Promise<void> {
    return this.#sealed.whileUnsealed(digest, async () => {
      await this.#records.write([
        { type: 'del', key: keys.blob(digest) },
        { type: 'del', key: keys.blobBytes(digest) },
      ])
      try {
        await this.#medium.remove(digest)
      } catch (error) {
        throw asStorageError(error, `cannot delete the file of ${digest}`)
      }
    })
  }

  settle(digest: Digest): void {
    this.#sealed.settle(digest)
  }

  async readmit(digest: Digest): Promise<boolean> {
    const size = await this.#reading.findFileSize(digest)
    if (size === undefined || size === 0) return false
    // From here on `remove` leaves the bytes alone.
    await this.#sealed.add(digest)
    const found = await this.#hashFile(digest, size)
    if (found === undefined) return false
    if (found.chunkList === undefined) {
      await this.#records.write([indexWrite(digest, { place: 'file', size })])
      return true
    }
    const { writes, digest: chunkRoot } = await this.#placeChunkList(found.chunkList)
    await this.#records.write([...writes, indexWrite(digest, { place: 'file', size, chunkRoot })])
    return true
  }

  /** undefined for bytes that are not what the digest says, or are gone by now. */
  async #hashFile(digest: Digest, size: number): Promise<FinishedHashes | undefined> {
    const algorithm = algorithmOf(digest)
    const hashes = new ContentHashes([algorithm])
    try {
      const stream = await this.#medium.open(digest, { start: 0, end: size })
      if (stream === undefined) return undefined
      for await (const piece of stream as AsyncIterable<Uint8Array>) hashes.update(piece)
    } catch (error) {
      throw asStorageError(error, `cannot read the file of ${digest}`)
    }
    const found = hashes.finish()
    return `${algorithm}:${found.hashes[algorithm]}` === digest ? found : undefined
  }

  async *list(): AsyncIterable<ListedBlob> {
    for await (const [key, value] of this.#records.scan(keys.blobs())) {
      const digest = blobKeyDigest(key)
      yield { digest, size: decodeBlobFacts(digest, value).size }
    }
  }

  async *orphans(): AsyncIterable<Digest> {
    let digests: Digest[] = []
    for await (const digest of this.#medium.digests()) {
      digests.push(digest)
      if (digests.length < LOOKUP_COUNT) continue
      yield* await this.#unknownOf(digests)
      digests = []
    }
    yield* await this.#unknownOf(digests)
  }

  async #unknownOf(digests: readonly Digest[]): Promise<Digest[]> {
    const known = await this.has(digests)
    return digests.filter((digest, i) => known[i] !== true && !this.#sealed.isRecent(digest))
  }

  #createDraft(resume: Digest | undefined): Promise<Draft> {
    return resume === undefined ? this.#medium.create() : this.#medium.resume(resume)
  }

  async #place(content: FinishedContent): Promise<SealedBlob> {
    const { digest, size, hashes, chunkList, inline, draft } = content
    if (inline !== undefined) {
      await draft?.discard()
      return { digest, size, hashes, writes: inlineWrites(digest, inline) }
    }
    if (draft === undefined) throw new FeedmeshError('INTERNAL', `${size} bytes were staged without a draft`)
    await this.#placeDraft(digest, size, draft)
    if (chunkList === undefined) return { digest, size, hashes, writes: [indexWrite(digest, { place: 'file', size })] }
    const { writes, digest: chunkRoot } = await this.#placeChunkList(chunkList)
    return {
      digest,
      size,
      hashes,
      chunkRoot,
      writes: [...writes, indexWrite(digest, { place: 'file', size, chunkRoot })],
    }
  }

  /** Noted before looking: from then on `remove` leaves the bytes alone. */
  async #placeDraft(digest: Digest, size: number, draft: FinishedDraft): Promise<void> {
    await this.#sealed.add(digest)
    const known = await this.#reading.find(digest)
    if (known?.size === size && (await this.#reading.findFileSize(digest)) === size) await draft.discard()
    else await draft.commit(digest)
  }

  /** A list over 64 KiB is a file like any other blob of that size. */
  async #placeChunkList(list: Buffer): Promise<{ readonly digest: Digest; readonly writes: readonly Write[] }> {
    const digest = sha256Digest(list)
    if (list.length <= MAX_INLINE_BYTES) return { digest, writes: inlineWrites(digest, list) }
    const draft = await this.#medium.create()
    try {
      await draft.append(list)
      await this.#placeDraft(digest, list.length, draft)
    } catch (error) {
      await draft.discard()
      throw error
    }
    return { digest, writes: [indexWrite(digest, { place: 'file', size: list.length })] }
  }
}
