/** What operators see of replications and runs. */

import { feedIdText } from '../catalog/charter.ts'
import { isReceiving } from '../catalog/policy.ts'
import { FeedmeshError } from '../errors.ts'
import type {
  LinkSummary,
  ReplicationState,
  ReplicationSummary,
  RunDetails,
  RunSummary,
  TokenSummary,
} from '../http/operations.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book, Link, Replication } from '../replication/book.ts'
import type { Puller } from '../replication/puller.ts'
import type { Run, RunItemRecord, RunLog } from '../replication/runs.ts'
import { renderLimits } from './replication-limits.ts'

export interface ReplicationStatusOptions {
  readonly book: Book
  readonly runs: RunLog
  readonly puller: Puller
  readonly registry: Registry
  readonly host: MeshHost
  readonly now: () => number
}

type Lag = ReplicationSummary['lag']
const NO_LAG: Lag = { items: 0, bytes: 0, seconds: 0 }

export function summarizeRun(run: Run): RunSummary {
  const { id, replication, peer, trigger, state, fetched, sent, planned, message } = run
  return {
    runId: id,
    replication,
    peer,
    trigger,
    state,
    startedAt: new Date(run.startedAt).toISOString(),
    endedAt: run.endedAt === null ? null : new Date(run.endedAt).toISOString(),
    fetched,
    sent,
    deleted: { items: run.deleted },
    planned,
    message,
  }
}

export class ReplicationStatus {
  readonly #options: ReplicationStatusOptions

  constructor(options: ReplicationStatusOptions) {
    this.#options = options
  }

  summarize(replication: Replication): ReplicationSummary {
    const { book, runs } = this.#options
    const links = book.linksOf(replication.id)
    const { state, reason } = this.#stateOf(replication, links)
    const last = runs.lastOf(replication.id)
    const { id, feeds, communication, mode, availability, serve } = replication
    return {
      id,
      feeds: feeds.map(({ local, remote }) => ({
        local,
        remote: remote ?? links.find((link) => link.localName === local)?.remoteName ?? null,
      })),
      communication,
      mode,
      availability,
      serve,
      ...renderLimits(replication),
      peer: links[0]?.peer ?? replication.peers[0] ?? null,
      state,
      reason,
      lag: this.#lagOf(replication, links),
      lastRun: last === undefined ? null : summarizeRun(last),
      links: links.map((link) => this.#summarizeLink(link, replication)),
    }
  }

  #isConnected(peer: string): boolean {
    return this.#options.host.peers().some((known) => known.peerId === peer && known.connected)
  }

  /** Digest of the view that both ends talk about: the sending end's feed. */
  #ownDigest(link: Link, replication: Replication): string | undefined {
    const feed = feedIdText(isReceiving(replication.mode) ? link.remote : link.local)
    return this.#options.registry.views.get(feed)?.totals.root.hash.toString('hex')
  }

  #summarizeLink(link: Link, replication: Replication): LinkSummary {
    const digest = link.confirmed === null ? undefined : Buffer.from(link.confirmed.digest).toString('hex')
    return {
      peer: link.peer,
      local: link.localName,
      remote: link.remoteName,
      connected: this.#isConnected(link.peer),
      revoked: link.revokedAt !== null,
      confirmed:
        digest === undefined || link.confirmed === null
          ? null
          : {
              digest,
              at: new Date(link.confirmed.at).toISOString(),
              equal: digest === this.#ownDigest(link, replication),
            },
      lastError:
        link.lastError === null
          ? null
          : {
              code: link.lastError.code,
              message: link.lastError.message,
              at: new Date(link.lastError.at).toISOString(),
            },
    }
  }

  #stateOf(replication: Replication, all: readonly Link[]): { state: ReplicationState; reason: string } {
    if (replication.paused)
      return { state: 'paused', reason: `paused by an operator; feedmesh replication resume ${replication.id}` }
    const links = all.filter((link) => link.revokedAt === null)
    if (all.length > 0 && links.length === 0)
      return { state: 'failing', reason: 'every link was revoked; add the replication again with a new token' }
    if (links.length === 0)
      return { state: 'waiting', reason: 'no node has linked yet; give its operator the token or join code' }
    if (links.some((link) => this.#options.puller.isRunning(link.id))) return { state: 'running', reason: '' }
    const failing = links.find(
      (link) => link.lastError !== null && !['PEER_UNREACHABLE', 'TIMEOUT', 'ABORTED'].includes(link.lastError.code),
    )
    if (failing?.lastError) return { state: 'failing', reason: `${failing.peer}: ${failing.lastError.message}` }
    const lost = links.find((link) => !this.#isConnected(link.peer))
    if (lost !== undefined) return { state: 'unreachable', reason: `no connection with ${lost.peer}` }
    const behind = links.find((link) => !this.#isEqual(link, replication))
    if (behind !== undefined) return { state: 'behind', reason: `${behind.peer} has not confirmed to be equal` }
    return { state: 'ok', reason: '' }
  }

  #isEqual(link: Link, replication: Replication): boolean {
    return (
      link.confirmed !== null &&
      Buffer.from(link.confirmed.digest).toString('hex') === this.#ownDigest(link, replication)
    )
  }

  #lagOf(replication: Replication, links: readonly Link[]): Lag {
    return links
      .filter((link) => link.revokedAt === null)
      .reduce((worst, link) => maxLag(worst, this.#linkLag(link, replication)), NO_LAG)
  }

  #linkLag(link: Link, replication: Replication): Lag {
    const isEqual = this.#isEqual(link, replication)
    if (!isReceiving(replication.mode)) return isEqual ? NO_LAG : this.#sendingLag(link)
    if (isEqual && link.lastError === null && link.equalAt !== null) return NO_LAG
    const missing = this.#options.puller.healthOf(link.id)?.missing ?? { items: 0, bytes: 0 }
    return { ...missing, seconds: this.#secondsSince(link.equalAt ?? link.linkedAt) }
  }

  #sendingLag(link: Link): Lag {
    const entries = this.#options.registry.views.get(feedIdText(link.local))?.totals.entries ?? 0
    const items = Math.max(0, entries - (link.confirmed?.entries ?? 0))
    return { items, bytes: 0, seconds: this.#secondsSince(link.confirmed?.at ?? link.linkedAt) }
  }

  #secondsSince(time: number): number {
    return Math.max(0, Math.round((this.#options.now() - time) / 1000))
  }

  listRuns(limit: number): RunSummary[] {
    return this.#options.runs.list(limit).map(summarizeRun)
  }

  async showRun(id: number): Promise<RunDetails> {
    const run = this.#options.runs.find(id)
    if (run === undefined) throw new FeedmeshError('NOT_FOUND', `no run ${id}; feedmesh runs lists them`)
    const items = await this.#options.runs.items(id)
    const details = items.map(({ item, action, bytes, code, message }) => ({
      item,
      action,
      bytes,
      ...(code === '' ? {} : { code, message }),
    }))
    return { ...summarizeRun(run), items: details }
  }

  findItems(id: number): Promise<RunItemRecord[]> {
    return this.#options.runs.items(id)
  }

  listTokens(): TokenSummary[] {
    const { book, now } = this.#options
    return book.tokens.all().map((token) => {
      const expired = token.expiresAt !== null && now() >= token.expiresAt
      const state =
        token.revokedAt !== null ? 'revoked' : expired ? 'expired' : token.usesLeft === 0 ? 'used up' : 'usable'
      return {
        id: token.id,
        replication: token.replication,
        createdAt: new Date(token.createdAt).toISOString(),
        expiresAt: token.expiresAt === null ? null : new Date(token.expiresAt).toISOString(),
        usesLeft: token.usesLeft,
        state,
        links: book.linksOf(token.replication).length,
      }
    })
  }
}

function maxLag(a: Lag, b: Lag): Lag {
  return {
    items: Math.max(a.items, b.items),
    bytes: Math.max(a.bytes, b.bytes),
    seconds: Math.max(a.seconds, b.seconds),
  }
}
