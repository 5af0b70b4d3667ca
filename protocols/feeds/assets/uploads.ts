/**
 * Uploads in parts: `?multipart=upload&id&index&offset&totalSize&partSize&totalParts`, then `?multipart=complete&id`.
 *
 * The parts of an upload are appended to one staged file, so they come in order; a part that broke off or whose answer was
 * lost may be sent again. Uploads live in memory: after a restart the client starts again, and the store removes what was
 * staged.
 */

import { createHash, type Hash } from 'node:crypto'
import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'

export interface UploadLimits {
  /** Uploads in progress over all feeds of the type. */
  readonly maxUploads: number
  readonly maxParts: number
  /** An upload without a new part for this long is thrown away. */
  readonly maxIdleMs: number
  readonly maxAgeMs: number
}

export const UPLOAD_LIMITS: UploadLimits = {
  maxUploads: 64,
  maxParts: 10_000,
  maxIdleMs: 60 * 60_000,
  maxAgeMs: 24 * 60 * 60_000,
}

/** Who uploads what: another caller or path with the same id is another upload. */
export interface UploadKey {
  readonly caller: string
  readonly path: string
  readonly id: string
}

export interface UploadPart extends UploadKey {
  readonly index: number
  readonly offset: number
  readonly partSize: number
  readonly totalSize: number
  readonly totalParts: number
  readonly contentType: string | undefined
}

export interface CompletedUpload {
  readonly staged: StagedBlob
  readonly contentType: string | undefined
}

interface Upload {
  readonly staged: StagedBlob
  readonly totalSize: number
  readonly contentType: string | undefined
  readonly startedAtMs: number
  /** sha256 of each finished part by its offset. */
  readonly parts: Map<number, string>
  /** The part at which the last request broke off. */
  partial: { readonly offset: number; readonly digest: string } | undefined
  touchedAtMs: number
  isBusy: boolean
}

const SWEEP_MS = 10 * 60_000

export class MultipartUploads implements AsyncDisposable {
  readonly #uploads = new Map<string, Upload>()
  readonly #limits: UploadLimits
  readonly #now: () => number
  #sweeper: NodeJS.Timeout | undefined

  constructor(limits: UploadLimits = UPLOAD_LIMITS, now: () => number = Date.now) {
    this.#limits = limits
    this.#now = now
  }

  get count(): number {
    return this.#uploads.size
  }

  /** @throws NOT_FOUND for a part of an unknown upload; CONFLICT, BUSY, BAD_INPUT, TOO_LARGE */
  async receive(feed: Feed, part: UploadPart, body: AsyncIterable<Uint8Array>): Promise<void> {
    await this.sweep()
    this.#verifyPart(feed, part)
    const key = keyOf(feed, part)
    const upload = this.#uploads.get(key) ?? (await this.#start(feed, key, part))
    if (upload.isBusy)
      throw new FeedmeshError('BUSY', `another part of upload ${part.id} is under way; send the parts one by one`)
    if (upload.totalSize !== part.totalSize)
      throw new FeedmeshError('CONFLICT', `upload ${part.id} was started with another totalSize`)
    upload.isBusy = true
    try {
      await append(upload, part, body)
    } catch (error) {
      // What the client can mend by sending the part again keeps the upload.
      if (!isFeedmeshError(error, 'ABORTED', 'TIMEOUT', 'BAD_INPUT', 'CONFLICT', 'TOO_LARGE')) await this.#discard(key)
      throw error
    } finally {
      upload.isBusy = false
      upload.touchedAtMs = this.#now()
    }
  }

  /** Hands over the complete file; the caller disposes of it. @throws NOT_FOUND, BUSY, CONFLICT when parts are missing */
  async complete(feed: Feed, key: UploadKey): Promise<CompletedUpload> {
    await this.sweep()
    const upload = this.#uploads.get(keyOf(feed, key))
    if (upload === undefined) throw unknownUpload(key)
    if (upload.isBusy) throw new FeedmeshError('BUSY', `a part of upload ${key.id} is still under way`)
    if (upload.staged.size !== upload.totalSize) {
      throw new FeedmeshError(
        'CONFLICT',
        `upload ${key.id} has ${upload.staged.size} of ${upload.totalSize} bytes; send the missing parts`,
      )
    }
    this.#uploads.delete(keyOf(feed, key))
    return { staged: upload.staged, contentType: upload.contentType }
  }

  /** Throws away what is too old. */
  async sweep(): Promise<void> {
    const now = this.#now()
    const { maxAgeMs, maxIdleMs } = this.#limits
    for (const [key, upload] of this.#uploads) {
      const isOld = now - upload.startedAtMs > maxAgeMs || now - upload.touchedAtMs > maxIdleMs
      if (isOld && !upload.isBusy) await this.#discard(key)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#sweeper)
    for (const key of this.#uploads.keys()) await this.#discard(key)
  }

  #verifyPart(feed: Feed, part: UploadPart): void {
    const { id, index, offset, partSize, totalSize, totalParts } = part
    if (totalSize > feed.maxFileBytes) {
      throw new FeedmeshError(
        'TOO_LARGE',
        `feed ${feed.name} takes files of up to ${feed.maxFileBytes} bytes, not ${totalSize}`,
      )
    }
    if (totalParts > this.#limits.maxParts)
      throw new FeedmeshError('TOO_LARGE', `an upload has at most ${this.#limits.maxParts} parts`)
    if (index >= totalParts || offset + partSize > totalSize) {
      throw new FeedmeshError(
        'BAD_INPUT',
        `part ${index} of upload ${id} lies outside the announced ${totalSize} bytes`,
      )
    }
  }

  async #start(feed: Feed, key: string, part: UploadPart): Promise<Upload> {
    if (part.offset !== 0) throw unknownUpload(part)
    if (this.#uploads.size >= this.#limits.maxUploads) {
      throw new FeedmeshError('BUSY', `${this.#limits.maxUploads} uploads are under way; try again later`)
    }
    const now = this.#now()
    const staged = await feed.stage({ maxBytes: part.totalSize, hashes: ['md5', 'sha1', 'sha512'] })
    const { totalSize, contentType } = part
    const upload = {
      staged,
      totalSize,
      contentType,
      startedAtMs: now,
      parts: new Map(),
      partial: undefined,
      touchedAtMs: now,
      isBusy: false,
    }
    this.#uploads.set(key, upload)
    this.#sweeper ??= setInterval(() => void this.sweep().catch(() => undefined), SWEEP_MS).unref()
    return upload
  }

  async #discard(key: string): Promise<void> {
    const upload = this.#uploads.get(key)
    this.#uploads.delete(key)
    await upload?.staged[Symbol.asyncDispose]()
  }
}

async function append(upload: Upload, part: UploadPart, body: AsyncIterable<Uint8Array>): Promise<void> {
  const known = upload.parts.get(part.offset)
  const present = upload.staged.size - part.offset
  const isResumed = present > 0 && upload.partial?.offset === part.offset
  if (known === undefined && present !== 0 && !isResumed) {
    throw new FeedmeshError(
      'CONFLICT',
      `upload ${part.id} goes on at byte ${upload.staged.size}, not at ${part.offset}; send the parts in order`,
    )
  }
  const receiver = new PartReceiver(upload, part, known === undefined ? present : part.partSize)
  try {
    for await (const chunk of body) await receiver.write(chunk)
  } finally {
    if (known === undefined) receiver.remember()
  }
  const digest = receiver.finish()
  if (known !== undefined && known !== digest)
    throw new FeedmeshError('CONFLICT', `part ${part.index} of upload ${part.id} came before with other bytes`)
  upload.parts.set(part.offset, digest)
}

/** Takes the bytes of one part, of which the first `present` are in the staged file already. */
class PartReceiver {
  readonly #upload: Upload
  readonly #part: UploadPart
  readonly #present: number
  readonly #hash: Hash = createHash('sha256')
  #size = 0
  /** The first bytes are others than those in the staged file. */
  #isForeign = false

  constructor(upload: Upload, part: UploadPart, present: number) {
    this.#upload = upload
    this.#part = part
    this.#present = present
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#size + chunk.length > this.#part.partSize) {
      throw new FeedmeshError(
        'BAD_INPUT',
        `part ${this.#part.index} of upload ${this.#part.id} has more than its ${this.#part.partSize} bytes`,
      )
    }
    const skipped = Math.max(0, Math.min(chunk.length, this.#present - this.#size))
    this.#take(chunk.subarray(0, skipped))
    if (skipped > 0 && this.#size === this.#present) this.#verifyPresent()
    const fresh = chunk.subarray(skipped)
    if (fresh.length === 0) return
    await this.#upload.staged.write(fresh)
    this.#take(fresh)
  }

  /** Notes how far the part came, for the request that sends it again. */
  remember(): void {
    if (this.#isForeign || this.#size < this.#present) return
    this.#upload.partial = { offset: this.#part.offset, digest: this.#hash.copy().digest('hex') }
  }

  finish(): string {
    if (this.#size !== this.#part.partSize) {
      throw new FeedmeshError(
        'BAD_INPUT',
        `part ${this.#part.index} of upload ${this.#part.id} has ${this.#size} bytes, not ${this.#part.partSize}; send it again`,
      )
    }
    return this.#hash.digest('hex')
  }

  #take(bytes: Uint8Array): void {
    this.#hash.update(bytes)
    this.#size += bytes.length
  }

  #verifyPresent(): void {
    const { partial } = this.#upload
    if (partial?.offset !== this.#part.offset || this.#upload.parts.has(this.#part.offset)) return
    this.#isForeign = partial.digest !== this.#hash.copy().digest('hex')
    if (this.#isForeign) {
      throw new FeedmeshError(
        'CONFLICT',
        `part ${this.#part.index} of upload ${this.#part.id} was sent with other bytes before; start again with a new id`,
      )
    }
  }
}

function keyOf(feed: Feed, { caller, path, id }: UploadKey): string {
  return JSON.stringify([feed.name, caller, path, id])
}

function unknownUpload({ id }: UploadKey): FeedmeshError {
  return new FeedmeshError('NOT_FOUND', `no upload ${id} is under way here; start again with the first part`)
}
