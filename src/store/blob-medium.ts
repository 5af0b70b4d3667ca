/** Where the bytes of blobs over 64 KiB are. `medium-blobs.ts` makes a BlobStore of a medium and a record store. */

import type { Readable } from 'node:stream'
import type { Digest } from '../catalog/digest.ts'
import type { BlobPieces, ByteRange, StagedReader } from './blobs.ts'

/** Pieces in which contents are read. */
export const READ_BYTES = 256 * 1024

/** A content that has no final place yet. All its methods may fail with errors of the file system. */
export interface Draft {
  /** Bytes it held when it was opened. */
  readonly initialSize: number
  /** `bytes` may be changed once this resolves. A failure may show at a later call. */
  append(bytes: Uint8Array): Promise<void>
  /** Everything from the first byte on, in pieces that stay valid until the next is asked for. */
  read(): AsyncIterable<Uint8Array>
  /** Puts it to its final place on stable storage, replacing what is there; nothing more may be called then. */
  commit(digest: Digest): Promise<void>
  /** Leaves it on stable storage for `resume`. Only for drafts made by `resume`. */
  keep(): Promise<void>
  /** Removes its bytes; may be called at any time, more than once. */
  discard(): Promise<void>
  /** As `StagedBlob.openReader`; its errors are those of the file system. */
  openReader?(): Promise<StagedReader>
}

/** A content of known size whose bytes come in any order. All its methods may fail with errors of the file system. */
export interface SparseDraft {
  /** Bytes up to which it may hold something. */
  readonly initialSize: number
  /** `bytes` may be changed once this resolves; then they can be read. Several calls may be under way. */
  write(position: number, bytes: Uint8Array): Promise<void>
  /** In pieces that stay valid until the next is asked for; they end early where the draft does. */
  read(range: ByteRange): AsyncIterable<Uint8Array>
  /** As of `Draft`; no other call may be under way. */
  commit(digest: Digest): Promise<void>
  keep(): Promise<void>
  discard(): Promise<void>
}

export interface BlobMedium {
  create(): Promise<Draft>
  /** The draft kept for `digest`, or a new one that can be kept. One at a time per digest. */
  resume(digest: Digest): Promise<Draft>
  partialSize(digest: Digest): Promise<number>
  /** The sparse draft kept for `digest`, else what `resume` would give turned into one. One at a time per digest, of either kind. */
  resumeSparse(digest: Digest): Promise<SparseDraft>
  hasSparse(digest: Digest): Promise<boolean>
  /** A range of the sparse draft of `digest`, or of what it was committed to; undefined when there is neither. */
  openSparse(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined>
  /** Size of what is at the final place of `digest`. */
  findSize(digest: Digest): Promise<number | undefined>
  /** Undefined when there are no bytes for `digest`. The stream fails with CORRUPT when the bytes end before `range` does. */
  open(digest: Digest, range: ByteRange): Promise<Readable | undefined>
  /** As `open`, with buffers that are used again. A medium without it has none to spare. */
  openPieces?(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined>
  remove(digest: Digest): Promise<void>
  /** All that is at a final place. */
  digests(): AsyncIterable<Digest>
}
