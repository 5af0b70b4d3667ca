/** `FeedUploads` over the records and blobs of a node. */

import { createHash } from 'node:crypto'
import type { Readable } from 'node:stream'
import { decodeCbor, encodeCbor, record, text, uint } from '../catalog/cbor.ts'
import type { FeedId } from '../catalog/charter.ts'
import { type Digest, digestFromBytes } from '../catalog/digest.ts'
import { MAX_NAME_BYTES } from '../catalog/row.ts'
import { FeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import {
  type BlobStore,
  type ByteRange,
  MAX_INLINE_BYTES,
  type SealedBlob,
  type StagedBlob,
  type StageOptions,
} from '../store/blobs.ts'
import { keys, u64 } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { type FeedUploads, MAX_UPLOAD_AGE_MS, type UploadedFile, type UploadSession } from './feed.ts'

const sessionShape = record({ unit: [1, text(MAX_NAME_BYTES)], startedAt: [2, uint()] })
const ID = /^[0-9a-f]{32}$/
/** How often uploads that nobody finished are looked for. */
const SWEEP_MS = 60 * 60_000

export interface LedgerUploadsOptions {
  readonly feedId: FeedId
  readonly ledger: Ledger
  readonly blobs: BlobStore
  /** Unix time, ms. */
  readonly now: () => number
}

interface WaitingWrites {
  readonly writes: readonly Write[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export class LedgerUploads implements FeedUploads {
  readonly #options: LedgerUploadsOptions
  #waiting: WaitingWrites[] = []
  #sweptAtMs = 0

  constructor(options: LedgerUploadsOptions) {
    this.#options = options
  }

  async begin(id: string, unit: string): Promise<void> {
    const now = this.#options.now()
    if (now - this.#sweptAtMs >= SWEEP_MS) {
      this.#sweptAtMs = now
      await this.#endOld(now)
    }
    const value = encodeCbor(sessionShape, { unit, startedAt: now })
    await this.#records.write([{ type: 'put', key: this.#sessionKey(id), value }])
  }

  async find(id: string): Promise<UploadSession | undefined> {
    if (!ID.test(id)) return undefined
    const value = await this.#records.find(this.#sessionKey(id))
    if (value === undefined) return undefined
    const { unit, startedAt } = decodeCbor(sessionShape, value, 'stored upload')
    return this.#isOld(startedAt) ? undefined : { unit, startedAtMs: startedAt }
  }

  resume(id: string, options: Pick<StageOptions, 'maxBytes' | 'hashes'>): Promise<StagedBlob> {
    return this.#options.blobs.stage({ ...options, resumeAs: partName(id) })
  }

  async end(id: string): Promise<void> {
    await this.#records.write([{ type: 'del', key: this.#sessionKey(id) }])
  }

  async keep(unit: string, blob: SealedBlob, id?: string): Promise<void> {
    const ended: Write[] = id === undefined ? [] : [{ type: 'del', key: this.#sessionKey(id) }]
    const writes = [...blob.writes, this.#fileWrite(unit, blob.digest), ...ended]
    // The store itself spares larger ones that were sealed a moment ago.
    if (blob.size > MAX_INLINE_BYTES) await this.#records.write(writes)
    else await this.#writeUnswept(writes)
  }

  adopt(unit: string, digest: Digest): Promise<boolean> {
    const { blobs, ledger } = this.#options
    return ledger.exclusively(async () => {
      if ((await blobs.find(digest)) === undefined) return false
      await this.#records.write([this.#fileWrite(unit, digest)])
      return true
    })
  }

  async findFile(unit: string, digest: Digest): Promise<UploadedFile | undefined> {
    const value = await this.#records.find(keys.uploaded(this.#feed, digest, unit))
    const uploadedAtMs = value === undefined ? undefined : decodeTime(value)
    if (uploadedAtMs === undefined || this.#isOld(uploadedAtMs)) return undefined
    const facts = await this.#options.blobs.find(digest)
    return facts === undefined ? undefined : { ...facts, digest, uploadedAtMs }
  }

  async open(unit: string, digest: Digest, range?: ByteRange): Promise<Readable> {
    if ((await this.findFile(unit, digest)) === undefined)
      throw new FeedmeshError('NOT_FOUND', `${digest} was not uploaded to ${unit}`)
    return await this.#options.blobs.open(digest, range)
  }

  async forget(unit: string, digests: readonly Digest[]): Promise<void> {
    const feed = this.#feed
    const named = digests.map((digest) => keys.uploaded(feed, digest, unit))
    const known = await this.#records.findMany(named)
    const writes = named.flatMap((key, at): Write[] => (known[at] === undefined ? [] : [{ type: 'del', key }]))
    if (writes.length > 0) await this.#records.write(writes)
  }

  get #records(): Records {
    return this.#options.ledger.registry.records
  }

  get #feed(): number {
    return this.#options.ledger.registry.getState(this.#options.feedId).number
  }

  #sessionKey(id: string): Uint8Array {
    if (!ID.test(id)) throw new FeedmeshError('INTERNAL', 'an upload is named by 32 hex digits')
    return keys.uploadSession(this.#feed, Buffer.from(id, 'hex'))
  }

  #fileWrite(unit: string, digest: Digest): Write {
    return { type: 'put', key: keys.uploaded(this.#feed, digest, unit), value: u64(this.#options.now()) }
  }

  #isOld(atMs: number): boolean {
    return this.#options.now() - atMs > MAX_UPLOAD_AGE_MS
  }

  /** Writes that make small blobs known, while no sweep runs that could take them for unnamed; those that wait share a sync. */
  #writeUnswept(writes: readonly Write[]): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ writes, resolve, reject })
    void this.#options.ledger.exclusively(() => this.#writeWaiting())
    return promise
  }

  async #writeWaiting(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length === 0) return
    try {
      await this.#records.write(waiting.flatMap(({ writes }) => writes))
      for (const { resolve } of waiting) resolve()
    } catch (error) {
      for (const { reject } of waiting) reject(error)
    }
  }

  /** The next start of the node deletes what such an upload left among the staged files. */
  async #endOld(now: number): Promise<void> {
    const old: Write[] = []
    for await (const [key, value] of this.#records.scan(keys.uploadSessions(this.#feed))) {
      const { startedAt } = decodeCbor(sessionShape, value, 'stored upload')
      if (now - startedAt > MAX_UPLOAD_AGE_MS) old.push({ type: 'del', key })
    }
    if (old.length > 0) await this.#records.write(old)
  }
}

/** Under which the bytes of an upload are staged. */
function partName(id: string): Digest {
  return digestFromBytes('sha256', createHash('sha256').update(`upload ${id}`).digest())
}

function decodeTime(value: Uint8Array): number {
  return Number(Buffer.from(value.buffer, value.byteOffset, value.byteLength).readBigUInt64BE())
}
