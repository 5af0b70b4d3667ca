/** What one neighbour has told of what it has, bounded: it may tell what it likes. */

import { MAX_TOLD_CHUNKS, type News, type ToldBlob } from '../../protocols/mesh/nearby/messages.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { type Digest, isDigest, sha256Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { FeedPosition } from '../replication/nearby.ts'
import { ChunkSet } from './chunk-set.ts'

/** Blobs of all feeds; the oldest are forgotten. */
export const MAX_HEARD_BLOBS = 2048
/** Of these, blobs that are not whole. */
export const MAX_HEARD_PARTIAL = 64

export interface HeardParts {
  readonly digest: Digest
  readonly parts: readonly number[] | 'all'
}

/** That a peer is there, as news: it has no chunk of the blob that has none. */
export const SIGN_OF_LIFE: HeardParts = { digest: sha256Digest(new Uint8Array(0)), parts: [] }

interface HeardBlob {
  readonly feedId: FeedId
  readonly digest: Digest
  chunks: ChunkSet | 'all'
}

export class HeardNews {
  /** The state of each feed of which it says that it has everything. */
  readonly #whole = new Map<FeedId, FeedPosition>()
  readonly #blobs = new Map<string, HeardBlob>()

  /** What of it is new. @throws PEER_INVALID */
  hear({ feedId, at, isAtWork, blobs }: News): HeardParts[] {
    const id = feedIdText(feedId)
    if (at === null) this.#whole.delete(id)
    else this.#whole.set(id, at)
    const fresh = blobs.flatMap((told) => this.#hearBlob(id, told) ?? [])
    return fresh.length === 0 && isAtWork ? [SIGN_OF_LIFE] : fresh
  }

  /** Everything known of blobs of the feed. */
  told(feedId: FeedId): HeardParts[] {
    return [...this.#blobs.values()]
      .filter((blob) => blob.feedId === feedId)
      .map(({ digest, chunks }) => ({ digest, parts: chunks === 'all' ? 'all' : chunks.indexes() }))
  }

  /** Whether it says that it has everything that the state names; without a state, that its own names. */
  holdsAll(feedId: FeedId, at: FeedPosition | undefined): boolean {
    const own = this.#whole.get(feedId)
    if (own === undefined || at === undefined) return own !== undefined
    return own.epoch > at.epoch || (own.epoch === at.epoch && own.seq >= at.seq)
  }

  forget(feedId: FeedId): void {
    this.#whole.delete(feedId)
    for (const [key, blob] of this.#blobs) if (blob.feedId === feedId) this.#blobs.delete(key)
  }

  #hearBlob(feedId: FeedId, { digest, isWhole, runs }: ToldBlob): HeardParts | undefined {
    if (!isDigest(digest)) throw new FeedmeshError('PEER_INVALID', `news of ${JSON.stringify(digest)}: not a digest`)
    const key = `${feedId} ${digest}`
    const known = this.#blobs.get(key)?.chunks
    if (isWhole) {
      this.#keep(key, { feedId, digest, chunks: 'all' })
      return known === 'all' ? undefined : { digest, parts: 'all' }
    }
    const chunks = known === undefined || known === 'all' ? new ChunkSet() : known
    const parts = expandRuns(runs).filter((index) => chunks.add(index))
    this.#keep(key, { feedId, digest, chunks })
    return parts.length === 0 ? undefined : { digest, parts }
  }

  #keep(key: string, blob: HeardBlob): void {
    this.#blobs.delete(key)
    this.#blobs.set(key, blob)
    if (this.#blobs.size > MAX_HEARD_BLOBS) this.#dropOldest(() => true)
    if (blob.chunks !== 'all' && this.#countPartial() > MAX_HEARD_PARTIAL)
      this.#dropOldest(({ chunks }) => chunks !== 'all')
  }

  #countPartial(): number {
    let count = 0
    for (const { chunks } of this.#blobs.values()) if (chunks !== 'all') count += 1
    return count
  }

  #dropOldest(isFit: (blob: HeardBlob) => boolean): void {
    for (const [key, blob] of this.#blobs) {
      if (!isFit(blob)) continue
      this.#blobs.delete(key)
      return
    }
  }
}

/** @throws PEER_INVALID for runs that are empty, overlap, are out of order or reach too far */
function expandRuns(runs: ToldBlob['runs']): number[] {
  const indexes: number[] = []
  let from = 0
  for (const { first, count } of runs) {
    if (count === 0 || first < from || first + count > MAX_TOLD_CHUNKS)
      throw new FeedmeshError('PEER_INVALID', `news of ${count} chunks from ${first} on: not a run in its place`)
    for (let index = first; index < first + count; index += 1) indexes.push(index)
    from = first + count
  }
  return indexes
}
