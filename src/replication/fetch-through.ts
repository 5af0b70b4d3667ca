/** What a peer may read and is not here, but would be fetched for a client of this node, is fetched for the peer as well. */

import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { BlobWanted } from '../feeds/ledger-feed.ts'
import { streamPieces } from '../store/blob-reading.ts'
import type { BlobPieces, ByteRange } from '../store/blobs.ts'
import type { Book } from './book.ts'
import type { DemandFetch } from './demand-fetch.ts'
import { NOT_HERE } from './guard.ts'

/** At once for one peer. */
const MAX_FETCHES_PER_PEER = 4

export class FetchThrough {
  readonly #book: Book
  readonly #fetchBlob: Pick<DemandFetch, 'openFor'>
  /** By peer: how many are under way. */
  readonly #underWay = new Map<string, number>()

  constructor(book: Book, fetchBlob: Pick<DemandFetch, 'openFor'>) {
    this.#book = book
    this.#fetchBlob = fetchBlob
  }

  /** Only for linked peers: the others have their own way to the source. @throws NOT_FOUND, BUSY, RANGE */
  async openPieces(peer: string, wanted: BlobWanted, range: ByteRange): Promise<BlobPieces> {
    if (this.#book.linksWith(peer).length === 0) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
    const count = this.#underWay.get(peer) ?? 0
    if (count >= MAX_FETCHES_PER_PEER)
      throw new FeedmeshError('BUSY', `${count} files are being fetched for this peer already; ask again`)
    this.#underWay.set(peer, count + 1)
    try {
      const stream = await this.#fetchBlob.openFor(peer, wanted, range)
      stream.once('close', () => this.#leave(peer))
      return streamPieces(stream)
    } catch (cause) {
      this.#leave(peer)
      // Who was asked in vain is nothing that the peer has to know.
      if (!isFeedmeshError(cause, 'NOT_FOUND')) throw cause
      throw new FeedmeshError('NOT_FOUND', 'the file is not here, and nobody that it comes from gives it now', {
        cause,
      })
    }
  }

  #leave(peer: string): void {
    const count = (this.#underWay.get(peer) ?? 1) - 1
    if (count === 0) this.#underWay.delete(peer)
    else this.#underWay.set(peer, count)
  }
}
