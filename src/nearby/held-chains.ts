/**
 * The chains that this node shows: those its links hold, and for feeds that are reached through a link such as the linked peer
 * gives it when it is asked.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import { asFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { FeedHere } from '../replication/feeds-here.ts'
import type { LinkAsker } from '../replication/link-asker.ts'
import type { LinkPolicy } from '../replication/link-policy.ts'
import type { Chain } from '../replication/shown-chains.ts'

const FETCH_TIMEOUT_MS = 15_000
/** After a peer gave no chain it is asked again. */
const RETRY_MS = 5 * 60_000
/** A chain with larger grants cannot be shown. */
const MAX_GRANT_BYTES = 4096

export interface HeldChainsOptions {
  readonly host: MeshHost
  readonly policy: LinkPolicy
  readonly asker: LinkAsker
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  readonly signal: AbortSignal
  readonly onFetched: () => void
}

export class HeldChains implements AsyncDisposable {
  readonly #options: HeldChainsOptions
  readonly #chains = new Map<FeedId, Chain>()
  readonly #retryAt = new Map<FeedId, number>()
  #fetching: Promise<void> | undefined
  /** Counts changes. */
  revision = 0

  constructor(options: HeldChainsOptions) {
    this.#options = options
  }

  /** One that is good to show, as far as can be told here. */
  find(feedId: FeedId): Chain | undefined {
    const { policy } = this.#options
    const held = policy.findChainToShow(feedId)
    if (held !== undefined) return held
    const fetched = this.#chains.get(feedId)
    return fetched !== undefined && policy.isFit(fetched, feedId) ? fetched : undefined
  }

  /** Those that were asked for. */
  fetched(feedId: FeedId): Chain {
    return this.#chains.get(feedId) ?? []
  }

  keep(feedId: FeedId, chain: Chain): void {
    if (chain.length > 0) this.#chains.set(feedId, chain)
  }

  forget(feedId: FeedId): void {
    this.#chains.delete(feedId)
    this.#retryAt.delete(feedId)
  }

  /** Asks for a chain where there is none, or not for long any more. One is asked for at a time. */
  need({ feedId, servers }: FeedHere): void {
    const { policy, host, elapsedMs, signal } = this.#options
    if (this.#fetching !== undefined || signal.aborted || policy.findChainToShow(feedId) !== undefined) return
    if (!policy.isRenewalDue({ grant: this.fetched(feedId) }) || elapsedMs() < (this.#retryAt.get(feedId) ?? 0)) return
    const server = host.peers().find(({ peerId, connected }) => connected && servers.includes(peerId))
    if (server === undefined) return
    this.#retryAt.set(feedId, elapsedMs() + RETRY_MS)
    this.#fetching = this.#fetch(feedId, server.peerId).finally(() => {
      this.#fetching = undefined
    })
  }

  async #fetch(feedId: FeedId, peer: string): Promise<void> {
    const { asker, policy, setTimer, signal, log, onFetched } = this.#options
    try {
      using limit = startTimeLimit(setTimer, FETCH_TIMEOUT_MS, signal)
      const chain = await asker.fetchGrant({ peer, remote: feedIdBytes(feedId) }, limit.signal)
      if (!policy.isFit(chain, feedId) || chain.some((grant) => grant.length > MAX_GRANT_BYTES)) return
      this.#chains.set(
        feedId,
        chain.map((grant) => Uint8Array.from(grant)),
      )
      this.revision += 1
      onFetched()
    } catch (error) {
      if (!signal.aborted) log.debug({ err: asFeedmeshError(error), peer, feedId }, 'no grants to show to neighbours')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#fetching
  }
}
