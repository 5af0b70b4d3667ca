/**
 * From a feed's packages to the next generation of its signed indexes.
 *
 * Invariant: a generation, its members and what says which view it shows are one change of the feed. A process that ends at
 * any moment leaves the previous generation, whole; members that no generation names go with the next one.
 */

import { FeedmeshError } from '../errors.ts'
import type { Feed, FeedRow, FeedUnit, UnitChange } from '../feeds/feed.ts'
import type { EntryContext, IndexEntries, SignatureFile, SignedIndexFormat } from '../feeds/signed-index.ts'
import { DigestPrefixes } from './digest-prefixes.ts'
import { DocumentDraft } from './document-draft.ts'
import {
  DIRECTORY_UNIT,
  type Directory,
  decodeDirectory,
  decodeGeneration,
  describeGeneration,
  encodeDirectory,
  encodeGeneration,
  GENERATION_SLOTS,
  type Generation,
  generationKey,
  indexUnit,
  isGenerationKey,
  isMemberKey,
  memberKey,
  membersOf,
  type StoredDocument,
} from './generation.ts'
import { MemberStore, type OwnRows, stageBytes } from './member-store.ts'

export interface IndexBuilderOptions {
  /** Written past what keeps clients from publishing. */
  readonly feed: Feed
  readonly rows: OwnRows
  readonly format: SignedIndexFormat
  /** Unix time, ms. */
  readonly now: () => number
  /** Digest of the feed's view, which changes with everything that clients see. */
  readonly viewDigest: () => string
  readonly sign: (text: Uint8Array, kind: SignatureFile['kind'], nowMs: number) => Promise<Uint8Array>
}

interface Kept {
  readonly row: FeedRow
  readonly generation: Generation
}

interface OpenIndex {
  readonly name: string
  /** Newest first. */
  readonly kept: readonly Kept[]
  readonly store: MemberStore
  readonly drafts: Map<string, DocumentDraft>
}

interface PlannedChange {
  readonly unit: string
  readonly change: UnitChange
}

const PAGE = 500

/** Generations of an index that `owner` has signed, newest first. */
export async function readGenerations(feed: Feed, { owner, rowsOf }: OwnRows, index: string): Promise<Kept[]> {
  const kept: Kept[] = []
  for (const row of await rowsOf(indexUnit(index)))
    if (isGenerationKey(owner, row.key)) kept.push({ row, generation: decodeGeneration(await feed.readMeta(row)) })
  return kept.sort((a, b) => b.generation.number - a.generation.number)
}

/** undefined where `owner` has never signed an index. */
export async function findDirectory(feed: Feed, { owner, rowsOf }: OwnRows): Promise<Directory | undefined> {
  const row = (await rowsOf(DIRECTORY_UNIT)).find(({ key }) => key === owner)
  return row === undefined ? undefined : decodeDirectory(await feed.readMeta(row))
}

function isSameDocument(a: StoredDocument, b: StoredDocument | undefined): boolean {
  return b !== undefined && a.document === b.document && Buffer.compare(a.raw.sha256, b.raw.sha256) === 0
}

async function* listUnits(feed: Feed): AsyncGenerator<FeedUnit> {
  for (let after: string | undefined; ; ) {
    let listed = 0
    for await (const { unit } of feed.list({ limit: PAGE, ...(after === undefined ? {} : { after }) })) {
      listed += 1
      after = unit
      const found = await feed.findUnit(unit)
      if (found !== undefined) yield found
    }
    if (listed < PAGE) return
  }
}

export class IndexBuilder {
  readonly #options: IndexBuilderOptions
  /** By index and document. */
  readonly #prefixes = new Map<string, DigestPrefixes>()

  constructor(options: IndexBuilderOptions) {
    this.#options = options
  }

  /** Whether what is signed shows the view as it is. */
  async isCurrent(): Promise<boolean> {
    const directory = await findDirectory(this.#options.feed, this.#options.rows)
    return directory !== undefined && directory.view === this.#options.viewDigest()
  }

  /** Signs and stores what follows from the changed units. @throws as `Feed.change` */
  async build(changed: ReadonlySet<string> | 'all'): Promise<void> {
    const { feed, rows, viewDigest } = this.#options
    const view = viewDigest()
    const directory = await findDirectory(feed, rows)
    const indexes = new Map<string, OpenIndex>()
    for (const name of directory?.indexes ?? []) indexes.set(name, await this.#openIndex(name))
    const isWhole = [...indexes.values()].every(({ kept }) => kept.length > 0)
    const units = changed === 'all' || directory === undefined || !isWhole ? undefined : await this.#load(changed)
    if (units === undefined || this.#findsNew(indexes, units)) await this.#fill(indexes)
    else await this.#apply(indexes, units)
    await this.#publish(indexes, { view, directory })
  }

  async #openIndex(name: string): Promise<OpenIndex> {
    const { feed, rows, format } = this.#options
    const kept = await readGenerations(feed, rows, name)
    const store = await MemberStore.open(feed, rows, name)
    const drafts = new Map<string, DocumentDraft>()
    for (const old of kept[0]?.generation.documents ?? [])
      drafts.set(
        old.document,
        new DocumentDraft(old.document, { store, format, old, prefixes: this.#prefixesOf(name, old.document) }),
      )
    return { name, kept, store, drafts }
  }

  #prefixesOf(index: string, document: string): DigestPrefixes {
    const name = `${index} ${document}`
    const prefixes = this.#prefixes.get(name) ?? new DigestPrefixes()
    this.#prefixes.set(name, prefixes)
    return prefixes
  }

  async #load(changed: ReadonlySet<string>): Promise<ReadonlyMap<string, FeedUnit | undefined>> {
    const units = new Map<string, FeedUnit | undefined>()
    for (const unit of changed) units.set(unit, await this.#options.feed.findUnit(unit))
    return units
  }

  #findsNew(indexes: ReadonlyMap<string, OpenIndex>, units: ReadonlyMap<string, FeedUnit | undefined>): boolean {
    for (const unit of units.values())
      for (const { index, document } of unit === undefined ? [] : this.#options.format.documentsOf(unit))
        if (indexes.get(index)?.drafts.has(document) !== true) return true
    return false
  }

  #context(indexes: ReadonlyMap<string, OpenIndex>): EntryContext {
    const { feed } = this.#options
    return {
      documents: (index) => [...(indexes.get(index)?.drafts.keys() ?? [])],
      readMeta: (row) => feed.readMeta(row),
    }
  }

  async #apply(
    indexes: ReadonlyMap<string, OpenIndex>,
    units: ReadonlyMap<string, FeedUnit | undefined>,
  ): Promise<void> {
    const context = this.#context(indexes)
    for (const [name, unit] of units) {
      const entries = unit === undefined ? [] : await this.#options.format.entriesOf(unit, context)
      for (const index of indexes.values())
        for (const draft of index.drafts.values()) await draft.set(name, findEntries(entries, index, draft, name))
    }
  }

  /** Builds everything anew; documents that were there stay, maybe empty. */
  async #fill(indexes: Map<string, OpenIndex>): Promise<void> {
    const { feed, format } = this.#options
    const wanted = [...format.initial]
    for (const { name, drafts } of indexes.values())
      for (const document of drafts.keys()) wanted.push({ index: name, document })
    const names = new Map<string, Set<string>>()
    const add = (index: string, document: string) => {
      names.set(index, (names.get(index) ?? new Set()).add(document))
    }
    for (const { index, document } of wanted) add(index, document)
    for await (const unit of listUnits(feed))
      for (const { index, document } of format.documentsOf(unit)) add(index, document)
    for (const [index, documents] of names) {
      const open = indexes.get(index) ?? (await this.#openIndex(index))
      indexes.set(index, open)
      for (const document of [...documents].sort()) {
        const prefixes = this.#prefixesOf(index, document)
        open.drafts.set(document, new DocumentDraft(document, { store: open.store, format, old: undefined, prefixes }))
      }
    }
    const context = this.#context(indexes)
    for await (const unit of listUnits(feed)) {
      for (const { index, document, bytes, count } of await format.entriesOf(unit, context))
        await indexes
          .get(index)
          ?.drafts.get(document)
          ?.append({ unit: unit.unit, bytes: Buffer.from(bytes), count })
    }
  }

  async #publish(
    indexes: ReadonlyMap<string, OpenIndex>,
    { view, directory }: { readonly view: string; readonly directory: Directory | undefined },
  ): Promise<void> {
    const planned: PlannedChange[] = []
    for (const index of indexes.values()) {
      const change = await this.#planIndex(index)
      if (change !== undefined) planned.push(change)
    }
    const names = [...indexes.keys()].sort()
    if (planned.length === 0 && directory?.view === view && directory.indexes.length === names.length) return
    await this.#write(planned, { indexes: names, view })
  }

  /** All of it waits for the ledger together, and so shares one signed state. */
  async #write(planned: readonly PlannedChange[], next: Directory): Promise<void> {
    const { feed, rows, viewDigest } = this.#options
    let done = 0
    const writes = planned.map(({ unit, change }) =>
      feed.change(unit, () => {
        done += 1
        return change
      }),
    )
    const directory = feed.change(DIRECTORY_UNIT, () => {
      if (done < planned.length) throw new FeedmeshError('CONFLICT', 'a signed index was not stored')
      // What changed since is in the next generation; which view this one shows is then not known.
      const meta = encodeDirectory({ ...next, view: viewDigest() === next.view ? next.view : '' })
      return { put: [{ key: rows.owner, rowClass: 'register', meta, files: [] }] }
    })
    const ends = await Promise.allSettled([...writes, directory])
    for (const end of ends) if (end.status === 'rejected') throw end.reason
  }

  /** undefined when the newest generation says the same. */
  async #planIndex(index: OpenIndex): Promise<PlannedChange | undefined> {
    const { feed, rows, format, now, sign } = this.#options
    const newest = index.kept[0]?.generation
    const documents: StoredDocument[] = []
    for (const name of [...index.drafts.keys()].sort()) documents.push(await index.drafts.get(name)!.finish())
    const isSame =
      newest?.documents.length === documents.length &&
      documents.every((document, at) => isSameDocument(document, newest.documents[at]))
    if (isSame) return undefined
    const number = (newest?.number ?? 0) + 1
    const builtAtMs = Math.max(now(), (newest?.builtAtMs ?? 0) + 1)
    const generation: Generation = { number, builtAtMs, feedName: feed.name, documents }
    const top = format.renderTop(describeGeneration(index.name, generation))
    const files = [{ role: format.top.path, blob: await stageBytes(feed, top) }]
    for (const { path, kind } of format.top.signatures)
      files.push({ role: path, blob: await stageBytes(feed, await sign(top, kind, builtAtMs)) })
    const draft = { key: generationKey(rows.owner, number), rowClass: 'register', files } as const
    const put = [{ ...draft, meta: encodeGeneration(generation) }, ...index.store.drafts]
    const drop = await this.#findUnused(index, generation)
    return { unit: indexUnit(index.name), change: { put, drop } }
  }

  /** Members that no generation names any more. */
  async #findUnused({ name, kept }: OpenIndex, next: Generation): Promise<string[]> {
    const { owner, rowsOf } = this.#options.rows
    const staying = kept.filter(({ row }) => row.key !== generationKey(owner, next.number))
    const used = new Set<string>()
    for (const { documents } of [next, ...staying.slice(0, GENERATION_SLOTS - 1).map(({ generation }) => generation)])
      for (const document of documents) for (const { id } of membersOf(document)) used.add(memberKey(owner, id))
    const rows = await rowsOf(indexUnit(name))
    return rows.flatMap(({ key }) => (isMemberKey(owner, key) && !used.has(key) ? [key] : []))
  }
}

function findEntries(
  entries: readonly IndexEntries[],
  { name }: OpenIndex,
  { document }: DocumentDraft,
  unit: string,
): { unit: string; bytes: Buffer; count: number } | undefined {
  const found = entries.find((one) => one.index === name && one.document === document)
  if (found === undefined || found.count === 0) return undefined
  return { unit, bytes: Buffer.from(found.bytes), count: found.count }
}
