/** The `Feed` contract in memory: for tests of feed types and for feeds that need not outlive the process. */

import { createHash, type Hash } from 'node:crypto'
import { Readable } from 'node:stream'
import { type Digest, digestFromBytes, sha256 } from '../catalog/digest.ts'
import { compareKeys } from '../catalog/row.ts'
import { flagTarget } from '../catalog/view.ts'
import { FeedmeshError } from '../errors.ts'
import type { ByteRange, SealedBlob, StagedBlob, StageOptions } from '../store/blobs.ts'
import {
  type Feed,
  type FeedFile,
  type FeedNotes,
  type FeedRow,
  type FeedUnit,
  type FeedUploads,
  isIndexUnit,
  MAX_META_BYTES,
  type RowDraft,
  type UnitChange,
  type UnitSummary,
  type UnsignedPolicy,
} from './feed.ts'
import { MemoryUploads } from './memory-uploads.ts'

export interface MemoryFeedOptions {
  readonly name: string
  readonly type: string
  /** Default: 1 GiB. */
  readonly maxFileBytes?: number
  /** Default: `accept`. */
  readonly unsigned?: UnsignedPolicy
  /** Unix time in ms. */
  readonly now?: () => number
}

interface StoredUnit {
  readonly rows: ReadonlyMap<string, FeedRow>
  readonly changedAtMs: number
}

const MAX_ROLE_BYTES = 64

export function createMemoryFeed(options: MemoryFeedOptions): Feed {
  return new MemoryFeed(options)
}

class MemoryNotes implements FeedNotes {
  readonly #notes = new Map<string, Uint8Array>()

  async find(name: string): Promise<Uint8Array | undefined> {
    return this.#notes.get(name)
  }

  async set(notes: ReadonlyMap<string, Uint8Array | undefined>): Promise<void> {
    for (const [name, value] of notes) {
      if (value === undefined) this.#notes.delete(name)
      else this.#notes.set(name, Uint8Array.from(value))
    }
  }
}

class MemoryFeed implements Feed {
  readonly name: string
  readonly type: string
  readonly maxFileBytes: number
  readonly unsigned: UnsignedPolicy
  readonly uploads: FeedUploads
  readonly notes: FeedNotes = new MemoryNotes()
  readonly #now: () => number
  readonly #units = new Map<string, StoredUnit>()
  readonly #metas = new Map<string, Uint8Array>()
  readonly #contents = new Map<Digest, Buffer>()
  readonly #sealed = new WeakMap<SealedBlob, Buffer>()
  #lastChangeMs = 0
  /** How many there were. */
  #changes = 0
  #turn: Promise<void> = Promise.resolve()

  constructor(options: MemoryFeedOptions) {
    this.name = options.name
    this.type = options.type
    this.maxFileBytes = options.maxFileBytes ?? 1024 ** 3
    this.unsigned = options.unsigned ?? 'accept'
    this.#now = options.now ?? Date.now
    this.uploads = new MemoryUploads({
      now: this.#now,
      contents: this.#contents,
      contentOf: (blob) => this.#sealed.get(blob),
      stage: (stageOptions, keepPart) => this.#stage(stageOptions, keepPart),
    })
  }

  get revision(): string {
    return String(this.#changes)
  }

  async findUnit(unit: string): Promise<FeedUnit | undefined> {
    const stored = this.#units.get(unit)
    return stored === undefined ? undefined : describeUnit(unit, stored)
  }

  async *list(options: {
    readonly prefix?: string
    readonly after?: string
    readonly limit: number
  }): AsyncIterable<UnitSummary> {
    const { prefix = '', after, limit } = options
    const names = [...this.#units.keys()]
      .filter(
        (name) =>
          !isIndexUnit(name) && name.startsWith(prefix) && (after === undefined || compareKeys(name, after) > 0),
      )
      .sort(compareKeys)
    for (const unit of names.slice(0, limit)) {
      const stored = this.#units.get(unit)
      if (stored !== undefined) yield summarise(unit, stored)
    }
  }

  async readMeta(row: FeedRow): Promise<Uint8Array> {
    const meta = this.#metas.get(row.digest)
    if (meta === undefined)
      throw new FeedmeshError('NOT_FOUND', `no metadata is kept for row ${row.key} of ${row.unit}`)
    return Uint8Array.from(meta)
  }

  async open(row: FeedRow, file: FeedFile, range?: ByteRange): Promise<Readable> {
    const content = this.#contents.get(file.digest)
    if (content === undefined) throw new FeedmeshError('NOT_FOUND', `${file.digest} of ${row.unit} is not here`)
    if (range !== undefined && !(range.start >= 0 && range.start < range.end && range.end <= content.length)) {
      throw new FeedmeshError(
        'RANGE',
        `bytes ${range.start}–${range.end} lie outside the ${content.length} of the file`,
      )
    }
    return Readable.from(piecesOf(range === undefined ? content : content.subarray(range.start, range.end)), {
      objectMode: false,
    })
  }

  async stage(options: StageOptions): Promise<StagedBlob> {
    return this.#stage(options)
  }

  #stage(options: StageOptions, keepPart?: (part: Buffer) => void): StagedBlob {
    const maxBytes = Math.min(options.maxBytes, this.maxFileBytes)
    const keepSealed = (blob: SealedBlob, content: Buffer) => void this.#sealed.set(blob, content)
    return new MemoryStaging({ ...options, maxBytes }, keepSealed, keepPart)
  }

  async change(unit: string, plan: (current: FeedUnit | undefined) => UnitChange | Promise<UnitChange>): Promise<void> {
    const previous = this.#turn
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#turn = promise
    await previous
    try {
      this.#apply(unit, await plan(await this.findUnit(unit)))
    } finally {
      resolve()
    }
  }

  #apply(unit: string, change: UnitChange): void {
    const { put = [], drop = [] } = change
    if (put.length === 0 && drop.length === 0) return
    const rows = new Map(this.#units.get(unit)?.rows)
    const changedAtMs = Math.max(this.#now(), this.#lastChangeMs + 1)
    for (const key of drop) dropRow(unit, rows, key)
    const drafts = put.map((draft) => this.#draftRow(unit, draft, changedAtMs))
    for (const { row } of drafts) {
      if (drop.includes(row.key))
        throw new FeedmeshError('BAD_INPUT', `row ${row.key} of ${unit} is both put and dropped`)
      verifyReplaceable(rows.get(row.key), row)
      rows.set(row.key, row)
    }
    verifyFlags(unit, rows, put)
    this.#lastChangeMs = changedAtMs
    this.#changes += 1
    for (const { row, meta, contents } of drafts) {
      this.#metas.set(row.digest, meta)
      for (const [digest, content] of contents) this.#contents.set(digest, content)
    }
    if (rows.size === 0) this.#units.delete(unit)
    else this.#units.set(unit, { rows: new Map([...rows].sort(([a], [b]) => compareKeys(a, b))), changedAtMs })
  }

  #draftRow(unit: string, draft: RowDraft, writtenAtMs: number) {
    if (draft.meta.length > MAX_META_BYTES) {
      throw new FeedmeshError(
        'TOO_LARGE',
        `metadata of ${unit} ${draft.key} has ${draft.meta.length} bytes, allowed are ${MAX_META_BYTES}`,
      )
    }
    const contents: [Digest, Buffer][] = []
    const files = draft.files.map((file): FeedFile => {
      verifyRole(file.role)
      if ('digest' in file) return this.#verifyKept(file)
      const content = this.#sealed.get(file.blob)
      if (content === undefined)
        throw new FeedmeshError('BAD_INPUT', `the blob for role ${file.role} was not sealed by this feed`)
      contents.push([file.blob.digest, content])
      return { role: file.role, digest: file.blob.digest, size: file.blob.size }
    })
    const meta = Uint8Array.from(draft.meta)
    const facts = JSON.stringify([unit, draft.key, draft.rowClass, writtenAtMs, files])
    const digest = sha256(facts, '\n', meta).toString('hex')
    const row: FeedRow = { unit, key: draft.key, rowClass: draft.rowClass, writtenAtMs, digest, files }
    return { row, meta, contents }
  }

  #verifyKept(file: FeedFile): FeedFile {
    if (this.#contents.get(file.digest)?.length !== file.size) {
      throw new FeedmeshError('NOT_FOUND', `no row of ${this.name} has a file ${file.digest} of ${file.size} bytes`)
    }
    return { role: file.role, digest: file.digest, size: file.size }
  }
}

class MemoryStaging implements StagedBlob {
  readonly offset = 0
  readonly #options: StageOptions
  readonly #keep: (blob: SealedBlob, content: Buffer) => void
  readonly #keepPart: ((part: Buffer) => void) | undefined
  readonly #hashes: ReadonlyMap<string, Hash>
  #chunks: Buffer[] = []
  #size = 0
  #ended = false

  constructor(
    options: StageOptions,
    keep: (blob: SealedBlob, content: Buffer) => void,
    keepPart?: (part: Buffer) => void,
  ) {
    this.#options = options
    this.#keep = keep
    this.#keepPart = keepPart
    const algorithms = new Set(['sha256', ...(options.hashes ?? [])])
    if (options.resume?.startsWith('sha512:') === true) algorithms.add('sha512')
    this.#hashes = new Map([...algorithms].map((name) => [name, createHash(name)]))
  }

  get size(): number {
    return this.#size
  }

  async write(chunk: Uint8Array): Promise<void> {
    this.#verifyOpen()
    if (this.#size + chunk.length > this.#options.maxBytes) {
      throw new FeedmeshError(
        'TOO_LARGE',
        `the file has more than the ${this.#options.maxBytes} bytes that are allowed`,
      )
    }
    for (const hash of this.#hashes.values()) hash.update(chunk)
    this.#chunks.push(Buffer.from(chunk))
    this.#size += chunk.length
  }

  async seal(expected?: Digest): Promise<SealedBlob> {
    this.#verifyOpen()
    this.#ended = true
    const raw = new Map([...this.#hashes].map(([name, hash]) => [name, hash.digest()]))
    const content = Buffer.concat(this.#chunks, this.#size)
    this.#chunks = []
    const wanted = expected ?? this.#options.resume
    const algorithm = wanted?.startsWith('sha512:') === true ? 'sha512' : 'sha256'
    const digest = digestFromBytes(algorithm, raw.get(algorithm) ?? createHash(algorithm).update(content).digest())
    if (wanted !== undefined && digest !== wanted) {
      throw new FeedmeshError('PEER_INVALID', `the bytes have digest ${digest}, expected was ${wanted}`)
    }
    const hashes = Object.fromEntries([...raw].map(([name, bytes]) => [name, bytes.toString('hex')]))
    const blob: SealedBlob = { digest, size: content.length, hashes, writes: [] }
    this.#keep(blob, content)
    return blob
  }

  async keep(): Promise<void> {
    this.#verifyOpen()
    if (this.#keepPart === undefined)
      throw new FeedmeshError('INTERNAL', 'a feed in memory keeps parts of uploads only')
    this.#ended = true
    this.#keepPart(Buffer.concat(this.#chunks, this.#size))
    this.#chunks = []
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true
    this.#chunks = []
  }

  #verifyOpen(): void {
    if (this.#ended) throw new FeedmeshError('INTERNAL', 'the staged file was sealed or thrown away already')
  }
}

function describeUnit(unit: string, stored: StoredUnit): FeedUnit {
  const rows = [...stored.rows.values()].filter((row) => row.rowClass !== 'flag' || isFlaggable(stored.rows, row.key))
  const digest = sha256(rows.map((row) => row.digest).join('\n')).toString('hex')
  return { unit, digest, changedAtMs: stored.changedAtMs, rows, blocked: [] }
}

function summarise(unit: string, stored: StoredUnit): UnitSummary {
  const files = [...stored.rows.values()].flatMap((row) => row.files)
  const bytes = files.reduce((sum, file) => sum + file.size, 0)
  return { unit, rows: stored.rows.size, bytes, changedAtMs: stored.changedAtMs }
}

/** A flag is seen only on a row that is there. */
function isFlaggable(rows: ReadonlyMap<string, FeedRow>, flag: string): boolean {
  const target = rows.get(flagTarget(flag))
  return target !== undefined && target.rowClass !== 'burn'
}

/** @throws NOT_FOUND when a flag is put on a row that is not there */
function verifyFlags(unit: string, rows: ReadonlyMap<string, FeedRow>, put: readonly RowDraft[]): void {
  const stray = put.find((draft) => draft.rowClass === 'flag' && !isFlaggable(rows, draft.key))
  if (stray !== undefined) throw new FeedmeshError('NOT_FOUND', `${unit} has no ${flagTarget(stray.key)} to be flagged`)
}

function dropRow(unit: string, rows: Map<string, FeedRow>, key: string): void {
  const row = rows.get(key)
  if (row === undefined) throw new FeedmeshError('NOT_FOUND', `${unit} has no row ${key}`)
  if (row.rowClass === 'burn') throw new FeedmeshError('EXISTS', `row ${key} of ${unit} is burned for good`)
  rows.delete(key)
}

/** Invariant: what was immutable can only be burned, what is burned stays so. */
function verifyReplaceable(current: FeedRow | undefined, next: FeedRow): void {
  const fixed = current?.rowClass === 'burn' || (current?.rowClass === 'immutable' && next.rowClass !== 'burn')
  if (fixed) throw new FeedmeshError('EXISTS', `row ${next.key} of ${next.unit} exists and can never be replaced`)
}

function verifyRole(role: string): void {
  const size = Buffer.byteLength(role)
  if (size < 1 || size > MAX_ROLE_BYTES) {
    throw new FeedmeshError('BAD_INPUT', `a file role has 1 to ${MAX_ROLE_BYTES} bytes, not ${size}`)
  }
}

function* piecesOf(content: Buffer): Iterable<Buffer> {
  const pieceBytes = 64 * 1024
  for (let start = 0; start < content.length; start += pieceBytes) yield content.subarray(start, start + pieceBytes)
}
