/** `FeedUploads` of a feed in memory. */

import { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { ByteRange, SealedBlob, StagedBlob, StageOptions } from '../store/blobs.ts'
import { type FeedUploads, MAX_UPLOAD_AGE_MS, type UploadedFile, type UploadSession } from './feed.ts'

export interface MemoryUploadsOptions {
  readonly now: () => number
  /** The feed's files by digest. */
  readonly contents: Map<Digest, Buffer>
  readonly contentOf: (blob: SealedBlob) => Buffer | undefined
  readonly stage: (options: StageOptions, keepPart: (part: Buffer) => void) => StagedBlob
}

export class MemoryUploads implements FeedUploads {
  readonly #options: MemoryUploadsOptions
  readonly #sessions = new Map<string, UploadSession>()
  readonly #parts = new Map<string, Buffer>()
  readonly #files = new Map<string, UploadedFile>()

  constructor(options: MemoryUploadsOptions) {
    this.#options = options
  }

  async begin(id: string, unit: string): Promise<void> {
    this.#sessions.set(id, { unit, startedAtMs: this.#options.now() })
  }

  async find(id: string): Promise<UploadSession | undefined> {
    const session = this.#sessions.get(id)
    return session === undefined || this.#isOld(session.startedAtMs) ? undefined : session
  }

  async resume(id: string, options: Pick<StageOptions, 'maxBytes' | 'hashes'>): Promise<StagedBlob> {
    const staged = this.#options.stage(options, (part) => this.#parts.set(id, part))
    const part = this.#parts.get(id)
    this.#parts.delete(id)
    if (part !== undefined) await staged.write(part)
    return staged
  }

  async end(id: string): Promise<void> {
    this.#sessions.delete(id)
    this.#parts.delete(id)
  }

  async keep(unit: string, blob: SealedBlob, id?: string): Promise<void> {
    const content = this.#options.contentOf(blob)
    if (content === undefined) throw new FeedmeshError('BAD_INPUT', `${blob.digest} was not sealed by this feed`)
    this.#options.contents.set(blob.digest, content)
    this.#remember(unit, blob.digest, content.length)
    if (id !== undefined) await this.end(id)
  }

  async adopt(unit: string, digest: Digest): Promise<boolean> {
    const content = this.#options.contents.get(digest)
    if (content === undefined) return false
    this.#remember(unit, digest, content.length)
    return true
  }

  async findFile(unit: string, digest: Digest): Promise<UploadedFile | undefined> {
    const file = this.#files.get(keyOf(unit, digest))
    return file === undefined || this.#isOld(file.uploadedAtMs) ? undefined : file
  }

  async open(unit: string, digest: Digest, range?: ByteRange): Promise<Readable> {
    const file = await this.findFile(unit, digest)
    const content = this.#options.contents.get(digest)
    if (file === undefined || content === undefined)
      throw new FeedmeshError('NOT_FOUND', `${digest} was not uploaded to ${unit}`)
    const wanted = range === undefined ? content : content.subarray(range.start, range.end)
    return Readable.from(wanted.length === 0 ? [] : [wanted], { objectMode: false })
  }

  async forget(unit: string, digests: readonly Digest[]): Promise<void> {
    for (const digest of digests) this.#files.delete(keyOf(unit, digest))
  }

  #remember(unit: string, digest: Digest, size: number): void {
    this.#files.set(keyOf(unit, digest), { digest, size, uploadedAtMs: this.#options.now() })
  }

  #isOld(atMs: number): boolean {
    return this.#options.now() - atMs > MAX_UPLOAD_AGE_MS
  }
}

function keyOf(unit: string, digest: Digest): string {
  return `${digest} ${unit}`
}
