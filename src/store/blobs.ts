/** The contract of the content-addressed store of file contents. */

import type { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import type { Write } from './records.ts'

/** Blobs up to this many bytes live inside the record store, so that many share one sync. */
export const MAX_INLINE_BYTES = 64 * 1024
/** Blobs of at least this many bytes have a chunk list. */
export const MIN_CHUNKED_BYTES = 8 * 1024 * 1024
/** Size of a chunk; the last one may be shorter. */
export const CHUNK_BYTES = 4 * 1024 * 1024

/** Byte range of a blob: `start` inclusive, `end` exclusive, 0 ≤ start < end ≤ size. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

export interface StageOptions {
  /** Writing more than this many bytes fails with TOO_LARGE. */
  readonly maxBytes: number
  /** Further hashes to compute while writing, besides sha256 (and the algorithm of `resume`). */
  readonly hashes?: readonly ('sha1' | 'sha512' | 'md5')[]
  /** The content is to have this digest, and what an earlier `keep()` left of it is taken up again. */
  readonly resume?: Digest
}

/** A blob that is being written. Disposing of it before `seal` or `keep` removes its bytes. */
export interface StagedBlob extends AsyncDisposable {
  /** Bytes taken over from an earlier, kept staging; the writer goes on from here. */
  readonly offset: number
  /** Bytes written so far, `offset` included. */
  readonly size: number
  /**
   * Resolves when more may be written. `chunk` must not be changed before that.
   * @throws TOO_LARGE, STORAGE_FULL, STORAGE_IO
   */
  write(chunk: Uint8Array): Promise<void>
  /**
   * Ends the writing: the bytes are on stable storage at their final place, but not yet known to the store. They become
   * visible with the batch that holds `SealedBlob.writes`.
   * @throws PEER_INVALID when `resume` or `expected` was given and the digest is another; the bytes are removed.
   */
  seal(expected?: Digest): Promise<SealedBlob>
  /** Leaves the bytes for a later `stage({ resume })`, over restarts too. Only for stagings opened with `resume`. */
  keep(): Promise<void>
}

export interface SealedBlob {
  /** In the algorithm of `resume` or `expected` if given, else sha256. */
  readonly digest: Digest
  readonly size: number
  /** Lower-case hex, for each algorithm asked for and sha256. */
  readonly hashes: Readonly<Record<string, string>>
  /** sha256 of the chunk list (concatenated sha256 of each 4 MiB chunk); present from MIN_CHUNKED_BYTES on. The list is a blob of its own. */
  readonly chunkRoot?: Digest
  /** What makes the blob known: belongs into the batch that also writes the first row that names it. */
  readonly writes: readonly Write[]
}

export interface BlobStore {
  find(digest: Digest): Promise<{ readonly size: number } | undefined>
  /** Which of `digests` are here, in the same order. */
  has(digests: readonly Digest[]): Promise<boolean[]>
  /** @throws NOT_FOUND; RANGE when the range lies outside the blob. The stream fails with CORRUPT or STORAGE_IO. */
  open(digest: Digest, range?: ByteRange): Promise<Readable>
  /** A whole small blob. @throws NOT_FOUND; TOO_LARGE when it has more than `maxBytes`. */
  read(digest: Digest, maxBytes: number): Promise<Uint8Array>
  stage(options: StageOptions): Promise<StagedBlob>
  /** Bytes kept by `keep()` for `digest`, 0 when there are none. */
  partialSize(digest: Digest): Promise<number>
}
