/** Keeps what is known of neighbours in the records, not more often than need be: all of it is hearsay and comes again. */

import { MAX_TOLD_ADDRESSES } from '../../protocols/mesh/nearby/messages.ts'
import type { FeedId } from '../catalog/charter.ts'
import { asFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { Records } from '../store/records.ts'
import type { HeldChains } from './held-chains.ts'
import type { KnownPeers } from './known-peers.ts'
import { MAX_STORED_PEERS, readNeighbours, type StoredNeighbours, writeNeighbours } from './stored-neighbours.ts'

const SPACING_MS = 5000

export interface NeighbourStoreOptions {
  readonly records: Records
  readonly log: Log
  readonly elapsedMs: () => number
  readonly known: KnownPeers
  readonly chains: HeldChains
}

export class NeighbourStore implements AsyncDisposable {
  readonly #options: NeighbourStoreOptions
  readonly #stored = new Set<FeedId>()
  #revision = 0
  #nextAtMs = 0
  #writing: Promise<void> | undefined

  constructor(options: NeighbourStoreOptions) {
    this.#options = options
  }

  async read(nowMs: number): Promise<void> {
    const { records, log, known, chains } = this.#options
    for (const [feedId, { chain, peers }] of await readNeighbours(records, log)) {
      this.#stored.add(feedId)
      chains.keep(feedId, chain)
      for (const peer of peers) {
        known.mention(feedId, peer, nowMs)
        known.prove(feedId, peer.peerId)
      }
    }
    this.#revision = known.revision + chains.revision
  }

  writeSoon(): void {
    const { known, chains, elapsedMs } = this.#options
    if (this.#writing !== undefined || known.revision + chains.revision === this.#revision) return
    if (elapsedMs() < this.#nextAtMs) return
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined
    })
  }

  async #write(): Promise<void> {
    const { records, known, chains, elapsedMs, log } = this.#options
    this.#revision = known.revision + chains.revision
    this.#nextAtMs = elapsedMs() + SPACING_MS
    const feeds = new Map(known.feeds().map((feedId) => [feedId, this.#render(feedId)]))
    const gone = [...this.#stored].filter((feedId) => !feeds.has(feedId))
    try {
      await writeNeighbours(records, feeds, gone)
      for (const feedId of gone) this.#stored.delete(feedId)
      for (const feedId of feeds.keys()) this.#stored.add(feedId)
    } catch (error) {
      // The next change tries again; until then a restart knows what was known before.
      log.warn({ err: asFeedmeshError(error) }, 'what is known of neighbours cannot be stored')
    }
  }

  /** Those that were reached, then those that were mentioned last. */
  #render(feedId: FeedId): StoredNeighbours {
    const { known, chains } = this.#options
    const peers = known
      .of(feedId)
      .toReversed()
      .toSorted((a, b) => Number(b.isProven) - Number(a.isProven))
      .slice(0, MAX_STORED_PEERS)
      .map(({ peerId, addresses, site, region, availability }) => ({
        peerId,
        addresses: addresses.slice(0, MAX_TOLD_ADDRESSES),
        site,
        region,
        availability,
      }))
    return { chain: chains.fetched(feedId), peers }
  }

  /** Writes what has not been written. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writing
    const { known, chains } = this.#options
    if (known.revision + chains.revision !== this.#revision) await this.#write()
  }
}
