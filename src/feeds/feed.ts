/**
 * What a feed type (`protocols/feeds/X`) sees of a node: a `Feed`, and nothing else. No peers, no database, no other type.
 *
 * A feed is a set of *rows*. Rows with the same `unit` (npm package, asset path, Docker repository…) are what clients ask
 * for as a whole. A row is found by (unit, key). What is read here is the feed's *view*: its own rows merged with those of
 * the feeds it includes.
 */

import type { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import type { ByteRange, SealedBlob, StagedBlob, StageOptions } from '../store/blobs.ts'

/**
 * `immutable`: never changes under its key · `register`: newest write wins · `flag`: a register that marks another row of
 * the unit (deprecated, unlisted) and is seen only while that row is; its key is `<key of the row>#<name>` · `burn`: the key
 * may never be used again.
 */
export type FeedRowClass = 'immutable' | 'register' | 'flag' | 'burn'

export interface FeedFile {
  /** The ecosystem's own name for the part this file plays: `tarball`, `content`, `nupkg`…; 1–64 bytes. */
  readonly role: string
  readonly digest: Digest
  readonly size: number
  /** Of files with a chunk list; goes with the file when another row takes it over. */
  readonly chunkRoot?: Digest
}

export interface FeedRow {
  readonly unit: string
  readonly key: string
  readonly rowClass: FeedRowClass
  /** Wall clock of the write at the node that made it, Unix time in ms. The same at every node. */
  readonly writtenAtMs: number
  /** Digest of the row's bytes: equal digests = equal rows, at every node. Key for caches of rendered documents. */
  readonly digest: string
  readonly files: readonly FeedFile[]
}

export interface FeedUnit {
  readonly unit: string
  /** Changes whenever any row of the unit does; equal at all nodes that hold the same content: use it for ETags and `_rev`. */
  readonly digest: string
  /** Latest `writtenAtMs` of any change to the unit, including deletions, in ms; strictly increasing on one node. */
  readonly changedAtMs: number
  /** In byte order of their keys. */
  readonly rows: readonly FeedRow[]
  /** Keys that two sources hold with different bytes; not served until an operator decides. */
  readonly blocked: readonly string[]
}

export interface UnitSummary {
  readonly unit: string
  /** Rows of the unit that are visible. */
  readonly rows: number
  /** Sum of the sizes of all files of the unit, bytes. */
  readonly bytes: number
  readonly changedAtMs: number
}

/** A row to be written. `meta` over 1 KiB is kept as a blob; the limit is MAX_META_BYTES. */
export interface RowDraft {
  readonly key: string
  readonly rowClass: FeedRowClass
  readonly meta: Uint8Array
  /** Either newly staged and sealed, or taken over from a row that is already in the feed. */
  readonly files: readonly ({ readonly role: string; readonly blob: SealedBlob } | FeedFile)[]
}

export interface UnitChange {
  /** Rows to write; a row with the same key is replaced. Replacing an immutable or burned row is refused with EXISTS, but a `burn` may replace an immutable one. */
  readonly put?: readonly RowDraft[]
  /** Keys to remove. Removing a key that is not there is refused with NOT_FOUND; a row of another feed's with FORBIDDEN. */
  readonly drop?: readonly string[]
}

/**
 * Units of signed indexes (`src/indexing`) begin like this, and no ecosystem's do. They are not content: `list` does not name
 * them, and neither counts nor the digest of a view hold them.
 */
export const INDEX_UNIT_PREFIX = '//index/'

export function isIndexUnit(unit: string): boolean {
  return unit.startsWith(INDEX_UNIT_PREFIX)
}

/** Largest metadata of one row, bytes. */
export const MAX_META_BYTES = 8 * 1024 * 1024

/** What a feed does with packages that their publisher has not signed, where packages of its type carry signatures. */
export const UNSIGNED_POLICIES = ['accept', 'refuse'] as const
export type UnsignedPolicy = (typeof UNSIGNED_POLICIES)[number]

/** What is left of an upload after this long is forgotten. */
export const MAX_UPLOAD_AGE_MS = 7 * 24 * 60 * 60_000

/** An upload that may take several requests, and outlives the process. */
export interface UploadSession {
  readonly unit: string
  /** Unix time, ms. */
  readonly startedAtMs: number
}

/** A file that was uploaded whole and that no row names yet. */
export interface UploadedFile {
  readonly digest: Digest
  readonly size: number
  readonly chunkRoot?: Digest
  /** Unix time, ms. */
  readonly uploadedAtMs: number
}

/**
 * For ecosystems whose clients send files first and say later what they belong to (Docker). Known to this node alone, over
 * restarts; spared by gc; forgotten after MAX_UPLOAD_AGE_MS.
 */
export interface FeedUploads {
  /** Remembers an upload; `id` is fresh, 32 hex digits. Older uploads than MAX_UPLOAD_AGE_MS are forgotten on the way. */
  begin(id: string, unit: string): Promise<void>
  find(id: string): Promise<UploadSession | undefined>
  /** Goes on behind the bytes that are here; `keep()` leaves them for the next time. `maxBytes` as in `Feed.stage`. @throws BUSY */
  resume(id: string, options: Pick<StageOptions, 'maxBytes' | 'hashes'>): Promise<StagedBlob>
  /** Forgets the upload. Its staging must be over. */
  end(id: string): Promise<void>
  /** Keeps a sealed file for `unit`, and ends the upload `id` that brought it. */
  keep(unit: string, blob: SealedBlob, id?: string): Promise<void>
  /** Keeps a file for `unit` that a row or an upload of this or another feed of the node names; false when its bytes are not here. */
  adopt(unit: string, digest: Digest): Promise<boolean>
  findFile(unit: string, digest: Digest): Promise<UploadedFile | undefined>
  /** @throws NOT_FOUND, RANGE */
  open(unit: string, digest: Digest, range?: ByteRange): Promise<Readable>
  /** What rows name by now, or nobody wants. Bytes that nothing names are left to gc. */
  forget(unit: string, digests: readonly Digest[]): Promise<void>
}

/**
 * What a feed type has computed from the feed and would like to find again after a restart. Known to this node alone, in no
 * digest, not replicated; may be gone at any time, and be older than the feed.
 */
export interface FeedNotes {
  find(name: string): Promise<Uint8Array | undefined>
  /** At most MAX_NOTE_BYTES each; undefined removes the note. @throws STORAGE_FULL, STORAGE_IO */
  set(notes: ReadonlyMap<string, Uint8Array | undefined>): Promise<void>
}

export const MAX_NOTE_BYTES = 8 * 1024 * 1024

export interface Feed {
  readonly uploads: FeedUploads
  readonly notes: FeedNotes
  readonly name: string
  readonly type: string
  /** Largest file that may be published to this feed, bytes. */
  readonly maxFileBytes: number
  /** For types with `hasPackageSignatures`; `accept` for all others. */
  readonly unsigned: UnsignedPolicy
  /** Changes with everything that clients see of the feed; not the same at other nodes. */
  readonly revision: string

  findUnit(unit: string): Promise<FeedUnit | undefined>
  /** Units whose name starts with `prefix` and sorts after `after` (byte order), at most `limit`. */
  list(options: {
    readonly prefix?: string
    readonly after?: string
    readonly limit: number
  }): AsyncIterable<UnitSummary>
  /** The metadata bytes exactly as drafted at publish. */
  readMeta(row: FeedRow): Promise<Uint8Array>
  /** @throws NOT_FOUND when the bytes are neither here nor to be had; RANGE. */
  open(row: FeedRow, file: FeedFile, range?: ByteRange): Promise<Readable>
  /** Starts a blob; `maxBytes` is capped by `maxFileBytes`. Sealed blobs become visible with the change that names them. */
  stage(options: StageOptions): Promise<StagedBlob>
  /**
   * The one way to write. `plan` is called with the current state of the unit (undefined when it has no rows) while no
   * other change to the feed can happen, and says what to change, or throws to refuse. It must not wait for anything but
   * `readMeta`. Resolves once the change is durable and signed; all of it happens or nothing.
   * @throws what `plan` throws; EXISTS, NOT_FOUND, FORBIDDEN, CONFLICT, STORAGE_FULL, MAY_NOT_SIGN
   */
  change(unit: string, plan: (current: FeedUnit | undefined) => UnitChange | Promise<UnitChange>): Promise<void>
}
