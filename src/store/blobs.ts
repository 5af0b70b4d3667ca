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
  /**
   * Reads along while the blob is written, as one step of the writer's; undefined where that cannot be. The caller disposes of
   * the reader. @throws STORAGE_FULL, STORAGE_IO
   */
  openReader?(): Promise<StagedReader | undefined>
}

/** Bytes of a staging, nothing of which is verified yet. Outlives it, however it ends. */
export interface StagedReader extends AsyncDisposable {
  /**
   * At most `maxBytes` from `position` on, of what is written by now; they stay valid. Empty when nothing is written there.
   * @throws STORAGE_IO
   */
  read(position: number, maxBytes: number): Promise<Uint8Array>
}

export interface ChunkStageOptions {
  readonly digest: Digest
  /** At least CHUNKED_FROM_BYTES. */
  readonly size: number
  readonly chunkRoot: Digest
  /** The sha256 of each chunk, concatenated. */
  readonly chunkList: Uint8Array
  readonly signal?: AbortSignal
}

/**
 * A blob of which each chunk is written and proved alone, in any order, several at once. Verified chunks can be read with
 * `openVerified` until it is disposed of. Disposing of it before `seal` or `keep` removes its bytes.
 */
export interface StagedChunks extends AsyncDisposable {
  /** Chunks are numbered from 0 on. */
  readonly count: number
  isVerified(index: number): boolean
  /** Bytes of a chunk that is not verified; its writer goes on from here. */
  heldOf(index: number): number
  /**
   * Appends to what is held of the chunk; one call at a time a chunk. `bytes` must not be changed before it resolves. When
   * the disk fails nothing of that chunk is left.
   * @throws TOO_LARGE more than the chunk has, STORAGE_FULL, STORAGE_IO
   */
  write(index: number, bytes: Uint8Array): Promise<void>
  /** Of a chunk that is held whole. From then on it can be read. @throws PEER_INVALID it is another; nothing of it is left */
  verify(index: number): Promise<void>
  /** Forgets what is held of a chunk that is not verified. */
  forget(index: number): void
  /**
   * As `StagedBlob.seal`, once every chunk is verified.
   * @throws PEER_INVALID when the chunks are as listed and the whole is not: then chunkRoot is of another content
   */
  seal(): Promise<SealedBlob>
  /** Leaves the verified chunks for a later staging of the digest, over restarts too, where each is verified anew. */
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
  /** Whole blobs of up to MAX_INLINE_BYTES in one look; undefined for one that is larger or not known. @throws STORAGE_IO */
  findSmall(digests: readonly Digest[]): Promise<(Uint8Array | undefined)[]>
  /** @throws BUSY when another staging resumes the same digest. */
  stage(options: StageOptions): Promise<StagedBlob>
  /** Bytes kept by `keep()` for `digest`, 0 when there are none. */
  partialSize(digest: Digest): Promise<number>
  /**
   * Takes up what an earlier staging of the digest kept, by chunks or in order, as far as it verifies.
   * @throws PEER_INVALID for a chunk list that is not the one of `chunkRoot`, or not as long as the size asks for; BUSY when
   * another staging resumes the same digest; ABORTED, which leaves what was kept
   */
  stageChunks(options: ChunkStageOptions): Promise<StagedChunks>
  /** Whether a staging by chunks was kept for `digest`. */
  hasKeptChunks(digest: Digest): Promise<boolean>
  /** Of a blob that is being staged by chunks; undefined unless the range lies within verified ones. */
  openVerified(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined>
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
   * Says that of one sealing of the blob nothing is under way any more: its batch is written, and no other one will name it. Then
   * `remove` does not spare it on account of that sealing.
   */
  settle(digest: Digest): void
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
