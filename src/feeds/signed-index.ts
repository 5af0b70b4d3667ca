/**
 * Signed lists of all packages of a feed, for clients that trust a repository by its signature (apt, dnf, zypper): what a
 * feed type says of them, and what it is given to serve. `src/indexing` builds, signs and keeps them.
 *
 * index (a Debian suite, an RPM repository) → documents (`Packages` of an architecture, `primary.xml`) → entries (stanzas,
 * elements) of units in byte order of their names, each unit's in order of its keys. A document is cut between entries into
 * members, each compressed for itself, so that one publish changes a member or two; compressed documents are served as their
 * members one after the other, which gzip and zstd readers take for one stream.
 */

import type { Readable } from 'node:stream'
import type { ByteRange } from '../store/blobs.ts'
import type { FeedRow, FeedUnit } from './feed.ts'

/** How a document is offered; `''` is the text itself. */
export const INDEX_ENCODINGS = ['', 'gz', 'zst'] as const
export type IndexEncoding = (typeof INDEX_ENCODINGS)[number]

/** A document of an index. Names of indexes are 1–128 bytes of `[a-z0-9.+~-]`; documents are paths, without the suffix of an encoding. */
export interface IndexDocument {
  readonly index: string
  readonly document: string
}

/** What a unit contributes to one document: whole entries, in order. */
export interface IndexEntries extends IndexDocument {
  readonly bytes: Uint8Array
  readonly count: number
}

/** One entry of a unit, whole. */
export interface IndexEntry {
  readonly unit: string
  readonly bytes: Buffer
}

/** A part of a document: entries of one unit. */
export interface UnitEntries {
  readonly unit: string
  readonly bytes: Buffer
  readonly count: number
}

export interface EntryContext {
  /** Every document of the index: what goes into all of a kind (Debian's `Architecture: all`) is repeated for each. */
  documents(index: string): readonly string[]
  readonly readMeta: (row: FeedRow) => Promise<Uint8Array>
}

export interface EncodedDocument {
  readonly size: number
  /** 32 bytes, hex. */
  readonly sha256: string
}

export interface BuiltDocument {
  readonly document: string
  readonly entries: number
  readonly encodings: Readonly<Record<IndexEncoding, EncodedDocument>>
}

/** One generation of an index: everything its top document names. */
export interface BuiltIndex {
  /** Name of the feed where it is signed. */
  readonly feedName: string
  readonly index: string
  /** Counts up from 1 for each owner. */
  readonly generation: number
  /** Unix time, ms; later than that of the generation before. */
  readonly builtAtMs: number
  /** In byte order of their names. */
  readonly documents: readonly BuiltDocument[]
}

export interface SignatureFile {
  readonly path: string
  /** `clear`: the text with its signature around it (RFC 9580, cleartext signature framework) · `detached`: armored. */
  readonly kind: 'clear' | 'detached'
}

/** Pure. */
export interface SignedIndexFormat {
  /** Documents that are there before the first package is. */
  readonly initial: readonly IndexDocument[]
  /** Documents that the unit calls into being, told from the keys of its rows alone. Documents that were there once stay. */
  documentsOf(unit: FeedUnit): Iterable<IndexDocument>
  /** Everything that a unit contributes, as its rows are now; nothing for documents it is not in. */
  entriesOf(unit: FeedUnit, context: EntryContext): Promise<readonly IndexEntries[]>
  /** Entries that `entriesOf` gave, one unit's after the other's, taken apart again, each by itself. */
  splitEntries(document: string, bytes: Buffer): Iterable<IndexEntry>
  /** What stands before and after the entries of a document. */
  frame(document: string, entries: number): { readonly head: Uint8Array; readonly tail: Uint8Array }
  /** The one document that names all others, and the files that sign it. */
  readonly top: { readonly path: string; readonly signatures: readonly SignatureFile[] }
  renderTop(built: BuiltIndex): Uint8Array
}

/** A file of an index, as it is served. */
export interface IndexFile {
  readonly size: number
  /** Hex. */
  readonly sha256: string
  /** Unix time, ms. */
  readonly modifiedAtMs: number
  open(range?: ByteRange): Promise<Readable>
}

/** A generation that is whole: all files that its top document names are here or can be had. */
export interface ServedIndex {
  readonly built: BuiltIndex
  /** The top document or one of its signatures. */
  findTop(path: string): IndexFile | undefined
  findDocument(document: string, encoding: IndexEncoding): IndexFile | undefined
}

/** The indexes that clients of a feed see: its own, or those of the feed it is a replica of. */
export interface SignedIndexes {
  list(): Promise<readonly string[]>
  /** The newest generation. What was published a moment before is in it, unless that takes more than a moment. */
  find(index: string): Promise<ServedIndex | undefined>
  /** A document by its digest (hex), of any generation that is kept: clients go on with the one they began with. */
  findByHash(index: string, sha256: string): Promise<(IndexFile & { readonly document: string }) | undefined>
  /** All public keys by which the indexes may be signed, one armored block. */
  readPublicKeys(): Promise<string>
}
