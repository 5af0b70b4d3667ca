/** The feeds that come to this node over links, and what it says of them to others. */

import type { FeedId } from '../catalog/charter.ts'
import type { ServeSetting } from '../catalog/policy.ts'
import {
  type FeedHere,
  type FeedsPort,
  isHeldWhole,
  listFeedsHere,
  listReplicationsOf,
} from '../replication/feeds-here.ts'
import type { FeedPosition } from '../replication/nearby.ts'

/** Feeds that neighbours are kept for. */
const MAX_FEEDS = 64
/** The widest first. */
const SERVE_ORDER: readonly ServeSetting[] = ['any', 'region', 'site', 'none']

export class ReadFeeds {
  readonly #port: FeedsPort
  #feeds: ReadonlyMap<FeedId, FeedHere> = new Map()

  constructor(port: FeedsPort) {
    this.#port = port
  }

  /** Links and charters may be others now. */
  refresh(): void {
    this.#feeds = listFeedsHere(this.#port, MAX_FEEDS)
  }

  all(): FeedHere[] {
    return [...this.#feeds.values()]
  }

  find(feedId: FeedId): FeedHere | undefined {
    return this.#feeds.get(feedId)
  }

  /** Of which others may get files here: those that come here, then those made here that are replicated. */
  served(max: number): FeedId[] {
    const own = [...this.#port.registry.locals.values()].map(({ id }) => id)
    const served = [...new Set([...this.#feeds.keys(), ...own])].filter((id) => this.serveSettingOf(id) !== 'none')
    return served.slice(0, max)
  }

  /** Also by a link that was made a moment ago. */
  isReadHere(feedId: FeedId): boolean {
    if (!this.#feeds.has(feedId)) this.refresh()
    return this.#feeds.has(feedId)
  }

  /** `full`: everything of the feed is here, or fetched without being asked for. */
  availabilityOf(feedId: FeedId): 'full' | 'on-demand' {
    const here = this.#feeds.get(feedId)
    const isOwn = this.#port.registry.localById(feedId) !== undefined
    return isOwn || (here !== undefined && isHeldWhole(here)) ? 'full' : 'on-demand'
  }

  /** The state of which every blob is here. */
  findWhole(feedId: FeedId): FeedPosition | undefined {
    const manifest = this.#port.registry.states.get(feedId)?.manifest?.value
    if (manifest === undefined || this.availabilityOf(feedId) !== 'full') return undefined
    return { epoch: manifest.epoch, seq: manifest.seq }
  }

  /** The widest of the replications that the feed comes or goes by. */
  serveSettingOf(feedId: FeedId): ServeSetting {
    const settings = listReplicationsOf(this.#port, feedId).map(({ serve }) => serve)
    return SERVE_ORDER.find((serve) => settings.includes(serve)) ?? 'none'
  }
}
