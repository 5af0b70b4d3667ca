/**
 * The signed indexes of all feeds of this node: who signs them, the loops that build the own ones, and what clients are given.
 *
 * Configuration decides who signs, never what two feeds happen to hold at a moment (`index-modes.ts`).
 */

import type { FeedId } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import { isIndexUnit } from '../feeds/feed.ts'
import type { FeedType } from '../feeds/feed-type.ts'
import { type FetchBlob, LedgerFeed } from '../feeds/ledger-feed.ts'
import type { SignedIndexes, SignedIndexFormat } from '../feeds/signed-index.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { LocalFeed } from '../ledger/registry.ts'
import type { BlobStore } from '../store/blobs.ts'
import { FeedIndexer, type SetTimer } from './feed-indexer.ts'
import { DIRECTORY_UNIT, indexUnit } from './generation.ts'
import { findDirectory, IndexBuilder } from './index-builder.ts'
import { armorPublicKeys, type IndexKey, type IndexKeys, listFingerprints } from './index-keys.ts'
import { findSource, type IndexMode, type IndexModes } from './index-modes.ts'
import { IndexReader } from './index-reader.ts'
import type { OwnRows } from './member-store.ts'

export interface IndexKeeperOptions {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly fetchBlob: FetchBlob
  readonly feedTypes: readonly Pick<FeedType, 'name' | 'index'>[]
  readonly keys: IndexKeys
  readonly modes: IndexModes
  /** Unix time, ms. */
  readonly now: () => number
  /** Monotonic, ms. */
  readonly elapsedMs: () => number
  readonly setTimer: SetTimer
  /** For the log of the node. */
  readonly warn: (details: object, message: string) => void
}

/** Readers see what was published a moment before, unless that takes longer. */
const MAX_READER_WAIT_MS = 1500
/** What could not be settled is tried again after so long. */
const RETRY_MS = 30_000
/** Keys that a charter has room for. */
const MAX_KEYS = 16
/** Copies of copies are followed so far. */
const MAX_STEPS = 4

export interface IndexSettings {
  readonly mode: IndexMode
  /** Whether an operator has said so. */
  readonly isChosen: boolean
  /** Fingerprints of the keys that clients are given, upper-case hex. */
  readonly keys: readonly string[]
}

interface OwnIndex {
  readonly indexer: FeedIndexer
}

export class IndexKeeper implements AsyncDisposable {
  readonly #options: IndexKeeperOptions
  readonly #own = new Map<FeedId, OwnIndex>()
  readonly #readers = new Map<string, IndexReader>()
  #unsubscribe: (() => void) | undefined
  /** One reconciliation at a time. */
  #tail: Promise<void> = Promise.resolve()
  #isStopped = false

  constructor(options: IndexKeeperOptions) {
    this.#options = options
  }

  start(): void {
    const { registry } = this.#options.ledger
    this.#unsubscribe = registry.onViewChange((feedId, units) => this.#onViewChange(feedId, units))
    for (const local of registry.locals.values()) this.#schedule(local.id)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true
    this.#unsubscribe?.()
    await this.#tail
    for (const { indexer } of this.#own.values()) await indexer[Symbol.asyncDispose]()
  }

  /** What a feed type says of its indexes; undefined for types without. */
  formatOf(feedType: string): SignedIndexFormat | undefined {
    return this.#options.feedTypes.find(({ name }) => name === feedType)?.index
  }

  /** Keys for a feed that is about to be made: none for types without signed indexes. */
  async createKeys(feedType: string, name: string): Promise<IndexKey[]> {
    if (this.formatOf(feedType) === undefined) return []
    if (this.#options.ledger.registry.locals.has(name)) return []
    return [await this.#options.keys.create(name)]
  }

  /** @throws NOT_FOUND */
  modeOf(name: string): IndexMode | undefined {
    const local = this.#options.ledger.registry.getLocal(name)
    return this.formatOf(local.feedType) === undefined ? undefined : this.#resolve(local)
  }

  /** @throws NOT_FOUND; BAD_INPUT for types without signed indexes */
  async settings(name: string): Promise<IndexSettings> {
    const local = this.#getIndexed(name)
    const { registry } = this.#options.ledger
    const keys = registry.charterOf(await this.#findOwner(local))?.indexKeys ?? []
    const isChosen = this.#options.modes.find(local.id) !== undefined
    return { mode: this.#resolve(local), isChosen, keys: await listFingerprints(keys) }
  }

  /** @throws NOT_FOUND, BAD_INPUT, CONFLICT when the feed cannot be that */
  async setMode(name: string, mode: IndexMode): Promise<void> {
    const local = this.#getIndexed(name)
    if (mode === 'replica') await this.#verifyMayBeReplica(local)
    await this.#options.modes.set(local.id, mode)
    this.#schedule(local.id)
    await this.#tail
  }

  /** The armored private key of a feed that signs its own indexes. @throws NOT_FOUND, BAD_INPUT */
  async exportKey(name: string): Promise<string> {
    const local = this.#getIndexed(name)
    return await this.#options.keys.export(this.#options.ledger.registry.charterOf(local.id)?.indexKeys ?? [])
  }

  /** The feed signs with a new key from now on; clients are given the old ones, too. */
  async renewKey(name: string): Promise<void> {
    const { ledger, keys } = this.#options
    const local = this.#getIndexed(name)
    const key = await keys.create(name)
    await ledger.amendCharter(local.id, ({ indexKeys }) => ({ indexKeys: [key, ...indexKeys].slice(0, MAX_KEYS) }))
    await this.#serially(async () => {
      await this.#end(local.id)
      await this.#reconcile(local.id)
    })
  }

  /** @throws CONFLICT for a feed that serves another's indexes as they are */
  verifyMayPublish(name: string): void {
    if (this.modeOf(name) !== 'replica') return
    throw new FeedmeshError(
      'CONFLICT',
      `feed ${name} serves the signed index of the feed it pulls from as it is, so nothing can be published to it; publish there, or let it sign its own index: feedmesh feed edit ${name} --index own`,
    )
  }

  indexesOf(name: string): SignedIndexes {
    const local = this.#getIndexed(name)
    const reader = async () => this.#openReader(local, await this.#findOwner(local))
    return {
      list: async () => (await reader()).list(),
      find: async (index) => {
        await this.#own.get(local.id)?.indexer.settled(MAX_READER_WAIT_MS)
        return (await reader()).find(index)
      },
      findByHash: async (index, sha256) => (await reader()).findByHash(index, sha256),
      readPublicKeys: async () => {
        const owner = await this.#findOwner(local)
        return armorPublicKeys(this.#options.ledger.registry.charterOf(owner)?.indexKeys ?? [])
      },
    }
  }

  /** Resolves when all that is published is signed. */
  async settled(name: string, limitMs: number): Promise<void> {
    const local = this.#getIndexed(name)
    await this.#tail
    await this.#own.get(local.id)?.indexer.settled(limitMs)
  }

  #getIndexed(name: string): LocalFeed {
    const local = this.#options.ledger.registry.getLocal(name)
    if (this.formatOf(local.feedType) !== undefined) return local
    throw new FeedmeshError('BAD_INPUT', `feed ${name} is of type ${local.feedType}, which has no signed index`)
  }

  #resolve(local: LocalFeed): IndexMode {
    const source = findSource(this.#options.ledger.registry.charterOf(local.id))
    const chosen = this.#options.modes.find(local.id)
    // A copy whose source is gone or no longer the only one has nothing to serve as it is.
    if (chosen === 'own' || source === undefined) return 'own'
    return 'replica'
  }

  async #verifyMayBeReplica(local: LocalFeed): Promise<void> {
    if (findSource(this.#options.ledger.registry.charterOf(local.id)) === undefined)
      throw new FeedmeshError(
        'CONFLICT',
        `feed ${local.name} does not get its content from exactly one other feed, unfiltered, so there is no index that it could serve as it is; feedmesh replication list shows where it comes from`,
      )
    const packages = await this.#countOwnRows(local)
    if (packages > 0)
      throw new FeedmeshError(
        'CONFLICT',
        `feed ${local.name} has ${packages} rows of its own, which the index of its source does not list; delete them first`,
      )
  }

  /** The feed whose indexes clients of `local` see: the nearest that signs any. */
  async #findOwner(local: LocalFeed): Promise<FeedId> {
    const { registry } = this.#options.ledger
    if (this.#resolve(local) === 'own') return local.id
    const first = findSource(registry.charterOf(local.id)) ?? local.id
    let feedId: FeedId | undefined = first
    for (let step = 0; feedId !== undefined && step < MAX_STEPS; step += 1) {
      const owner: FeedId = feedId
      const rows = await registry.readSource(owner, DIRECTORY_UNIT)
      if (rows.some(({ key }) => key === owner)) return owner
      feedId = findSource(registry.charterOf(owner))
    }
    return first
  }

  #rowsOf(owner: FeedId): OwnRows {
    const { registry } = this.#options.ledger
    return { owner, rowsOf: (unit) => registry.readSource(owner, unit) }
  }

  #openFeed(local: LocalFeed): LedgerFeed {
    const { ledger, blobs, fetchBlob, now } = this.#options
    return new LedgerFeed({ name: local.name, feedId: local.id, ledger, blobs, fetchBlob, now })
  }

  #openReader(local: LocalFeed, owner: FeedId): IndexReader {
    const { registry } = this.#options.ledger
    const name = `${local.id} ${owner}`
    const known = this.#readers.get(name)
    if (known !== undefined) return known
    const reader = new IndexReader({
      feed: this.#openFeed(local),
      rows: this.#rowsOf(owner),
      revision: () => registry.states.get(owner)?.root.hash.toString('hex') ?? '',
    })
    this.#readers.set(name, reader)
    return reader
  }

  #onViewChange(feedId: FeedId, units: ReadonlySet<string> | 'all'): void {
    // Where a feed's content comes from, and whether it is one of this node, changes with its whole view.
    if (units === 'all') this.#schedule(feedId)
    const own = this.#own.get(feedId)
    if (own === undefined) return
    if (units === 'all') own.indexer.note('all')
    else this.#noteUnits(own, units)
  }

  #noteUnits({ indexer }: OwnIndex, units: ReadonlySet<string>): void {
    const changed = new Set([...units].filter((unit) => !isIndexUnit(unit)))
    if (changed.size > 0) indexer.note(changed)
  }

  #schedule(feedId: FeedId): void {
    void this.#serially(() => this.#tryReconcile(feedId))
  }

  #serially(work: () => Promise<void>): Promise<void> {
    const run = this.#tail.then(() => (this.#isStopped ? undefined : work()))
    this.#tail = run.catch(() => undefined)
    return run
  }

  async #tryReconcile(feedId: FeedId): Promise<void> {
    try {
      await this.#reconcile(feedId)
    } catch (error) {
      this.#options.warn(
        { err: error, feedId },
        'who signs the index of a feed could not be settled; tried again later',
      )
      this.#options.setTimer(() => this.#schedule(feedId), RETRY_MS)
    }
  }

  /** Starts or ends the loop of a feed as its configuration says now. */
  async #reconcile(feedId: FeedId): Promise<void> {
    const local = this.#options.ledger.registry.localById(feedId)
    const format = local === undefined ? undefined : this.formatOf(local.feedType)
    if (local === undefined || format === undefined) return await this.#end(feedId)
    if (this.#resolve(local) === 'own') return await this.#begin(local, format)
    await this.#end(feedId)
    // Whoever had packages of its own before it was linked goes on signing: a source's index does not list them.
    const isChosen = this.#options.modes.find(feedId) !== undefined
    if (!isChosen && (await this.#countOwnRows(local)) > 0) {
      await this.#options.modes.set(feedId, 'own')
      return await this.#begin(local, format)
    }
    await this.#dropIndexes(local)
  }

  async #begin(local: LocalFeed, format: SignedIndexFormat): Promise<void> {
    if (this.#own.has(local.id)) return
    const { ledger, keys, now, setTimer, elapsedMs, warn } = this.#options
    const signer = await keys.findSigner(ledger.registry.charterOf(local.id)?.indexKeys ?? [])
    if (signer === undefined) {
      warn({ feed: local.name }, 'the private index key of a feed is not here; its signed index stays as it is')
      return
    }
    const builder = new IndexBuilder({
      feed: this.#openFeed(local),
      rows: this.#rowsOf(local.id),
      format,
      now,
      viewDigest: () => ledger.registry.getView(local.id).totals.root.hash.toString('hex'),
      sign: (text, kind, nowMs) => signer.sign(text, kind, nowMs),
    })
    const onFailure = (error: unknown) =>
      warn({ err: error, feed: local.name }, 'the signed index of a feed could not be built; tried again later')
    const indexer = new FeedIndexer({ builder, setTimer, elapsedMs, onFailure })
    this.#own.set(local.id, { indexer })
    indexer.note('all')
  }

  async #end(feedId: FeedId): Promise<void> {
    const own = this.#own.get(feedId)
    this.#own.delete(feedId)
    await own?.indexer[Symbol.asyncDispose]()
  }

  /** Rows that the feed itself has signed, without those of its indexes. */
  async #countOwnRows(local: LocalFeed): Promise<number> {
    const { registry } = this.#options.ledger
    let rows = registry.getState(local.id).root.count
    for (const unit of await this.#ownIndexUnits(local)) rows -= (await registry.readSource(local.id, unit)).length
    return rows
  }

  async #ownIndexUnits(local: LocalFeed): Promise<string[]> {
    const directory = await findDirectory(this.#openFeed(local), this.#rowsOf(local.id))
    return directory === undefined ? [] : [...directory.indexes.map(indexUnit), DIRECTORY_UNIT]
  }

  /** The indexes that the feed has signed itself go: copies of it would serve them. The directory goes last. */
  async #dropIndexes(local: LocalFeed): Promise<void> {
    const feed = this.#openFeed(local)
    const { registry } = this.#options.ledger
    for (const unit of await this.#ownIndexUnits(local)) {
      const drop = (await registry.readSource(local.id, unit)).map(({ key }) => key)
      if (drop.length > 0) await feed.change(unit, () => ({ drop }))
    }
  }
}
