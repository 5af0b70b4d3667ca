/**
 * Blob contents as files: `blobs/<first 2 hex>/<algorithm>-<hex>`, and drafts in `staging/`.
 *
 * What a kill leaves behind:
 * - `blob.writing`, `blob.written`: a file in `staging/`, perhaps incomplete; the next start deletes it, unless it is a
 *   `partial-…`, which is taken up again (and hashed again) by the next staging that resumes its digest, or a `chunks-…`,
 *   of which the next staging by chunks counts what verifies.
 * - `blob.chunk`: a `chunks-…` with verified chunks, and parts of others.
 * - `blob.synced`: the same, complete.
 * - `blob.renamed`: a complete file at its final place that no record knows: an orphan, listed for collection, replaced
 *   when the same content is sealed again.
 */

import { randomUUID } from 'node:crypto'
import { opendir, readdir, rename, rm, stat } from 'node:fs/promises'
import path from 'node:path'
import type { Readable } from 'node:stream'
import { algorithmOf, type Digest, isDigest } from '../catalog/digest.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { Log } from '../log.ts'
import type { BlobMedium, Draft, SparseDraft } from './blob-medium.ts'
import type { BlobPieces, ByteRange } from './blobs.ts'
import type { FileDraftPlace } from './draft-file.ts'
import { FileDraft } from './file-draft.ts'
import { FilePieces } from './file-pieces.ts'
import { openFileStream } from './file-stream.ts'
import { makeFolder } from './folders.ts'
import { SparseFileDraft } from './sparse-file-draft.ts'
import { isAbsent } from './storage-errors.ts'

/** A part that nobody took up for this long is deleted at the next start. */
export const MAX_PARTIAL_AGE_MS = 7 * 24 * 60 * 60 * 1000

/** Bytes in order from the first one on. */
const PARTIAL = 'partial-'
/** Chunks in any order, with gaps. */
const CHUNKS = 'chunks-'

export interface FileMediumOptions {
  readonly directory: string
  readonly reach: ReachFaultPoint
  readonly log?: Log | undefined
}

function fileName(digest: Digest): string {
  return digest.replace(':', '-')
}

function parseFileName(name: string): Digest | undefined {
  const text = name.replace('-', ':')
  return isDigest(text) ? text : undefined
}

async function findSize(file: string): Promise<number | undefined> {
  try {
    return (await stat(file)).size
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

async function openPieces(file: string, digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
  try {
    return await FilePieces.open(file, digest, range)
  } catch (error) {
    if (isAbsent(error)) return undefined
    throw error
  }
}

export class FileMedium implements BlobMedium {
  readonly #blobs: string
  readonly #staging: string
  readonly #reach: ReachFaultPoint
  readonly #log: Log | undefined
  /** At most 256. */
  readonly #folders = new Map<string, Promise<void>>()

  constructor(options: FileMediumOptions) {
    this.#blobs = path.join(options.directory, 'blobs')
    this.#staging = path.join(options.directory, 'staging')
    this.#reach = options.reach
    this.#log = options.log
  }

  /** Creates the folders and deletes what earlier runs left in `staging/`. Nothing may be staged yet. */
  async recover(nowMs: number): Promise<void> {
    await makeFolder(this.#staging)
    await makeFolder(this.#blobs)
    for (const name of await readdir(this.#staging)) {
      const file = path.join(this.#staging, name)
      if (await this.#isUsablePartial(name, file, nowMs)) continue
      await rm(file, { force: true, recursive: true })
      this.#log?.info({ file }, 'deleted what an earlier run left of a blob')
    }
  }

  create(): Promise<Draft> {
    return this.#openDraft(path.join(this.#staging, randomUUID()), 'new')
  }

  resume(digest: Digest): Promise<Draft> {
    return this.#openDraft(this.#partialPath(digest), 'resume')
  }

  async partialSize(digest: Digest): Promise<number> {
    return (await findSize(this.#partialPath(digest))) ?? 0
  }

  async resumeSparse(digest: Digest): Promise<SparseDraft> {
    const file = this.#chunksPath(digest)
    if ((await findSize(file)) === undefined) await this.#takeOver(this.#partialPath(digest), file)
    return await SparseFileDraft.open(this.#draftPlace(file))
  }

  async #takeOver(partial: string, file: string): Promise<void> {
    try {
      await rename(partial, file)
    } catch (error) {
      if (!isAbsent(error)) throw error
    }
  }

  async hasSparse(digest: Digest): Promise<boolean> {
    return (await findSize(this.#chunksPath(digest))) !== undefined
  }

  async openSparse(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
    return (await openPieces(this.#chunksPath(digest), digest, range)) ?? (await this.openPieces(digest, range))
  }

  findSize(digest: Digest): Promise<number | undefined> {
    return findSize(this.#blobPath(digest))
  }

  async open(digest: Digest, range: ByteRange): Promise<Readable | undefined> {
    try {
      return await openFileStream(this.#blobPath(digest), digest, range)
    } catch (error) {
      if (isAbsent(error)) return undefined
      throw error
    }
  }

  openPieces(digest: Digest, range: ByteRange): Promise<BlobPieces | undefined> {
    return openPieces(this.#blobPath(digest), digest, range)
  }

  remove(digest: Digest): Promise<void> {
    return rm(this.#blobPath(digest), { force: true })
  }

  async *digests(): AsyncIterable<Digest> {
    for (const folder of await readdir(this.#blobs)) {
      for await (const entry of await opendir(path.join(this.#blobs, folder))) {
        const digest = parseFileName(entry.name)
        if (digest) yield digest
        else this.#log?.warn({ folder, name: entry.name }, 'a file among the blobs does not belong there')
      }
    }
  }

  /** Drafts that need the same new folder all wait until its own entry is on stable storage. */
  #makeBlobFolder(folder: string): Promise<void> {
    const known = this.#folders.get(folder)
    if (known) return known
    const made = makeFolder(folder).catch((error: unknown) => {
      this.#folders.delete(folder)
      throw error
    })
    this.#folders.set(folder, made)
    return made
  }

  #openDraft(file: string, mode: 'new' | 'resume'): Promise<Draft> {
    return FileDraft.open(this.#draftPlace(file), mode)
  }

  #draftPlace(file: string): FileDraftPlace {
    const finalPath = async (digest: Digest) => {
      const target = this.#blobPath(digest)
      await this.#makeBlobFolder(path.dirname(target))
      return target
    }
    return { file, finalPath, reach: this.#reach }
  }

  #blobPath(digest: Digest): string {
    const hex = digest.slice(algorithmOf(digest).length + 1)
    return path.join(this.#blobs, hex.slice(0, 2), fileName(digest))
  }

  #partialPath(digest: Digest): string {
    return path.join(this.#staging, PARTIAL + fileName(digest))
  }

  #chunksPath(digest: Digest): string {
    return path.join(this.#staging, CHUNKS + fileName(digest))
  }

  async #isUsablePartial(name: string, file: string, nowMs: number): Promise<boolean> {
    const prefix = [PARTIAL, CHUNKS].find((each) => name.startsWith(each))
    if (prefix === undefined || !parseFileName(name.slice(prefix.length))) return false
    return nowMs - (await stat(file)).mtimeMs <= MAX_PARTIAL_AGE_MS
  }
}
