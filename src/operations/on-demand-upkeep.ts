/**
 * What follows when the availability, the filters or the pins of a replication change: files that are to be here now are
 * brought, and those that need not be here any more count among what was fetched on demand.
 */

import type { FeedId } from '../catalog/charter.ts'
import { isReceiving } from '../catalog/policy.ts'
import { asFeedmeshError, type FeedmeshError } from '../errors.ts'
import type { BlobWanted } from '../feeds/ledger-feed.ts'
import type { SetTimer } from '../network/timers.ts'
import type { DemandFetch } from '../replication/demand-fetch.ts'
import { brings, isFileExpected } from '../replication/expected-files.ts'
import type { OnDemandSpace } from '../replication/on-demand-space.ts'
import { isWindowOpen } from '../replication/time-window.ts'
import { keys } from '../store/keys.ts'
import { type FileReference, listReferences } from './file-references.ts'
import { type EvictionParts, isHadOnDemand } from './on-demand-eviction.ts'

/** How often it is looked whether something has changed. */
const LOOK_MS = 10_000
/** After a failure, or outside the window. */
const RETRY_MS = 10 * 60_000
const BATCH = 1000

export interface OnDemandUpkeepOptions extends EvictionParts {
  readonly space: OnDemandSpace
  readonly fetchBlob: Pick<DemandFetch, 'bring'>
  readonly setTimer: SetTimer
  readonly onFailure: (error: FeedmeshError) => void
}

export class OnDemandUpkeep implements AsyncDisposable {
  readonly #options: OnDemandUpkeepOptions
  #cancel: (() => void) | undefined
  #running: Promise<void> = Promise.resolve()
  #isOver = false

  constructor(options: OnDemandUpkeepOptions) {
    this.#options = options
  }

  start(delayMs = LOOK_MS): void {
    this.#cancel = this.#options.setTimer(() => {
      this.#running = this.look().then(
        (isDone) => this.#startAgain(isDone ? LOOK_MS : RETRY_MS),
        (error: unknown) => {
          this.#options.onFailure(asFeedmeshError(error))
          this.#startAgain(RETRY_MS)
        },
      )
    }, delayMs)
  }

  #startAgain(delayMs: number): void {
    if (!this.#isOver) this.start(delayMs)
  }

  /** @returns whether all is as it is to be */
  async look(): Promise<boolean> {
    const { records } = this.#options.ledger.registry
    const chosen = this.#renderChoices()
    const fact = keys.fact('brought ahead')
    const settled = await records.find(fact)
    if (settled !== undefined && Buffer.compare(settled, chosen) === 0) return true
    const isDone = !this.#isReceiving() || (await this.#settle())
    // After it: a kill on the way has it done again.
    if (isDone) await records.write([{ type: 'put', key: fact, value: chosen }])
    return isDone
  }

  #isReceiving(): boolean {
    return this.#options.book.replications.all().some(({ mode }) => isReceiving(mode))
  }

  /** What decides which files are brought ahead. */
  #renderChoices(): Buffer {
    const { book } = this.#options
    const chosen = book.replications
      .all()
      .filter(({ mode }) => isReceiving(mode))
      .map(({ id, availability, include, exclude, pins }) => [id, availability, include, exclude, pins])
    return Buffer.from(JSON.stringify(chosen))
  }

  async #settle(): Promise<boolean> {
    let isDone = true
    let batch: FileReference[] = []
    for await (const reference of listReferences(this.#options.ledger.registry, 'pass')) {
      if (this.#isOver) return false
      batch.push(reference)
      if (batch.length < BATCH) continue
      isDone = (await this.#settleBatch(batch)) && isDone
      batch = []
    }
    return (await this.#settleBatch(batch)) && isDone
  }

  async #settleBatch(batch: readonly FileReference[]): Promise<boolean> {
    const { blobs, space } = this.#options
    const here = await blobs.has(batch.map(({ file }) => file.digest))
    const present = batch.filter((_, index) => here[index] === true)
    await space.count(
      present.filter((one) => isHadOnDemand(this.#options, { ...one, role: one.file.role })).map(wantedOf),
    )
    let isDone = true
    for (const missing of batch.filter((_, index) => here[index] !== true))
      isDone = (await this.#bringExpected(missing)) && isDone
    return isDone
  }

  /** @returns false for a file that is to be here and is not */
  async #bringExpected(reference: FileReference): Promise<boolean> {
    const { registry, fetchBlob, onFailure } = this.#options
    const { feedId, row, file } = reference
    if (file.size === 0 || registry.localById(feedId) !== undefined) return true
    if (!isFileExpected(this.#options, { feedId, row, role: file.role })) return true
    if (this.#isOver || !this.#isTimeFor(feedId)) return false
    try {
      await fetchBlob.bring(wantedOf(reference))
      return true
    } catch (error) {
      onFailure(asFeedmeshError(error))
      return false
    }
  }

  /** Whether a replication that brings the feed may do by itself what nobody waits for. */
  #isTimeFor(feedId: FeedId): boolean {
    const { book, registry, now } = this.#options
    return book.replications
      .all()
      .filter(({ mode, window }) => isReceiving(mode) && isWindowOpen(window, now()))
      .some((replication) => brings({ book, registry }, replication, feedId))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isOver = true
    this.#cancel?.()
    await this.#running
  }
}

function wantedOf({ feedId, row, file }: FileReference): BlobWanted {
  return { feedId, unit: row.unit, key: row.key, file }
}
