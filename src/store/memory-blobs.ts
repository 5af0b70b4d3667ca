/** The blob store in memory: for tests and simulations. What crosses 64 KiB is in a map, the rest in the records. */

import { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import { noFaults, type ReachFaultPoint } from '../fault-points.ts'
import { type BlobMedium, type Draft, READ_BYTES } from './blob-medium.ts'
import type { BlobStore, ByteRange } from './blobs.ts'
import { SEALED_GRACE_MS } from './file-blobs.ts'
import { MediumBlobs } from './medium-blobs.ts'
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

class MemoryMedium implements BlobMedium {
  readonly contents = new Map<Digest, Buffer>()
  readonly partials = new Map<Digest, Buffer>()
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

  async findSize(digest: Digest): Promise<number | undefined> {
    return this.contents.get(digest)?.length
  }

  async open(digest: Digest, { start, end }: ByteRange): Promise<Readable | undefined> {
    const content = this.contents.get(digest)
    return content && Readable.from(this.#pieces(content, start, end), { objectMode: false, highWaterMark: READ_BYTES })
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
