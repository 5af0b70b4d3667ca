/**
 * Looks in the directory for readers of feeds that nobody here gives. Whoever is found may be anybody: a few at a time are made
 * known, as if somebody had introduced them, and those that prove nothing within a minute make room for the next.
 */

import { type IntroducedPeer, MAX_INTRODUCED, MAX_TOLD_ADDRESSES } from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import type { FeedId } from '../catalog/charter.ts'
import { asFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { FeedDirectory, FoundPeer } from '../network/feed-directory.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { KnownPeers } from './known-peers.ts'
import { Retries } from './retries.ts'
import { isPeerId } from './wanted-peers.ts'

const TIMEOUT_MS = 30_000
/** Of the wait a random half is left out, so it is one minute to half an hour. */
const RETRY = { firstMs: 2 * 60_000, maxMs: 30 * 60_000 }
/** So many of those found are tried at once, for so long. */
const MAX_TRIED = 4
const TRY_MS = 60_000
const NOTHING_KNOWN: Omit<IntroducedPeer, 'peerId'> = { addresses: [], site: '', region: '', availability: 'on-demand' }

export interface SearchedFeedsOptions {
  readonly directory: FeedDirectory
  readonly host: Pick<MeshHost, 'peerId'>
  readonly known: KnownPeers
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly isAddressOf: (address: string, peerId: string) => boolean
  readonly signal: AbortSignal
  /** Somebody was made known. */
  readonly onFound: () => void
}

interface Searched {
  readonly retries: Retries
  /** Found and not tried yet; at most MAX_INTRODUCED. */
  found: FoundPeer[]
  /** Since when. */
  readonly tried: Map<string, number>
}

export class SearchedFeeds implements AsyncDisposable {
  readonly #options: SearchedFeedsOptions
  readonly #feeds = new Map<FeedId, Searched>()
  #searching: Promise<void> | undefined

  constructor(options: SearchedFeedsOptions) {
    this.#options = options
  }

  forget(feedId: FeedId): void {
    this.#feeds.delete(feedId)
  }

  /** Does what is due; of `alone` nobody who has the feed is connected. */
  act(alone: ReadonlyMap<FeedId, Uint8Array>): void {
    const now = this.#options.elapsedMs()
    for (const [feedId, searched] of this.#feeds) {
      this.#letGo(feedId, searched, now)
      if (alone.has(feedId)) continue
      searched.found = []
      searched.retries.succeed()
    }
    for (const [feedId, key] of alone) {
      const searched = this.#feeds.get(feedId) ?? { retries: new Retries(RETRY, now), found: [], tried: new Map() }
      this.#feeds.set(feedId, searched)
      this.#tryNext(feedId, searched, now)
      if (searched.tried.size === 0) this.#searchWhenDue(feedId, key, searched)
    }
  }

  #letGo(feedId: FeedId, { tried }: Searched, now: number): void {
    const { known } = this.#options
    for (const [peerId, sinceMs] of tried) {
      const isProven = known.find(feedId, peerId)?.isProven === true
      if (!isProven && now - sinceMs < TRY_MS) continue
      tried.delete(peerId)
      known.drop(feedId, peerId, sinceMs)
    }
  }

  #tryNext(feedId: FeedId, { found, tried }: Searched, now: number): void {
    const { known, onFound } = this.#options
    const next = found.splice(0, MAX_TRIED - tried.size)
    for (const { peerId, addresses } of next) {
      const before = known.find(feedId, peerId) ?? NOTHING_KNOWN
      // What a stranger says does not displace what led to the peer before.
      const all = [...new Set([...before.addresses, ...addresses])].slice(0, MAX_TOLD_ADDRESSES)
      known.mention(feedId, { ...before, peerId, addresses: all }, now)
      tried.set(peerId, now)
    }
    if (next.length > 0) onFound()
  }

  #searchWhenDue(feedId: FeedId, key: Uint8Array, searched: Searched): void {
    const { directory, elapsedMs, signal } = this.#options
    if (this.#searching !== undefined || signal.aborted || directory.nodes === 0) return
    if (!searched.retries.isDue(elapsedMs())) return
    this.#searching = this.#search(feedId, key, searched).finally(() => {
      this.#searching = undefined
      this.#options.onFound()
    })
  }

  async #search(feedId: FeedId, key: Uint8Array, searched: Searched): Promise<void> {
    const { directory, log, setTimer, elapsedMs, random, signal } = this.#options
    searched.retries.fail(elapsedMs(), random())
    const found: FoundPeer[] = []
    try {
      using limit = startTimeLimit(setTimer, TIMEOUT_MS, signal)
      for await (const { peerId, addresses } of directory.find(key, { signal: limit.signal, max: MAX_INTRODUCED })) {
        const dialled = this.#chooseAddresses(peerId, addresses)
        if (dialled.length > 0) found.push({ peerId, addresses: dialled })
        if (found.length >= MAX_INTRODUCED) break
      }
      log.debug({ feedId, found: found.length }, 'the feed was looked up in the directory')
    } catch (error) {
      if (!signal.aborted) log.debug({ err: asFeedmeshError(error), feedId }, 'the feed cannot be looked up now')
    }
    // Those that were found before something broke off count, too.
    searched.found = found
  }

  #chooseAddresses(peerId: string, addresses: readonly string[]): string[] {
    const { host, isAddressOf } = this.#options
    if (!isPeerId(peerId) || peerId === host.peerId) return []
    return addresses.filter((address) => isAddressOf(address, peerId)).slice(0, MAX_TOLD_ADDRESSES)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#searching
  }
}
