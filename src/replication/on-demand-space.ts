/**
 * Room for files that are fetched on demand: how much of them is kept, within the quota of the replication that brings them
 * and the space of the disk. The least recently used go first, and only what can be had again.
 *
 * Before a fetch → room is made, the blob is written down → it is fetched → after it, a little more room for the next one.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import type { FeedId } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import { isReceiving } from '../catalog/policy.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { BlobWanted } from '../feeds/ledger-feed.ts'
import type { Registry } from '../ledger/registry.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { KeptBlob, KeptBlobs } from '../store/kept-blobs.ts'
import type { Book } from './book.ts'
import { brings } from './expected-files.ts'

/** Left free on the disk: below this the node counts as out of space. */
const MIN_FREE_BYTES = 64 * 1024 ** 2
/** Of a quota this share is kept free for the next fetch, which then waits for nothing. */
const HEADROOM = 1 / 16
/** Only a quota that is passed removes what was used this lately; and so long a blob stays that is larger than its quota. */
const LATELY_MS = 60_000
/** How often it is looked whether a quota was made smaller. */
const TIDY_MS = 60_000

export interface Eviction {
  /** Those that are gone. */
  readonly removed: readonly Digest[]
  /** Those that are not to go: they are no content of replications on demand any more. */
  readonly spared: readonly Digest[]
}

export interface OnDemandSpaceOptions {
  readonly book: Book
  readonly registry: Registry
  readonly blobs: Pick<BlobStore, 'has'>
  readonly kept: KeptBlobs
  /** Unix time, ms. */
  readonly now: () => number
  readonly setTimer: SetTimer
  /** Removes those of the blobs that nobody else needs and that can be had again. The others stay as they are. */
  readonly evict: (digests: readonly Digest[]) => Promise<Eviction>
  /** Whether the file is to be here in any case. */
  readonly isExpected: (wanted: BlobWanted) => Promise<boolean>
  /** Of the disk that the blobs are on. */
  readonly freeBytes: () => Promise<number>
  readonly onFailure: (error: FeedmeshError) => void
}

/** What may go: of one replication or of all, and how long it has not been used. */
interface Choice {
  readonly owner?: string
  readonly unusedForMs?: number
}

export class OnDemandSpace implements AsyncDisposable {
  readonly #options: OnDemandSpaceOptions
  /** What is being fetched. */
  readonly #underWay = new Set<Digest>()
  /** What goes soon because its quota has no room for it. */
  readonly #passing = new Map<Digest, () => void>()
  readonly #background = new Set<Promise<void>>()
  #turn: Promise<unknown> = Promise.resolve()
  #cancelTidy: (() => void) | undefined
  #isOver = false

  constructor(options: OnDemandSpaceOptions) {
    this.#options = options
  }

  /** Looks after the quotas from now on. */
  start(): void {
    this.#cancelTidy = this.#options.setTimer(() => {
      this.start()
      this.#inBackground(() => this.tidy())
    }, TIDY_MS)
  }

  used(digest: Digest): void {
    this.#options.kept.used(digest)
  }

  /** Bytes that are kept of a replication. */
  bytesOf(replication: string): number {
    return this.#options.kept.bytesOf(replication)
  }

  /**
   * Runs a fetch for which there is room; and once more, with more room, when the disk was full all the same.
   * @returns what the fetch failed with. @throws STORAGE_FULL and what the fetch throws
   */
  async around(
    wanted: BlobWanted,
    fetch: () => Promise<FeedmeshError | undefined>,
  ): Promise<FeedmeshError | undefined> {
    const { digest, size } = wanted.file
    const owner = await this.#findOwner(wanted)
    // Metadata may be fetched in the middle of a change, which nothing is removed in: it takes the room there is.
    if (owner === undefined) return await fetch()
    this.#underWay.add(digest)
    try {
      await this.#makeRoomOnDisk(size)
      await this.#inTurn(() => this.#admit(owner, wanted))
      const failure = await fetch()
      if (failure?.code !== 'STORAGE_FULL' || (await this.#free(Math.max(size, MIN_FREE_BYTES), {})) === 0)
        return failure
      return await fetch()
    } finally {
      this.#underWay.delete(digest)
      this.#inBackground(() => this.#settle(owner, digest, size))
    }
  }

  /** Brings every replication within its quota, as far as that can be. */
  async tidy(): Promise<void> {
    for (const { id } of this.#options.book.replications.all()) await this.#tidyOne(id)
  }

  /** Files that are here and need not be: from now on they count, and go before all others. */
  async count(files: readonly BlobWanted[]): Promise<void> {
    const { kept } = this.#options
    const counted = files.flatMap(({ feedId, file: { digest, size } }) => {
      const owner = kept.has(digest) ? undefined : this.#findBringing(feedId)
      return owner === undefined ? [] : [{ digest, size, owner, usedAtMs: 0 }]
    })
    if (counted.length > 0) await kept.add(counted)
  }

  /** The replication on demand that brings the file; undefined for one that is to be here anyway. */
  async #findOwner(wanted: BlobWanted): Promise<string | undefined> {
    return (await this.#options.isExpected(wanted)) ? undefined : this.#findBringing(wanted.feedId)
  }

  #findBringing(feedId: FeedId): string | undefined {
    const { book, registry } = this.#options
    return book.replications
      .all()
      .filter(({ mode, availability }) => isReceiving(mode) && availability === 'on-demand')
      .find((replication) => brings({ book, registry }, replication, feedId))?.id
  }

  /** Bytes. */
  #quotaOf(owner: string): number {
    const quota = this.#options.book.replications.find(owner)?.quotaBytes ?? 0
    return quota === 0 ? Number.POSITIVE_INFINITY : quota
  }

  async #admit(owner: string, { file: { digest, size } }: BlobWanted): Promise<void> {
    const { kept } = this.#options
    const quota = this.#quotaOf(owner)
    const added = kept.has(digest) ? 0 : size
    if (size <= quota) await this.#freeInTurn(() => kept.bytesOf(owner) + added - quota, { owner })
    await kept.add([{ digest, owner, size }])
  }

  async #makeRoomOnDisk(size: number): Promise<void> {
    const { freeBytes } = this.#options
    const lacking = size + MIN_FREE_BYTES - (await freeBytes())
    if (lacking <= 0) return
    if ((await this.#free(lacking, {})) >= lacking || size + MIN_FREE_BYTES <= (await freeBytes())) return
    throw new FeedmeshError(
      'STORAGE_FULL',
      `there is no room for a file of ${size} bytes, and too little that was fetched on demand can go; free some space on the disk`,
    )
  }

  async #settle(owner: string, digest: Digest, size: number): Promise<void> {
    const { kept, blobs, setTimer } = this.#options
    const [isHere] = await blobs.has([digest])
    if (this.#underWay.has(digest) || !kept.has(digest)) return
    if (isHere !== true) return await kept.drop([digest])
    const quota = this.#quotaOf(owner)
    if (size <= quota && kept.bytesOf(owner) <= quota) return await this.#tidyOne(owner)
    this.#passing.get(digest)?.()
    const cancel = setTimer(() => {
      this.#passing.delete(digest)
      this.#inBackground(() => this.#inTurn(() => this.#evict([{ digest, size }])))
    }, LATELY_MS)
    this.#passing.set(digest, cancel)
  }

  async #tidyOne(owner: string): Promise<void> {
    const quota = this.#quotaOf(owner)
    const over = (share: number) => this.#options.kept.bytesOf(owner) - quota * share
    if (over(1) > 0) await this.#inTurn(() => this.#freeInTurn(() => over(1), { owner }))
    if (over(1 - HEADROOM) <= 0) return
    const unused = { owner, unusedForMs: LATELY_MS }
    await this.#inTurn(() => this.#freeInTurn(() => over(1 - 2 * HEADROOM), unused))
  }

  /** @returns how many bytes are free that were not */
  #free(bytes: number, choice: Choice): Promise<number> {
    let freed = 0
    const lacking = () => bytes - freed
    return this.#inTurn(async () => {
      await this.#freeInTurn(lacking, choice, (more) => {
        freed += more
      })
      return freed
    })
  }

  /** Until nothing is `lacking` any more, or nothing is left that may go. */
  async #freeInTurn(lacking: () => number, choice: Choice, onFreed?: (bytes: number) => void): Promise<void> {
    const tried = new Set<Digest>()
    while (lacking() > 0) {
      const candidates = this.#choose(lacking(), choice, tried)
      if (candidates.length === 0) return
      for (const { digest } of candidates) tried.add(digest)
      const freed = await this.#evict(candidates)
      onFreed?.(freed)
    }
  }

  #choose(bytes: number, { owner, unusedForMs }: Choice, tried: ReadonlySet<Digest>): KeptBlob[] {
    const chosen: KeptBlob[] = []
    const latestMs = unusedForMs === undefined ? Number.POSITIVE_INFINITY : this.#options.now() - unusedForMs
    let sum = 0
    for (const one of this.#options.kept.oldest(owner)) {
      if (sum >= bytes || one.usedAtMs > latestMs) break
      if (tried.has(one.digest) || this.#underWay.has(one.digest)) continue
      chosen.push(one)
      sum += one.size
    }
    return chosen
  }

  /** @returns bytes that are free now */
  async #evict(candidates: readonly Pick<KeptBlob, 'digest' | 'size'>[]): Promise<number> {
    const { kept, evict } = this.#options
    const wanted = candidates.filter(({ digest }) => kept.has(digest) && !this.#underWay.has(digest))
    if (wanted.length === 0 || this.#isOver) return 0
    const { removed, spared } = await evict(wanted.map(({ digest }) => digest))
    await kept.drop([...removed, ...spared])
    const gone = new Set(removed)
    return wanted.reduce((sum, { digest, size }) => sum + (gone.has(digest) ? size : 0), 0)
  }

  /** One at a time: room that was made for one fetch is not taken by another. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => undefined) // Whoever asked for it is told.
    return done
  }

  /** What concerns nobody who waits. */
  #inBackground(work: () => Promise<unknown>): void {
    const done: Promise<void> = work()
      .then(
        () => undefined,
        (error: unknown) => this.#options.onFailure(asFeedmeshError(error)),
      )
      .finally(() => this.#background.delete(done))
    this.#background.add(done)
  }

  /** Waits until nothing is done in the background any more, for now. */
  async whenIdle(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    this.#cancelTidy?.()
    for (const cancel of this.#passing.values()) cancel()
    await this.whenIdle()
  }
}
