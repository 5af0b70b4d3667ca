/** Memory stores that can be copied, and whose operations fail when they are told to: the ground of failure sweeps. */

import type { Digest } from '../../src/catalog/digest.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { BlobStore, ChunkStageOptions, StageOptions } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { KeyRange, Records, ScanOptions, Write } from '../../src/store/records.ts'
import { failNth as failNthBlobs } from './faulty-blobs.ts'
import { type FailureMode, failNth as failNthRecords } from './faulty-records.ts'

const EVERYTHING = { gte: new Uint8Array(0), lt: Buffer.alloc(64, 0xff) }
/** Longer than a blob counts as just sealed. */
const HOUR_MS = 3_600_000

/** Which store fails, at which of its operations (one or several, each counted by itself), and how. */
export interface Fault {
  readonly target: 'records' | 'blobs'
  readonly at: readonly number[]
  readonly mode: FailureMode
}

/** What the failing store says; `latched` is what a full disk does. */
export const INJECTED = {
  once: new FeedmeshError('STORAGE_IO', 'injected: the disk failed'),
  latched: new FeedmeshError('STORAGE_FULL', 'injected: the disk is full'),
} as const

export interface Armed {
  /** Operations of the store under test since it was armed. */
  readonly operations: number
  heal(): void
}

/** Passes everything on to another store, which may change. */
class SwitchedRecords implements Records {
  readonly plain: Records
  target: Records

  constructor(plain: Records) {
    this.plain = plain
    this.target = plain
  }

  find(key: Uint8Array) {
    return this.target.find(key)
  }
  findMany(keys: readonly Uint8Array[]) {
    return this.target.findMany(keys)
  }
  scan(options: ScanOptions) {
    return this.target.scan(options)
  }
  scanKeys(options: ScanOptions) {
    return this.target.scanKeys(options)
  }
  write(writes: readonly Write[]) {
    return this.target.write(writes)
  }
  clear(range: KeyRange) {
    return this.target.clear(range)
  }
  async [Symbol.asyncDispose]() {}
}

class SwitchedBlobs implements BlobStore {
  readonly plain: BlobStore
  target: BlobStore

  constructor(plain: BlobStore) {
    this.plain = plain
    this.target = plain
  }

  find(digest: Digest) {
    return this.target.find(digest)
  }
  has(digests: readonly Digest[]) {
    return this.target.has(digests)
  }
  openPieces(...wanted: Parameters<BlobStore['openPieces']>) {
    return this.target.openPieces(...wanted)
  }
  open(...wanted: Parameters<BlobStore['open']>) {
    return this.target.open(...wanted)
  }
  findSmall(digests: readonly Digest[]) {
    return this.target.findSmall(digests)
  }
  read(digest: Digest, maxBytes: number) {
    return this.target.read(digest, maxBytes)
  }
  stage(options: StageOptions) {
    return this.target.stage(options)
  }
  partialSize(digest: Digest) {
    return this.target.partialSize(digest)
  }
  stageChunks(options: ChunkStageOptions) {
    return this.target.stageChunks(options)
  }
  hasKeptChunks(digest: Digest) {
    return this.target.hasKeptChunks(digest)
  }
  openVerified(...wanted: Parameters<BlobStore['openVerified']>) {
    return this.target.openVerified(...wanted)
  }
  verifyBlob(...wanted: Parameters<BlobStore['verifyBlob']>) {
    return this.target.verifyBlob(...wanted)
  }
  remove(digest: Digest) {
    return this.target.remove(digest)
  }
  settle(digest: Digest) {
    this.target.settle(digest)
  }
  readmit(digest: Digest) {
    return this.target.readmit(digest)
  }
  list() {
    return this.target.list()
  }
  orphans() {
    return this.target.orphans()
  }
}

async function readAll(blobs: BlobStore, digest: Digest): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of await blobs.open(digest)) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

/** What stores held at one moment. */
export interface Snapshot {
  readonly records: readonly Write[]
  readonly files: ReadonlyMap<Digest, Buffer>
}

export const NOTHING: Snapshot = { records: [], files: new Map() }

export class SweptStores {
  readonly #records: SwitchedRecords
  readonly #blobs: SwitchedBlobs

  readonly #clock: { ahead: number }

  private constructor(records: SwitchedRecords, blobs: SwitchedBlobs, clock: { ahead: number }) {
    this.#records = records
    this.#blobs = blobs
    this.#clock = clock
  }

  /** `lost` are files whose records are there and whose bytes are not. */
  static async open(from: Snapshot = NOTHING, lost: readonly Digest[] = []): Promise<SweptStores> {
    const clock = { ahead: 0 }
    const records = new SwitchedRecords(createMemoryRecords())
    const blobs = createMemoryBlobs({ records, now: () => Date.now() + clock.ahead })
    for (const [digest, bytes] of from.files) {
      if (lost.includes(digest)) continue
      await using staged = await blobs.stage({ maxBytes: bytes.length })
      await staged.write(bytes)
      await staged.seal(digest)
    }
    clock.ahead = HOUR_MS
    await records.write(from.records)
    return new SweptStores(records, new SwitchedBlobs(blobs), clock)
  }

  /** Nothing counts as just sealed any more. */
  passHour(): void {
    this.#clock.ahead += HOUR_MS
  }

  get records(): Records {
    return this.#records
  }

  get blobs(): BlobStore {
    return this.#blobs
  }

  async snapshot(): Promise<Snapshot> {
    const records: Write[] = []
    for await (const [key, value] of this.#records.plain.scan(EVERYTHING)) records.push({ type: 'put', key, value })
    const files = new Map<Digest, Buffer>()
    for await (const { digest, size } of this.#blobs.plain.list())
      if (size > 64 * 1024) files.set(digest, await readAll(this.#blobs.plain, digest))
    return { records, files }
  }

  arm(fault: Fault): Armed {
    const error = INJECTED[fault.mode]
    const layers: Armed[] = []
    this.disarm()
    for (const at of fault.at) {
      if (fault.target === 'records') {
        const faulty = failNthRecords(this.#records.target, at, error, fault.mode)
        this.#records.target = faulty
        layers.push(faulty)
      } else {
        const faulty = failNthBlobs(this.#blobs.target, at, error, fault.mode)
        this.#blobs.target = faulty
        layers.push(faulty)
      }
    }
    return {
      get operations() {
        return Math.max(...layers.map((layer) => layer.operations))
      },
      heal: () => this.disarm(),
    }
  }

  disarm(): void {
    this.#records.target = this.#records.plain
    this.#blobs.target = this.#blobs.plain
  }
}
