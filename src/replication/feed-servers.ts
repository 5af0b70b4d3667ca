/** Who may be asked for the state of a feed. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { isReceiving } from '../catalog/policy.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book } from './book.ts'

export interface ServersPort {
  readonly book: Book
  readonly host: MeshHost
  readonly registry: Registry
}

/** Connected peers from which content flows here over a link to the feed, or to one that reaches it; each once. */
export function listServers({ book, host, registry }: ServersPort, feedId: FeedId): string[] {
  return host
    .peers()
    .filter((peer) => peer.connected)
    .map((peer) => peer.peerId)
    .filter((peer) =>
      book.linksWith(peer).some((link) => {
        const replication = book.replications.find(link.replication)
        return (
          replication !== undefined &&
          isReceiving(replication.mode) &&
          registry.reaches(feedIdText(link.remote), feedId)
        )
      }),
    )
}
