/**
 * The disk of a simulated node while a process uses it: it takes time, it fails when told to, and when the process is killed
 * or the power is cut it keeps what was acknowledged; of what was under way it keeps a prefix of whole steps.
 */

import { Readable } from 'node:stream'
import type { Digest } from '../../src/catalog/digest.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { ReachFaultPoint } from '../../src/fault-points.ts'
import { type FloorOrder, MemoryFloor } from '../../src/ledger/floor.ts'
import type { SetTimer } from '../../src/network/timers.ts'
import { type BlobMedium, type Draft, READ_BYTES, type SparseDraft } from '../../src/store/blob-medium.ts'
import { streamPieces } from '../../src/store/blob-reading.ts'
import type { BlobPieces, ByteRange } from '../../src/store/blobs.ts'
import type { KeyRange, Records, ScanOptions, Write } from '../../src/store/records.ts'
import type { Random } from '../support/random.ts'
import type { DiskImage, Entry } from './disk-image.ts'

export interface DiskPort {
  readonly image: DiskImage
  readonly random: Random
  readonly setTimer: SetTimer
  readonly reach: ReachFaultPoint
  /** Longest time that a write takes, ms. */
  readonly writeMs: number
  /** Share of the reads that take time too. */
  readonly slowReads: number
}

/** A step that becomes durable at one moment. */
interface Step {
  readonly apply: () => void
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

const never = new Promise<never>(() => {})

/** The clock of the disk: steps are done one after the other. */
export class Disk {
  readonly port: DiskPort
  /** Error of every write while it lasts. */
  failure: 'STORAGE_FULL' | 'STORAGE_IO' | undefined
  failed = 0
  /** Undoes what a disk that lies has acknowledged and not synced. */
  readonly unsynced: (() => void)[] = []
  #state: 'open' | 'closed' | 'gone' = 'open'
  readonly #steps: Step[] = []
  #isBusy = false

  constructor(port: DiskPort) {
    this.port = port
  }

  get image(): DiskImage {
    return this.port.image
  }

  close(): void {
    if (this.#state === 'open') this.#state = 'closed'
  }

  /**
   * The process is no more: nothing that it still tries is ever answered. A power cut may also lose what no sync has covered.
   */
  crash(kind: 'kill' | 'power'): void {
    this.#state = 'gone'
    const done = this.port.random.below(this.#steps.length + 1)
    for (const step of this.#steps.splice(0).slice(0, done)) step.apply()
    if (kind === 'kill') return
    for (const undo of this.unsynced.splice(0).reverse()) undo()
    for (const drafts of [this.image.partials, this.image.sparse]) {
      for (const [digest, partial] of drafts) {
        const kept = partial.synced + this.port.random.below(partial.bytes.length - partial.synced + 1)
        if (kept === 0) drafts.delete(digest)
        else drafts.set(digest, { bytes: partial.bytes.subarray(0, kept), synced: kept })
      }
    }
  }

  /** @throws STORAGE_FULL, STORAGE_IO: nothing has happened */
  async write(apply: () => void): Promise<void> {
    this.#verifyOpen()
    if (this.#state === 'gone') return await never
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#steps.push({ apply, resolve, reject })
    this.#work()
    return await promise
  }

  #work(): void {
    if (this.#isBusy) return
    this.#isBusy = true
    this.port.setTimer(() => {
      this.#isBusy = false
      // What waits together shares one sync, as a group commit does.
      for (const step of this.#steps.splice(0)) this.#finish(step)
    }, 1 + this.port.random.below(this.port.writeMs))
  }

  #finish({ apply, resolve, reject }: Step): void {
    if (this.failure === undefined) {
      apply()
      resolve()
      return
    }
    this.failed += 1
    reject(new FeedmeshError(this.failure, 'the simulated disk failed'))
  }

  async read<T>(read: () => T): Promise<T> {
    this.#verifyOpen()
    if (this.#state === 'gone') return await never
    const { slowReads, random, setTimer } = this.port
    if (slowReads > 0 && random.chance(slowReads)) {
      await new Promise<void>((resolve) => {
        setTimer(resolve, 1 + random.below(10))
      })
      this.#verifyOpen()
    }
    return read()
  }

  #verifyOpen(): void {
    if (this.#state === 'closed') throw new FeedmeshError('ABORTED', 'the store is closed')
  }
}

function copy(bytes: Uint8Array): Uint8Array {
  return Uint8Array.prototype.slice.call(bytes)
}

export class SimulatedRecords implements Records {
  readonly #disk: Disk

  constructor(disk: Disk) {
    this.#disk = disk
  }

  async find(key: Uint8Array): Promise<Uint8Array | undefined> {
    const value = await this.#disk.read(() => this.#disk.image.records.find(key))
    return value && copy(value)
  }

  async findMany(keys: readonly Uint8Array[]): Promise<(Uint8Array | undefined)[]> {
    const { records } = this.#disk.image
    return await this.#disk.read(() =>
      keys.map((key) => {
        const value = records.find(key)
        return value && copy(value)
      }),
    )
  }

  async *scan(options: ScanOptions): AsyncGenerator<Entry> {
    const entries = await this.#disk.read(() => this.#disk.image.records.range(options))
    for (const [key, value] of entries) {
      yield [copy(key), copy(value)]
      await this.#disk.read(() => undefined)
    }
  }

  async *scanKeys(options: ScanOptions): AsyncGenerator<Uint8Array> {
    for await (const [key] of this.scan(options)) yield key
  }

  async write(writes: readonly Write[]): Promise<void> {
    const { image, port } = this.#disk
    const kept = writes.map((write) =>
      write.type === 'put'
        ? { type: write.type, key: copy(write.key), value: copy(write.value) }
        : { type: write.type, key: copy(write.key) },
    )
    port.reach('records.writing')
    await this.#disk.write(() => image.records.apply(kept))
    port.reach('records.written')
  }

  async clear(range: KeyRange): Promise<void> {
    await this.#disk.write(() => this.#disk.image.records.clear(range))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disk.close()
  }
}

class SimulatedDraft implements Draft {
  readonly initialSize: number
  readonly #disk: Disk
  readonly #resume: Digest | undefined
  #bytes: Buffer

  constructor(disk: Disk, resume: Digest | undefined) {
    this.#disk = disk
    this.#resume = resume
    this.#bytes = (resume && disk.image.partials.get(resume)?.bytes) ?? Buffer.alloc(0)
    this.initialSize = this.#bytes.length
  }

  async append(bytes: Uint8Array): Promise<void> {
    await this.#disk.read(() => undefined)
    this.#bytes = Buffer.concat([this.#bytes, bytes])
    if (this.#resume === undefined) return
    const synced = this.#disk.image.partials.get(this.#resume)?.synced ?? 0
    this.#disk.image.partials.set(this.#resume, { bytes: this.#bytes, synced })
  }

  async *read(): AsyncGenerator<Uint8Array> {
    yield this.#bytes
  }

  async commit(digest: Digest): Promise<void> {
    const { image, port } = this.#disk
    await this.#disk.write(() => {
      image.files.set(digest, this.#bytes)
      if (this.#resume !== undefined) image.partials.delete(this.#resume)
    })
    port.reach('blob.renamed')
  }

  async keep(): Promise<void> {
    const resume = this.#resume
    if (resume === undefined) return
    const bytes = this.#bytes
    await this.#disk.write(() => this.#disk.image.partials.set(resume, { bytes, synced: bytes.length }))
  }

  async discard(): Promise<void> {
    this.#bytes = Buffer.alloc(0)
    if (this.#resume !== undefined) this.#disk.image.partials.delete(this.#resume)
  }
}

/** Takes over what a draft in order has left; after a power cut none of its bytes is certain before it was kept. */
class SimulatedSparseDraft implements SparseDraft {
  readonly initialSize: number
  readonly #disk: Disk
  readonly #digest: Digest
  #bytes: Buffer

  constructor(disk: Disk, digest: Digest) {
    this.#disk = disk
    this.#digest = digest
    this.#bytes = disk.image.sparse.get(digest)?.bytes ?? disk.image.partials.get(digest)?.bytes ?? Buffer.alloc(0)
    this.initialSize = this.#bytes.length
    disk.image.partials.delete(digest)
    this.#set(0)
  }

  #set(synced: number): void {
    this.#disk.image.sparse.set(this.#digest, { bytes: this.#bytes, synced })
  }

  async write(position: number, bytes: Uint8Array): Promise<void> {
    await this.#disk.read(() => undefined)
    const grown = Buffer.alloc(Math.max(this.#bytes.length, position + bytes.length))
    grown.set(this.#bytes)
    grown.set(bytes, position)
    this.#bytes = grown
    this.#set(0)
  }

  async *read({ start, end }: ByteRange): AsyncGenerator<Uint8Array> {
    const piece = await this.#disk.read(() => this.#bytes.subarray(start, end))
    if (piece.length > 0) yield piece
  }

  async commit(digest: Digest): Promise<void> {
    const { image, port } = this.#disk
    await this.#disk.write(() => {
      image.files.set(digest, this.#bytes)
      image.sparse.delete(this.#digest)
    })
    port.reach('blob.renamed')
  }

  async keep(): Promise<void> {
    await this.#disk.write(() => this.#set(this.#bytes.length))
  }

  async discard(): Promise<void> {
    this.#disk.image.sparse.delete(this.#digest)
  }
}

export class SimulatedMedium implements BlobMedium {
  readonly #disk: Disk

  constructor(disk: Disk) {
    this.#disk = disk
  }

  async create(): Promise<Draft> {
    return new SimulatedDraft(this.#disk, undefined)
  }

  async resume(digest: Digest): Promise<Draft> {
    return new SimulatedDraft(this.#disk, digest)
  }

  async partialSize(digest: Digest): Promise<number> {
    return await this.#disk.read(() => this.#disk.image.partials.get(digest)?.bytes.length ?? 0)
  }

  async resumeSparse(digest: Digest): Promise<SparseDraft> {
    return new SimulatedSparseDraft(this.#disk, digest)
  }

  async hasSparse(digest: Digest): Promise<boolean> {
    return await this.#disk.read(() => this.#disk.image.sparse.has(digest))
  }

  async openSparse(digest: Digest, { start, end }: ByteRange): Promise<BlobPieces | undefined> {
    const { image } = this.#disk
    const content = await this.#disk.read(() => image.sparse.get(digest)?.bytes ?? image.files.get(digest))
    return content && streamPieces(Readable.from(piecesOf(content, start, end), { objectMode: false }))
  }

  async findSize(digest: Digest): Promise<number | undefined> {
    return await this.#disk.read(() => this.#disk.image.files.get(digest)?.length)
  }

  async open(digest: Digest, { start, end }: ByteRange): Promise<Readable | undefined> {
    const content = await this.#disk.read(() => this.#disk.image.files.get(digest))
    return content && Readable.from(piecesOf(content, start, end), { objectMode: false, highWaterMark: READ_BYTES })
  }

  async remove(digest: Digest): Promise<void> {
    await this.#disk.write(() => this.#disk.image.files.delete(digest))
  }

  async *digests(): AsyncIterable<Digest> {
    yield* await this.#disk.read(() => [...this.#disk.image.files.keys()])
  }
}

function* piecesOf(content: Buffer, start: number, end: number): Generator<Buffer> {
  if (end > content.length)
    throw new FeedmeshError('CORRUPT', `the content ends at byte ${content.length}, before ${end}`)
  for (let at = start; at < end; at += READ_BYTES) yield content.subarray(at, Math.min(at + READ_BYTES, end))
}

/** As the floor file: raised in memory, on disk when flushed; calls during a write share the next one. */
export class SimulatedFloor extends MemoryFloor {
  readonly #disk: Disk
  #dirty = false
  #writing: Promise<void> | undefined

  constructor(disk: Disk) {
    super(new Map(disk.image.floor))
    this.#disk = disk
  }

  override raise(feedId: string, order: FloorOrder): void {
    const before = this.entries.get(feedId)
    super.raise(feedId, order)
    if (this.entries.get(feedId) !== before) this.#dirty = true
  }

  override async flush(): Promise<void> {
    while (this.#writing !== undefined) await this.#writing
    if (!this.#dirty) return
    this.#dirty = false
    const entries = new Map(this.entries)
    const { image, port } = this.#disk
    this.#writing = this.#disk
      .write(() => {
        image.floor = entries
      })
      .finally(() => {
        this.#writing = undefined
      })
    try {
      await this.#writing
    } catch (error) {
      this.#dirty = true
      throw error
    }
    port.reach('floor.written')
  }
}
