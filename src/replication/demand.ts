/** One blob that is on its way for those who wait for it. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { feedIdText } from '../catalog/charter.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { BlobWanted } from '../feeds/ledger-feed.ts'
import type { Registry } from '../ledger/registry.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { BlobFetcher } from './blob-fetcher.ts'
import type { Book } from './book.ts'
import { GrowingBlob } from './growing-blob.ts'
import type { OnDemandSpace } from './on-demand-space.ts'

/** As long as a peer may take to give one blob. */
const TIMEOUT_MS = 6 * 3_600_000
/** With so much left, or a tenth, a fetch is finished for nobody. */
const NEARLY_DONE_BYTES = 8 * 1024 * 1024

export interface DemandFetchOptions {
  readonly book: Book
  readonly registry: Registry
  readonly fetcher: BlobFetcher
  readonly blobs: BlobStore
  readonly stopping: AbortSignal
  readonly setTimer: SetTimer
  /** Sees to it that there is room; without it the disk is the limit. */
  readonly space?: OnDemandSpace
}

/** Peers that may have it: those it came from, and those that replicate our own feed. */
function findPeers(book: Book, registry: Registry, wanted: BlobWanted): string[] {
  const links = book.links.all().filter((link) => {
    if (link.revokedAt !== null) return false
    const source = feedIdText(link.remote)
    return registry.reaches(source, wanted.feedId) || feedIdText(link.local) === wanted.feedId
  })
  return [...new Set(links.map((link) => link.peer))]
}

export class Demand {
  readonly wanted: BlobWanted
  readonly growing: GrowingBlob
  /** Rejects with why it could not be had. */
  readonly done: Promise<void>
  readonly #options: DemandFetchOptions
  readonly #leaving = new AbortController()
  /** The only ones that are asked: no client waits. */
  readonly #sources: readonly string[] | undefined
  /** Those who wait for all of it. */
  #keepers = 0

  /** Begins at once. Without `sources` a client waits, and whoever may have the blob is asked. */
  constructor(wanted: BlobWanted, options: DemandFetchOptions, sources?: readonly string[]) {
    this.wanted = wanted
    this.#options = options
    this.#sources = sources
    const { digest, size } = wanted.file
    this.growing = new GrowingBlob({ blobs: options.blobs, digest, size, onIdle: () => this.#leaveUnlessWaited() })
    this.done = this.#run()
    this.done.catch(() => undefined) // Those who wait are told.
  }

  get isForPeer(): boolean {
    return this.#sources !== undefined
  }

  get isGivenUp(): boolean {
    return this.#leaving.signal.aborted
  }

  async wait(): Promise<void> {
    this.#keepers += 1
    try {
      await this.done
    } finally {
      this.#keepers -= 1
    }
  }

  #leaveUnlessWaited(): void {
    if (this.#keepers > 0 || this.growing.readers > 0) return
    const { size } = this.wanted.file
    if (size - this.growing.arrivedBytes <= Math.max(NEARLY_DONE_BYTES, size / 10)) return
    this.#leaving.abort(new FeedmeshError('ABORTED', `nobody waits for ${this.wanted.file.digest} any more`))
  }

  async #run(): Promise<void> {
    let failure: FeedmeshError | undefined
    try {
      const { space } = this.#options
      failure = space === undefined ? await this.#fetch() : await space.around(this.wanted, () => this.#fetch())
    } catch (error) {
      failure = asFeedmeshError(error)
    }
    const told = failure === undefined ? undefined : describe(this.wanted, failure)
    this.growing.end(told)
    if (told !== undefined) throw told
  }

  async #fetch(): Promise<FeedmeshError | undefined> {
    const { book, registry, fetcher, stopping, setTimer } = this.#options
    const { feedId, unit, key, file } = this.wanted
    let failure: FeedmeshError | undefined
    using limit = startTimeLimit(setTimer, TIMEOUT_MS, stopping, this.#leaving.signal)
    const { digest, size, chunkRoot } = file
    const blob = { feedId, unit, key, digest, size, chunkRoot }
    await fetcher.fetchAll(this.#sources ?? findPeers(book, registry, this.wanted), [blob], {
      signal: limit.signal,
      isWaited: !this.isForPeer,
      namesNothing: true,
      follower: this.growing,
      onOutcome: ({ error }) => {
        failure = error
      },
    })
    return failure
  }
}

/** What those who wait are told. */
function describe({ unit }: BlobWanted, failure: FeedmeshError): FeedmeshError {
  if (['STORAGE_FULL', 'STORAGE_IO', 'ABORTED'].includes(failure.code)) return failure
  const message = `a file of ${unit} is not here, and no peer has given it (${failure.message})`
  return new FeedmeshError('NOT_FOUND', message, { cause: failure })
}
