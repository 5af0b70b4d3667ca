/** The blob store in memory: for tests and simulations. What crosses 64 KiB is in a map, the rest in the records. */

import { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import { type BlobMedium, type Draft, READ_BYTES, type SparseDraft } from './blob-medium.ts'
import { streamPieces } from './blob-reading.ts'
import type { BlobPieces, BlobStore, ByteRange, StagedReader } from './blobs.ts'
import { SEALED_GRACE_MS } from './file-blobs.ts'
import { MediumBlobs } from './medium-blobs.ts'
import { type GrowingBytes, MemorySparseDraft, openGrowing } from './memory-sparse-draft.ts'
import { RecentlySealed } from './recently-sealed.ts'
import type { Records } from './records.ts'

export interface MemoryBlobsOptions {
  readonly records: Records
  readonly reach?: ReachFaultPoint | undefined
  readonly now?: (() => number) | undefined
  readonly sealedGraceMs?: number | undefined
}

class MemoryDraft implements Draft {
  readonly initialSize: number
  readonly #medium: MemoryMedium
  readonly #resume: Digest | undefined
  #pieces: Buffer[]

  constructor(medium: MemoryMedium, resume: Digest | undefined, kept: Buffer | undefined) {
    this.#medium = medium
    this.#resume = resume
    this.#pieces = kept ? [kept] : []
    this.initialSize = kept?.length ?? 0
  }

  async append(bytes: Uint8Array): Promise<void> {
    this.#pieces.push(Buffer.from(bytes))
  }

  async *read(): AsyncGenerator<Uint8Array> {
    yield* this.#pieces
  }

  async openReader(): Promise<StagedReader> {
    const pieces = this.#pieces
    return {
      read: async (position, maxBytes) => cut(pieces, position, maxBytes),
      [Symbol.asyncDispose]: async () => {},
    }
  }

  async commit(digest: Digest): Promise<void> {
    this.#medium.reach('blob.synced')
    this.#medium.contents.set(digest, Buffer.concat(this.#pieces))
    await this.discard()
    this.#medium.reach('blob.renamed')
  }

  async keep(): Promise<void> {
    if (this.#resume) this.#medium.partials.set(this.#resume, Buffer.concat(this.#pieces))
  }

  async discard(): Promise<void> {
    this.#pieces = []
    if (this.#resume) this.#medium.partials.delete(this.#resume)
  }
}

/** What is there of one piece at `position`. */
function cut(pieces: readonly Buffer[], position: number, maxBytes: number): Uint8Array {
  let start = 0
  for (const piece of pieces) {
    if (position < start + piece.length) return piece.subarray(position - start, position - start + maxBytes)
    start += piece.length
  }
  return new Uint8Array(0)
}

class MemoryMedium implements BlobMedium {
  readonly contents = new Map<Digest, Buffer>()
  readonly partials = new Map<Digest, Buffer>()
  readonly sparse = new Map<Digest, GrowingBytes>()
  readonly reach: ReachFaultPoint

  constructor(reach: ReachFaultPoint) {
    this.reach = reach
  }

  async create(): Promise<Draft> {
    return new MemoryDraft(this, undefined, undefined)
  }

  async resume(digest: Digest): Promise<Draft> {
    return new MemoryDraft(this, digest, this.partials.get(digest))
  }

  async partialSize(digest: Digest): Promise<number> {
    return this.partials.get(digest)?.length ?? 0
  }

  async resumeSparse(digest: Digest): Promise<SparseDraft> {
    const bytes = this.sparse.get(digest) ?? openGrowing(this.partials.get(digest))
    this.partials.delete(digest)
    this.sparse.set(digest, bytes)
    const commit = (target: Digest, content: Buffer) => {
      this.reach('blob.synced')
      this.contents.set(target, content)
      this.sparse.delete(digest)
      this.reach('blob.renamed')
    }
    return new MemorySparseDraft(bytes, { commit, discard: () => this.sparse.delete(digest) })
  }

  async hasSparse(digest: Digest): Promise<boolean> {
    return this.sparse.has(digest)
  }

  async openSparse(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
    const content = this.sparse.get(digest)?.written ?? this.contents.get(digest)
    return content && streamPieces(this.#stream(content, range))
  }

  async findSize(digest: Digest): Promise<number | undefined> {
    return this.contents.get(digest)?.length
  }

  async open(digest: Digest, range: ByteRange): Promise<Readable | undefined> {
    const content = this.contents.get(digest)
    return content && this.#stream(content, range)
  }

  #stream(content: Buffer, { start, end }: ByteRange): Readable {
    return Readable.from(this.#pieces(content, start, end), { objectMode: false, highWaterMark: READ_BYTES })
  }

  async remove(digest: Digest): Promise<void> {
    this.contents.delete(digest)
  }

  async *digests(): AsyncIterable<Digest> {
    yield* this.contents.keys()
  }

  *#pieces(content: Buffer, start: number, end: number): Generator<Buffer> {
    if (end > content.length)
      throw new FeedmeshError('CORRUPT', `the content ends at byte ${content.length}, before ${end}`)
    for (let at = start; at < end; at += READ_BYTES) yield content.subarray(at, Math.min(at + READ_BYTES, end))
  }
}

export function createMemoryBlobs(options: MemoryBlobsOptions): BlobStore {
  const { records, reach = noFaults, now = Date.now, sealedGraceMs = SEALED_GRACE_MS } = options
  const sealed = new RecentlySealed(sealedGraceMs, now)
  return new MediumBlobs({ records, medium: new MemoryMedium(reach), reach, sealed })
}
