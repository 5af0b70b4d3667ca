/** Which feeds come to this node over its links, and how. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { isReceiving } from '../catalog/policy.ts'
import type { Registry } from '../ledger/registry.ts'
import type { Book, Replication } from './book.ts'

export interface FeedsPort {
  readonly book: Book
  readonly registry: Registry
}

export interface FeedHere {
  readonly feedId: FeedId
  readonly isOwn: boolean
  /** Linked peers that give the feed, or one that reaches it. */
  readonly servers: readonly string[]
  /** That bring the feed here. */
  readonly replications: readonly Replication[]
}

/** Live links on the feed itself or to where it comes from, with their replications. */
export function listReplicationsOf({ book, registry }: FeedsPort, feedId: FeedId): Replication[] {
  const found = new Map<string, Replication>()
  for (const link of book.links.all()) {
    if (link.revokedAt !== null || found.has(link.replication)) continue
    const replication = book.replications.find(link.replication)
    if (replication === undefined) continue
    if (feedIdText(link.local) === feedId || registry.reaches(feedIdText(link.remote), feedId))
      found.set(replication.id, replication)
  }
  return [...found.values()]
}

/** At most `max` feeds that links bring here, those that are linked themselves first, then the nearest. */
export function listFeedsHere({ book, registry }: FeedsPort, max: number): Map<FeedId, FeedHere> {
  const receiving = book.links.all().flatMap((link) => {
    const replication = book.replications.find(link.replication)
    return link.revokedAt === null && replication !== undefined && isReceiving(replication.mode)
      ? [{ link, replication, source: feedIdText(link.remote) }]
      : []
  })
  const found = new Map<FeedId, { servers: Set<string>; replications: Set<Replication> }>()
  const add = (feedId: FeedId, { link, replication }: (typeof receiving)[number]) => {
    const known = found.get(feedId)
    if (known === undefined && found.size >= max) return
    const { servers, replications } = known ?? { servers: new Set<string>(), replications: new Set<Replication>() }
    found.set(feedId, { servers: servers.add(link.peer), replications: replications.add(replication) })
  }
  for (const one of receiving) add(one.source, one)
  for (const one of receiving) {
    for (const [feedId, member] of registry.views.get(one.source)?.closure.members ?? [])
      if (!member.absent && feedId !== one.source) add(feedId, one)
  }
  const render = (feedId: FeedId, one: { servers: Set<string>; replications: Set<Replication> }): FeedHere => ({
    feedId,
    isOwn: registry.localById(feedId) !== undefined,
    servers: [...one.servers],
    replications: [...one.replications],
  })
  return new Map([...found].map(([feedId, one]) => [feedId, render(feedId, one)]))
}

/** Whether all that the feed's state names is here: it is made here, or everything that brings it brings all of it. */
export function isHeldWhole({ isOwn, replications }: FeedHere): boolean {
  const isWhole = (one: Replication) =>
    one.availability === 'full' && one.include.length === 0 && one.exclude.length === 0
  return isOwn || replications.every(isWhole)
}
