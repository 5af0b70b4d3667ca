/**
 * What is wrong with a node, each with cause and cure. One closed list of codes; the same list feeds `doctor`, `/health` and
 * the console. A problem's `since` is when it was first seen by this process or recorded by what it is about.
 */

import type { FeedId } from '../catalog/charter.ts'
import { isReceiving } from '../catalog/policy.ts'
import type { Problem } from '../http/operations.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import type { ProblemCode } from '../problem-codes.ts'
import type { Book, Link, Replication } from '../replication/book.ts'
import type { CatchUp } from '../replication/catch-up.ts'
import { MAX_SKEW_MS, type Presence } from '../replication/presence.ts'
import { findFeedProblems } from './feed-problems.ts'

interface Refusal {
  readonly peer: string
  readonly code: string
  readonly message: string
  readonly at: number
}

export interface ProblemsOptions {
  readonly book: Book
  readonly registry: Registry
  readonly host: MeshHost
  readonly presence: Presence
  readonly catchUp: CatchUp
  /** When the database was lost and rebuilt, ms. */
  readonly rebuiltAt: number | undefined
  readonly now: () => number
  /** Feeds whose recovery keys are still on this node. */
  recoveryKeysHere(): Promise<ReadonlySet<FeedId>>
  /** Bytes free on the disk of the data folder. */
  freeBytes(): Promise<number>
}

/** What the record store keeps in reserve, and as much again. */
const MIN_FREE_BYTES = 64 * 1024 ** 2
const DAY_MS = 24 * 3_600_000
/** Refused attempts to link are shown for this long. */
const REFUSAL_SHOWN_MS = DAY_MS
const MAX_REFUSALS = 100
/** A peer may be gone for this long before it is a problem: restarts are none. */
const GONE_AFTER_MS = 10_000

export type Found = Omit<Problem, 'since'> & { readonly code: ProblemCode; readonly sinceMs?: number }

export class Problems {
  readonly #options: ProblemsOptions
  readonly #refusals: Refusal[] = []
  readonly #firstSeen = new Map<string, number>()
  readonly #lostSince = new Map<string, number>()
  readonly #startedAt: number

  constructor(options: ProblemsOptions) {
    this.#options = options
    this.#startedAt = options.now()
    options.host.onPeer(({ type, peerId }) => {
      if (type === 'disconnected') this.#lostSince.set(peerId, options.now())
      else this.#lostSince.delete(peerId)
    })
  }

  noteRefusal(peer: string, error: { readonly code: string; readonly message: string }): void {
    const others = this.#refusals.filter((refusal) => refusal.peer !== peer || refusal.code !== error.code)
    this.#refusals.splice(0, this.#refusals.length, ...others, {
      peer,
      code: error.code,
      message: error.message,
      at: this.#options.now(),
    })
    if (this.#refusals.length > MAX_REFUSALS) this.#refusals.shift()
  }

  clearRefusals(peer: string): void {
    const left = this.#refusals.filter((refusal) => refusal.peer !== peer)
    this.#refusals.splice(0, this.#refusals.length, ...left)
  }

  async list(): Promise<Problem[]> {
    const storage = [...(await this.#storage()), ...(await this.#recoveryKeys())]
    const found = [
      ...this.#identity(),
      ...findFeedProblems(this.#options),
      ...this.#replications(),
      ...this.#refused(),
      ...storage,
    ]
    const names = new Set(found.map((problem) => `${problem.code} ${problem.subject}`))
    for (const name of this.#firstSeen.keys()) if (!names.has(name)) this.#firstSeen.delete(name)
    return found.map(({ sinceMs, ...problem }) => {
      const name = `${problem.code} ${problem.subject}`
      const since = sinceMs ?? this.#firstSeen.get(name) ?? this.#options.now()
      this.#firstSeen.set(name, since)
      return { ...problem, since: new Date(since).toISOString() }
    })
  }

  *#identity(): Generator<Found> {
    const { presence, host } = this.#options
    for (const { peer, since } of presence.duplicates()) {
      yield {
        code: 'IDENTITY_DUPLICATED',
        subject: peer,
        message: `two live nodes use the identity ${peer}: a data folder was copied`,
        cure: 'stop one of them and run there: feedmesh init --data NEW-FOLDER',
        sinceMs: since,
      }
    }
    if (presence.ownDuplicateSince !== undefined) {
      yield {
        code: 'IDENTITY_DUPLICATED',
        subject: host.peerId,
        message: 'another live node uses the identity of this one: a data folder was copied',
        cure: 'stop one of them and run there: feedmesh init --data NEW-FOLDER',
      }
    }
    const fault = presence.findClockFault()
    if (fault !== undefined)
      yield {
        code: 'CLOCK_WRONG',
        subject: 'this node',
        message: `nothing is signed: ${fault}`,
        cure: 'set the clock: timedatectl set-ntp true',
      }
    for (const peer of host.peers()) {
      const skewMs = presence.find(peer.peerId)?.skewMs ?? 0
      if (Math.abs(skewMs) <= MAX_SKEW_MS) continue
      const minutes = Math.round(Math.abs(skewMs) / 60_000)
      yield {
        code: 'CLOCK_SKEW',
        subject: peer.peerId,
        message: `the clock of ${peer.peerId} is ${minutes} minutes ${skewMs > 0 ? 'ahead of' : 'behind'} this node's`,
        cure: 'set the wrong clock of the two: timedatectl set-ntp true',
      }
    }
  }

  *#replications(): Generator<Found> {
    const { book, now } = this.#options
    for (const replication of book.replications.all()) {
      if (replication.paused) continue
      const links = book.linksOf(replication.id)
      for (const link of links) yield* this.#link(link, replication)
      if (links.length === 0 && now() - replication.createdAt > DAY_MS) {
        yield {
          code: 'REPLICATION_WAITING',
          subject: replication.id,
          message: `no node has linked with replication ${replication.id} (${replication.feeds.map((feed) => feed.local).join(', ')})`,
          cure: `give its join code to the other end, or feedmesh replication remove ${replication.id}`,
          sinceMs: replication.createdAt + DAY_MS,
        }
      }
    }
  }

  *#link(link: Link, replication: Replication): Generator<Found> {
    if (link.revokedAt !== null) return
    const subject = `${replication.id} ${link.localName} ↔ ${link.peer}`
    const lost = this.#lostFor(link.peer)
    const error = link.lastError
    if (lost !== undefined) {
      const why = this.#options.host.peers().find((peer) => peer.peerId === link.peer)?.lastDialError?.message
      const message = `no connection with ${link.peer} (${link.remoteName})${why === undefined ? '' : `: ${why}`}`
      yield {
        code: 'PEER_UNREACHABLE',
        subject,
        message,
        cure:
          replication.communication === 'outgoing'
            ? `start the other node, or give its new address: feedmesh replication edit ${replication.id} --url URL`
            : 'start the other node; it connects by itself',
        sinceMs: lost,
      }
      return
    }
    if (error === null) return
    const revoked = error.code === 'TOKEN_REVOKED'
    const forked = error.code === 'FORKED'
    const owner = isReceiving(replication.mode) ? link.remoteName : link.localName
    yield {
      code: revoked ? 'LINK_REVOKED' : forked ? 'FEED_FORKED' : 'REPLICATION_FAILING',
      subject,
      message: `${error.code}: ${error.message}`,
      cure: revoked
        ? `ask the other end for a new token, then: feedmesh replication edit ${replication.id} --token TOKEN`
        : forked
          ? `at the node that owns ${owner}: feedmesh feed new-epoch ${owner}`
          : `feedmesh replication run ${replication.id} --wait`,
      sinceMs: error.at,
    }
  }

  /** Since when a linked peer has been gone, if for long enough to matter. */
  #lostFor(peer: string): number | undefined {
    const { host, now } = this.#options
    if (host.peers().some((known) => known.peerId === peer && known.connected)) return undefined
    const since = this.#lostSince.get(peer) ?? this.#startedAt
    return now() - since >= GONE_AFTER_MS ? since : undefined
  }

  *#refused(): Generator<Found> {
    for (const refusal of this.#refusals) {
      if (this.#options.now() - refusal.at > REFUSAL_SHOWN_MS) continue
      yield {
        code: 'LINK_REFUSED',
        subject: refusal.peer,
        message: `${refusal.code}: ${refusal.message}`,
        cure: 'mend what the message says at the other end; make a new token with feedmesh replication add --incoming --token new',
        sinceMs: refusal.at,
      }
    }
  }

  /** A feed that is young may be one to try things with. */
  async #recoveryKeys(): Promise<Found[]> {
    const here = await this.#options.recoveryKeysHere()
    const { registry, now } = this.#options
    return [...registry.locals.values()]
      .filter((local) => here.has(local.id) && now() - local.createdAt > DAY_MS)
      .map((local) => ({
        code: 'RECOVERY_KEY_HERE',
        subject: local.name,
        message: `the recovery key of ${local.name} is on this node: whoever loses the node loses the feed, whoever steals it owns it`,
        cure: `feedmesh feed recovery-key ${local.name}, keep what it prints elsewhere, then again with --forget`,
        sinceMs: local.createdAt + DAY_MS,
      }))
  }

  async #storage(): Promise<Found[]> {
    const free = await this.#options.freeBytes()
    if (free >= MIN_FREE_BYTES) return []
    const message = `the disk of the data folder has ${Math.floor(free / 1024 ** 2)} MiB left; below ${MIN_FREE_BYTES / 1024 ** 2} MiB nothing is stored`
    return [
      {
        code: 'STORAGE_FULL',
        subject: 'data folder',
        message,
        cure: 'free space on that disk; storing goes on by itself',
      },
    ]
  }
}
