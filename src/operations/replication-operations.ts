/** Replications, as operators handle them. */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { peerIdFromPublicKey, publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { complementOf } from '../catalog/policy.ts'
import {
  deriveLinkSigner,
  type JoinCode,
  parseJoinCode,
  parseToken,
  renderJoinCode,
  renderToken,
  type SyncToken,
} from '../catalog/token.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { NewFeed } from '../http/feed-settings.ts'
import type { Actor, NewReplication, NodeOperations, ReplicationCreated } from '../http/operations.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Book, Link, Replication, Token } from '../replication/book.ts'
import type { Replicator } from '../replication/replicator.ts'
import type { NodeAddress } from '../replication/well-known.ts'
import type { AuditLog } from './audit.ts'
import { type Linking, locate, locateAgain } from './linking.ts'
import { chooseLimits, NO_LIMITS } from './replication-limits.ts'

export interface ReplicationOperationsOptions {
  readonly book: Book
  readonly ledger: Ledger
  readonly linking: Linking
  readonly replicator: Replicator
  readonly audit: AuditLog
  readonly publicKey: Uint8Array
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
  /** @throws MAY_NOT_SIGN */
  verifyMaySign(): void
  /** Addresses to put into join codes. */
  addresses(): readonly string[]
  createFeed(feed: NewFeed, actor: Actor): Promise<unknown>
}

const MIN_EVERY_MS = 1000
const DEFAULT_EVERY_MS = 60_000

/** What counts, what is brought and who gets it; the usual where nothing is chosen. */
function chooseRules(wanted: NewReplication) {
  return {
    availability: wanted.availability ?? 'full',
    deletes: wanted.deletes ?? 'follow',
    scope: wanted.scope ?? [],
    include: wanted.include ?? [],
    exclude: wanted.exclude ?? [],
    mayExtend: wanted.mayExtend ?? false,
    relay: wanted.relay ?? true,
    serve: wanted.serve ?? 'site',
  } as const
}

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
      ...chooseRules(wanted),
      everyMs,
      ...chooseLimits(wanted, NO_LIMITS),
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
    const found = await locate(wanted, token)
    const replication = this.#createRecord(wanted, found)
    await this.#options.linking.link(replication, token)
    return { id: replication.id }
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
    for (const { name, type } of feeds) this.#verifyJoinable(name, type)
    const { token, addresses } = parsed
    await this.#options.linking.describe({ peerId: peerIdFromPublicKey(token.incoming), addresses }, token)
    for (const { name, type } of feeds)
      if (!registry.locals.has(name)) await this.#options.createFeed({ name, type, publicRead: false }, actor)
    const pairs = feeds.map(({ name, remote }) => ({ local: name, remote }))
    const created = await this.add(
      { feeds: pairs, communication: 'outgoing', mode, token: renderToken(token), addresses },
      actor,
    )
    return { feeds: feeds.map(({ name, type }) => ({ name, type })), replications: [created.id] }
  }

  /** Rehearses `join`: every check it would make, in its order, stopping at the first that fails; changes nothing. */
  async checkJoin(code: string): ReturnType<NodeOperations['checkJoin']> {
    const checks: { name: string; ok: boolean; message: string }[] = []
    const check = async (name: string, work: () => Promise<string> | string) => {
      try {
        checks.push({ name, ok: true, message: await work() })
      } catch (error) {
        checks.push({ name, ok: false, message: asFeedmeshError(error).message })
        throw error
      }
    }
    try {
      await this.#rehearse(check, code)
    } catch (error) {
      if (!isFeedmeshError(error)) throw error
    }
    return { ok: checks.every((one) => one.ok), checks }
  }

  async #rehearse(
    check: (name: string, work: () => Promise<string> | string) => Promise<void>,
    code: string,
  ): Promise<void> {
    let parsed: JoinCode | undefined
    await check('code', () => {
      parsed = parseJoinCode(code)
      return `a whole join code for ${parsed.feeds.map((feed) => `${feed.name} (${feed.feedType})`).join(', ')}`
    })
    if (parsed === undefined) return
    const { token, addresses, feeds } = parsed
    await check('types', () => {
      for (const { name, feedType } of feeds) this.#verifyJoinable(name, feedType)
      return 'no feed here stands in the way'
    })
    await check('node and token', async () => {
      const peerId = peerIdFromPublicKey(token.incoming)
      const described = await this.#options.linking.describe({ peerId, addresses }, token)
      return `node ${peerId} answers and the token opens ${described.feeds.map((feed) => feed.name).join(', ')}`
    })
    await check('clock', () => {
      this.#options.verifyMaySign()
      return 'the clocks of both ends agree'
    })
  }

  /** @throws TYPE_MISMATCH when the name is taken by a feed of another type */
  #verifyJoinable(name: string, feedType: string): void {
    const existing = this.#options.ledger.registry.locals.get(name)
    if (existing !== undefined && existing.feedType !== feedType) {
      throw new FeedmeshError(
        'TYPE_MISMATCH',
        `feed ${name} here is of type ${existing.feedType}, the one to join of type ${feedType}; join it under another name with --as NAME`,
      )
    }
  }

  async edit(id: string, changes: Partial<NewReplication>, actor: Actor): Promise<void> {
    const { book, audit, replicator } = this.#options
    const current = book.getReplication(id)
    const { availability, deletes, serve, include, exclude, everyMs, url, addresses } = changes
    if (everyMs !== undefined && everyMs < MIN_EVERY_MS)
      throw new FeedmeshError(
        'BAD_INPUT',
        `an interval of ${everyMs} ms is too short; the least is ${MIN_EVERY_MS / 1000}s`,
      )
    const found = url === undefined ? undefined : await locateAgain(current, url)
    const next: Replication = {
      ...current,
      availability: availability ?? current.availability,
      deletes: deletes ?? current.deletes,
      serve: serve ?? current.serve,
      include: include ?? current.include,
      exclude: exclude ?? current.exclude,
      everyMs: everyMs ?? current.everyMs,
      ...chooseLimits(changes, current),
      url: url ?? current.url,
      addresses: found?.addresses ?? addresses ?? current.addresses,
    }
    if (changes.token === undefined) await book.commit({ replications: [next] })
    else await this.#relink(next, parseToken(changes.token))
    replicator.keepConnected(next)
    await audit.note(actor, 'replication edit', `${id}: ${Object.keys(changes).join(', ')}`)
  }

  /** With a new token of the same node, for instance after the old one was revoked. @throws WRONG_HUB, BAD_INPUT */
  async #relink(replication: Replication, token: SyncToken): Promise<void> {
    const owner = peerIdFromPublicKey(token.incoming)
    if (replication.communication !== 'outgoing')
      throw new FeedmeshError(
        'BAD_INPUT',
        'only outgoing replications are given a token; an incoming one makes its own',
      )
    if (!replication.peers.includes(owner)) {
      throw new FeedmeshError(
        'WRONG_HUB',
        `the token belongs to node ${owner}, but the replication is with ${replication.peers.join(', ')}; add a new replication for it`,
      )
    }
    await this.#options.linking.link(replication, token)
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
