/** How the blobs of one fetch end: what was sealed becomes known, many in one batch, and is told. */

import { asFeedmeshError } from '../errors.ts'
import type { SealedBlob } from '../store/blobs.ts'
import type { BlobFetcherOptions, BlobLie, BlobOutcome, BlobWork, WantedBlob } from './blob-fetcher.ts'

/** Small blobs that share one batch. */
const BATCH = 64

export class BlobOutcomes {
  readonly #stores: Pick<BlobFetcherOptions, 'records' | 'reach' | 'blobs'>
  readonly #work: BlobWork
  readonly #onOutcome: (outcome: BlobOutcome) => void
  /** Chunk lists are had for the sake of others. */
  readonly #isList: (digest: string) => boolean
  #sealed: { readonly wanted: WantedBlob; readonly writes: SealedBlob['writes'] }[] = []
  /** Of blobs that have no outcome yet. */
  #lies: BlobLie[] = []

  constructor(
    stores: Pick<BlobFetcherOptions, 'records' | 'reach' | 'blobs'>,
    work: BlobWork,
    hooks: { readonly isList: (digest: string) => boolean; readonly onOutcome: (outcome: BlobOutcome) => void },
  ) {
    this.#stores = stores
    this.#work = work
    this.#isList = hooks.isList
    this.#onOutcome = hooks.onOutcome
  }

  /** Whether what was sealed fills a batch. */
  get isFull(): boolean {
    return this.#sealed.length >= BATCH
  }

  addLie(lie: BlobLie): void {
    this.#lies.push(lie)
  }

  addSealed(wanted: WantedBlob, { writes }: SealedBlob): void {
    this.#sealed.push({ wanted, writes })
  }

  /** What was sealed becomes known, and is told. */
  async store(): Promise<void> {
    const batch = this.#sealed
    this.#sealed = []
    if (batch.length === 0) return
    const { records, reach } = this.#stores
    try {
      await records.write(batch.flatMap((one) => one.writes))
      reach('adopt.blob')
      if (this.#work.namesNothing === true) this.#settle(batch.map(({ wanted }) => wanted))
      for (const { wanted } of batch) this.tell({ wanted })
    } catch (error) {
      for (const { wanted } of batch) this.tell({ wanted, error: asFeedmeshError(error) })
    }
  }

  /** No other batch will name them. */
  #settle(wanted: readonly WantedBlob[]): void {
    const digests = wanted.flatMap(({ digest, chunkRoot = digest }) => [digest, chunkRoot])
    for (const digest of new Set(digests)) this.#stores.blobs.settle(digest)
  }

  /** Lies about a blob that nobody gave are the reason of its outcome; those about others are told besides. */
  tell(outcome: BlobOutcome): void {
    const { wanted, error } = outcome
    const lies = this.#lies.filter((lie) => lie.wanted === wanted)
    this.#lies = this.#lies.filter((lie) => lie.wanted !== wanted)
    if (error === undefined || this.#isList(wanted.digest)) for (const lie of lies) this.#work.onLie?.(lie)
    this.#onOutcome(outcome)
  }
}
