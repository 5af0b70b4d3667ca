/** Replications, as operators handle them. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { complementOf, isReceiving, type ReplicationEnd } from '../catalog/policy.ts'
import { peerIdFromPublicKey, publicKeyFromPeerId } from '../catalog/peer-id.ts'
import {
  deriveLinkSigner,
  type JoinCode,
  parseJoinCode,
  parseToken,
  renderJoinCode,
  renderToken,
  type SyncToken,
} from '../catalog/token.ts'
import { FeedmeshError } from '../errors.ts'
import type { Actor, NewReplication, ReplicationCreated } from '../http/operations.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book, Link, Replication, Token } from '../replication/book.ts'
import { linkId } from '../replication/link-answerer.ts'
import { type LinkAsker, matchFeeds } from '../replication/link-asker.ts'
import type { Replicator } from '../replication/replicator.ts'
import { findNode, type NodeAddress } from '../replication/well-known.ts'
import type { AuditLog } from './audit.ts'

export interface ReplicationOperationsOptions {
  readonly book: Book
  readonly ledger: Ledger
  readonly host: MeshHost
  readonly asker: LinkAsker
  readonly replicator: Replicator
  readonly audit: AuditLog
  readonly publicKey: Uint8Array
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
  /** Addresses to put into join codes. */
  addresses(): readonly string[]
  createFeed(
    feed: { readonly name: string; readonly type: string; readonly publicRead: boolean },
    actor: Actor,
  ): Promise<unknown>
}

const MIN_EVERY_MS = 1000
const DEFAULT_EVERY_MS = 60_000
const CONNECT_TIMEOUT_MS = 20_000

export class ReplicationOperations {
  readonly #options: ReplicationOperationsOptions

  constructor(options: ReplicationOperationsOptions) {
    this.#options = options
  }

  async add(wanted: NewReplication, actor: Actor): Promise<ReplicationCreated> {
    if (wanted.feeds.length === 0)
      throw new FeedmeshError('BAD_INPUT', 'a replication needs at least one feed: --feed NAME')
    for (const { local } of wanted.feeds) this.#options.ledger.registry.getLocal(local)
    const created =
      wanted.communication === 'incoming' ? await this.#addIncoming(wanted) : await this.#addOutgoing(wanted)
    await this.#options.audit.note(
      actor,
      'replication add',
      `${created.id}: ${wanted.communication} ${wanted.mode} ${wanted.feeds.map((feed) => feed.local).join(', ')}`,
    )
    return created
  }

  #newId(): string {
    return Buffer.from(this.#options.randomBytes(4)).toString('hex')
  }

  #createRecord(wanted: NewReplication, found: NodeAddress | undefined): Replication {
    const everyMs = wanted.everyMs ?? DEFAULT_EVERY_MS
    if (everyMs < MIN_EVERY_MS)
      throw new FeedmeshError(
        'BAD_INPUT',
        `an interval of ${everyMs} ms is too short; the least is ${MIN_EVERY_MS / 1000}s`,
      )
    return {
      id: this.#newId(),
      feeds: wanted.feeds.map(({ local, remote }) => ({ local, remote: remote ?? null })),
      communication: wanted.communication,
      mode: wanted.mode,
      tokenId: null,
      peers: found === undefined ? (wanted.peers ?? []) : [found.peerId],
      url: wanted.url ?? null,
      addresses: found?.addresses ?? [],
      availability: wanted.availability ?? 'full',
      deletes: wanted.deletes ?? 'follow',
      scope: wanted.scope ?? [],
      include: wanted.include ?? [],
      exclude: wanted.exclude ?? [],
      mayExtend: wanted.mayExtend ?? false,
      relay: wanted.relay ?? true,
      everyMs,
      paused: false,
      createdAt: this.#options.now(),
    }
  }

  async #addIncoming(wanted: NewReplication): Promise<ReplicationCreated> {
    const byPeer = (wanted.peers ?? []).length > 0
    for (const peer of wanted.peers ?? []) publicKeyFromPeerId(peer)
    if (byPeer === (wanted.token !== undefined))
      throw new FeedmeshError('BAD_INPUT', 'an incoming replication needs either --token new or --peer PEERID')
    if (wanted.token !== undefined && wanted.token !== 'new')
      throw new FeedmeshError(
        'BAD_INPUT',
        'tokens are made on the incoming end: use --token new here and paste what it prints at the outgoing end',
      )
    const record = this.#createRecord(wanted, undefined)
    if (byPeer) {
      await this.#options.book.commit({ replications: [record] })
      return { id: record.id }
    }
    const secret = this.#createToken(record)
    const replication = { ...record, tokenId: secret.id }
    await this.#options.book.commit({
      replications: [replication],
      tokens: [this.#tokenRecord(secret, replication, wanted)],
    })
    return { id: record.id, token: renderToken(secret), joinCode: renderJoinCode(this.#joinCode(secret, replication)) }
  }

  #createToken(replication: Replication): SyncToken {
    const { randomBytes, publicKey, ledger } = this.#options
    const feedIds = replication.feeds.map(({ local }) => ledger.registry.getLocal(local).feedId)
    return { id: randomBytes(8), incoming: publicKey, feedIds, secret: randomBytes(32) }
  }

  #tokenRecord(token: SyncToken, replication: Replication, wanted: NewReplication): Token {
    const createdAt = this.#options.now()
    return {
      id: Buffer.from(token.id).toString('hex'),
      replication: replication.id,
      publicKey: deriveLinkSigner(token).publicKey,
      feedIds: token.feedIds,
      createdAt,
      expiresAt: wanted.tokenExpiresInMs === undefined ? null : createdAt + wanted.tokenExpiresInMs,
      usesLeft: wanted.mode === 'mirror' ? 1 : (wanted.tokenUses ?? null),
      revokedAt: null,
    }
  }

  #joinCode(token: SyncToken, replication: Replication): JoinCode {
    const { registry } = this.#options.ledger
    const feeds = replication.feeds.map(({ local }) => ({ name: local, feedType: registry.getLocal(local).feedType }))
    return { token, addresses: this.#options.addresses(), feeds, mode: replication.mode }
  }

  async #addOutgoing(wanted: NewReplication): Promise<ReplicationCreated> {
    const token = wanted.token === undefined ? undefined : parseToken(wanted.token)
    if (token === undefined && (wanted.peers ?? []).length !== 1)
      throw new FeedmeshError(
        'BAD_INPUT',
        'an outgoing replication needs --token TOKEN (made on the other end) or one --peer PEERID',
      )
    const found = await this.#locate(wanted, token)
    const replication = this.#createRecord(wanted, found)
    await this.#connectAndLink(replication, token)
    return { id: replication.id }
  }

  /** @throws WRONG_HUB, NOT_A_NODE, PEER_UNREACHABLE, BAD_INPUT */
  async #locate(wanted: NewReplication, token: SyncToken | undefined): Promise<NodeAddress> {
    const expected = token === undefined ? wanted.peers?.[0] : peerIdFromPublicKey(token.incoming)
    if (wanted.url === undefined) {
      if (expected === undefined || (wanted.addresses ?? []).length === 0)
        throw new FeedmeshError(
          'BAD_INPUT',
          'an outgoing replication needs the other end: --url https://hub.example.net:8624',
        )
      return { peerId: expected, addresses: wanted.addresses ?? [] }
    }
    const found = await findNode(wanted.url, AbortSignal.timeout(CONNECT_TIMEOUT_MS))
    if (expected !== undefined && found.peerId !== expected) {
      throw new FeedmeshError(
        'WRONG_HUB',
        `the token belongs to node ${expected}, but ${found.peerId} answers at this URL; use that node's URL or a token made there`,
      )
    }
    return found
  }

  /** Links every feed of an outgoing replication, then keeps the connection. Nothing is stored unless the other end agreed. */
  async #connectAndLink(replication: Replication, token: SyncToken | undefined): Promise<void> {
    const { host, asker, book, replicator } = this.#options
    const [peer = ''] = replication.peers
    const signal = AbortSignal.timeout(CONNECT_TIMEOUT_MS)
    await host.connect(peer, replication.addresses, signal)
    const links = await this.#agree(replication, token, { peer, asker, signal })
    await book.commit({ replications: [replication], links })
    replicator.keepConnected(replication)
    for (const link of links) await replicator.establish(link)
  }

  async #agree(
    replication: Replication,
    token: SyncToken | undefined,
    work: { readonly peer: string; readonly asker: LinkAsker; readonly signal: AbortSignal },
  ): Promise<Link[]> {
    const { ledger, publicKey, now } = this.#options
    const described = await work.asker.describe(work.peer, token, work.signal)
    const wanted = replication.feeds.map(({ local, remote }) => {
      const feed = ledger.registry.getLocal(local)
      return { local, localId: feed.id, feedType: feed.feedType, remote }
    })
    const pairs = matchFeeds(wanted, described)
    const { communication, mode }: ReplicationEnd = replication
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

  /** Steps 3 to 5 of the hub-and-spoke guide in one: feeds of the same types, an outgoing replication, linked. */
  async join(
    code: string,
    as: string | undefined,
    actor: Actor,
  ): Promise<{
    readonly feeds: readonly { readonly name: string; readonly type: string }[]
    readonly replications: readonly string[]
  }> {
    const parsed = parseJoinCode(code)
    if (as !== undefined && parsed.feeds.length !== 1)
      throw new FeedmeshError(
        'BAD_INPUT',
        `--as names one feed, but this join code is for ${parsed.feeds.length}; join without it`,
      )
    const mode =
      parsed.mode === 'push' || parsed.mode === 'pull' || parsed.mode === 'mirror'
        ? complementOf(parsed.mode)
        : undefined
    if (mode === undefined)
      throw new FeedmeshError(
        'TOKEN_MISTYPED',
        'this join code asks for a replication mode that is not known here; update this node',
      )
    const { registry } = this.#options.ledger
    const feeds = parsed.feeds.map((feed) => ({ name: as ?? feed.name, type: feed.feedType, remote: feed.name }))
    for (const { name, type } of feeds) {
      const existing = registry.locals.get(name)
      if (existing !== undefined && existing.feedType !== type)
        throw new FeedmeshError(
          'TYPE_MISMATCH',
          `feed ${name} here is of type ${existing.feedType}, the one to join of type ${type}; join it under another name with --as NAME`,
        )
    }
    const { token, addresses } = parsed
    await this.#reach(peerIdFromPublicKey(token.incoming), addresses, token)
    for (const { name, type } of feeds)
      if (!registry.locals.has(name)) await this.#options.createFeed({ name, type, publicRead: false }, actor)
    const pairs = feeds.map(({ name, remote }) => ({ local: name, remote }))
    const created = await this.add(
      { feeds: pairs, communication: 'outgoing', mode, token: renderToken(token), addresses },
      actor,
    )
    return { feeds: feeds.map(({ name, type }) => ({ name, type })), replications: [created.id] }
  }

  /** Asks the other end whether the token is good before anything is made here. */
  async #reach(peer: string, addresses: readonly string[], token: SyncToken): Promise<void> {
    const signal = AbortSignal.timeout(CONNECT_TIMEOUT_MS)
    await this.#options.host.connect(peer, addresses, signal)
    await this.#options.asker.describe(peer, token, signal)
  }

  async edit(id: string, changes: Partial<NewReplication>, actor: Actor): Promise<void> {
    const { book, audit, replicator } = this.#options
    const current = book.getReplication(id)
    const { availability, deletes, include, exclude, everyMs, url, addresses } = changes
    if (everyMs !== undefined && everyMs < MIN_EVERY_MS)
      throw new FeedmeshError(
        'BAD_INPUT',
        `an interval of ${everyMs} ms is too short; the least is ${MIN_EVERY_MS / 1000}s`,
      )
    const found = url === undefined ? undefined : await this.#locateAgain(current, url)
    const next: Replication = {
      ...current,
      availability: availability ?? current.availability,
      deletes: deletes ?? current.deletes,
      include: include ?? current.include,
      exclude: exclude ?? current.exclude,
      everyMs: everyMs ?? current.everyMs,
      url: url ?? current.url,
      addresses: found?.addresses ?? addresses ?? current.addresses,
    }
    await book.commit({ replications: [next] })
    replicator.keepConnected(next)
    await audit.note(actor, 'replication edit', `${id}: ${Object.keys(changes).join(', ')}`)
  }

  async #locateAgain(replication: Replication, url: string): Promise<NodeAddress> {
    const found = await findNode(url, AbortSignal.timeout(CONNECT_TIMEOUT_MS))
    if (!replication.peers.includes(found.peerId))
      throw new FeedmeshError(
        'WRONG_HUB',
        `node ${found.peerId} answers at this URL, but the replication is linked with ${replication.peers.join(', ')}`,
      )
    return found
  }

  async pause(id: string, paused: boolean, actor: Actor): Promise<void> {
    const { book, audit, replicator } = this.#options
    const next = { ...book.getReplication(id), paused }
    await book.commit({ replications: [next] })
    if (paused) await replicator.release(next)
    else replicator.keepConnected(next)
    await audit.note(actor, paused ? 'replication pause' : 'replication resume', id)
  }

  /** What was received stays: the source is frozen at its last manifest. */
  async remove(id: string, actor: Actor): Promise<void> {
    const { book, audit, replicator } = this.#options
    const replication = book.getReplication(id)
    await replicator.release(replication)
    await book.removeReplication(id)
    await audit.note(actor, 'replication remove', id)
  }

  /** Ends the token and every link that was made with it. */
  async revokeToken(id: string, actor: Actor): Promise<void> {
    const { book, audit, now } = this.#options
    const token = book.tokens.find(id)
    if (token === undefined)
      throw new FeedmeshError(
        'NOT_FOUND',
        `no token ${JSON.stringify(id.slice(0, 40))}; feedmesh token list shows them`,
      )
    const made = book.links
      .all()
      .filter(
        (link) => link.tokenId !== null && Buffer.from(link.tokenId).toString('hex') === id && this.#isAnswerer(link),
      )
    await this.#revoke(made, [{ ...token, revokedAt: token.revokedAt ?? now() }])
    await audit.note(actor, 'token revoke', id)
  }

  #isAnswerer(link: Link): boolean {
    return this.#options.book.replications.find(link.replication)?.communication === 'incoming'
  }

  /** Ends every link with the peer, and no other's. */
  async revokePeer(peer: string, actor: Actor): Promise<void> {
    const { book, audit } = this.#options
    publicKeyFromPeerId(peer)
    const links = book.linksWith(peer)
    if (links.length === 0)
      throw new FeedmeshError('NOT_FOUND', `no live link with peer ${peer}; feedmesh peers shows them`)
    await this.#revoke(links, [])
    await audit.note(actor, 'peer revoke', peer)
  }

  /** Grants issued before now are void: the revocation goes into the next manifest of each feed concerned. */
  async #revoke(links: readonly Link[], tokens: readonly Token[]): Promise<void> {
    const { book, ledger, now } = this.#options
    const revokedAt = now()
    await book.commit({ links: links.map((link) => ({ ...link, revokedAt: link.revokedAt ?? revokedAt })), tokens })
    const subjects = Map.groupBy(links, (link) => feedIdText(link.local))
    for (const [feedId, revoked] of subjects) {
      if (!this.#isSending(feedId)) continue
      await ledger.revoke(
        feedId,
        [...new Set(revoked.map((link) => link.peer))].map((peer) => ({
          subject: publicKeyFromPeerId(peer),
          notIssuedBefore: revokedAt,
        })),
      )
    }
  }

  #isSending(feedId: FeedId): boolean {
    return this.#options.ledger.registry.localById(feedId) !== undefined
  }
}

/** Links of a replication over which content comes in. */
export function receivingLinks(book: Book, replication: Replication): Link[] {
  return isReceiving(replication.mode) ? book.linksOf(replication.id).filter((link) => link.revokedAt === null) : []
}
