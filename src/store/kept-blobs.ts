/**
 * Which blobs were fetched because a client asked for them, for which replication, and when each was used last.
 *
 * A blob is written down before it is fetched, so that none is here unaccounted; uses are written down now and then, many in
 * one batch. A kill leaves entries without a blob, which the next start drops, and an order that is a minute old.
 */

import { decodeCbor, encodeCbor, record, text, uint } from '../catalog/cbor.ts'
import type { Digest } from '../catalog/digest.ts'
import { blobKeyDigest, keys } from './keys.ts'
import type { Records, Write } from './records.ts'
import { readStored } from './stored-bytes.ts'

const shape = record({ owner: [1, text(32)], size: [2, uint()], usedAtMs: [3, uint()] })

/** Uses are written down this long after the first of them. */
const FLUSH_MS = 60_000
const BATCH = 1000

export interface KeptBlob {
  readonly digest: Digest
  /** Id of the replication whose quota it counts in. */
  readonly owner: string
  readonly size: number
  /** Unix time, ms. */
  readonly usedAtMs: number
}

export interface KeptBlobsOptions {
  readonly records: Records
  /** Unix time, ms. */
  readonly now: () => number
  readonly setTimer: (run: () => void, delayMs: number) => () => void
  readonly onFailure: (error: unknown) => void
}

export class KeptBlobs implements AsyncDisposable {
  readonly #options: KeptBlobsOptions
  /** Least recently used first. */
  readonly #entries = new Map<Digest, KeptBlob>()
  readonly #bytes = new Map<string, number>()
  readonly #unwritten = new Set<Digest>()
  #cancelFlush: (() => void) | undefined
  #flushing: Promise<void> = Promise.resolve()

  private constructor(options: KeptBlobsOptions) {
    this.#options = options
  }

  static async open(options: KeptBlobsOptions): Promise<KeptBlobs> {
    const kept = new KeptBlobs(options)
    const found: KeptBlob[] = []
    await readStored('the list of blobs that were fetched on demand', async () => {
      for await (const [key, value] of options.records.scan(keys.onDemands()))
        found.push({ ...decodeCbor(shape, value, 'stored use of a blob'), digest: blobKeyDigest(key) })
    })
    for (const one of found.sort((a, b) => a.usedAtMs - b.usedAtMs)) kept.#put(one)
    return kept
  }

  get digests(): Digest[] {
    return [...this.#entries.keys()]
  }

  has(digest: Digest): boolean {
    return this.#entries.has(digest)
  }

  bytesOf(owner: string): number {
    return this.#bytes.get(owner) ?? 0
  }

  /** Least recently used first; of one owner or of all. */
  *oldest(owner?: string): Generator<KeptBlob> {
    for (const one of this.#entries.values()) if (owner === undefined || one.owner === owner) yield one
  }

  /** On stable storage when it resolves. Without `usedAtMs` they are used now. */
  async add(blobs: readonly (Omit<KeptBlob, 'usedAtMs'> & { readonly usedAtMs?: number })[]): Promise<void> {
    const now = this.#options.now()
    const added = blobs.map((one) => ({ ...one, usedAtMs: one.usedAtMs ?? now }))
    await this.#options.records.write(added.map(writeOf))
    for (const one of added) this.#put(one)
    if (blobs.some(({ usedAtMs }) => usedAtMs !== undefined)) this.#sort()
  }

  #sort(): void {
    const sorted = [...this.#entries.values()].sort((a, b) => a.usedAtMs - b.usedAtMs)
    this.#entries.clear()
    for (const one of sorted) this.#entries.set(one.digest, one)
  }

  /** Nothing for a blob that is not among them. */
  used(digest: Digest): void {
    const known = this.#entries.get(digest)
    if (known === undefined) return
    this.#put({ ...known, usedAtMs: this.#options.now() })
    this.#unwritten.add(digest)
    this.#cancelFlush ??= this.#options.setTimer(() => {
      this.#cancelFlush = undefined
      this.flush().catch(this.#options.onFailure)
    }, FLUSH_MS)
  }

  /** They count no more. */
  async drop(digests: readonly Digest[]): Promise<void> {
    const known = digests.filter((digest) => this.#entries.has(digest))
    if (known.length === 0) return
    for (const digest of known) this.#remove(digest)
    await this.#options.records.write(known.map((digest) => ({ type: 'del', key: keys.onDemand(digest) })))
  }

  /** Writes down what was used since; what cannot be written is tried again with the next ones. */
  flush(): Promise<void> {
    this.#flushing = this.#flushing.catch(() => undefined).then(() => this.#flush())
    return this.#flushing
  }

  async #flush(): Promise<void> {
    while (this.#unwritten.size > 0) {
      const batch = [...this.#unwritten].slice(0, BATCH).flatMap((digest) => this.#entries.get(digest) ?? [])
      const digests = [...this.#unwritten].slice(0, BATCH)
      for (const digest of digests) this.#unwritten.delete(digest)
      try {
        if (batch.length > 0) await this.#options.records.write(batch.map(writeOf))
      } catch (error) {
        for (const { digest } of batch) this.#unwritten.add(digest)
        throw error
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#cancelFlush?.()
    try {
      await this.flush()
    } catch (error) {
      this.#options.onFailure(error)
    }
  }

  #put(one: KeptBlob): void {
    this.#remove(one.digest)
    this.#entries.set(one.digest, one)
    this.#bytes.set(one.owner, this.bytesOf(one.owner) + one.size)
  }

  #remove(digest: Digest): void {
    const known = this.#entries.get(digest)
    if (known === undefined) return
    this.#entries.delete(digest)
    const left = this.bytesOf(known.owner) - known.size
    if (left > 0) this.#bytes.set(known.owner, left)
    else this.#bytes.delete(known.owner)
  }
}

function writeOf({ digest, owner, size, usedAtMs }: KeptBlob): Write {
  return { type: 'put', key: keys.onDemand(digest), value: encodeCbor(shape, { owner, size, usedAtMs }) }
}
