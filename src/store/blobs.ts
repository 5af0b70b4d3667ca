/** The contract of the content-addressed store of file contents. */

import type { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import type { Write } from './records.ts'

/** Blobs up to this many bytes live inside the record store, so that many share one sync. */
export const MAX_INLINE_BYTES = 64 * 1024
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
  /**
   * As `resume`, for a content whose digest nobody knows yet: a name in the form of a digest, chosen by the writer, under
   * which `keep()` leaves the bytes. It says nothing about them.
   */
  readonly resumeAs?: Digest
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
   * @throws PEER_INVALID when `resume` or `expected` was given and the digest is another; the bytes are removed. With
   * `offset` > 0 the wrong bytes may be those of the earlier staging: fetch all of it again before blaming a peer.
   */
  seal(expected?: Digest): Promise<SealedBlob>
  /** Leaves the bytes for a later staging, over restarts too. Only for stagings opened with `resume` or `resumeAs`. */
  keep(): Promise<void>
}

export interface SealedBlob {
  /** In the algorithm of `resume` or `expected` if given, else sha256. */
  readonly digest: Digest
  readonly size: number
  /** Lower-case hex, for each algorithm asked for and sha256. */
  readonly hashes: Readonly<Record<string, string>>
  /** sha256 of the chunk list (concatenated sha256 of each 4 MiB chunk); present from CHUNKED_FROM_BYTES on. The list is a blob of its own. */
  readonly chunkRoot?: Digest
  /** What makes the blob known: belongs into the batch that also writes the first row that names it. */
  readonly writes: readonly Write[]
}

export interface BlobFacts {
  readonly size: number
  /** As in `SealedBlob.chunkRoot`; the chunk list is to be kept as long as the blob. */
  readonly chunkRoot?: Digest
}

export interface ListedBlob {
  readonly digest: Digest
  readonly size: number
}

/** The bytes of a blob for one reader, to be iterated once; each piece is valid until the next is asked for. */
export interface BlobPieces extends AsyncIterable<Uint8Array>, AsyncDisposable {}

export interface BlobStore {
  find(digest: Digest): Promise<BlobFacts | undefined>
  /** Which of `digests` are here, in the same order. */
  has(digests: readonly Digest[]): Promise<boolean[]>
  /** @throws NOT_FOUND; RANGE when the range lies outside the blob. The stream fails with CORRUPT or STORAGE_IO. */
  open(digest: Digest, range?: ByteRange): Promise<Readable>
  /** As `open`, with less garbage: its pieces share buffers. The caller disposes of it. */
  openPieces(digest: Digest, range?: ByteRange): Promise<BlobPieces>
  /** A whole small blob. @throws NOT_FOUND; TOO_LARGE when it has more than `maxBytes`. */
  read(digest: Digest, maxBytes: number): Promise<Uint8Array>
  /** @throws BUSY when another staging resumes the same digest. */
  stage(options: StageOptions): Promise<StagedBlob>
  /** Bytes kept by `keep()` for `digest`, 0 when there are none. */
  partialSize(digest: Digest): Promise<number>
  /**
   * Reads the whole blob and compares: `missing` when it is not known or its bytes are gone, `corrupt` when they are
   * other bytes. @throws STORAGE_IO when they cannot be read, ABORTED
   */
  verifyBlob(digest: Digest, signal?: AbortSignal): Promise<'ok' | 'missing' | 'corrupt'>
  /**
   * Forgets the blob, then deletes its bytes; also deletes an orphan. The caller makes sure that no row refers to it.
   * @throws BUSY for a blob over 64 KiB that was sealed in the last few minutes: the batch that names it may be under way.
   */
  remove(digest: Digest): Promise<void>
  /**
   * Makes an orphan known again, after reading and comparing all of it: what a lost database leaves on disk needs not be
   * fetched. false when there are no bytes for `digest`, or others. @throws STORAGE_FULL, STORAGE_IO
   */
  readmit(digest: Digest): Promise<boolean>
  /** Every known blob, chunk lists included, in no promised order. */
  list(): AsyncIterable<ListedBlob>
  /** Bytes at their final place that no record knows, left by a crash between `seal` and the batch. `remove` deletes them. */
  orphans(): AsyncIterable<Digest>
}
