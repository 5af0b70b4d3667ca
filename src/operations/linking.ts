/** The outgoing end of a replication: finding the other node, agreeing with it, storing the links. */

import { peerIdFromPublicKey, publicKeyFromPeerId } from '../catalog/peer-id.ts'
import type { SyncToken } from '../catalog/token.ts'
import { FeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { NewReplication } from '../http/operations.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import { type SetTimer, startTimeLimit } from '../network/timers.ts'
import type { Book, Link, Replication } from '../replication/book.ts'
import { linkId } from '../replication/link-answerer.ts'
import { type Described, type LinkAsker, matchFeeds } from '../replication/link-asker.ts'
import type { Replicator } from '../replication/replicator.ts'
import { findNode, type NodeAddress } from '../replication/well-known.ts'

const CONNECT_TIMEOUT_MS = 20_000
/** For an HTTP server to say which node it is, ms. */
const LOOKUP_TIMEOUT_MS = 10_000

export interface LinkingOptions {
  readonly book: Book
  readonly registry: Registry
  readonly host: MeshHost
  readonly asker: LinkAsker
  readonly replicator: Replicator
  readonly publicKey: Uint8Array
  readonly now: () => number
  readonly reach: ReachFaultPoint
  readonly setTimer: SetTimer
}

/** @throws WRONG_HUB, NOT_A_NODE, PEER_UNREACHABLE, BAD_INPUT */
export async function locate(wanted: NewReplication, token: SyncToken | undefined): Promise<NodeAddress> {
  const expected = token === undefined ? wanted.peers?.[0] : peerIdFromPublicKey(token.incoming)
  if (wanted.url === undefined) {
    if (expected === undefined || (wanted.addresses ?? []).length === 0)
      throw new FeedmeshError(
        'BAD_INPUT',
        'an outgoing replication needs the other end: --url https://hub.example.net:8624',
      )
    return { peerId: expected, addresses: wanted.addresses ?? [] }
  }
  const found = await findNode(wanted.url, AbortSignal.timeout(LOOKUP_TIMEOUT_MS))
  if (expected !== undefined && found.peerId !== expected) {
    throw new FeedmeshError(
      'WRONG_HUB',
      `the token belongs to node ${expected}, but ${found.peerId} answers at this URL; use that node's URL or a token made there`,
    )
  }
  return found
}

/** @throws WRONG_HUB, NOT_A_NODE, PEER_UNREACHABLE, BAD_INPUT */
export async function locateAgain(replication: Replication, url: string): Promise<NodeAddress> {
  const found = await findNode(url, AbortSignal.timeout(LOOKUP_TIMEOUT_MS))
  if (!replication.peers.includes(found.peerId))
    throw new FeedmeshError(
      'WRONG_HUB',
      `node ${found.peerId} answers at this URL, but the replication is linked with ${replication.peers.join(', ')}`,
    )
  return found
}

export class Linking {
  readonly #options: LinkingOptions

  constructor(options: LinkingOptions) {
    this.#options = options
  }

  /** Which feeds the token opens; changes nothing on either end. @throws TOKEN_…, PEER_UNREACHABLE */
  async describe(node: NodeAddress, token: SyncToken): Promise<Described> {
    using limit = startTimeLimit(this.#options.setTimer, CONNECT_TIMEOUT_MS)
    await this.#options.host.connect(node.peerId, node.addresses, limit.signal)
    return await this.#options.asker.describe(node.peerId, token, limit.signal)
  }

  /**
   * Links every feed of an outgoing replication, then keeps the connection; links made before with another token go. Nothing
   * is stored unless the other end agreed.
   */
  async link(replication: Replication, token: SyncToken | undefined): Promise<void> {
    const { host, asker, book, replicator, setTimer } = this.#options
    const [peer = ''] = replication.peers
    using limit = startTimeLimit(setTimer, CONNECT_TIMEOUT_MS)
    await host.connect(peer, replication.addresses, limit.signal)
    const links = await this.#agree(replication, token, { peer, asker, signal: limit.signal })
    const ids = new Set(links.map((link) => link.id))
    const removedLinks = book.linksOf(replication.id).filter((link) => !ids.has(link.id))
    await book.commit({ replications: [replication], links, removedLinks })
    this.#options.reach('link.stored')
    replicator.keepConnected(replication)
    for (const link of links) await replicator.establish(link)
  }

  async #agree(
    replication: Replication,
    token: SyncToken | undefined,
    work: { readonly peer: string; readonly asker: LinkAsker; readonly signal: AbortSignal },
  ): Promise<Link[]> {
    const { registry, publicKey, now } = this.#options
    const described = await work.asker.describe(work.peer, token, work.signal)
    const wanted = replication.feeds.map(({ local, remote }) => {
      const feed = registry.getLocal(local)
      return { local, localId: feed.id, feedType: feed.feedType, remote }
    })
    const pairs = matchFeeds(wanted, described)
    const { communication, mode } = replication
    await work.asker.link(work.peer, token, {
      terms: { communication, mode, pairs, scope: replication.scope },
      signal: work.signal,
    })
    return pairs.map((pair) => ({
      id: linkId({ tokenId: token?.id ?? null, asker: publicKey, answerer: publicKeyFromPeerId(work.peer), pair }),
      replication: replication.id,
      peer: work.peer,
      local: pair.local,
      localName: pair.localName,
      remote: pair.remote,
      remoteName: described.feeds.find((feed) => Buffer.compare(feed.feedId, pair.remote) === 0)?.name ?? '',
      tokenId: token?.id ?? null,
      linkedAt: now(),
      revokedAt: null,
      addresses: [...replication.addresses],
      confirmed: null,
      lastError: null,
      equalAt: null,
      grant: [],
    }))
  }
}
