/** Serves the generations that one feed has signed: its files whole, in parts, in each encoding. */

import { Readable } from 'node:stream'
import { digestBytes } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { Feed, FeedRow } from '../feeds/feed.ts'
import {
  type BuiltIndex,
  INDEX_ENCODINGS,
  type IndexEncoding,
  type IndexFile,
  type ServedIndex,
} from '../feeds/signed-index.ts'
import type { ByteRange } from '../store/blobs.ts'
import {
  describeGeneration,
  indexUnit,
  memberKey,
  membersOf,
  type StoredDocument,
  type StoredMember,
} from './generation.ts'
import { findDirectory, readGenerations } from './index-builder.ts'
import { formSize, type OwnRows, readMember } from './member-store.ts'

/** Members that are read while the one before is being sent. */
const READ_AHEAD = 3

interface OpenGeneration {
  readonly built: BuiltIndex
  readonly row: FeedRow
  readonly documents: ReadonlyMap<string, StoredDocument>
  readonly members: ReadonlyMap<string, FeedRow>
}

interface CachedIndex {
  readonly revision: string
  readonly generations: readonly OpenGeneration[]
}

export interface IndexReaderOptions {
  readonly feed: Feed
  readonly rows: OwnRows
  /** Changes whenever a row of the owner does. */
  readonly revision: () => string
}

export class IndexReader {
  readonly #options: IndexReaderOptions
  readonly #indexes = new Map<string, CachedIndex>()

  constructor(options: IndexReaderOptions) {
    this.#options = options
  }

  async list(): Promise<readonly string[]> {
    return (await findDirectory(this.#options.feed, this.#options.rows))?.indexes ?? []
  }

  async find(index: string): Promise<ServedIndex | undefined> {
    const [newest] = await this.#generations(index)
    if (newest === undefined) return undefined
    return {
      built: newest.built,
      findTop: (path) => this.#findTop(newest, path),
      findDocument: (name, encoding) => {
        const document = newest.documents.get(name)
        return document === undefined ? undefined : this.#openDocument(newest, document, encoding)
      },
    }
  }

  async findByHash(index: string, sha256: string): Promise<(IndexFile & { document: string }) | undefined> {
    for (const generation of await this.#generations(index)) {
      for (const { document, encodings } of generation.built.documents) {
        const encoding = INDEX_ENCODINGS.find((candidate) => encodings[candidate].sha256 === sha256)
        const stored = generation.documents.get(document)
        if (encoding !== undefined && stored !== undefined)
          return { ...this.#openDocument(generation, stored, encoding), document }
      }
    }
    return undefined
  }

  async #generations(index: string): Promise<readonly OpenGeneration[]> {
    const { feed, rows, revision } = this.#options
    const now = revision()
    const cached = this.#indexes.get(index)
    if (cached?.revision === now) return cached.generations
    const kept = await readGenerations(feed, rows, index)
    const members = new Map((await rows.rowsOf(indexUnit(index))).map((row) => [row.key, row]))
    const generations = kept.map(({ row, generation }) => ({
      built: describeGeneration(index, generation),
      row,
      documents: new Map(generation.documents.map((document) => [document.document, document])),
      members,
    }))
    // Names come from clients: what is not there is not remembered.
    if (generations.length > 0) this.#indexes.set(index, { revision: now, generations })
    else this.#indexes.delete(index)
    return generations
  }

  #findTop({ row, built }: OpenGeneration, path: string): IndexFile | undefined {
    const file = row.files.find(({ role }) => role === path)
    if (file === undefined) return undefined
    return {
      size: file.size,
      sha256: digestBytes(file.digest).toString('hex'),
      modifiedAtMs: built.builtAtMs,
      open: (range) => this.#options.feed.open(row, file, range),
    }
  }

  #openDocument(generation: OpenGeneration, document: StoredDocument, encoding: IndexEncoding): IndexFile {
    const { size, sha256 } = encoding === '' ? document.raw : document[encoding]
    return {
      size,
      sha256: Buffer.from(sha256).toString('hex'),
      modifiedAtMs: generation.built.builtAtMs,
      open: async (range = { start: 0, end: size }) =>
        Readable.from(this.#readParts(generation, document, { encoding, range }), { objectMode: false }),
    }
  }

  async *#readParts(
    generation: OpenGeneration,
    document: StoredDocument,
    { encoding, range }: { readonly encoding: IndexEncoding; readonly range: ByteRange },
  ): AsyncGenerator<Buffer> {
    const wanted: { readonly row: FeedRow; readonly start: number; readonly end: number }[] = []
    let at = 0
    for (const member of membersOf(document)) {
      if (at >= range.end) break
      const row = this.#getRow(generation, member)
      const size = encoding === '' ? member.size : formSize(row, encoding)
      const [start, end] = [Math.max(0, range.start - at), Math.min(size, range.end - at)]
      at += size
      if (start < end) wanted.push({ row, start, end })
    }
    const read = ({ row, start, end }: (typeof wanted)[number]) => {
      const part = readMember(this.#options.feed, row, encoding).then((form) => form.subarray(start, end))
      // The first that fails is told where it is waited for; the others have nobody.
      part.catch(() => undefined)
      return part
    }
    const reading = wanted.slice(0, READ_AHEAD).map(read)
    for (const place of wanted.keys()) {
      const part = await reading.shift()!
      const next = wanted[place + READ_AHEAD]
      if (next !== undefined) reading.push(read(next))
      yield part
    }
  }

  #getRow({ members }: OpenGeneration, { id }: StoredMember): FeedRow {
    const row = members.get(memberKey(this.#options.rows.owner, id))
    if (row !== undefined) return row
    throw new FeedmeshError('CORRUPT', `member ${Buffer.from(id).toString('hex')} of a signed index is missing`)
  }
}
