/** What a neighbourhood does with the directory: bootstrap peers, announcements, and searches when nobody else helps. */

import type { FeedId } from '../catalog/charter.ts'
import { AnnouncedFeeds } from './announced-feeds.ts'
import { BootstrapPeers } from './bootstrap-peers.ts'
import { SearchedFeeds, type SearchedFeedsOptions } from './searched-feeds.ts'

/** Which feeds are announced is looked at this often. */
const REVIEW_MS = 30_000
const MAX_ANNOUNCED = 128

export interface DirectoryUseOptions extends Omit<SearchedFeedsOptions, 'host'> {
  readonly host: ConstructorParameters<typeof BootstrapPeers>[1]['host']
  /** Addresses of nodes of the directory, each ending in `/p2p/<peerId>`. */
  readonly bootstrap: readonly string[]
  /** Of which others may get files here. */
  readonly served: (max: number) => Iterable<FeedId>
  /** None before the charter is here. */
  readonly findKey: (feedId: FeedId) => Uint8Array | undefined
}

export class DirectoryUse implements AsyncDisposable {
  readonly #options: DirectoryUseOptions
  readonly #bootstrap: BootstrapPeers
  readonly #announced: AnnouncedFeeds
  readonly #searched: SearchedFeeds
  #reviewAtMs = Number.NEGATIVE_INFINITY

  /** @throws BAD_INPUT */
  constructor(options: DirectoryUseOptions) {
    this.#options = options
    this.#bootstrap = new BootstrapPeers(options.bootstrap, options)
    this.#announced = new AnnouncedFeeds(options)
    this.#searched = new SearchedFeeds(options)
  }

  /** Somebody has connected. */
  onConnected(peerId: string): void {
    if (this.#bootstrap.has(peerId)) this.#announced.repeatSoon()
  }

  forget(feedId: FeedId): void {
    this.#searched.forget(feedId)
  }

  /** Does what is due; of `alone` nobody who has the feed is connected. */
  act(connected: ReadonlySet<string>, alone: Iterable<FeedId>): void {
    const now = this.#options.elapsedMs()
    this.#bootstrap.act(connected)
    if (now >= this.#reviewAtMs) {
      this.#reviewAtMs = now + REVIEW_MS
      this.#announced.want(this.#withKeys(this.#options.served(MAX_ANNOUNCED)))
    }
    this.#announced.act()
    this.#searched.act(this.#withKeys(alone))
  }

  #withKeys(feeds: Iterable<FeedId>): Map<FeedId, Uint8Array> {
    const keys = new Map<FeedId, Uint8Array>()
    for (const feedId of feeds) {
      const key = this.#options.findKey(feedId)
      if (key !== undefined) keys.set(feedId, key)
    }
    return keys
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([
      this.#bootstrap[Symbol.asyncDispose](),
      this.#announced[Symbol.asyncDispose](),
      this.#searched[Symbol.asyncDispose](),
    ])
  }
}
