/**
 * The incoming end of linking: `/feedmesh/link/1`, answering side.
 *
 * asker                                     answerer
 *   hello(versions, clock, instance, nonce) →  hello
 *   describe(token id, proof)               →  described(feeds, modes)      both proofs sign the transcript of
 *   link(token id, terms, proof)            →  linked(feeds)                this connection with the token's key
 *   confirm · grant · poke                  →  for links that exist
 *
 * Nothing is told to a peer whose proof does not verify but that it does not.
 */

import { Exchange, renderError } from '../../protocols/mesh/exchange.ts'
import {
  encodeTranscript,
  type Hello,
  hashHello,
  LINK_PROTOCOL,
  type LinkPair,
  type LinkReply,
  type LinkRequest,
  type LinkTerms,
  linkReply,
  linkRequest,
  type Transcript,
} from '../../protocols/mesh/link/messages.ts'
import { feedIdText } from '../catalog/charter.ts'
import { sha256 } from '../catalog/digest.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { isReceiving, verifyPair } from '../catalog/policy.ts'
import { verifyMessage } from '../catalog/signed.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { ReachFaultPoint } from '../fault-points.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book, Link, Replication, Token } from './book.ts'
import { createHello, type HelloOptions, verifyCommonProtocols } from './hello.ts'
import { LINK_REVOKED, type LinkPolicy } from './link-policy.ts'
import type { Presence } from './presence.ts'

export interface PokeResult {
  readonly state: 'succeeded' | 'failed' | 'partial'
  readonly items: number
  readonly bytes: number
  readonly message: string
}

export interface LinkAnswererOptions {
  readonly host: MeshHost
  readonly book: Book
  readonly registry: Registry
  readonly policy: LinkPolicy
  readonly presence: Presence
  readonly hello: HelloOptions
  readonly publicKey: Uint8Array
  readonly reach: ReachFaultPoint
  /** After a link was stored: includes the peer's feed where content flows here. */
  onLinked(link: Link): Promise<void>
  /** A link attempt was refused: shown on this end too. */
  onRefused(peer: string, error: FeedmeshError): void
  onPoke(link: Link): Promise<PokeResult>
}

interface Session {
  readonly peer: string
  readonly mine: Hello
  readonly theirs: Hello
}

type Proved = Extract<LinkRequest, { kind: 'describe' | 'link' }>

/** Name of a link: the same token, peers and feeds are the same link, however often they link. */
export function linkId(parts: {
  readonly tokenId: Uint8Array | null
  readonly asker: Uint8Array
  readonly answerer: Uint8Array
  readonly pair: LinkPair
}): string {
  const { tokenId, asker, answerer, pair } = parts
  return sha256(Uint8Array.of(0x1f), tokenId ?? new Uint8Array(8), asker, answerer, pair.local, pair.remote)
    .toString('hex')
    .slice(0, 32)
}

const UNKNOWN_TOKEN = 'this node has no such token; make one there with feedmesh replication add --incoming --token new'

export class LinkAnswerer {
  readonly #options: LinkAnswererOptions

  constructor(options: LinkAnswererOptions) {
    this.#options = options
  }

  /** Open to every peer: what it may do is what its proof or its link says. */
  async serve(): Promise<void> {
    const limits = { maxInboundStreams: 8, maxDurationMs: 10 * 60_000 }
    await this.#options.host.handle(LINK_PROTOCOL, limits, async (channel) => {
      const exchange = new Exchange<LinkReply, LinkRequest>(channel, {
        out: linkReply,
        in: linkRequest,
        what: LINK_PROTOCOL,
      })
      const session = await this.#greet(exchange)
      if (session === undefined) return
      for (;;) {
        const request = await exchange.find()
        if (request === undefined) return
        await exchange.send(await this.#reply(session, request))
      }
    })
  }

  async #greet(exchange: Exchange<LinkReply, LinkRequest>): Promise<Session | undefined> {
    const first = await exchange.find()
    if (first?.kind !== 'hello') throw new FeedmeshError('PEER_INVALID', 'link: the stream did not begin with a hello')
    const mine = createHello(this.#options.hello)
    try {
      verifyCommonProtocols(first)
      this.#options.presence.note(exchange.remote, first)
    } catch (error) {
      await exchange.send(renderError(error))
      return undefined
    }
    await exchange.send({ kind: 'hello', ...mine })
    return { peer: exchange.remote, mine, theirs: first }
  }

  async #reply(session: Session, request: LinkRequest): Promise<LinkReply> {
    try {
      return await this.#answer(session, request)
    } catch (thrown) {
      const error = asFeedmeshError(thrown)
      if (request.kind === 'describe' || request.kind === 'link') this.#options.onRefused(session.peer, error)
      return renderError(error)
    }
  }

  async #answer(session: Session, request: LinkRequest): Promise<LinkReply> {
    switch (request.kind) {
      case 'hello':
        throw new FeedmeshError('PEER_INVALID', 'link: a second hello on one stream')
      case 'describe':
        return this.#describe(session, request)
      case 'link':
        return await this.#link(session, request)
      case 'confirm':
        return await this.#confirm(session, request)
      case 'grant':
        return { kind: 'granted', chain: this.#options.policy.issueGrant(session.peer, feedIdText(request.feedId)) }
      case 'poke':
        return await this.#poke(session, request)
    }
  }

  /** The replication that the peer's proof opens. @throws TOKEN_UNKNOWN, TOKEN_REVOKED, FORBIDDEN */
  #verifyProof(session: Session, request: Proved): { replication: Replication; token: Token | undefined } {
    const { book } = this.#options
    if (request.tokenId === null) return { replication: this.#findByPeer(session.peer), token: undefined }
    const token = book.tokens.find(Buffer.from(request.tokenId).toString('hex'))
    const replication = token && book.replications.find(token.replication)
    if (token === undefined || replication === undefined || request.proof === null)
      throw new FeedmeshError('TOKEN_UNKNOWN', UNKNOWN_TOKEN)
    try {
      verifyMessage(
        'link',
        encodeTranscript(this.#transcript(session, request, request.tokenId)),
        token.publicKey,
        request.proof,
      )
    } catch (error) {
      if (isFeedmeshError(error, 'FORGED')) throw new FeedmeshError('TOKEN_UNKNOWN', UNKNOWN_TOKEN, { cause: error })
      throw error
    }
    if (token.revokedAt !== null)
      throw new FeedmeshError('TOKEN_REVOKED', 'this token was revoked; ask the other end for a new one')
    return { replication, token }
  }

  #findByPeer(peer: string): Replication {
    const found = this.#options.book.replications
      .all()
      .find((replication) => replication.communication === 'incoming' && replication.peers.includes(peer))
    if (found === undefined)
      throw new FeedmeshError(
        'FORBIDDEN',
        `no incoming replication here names the peer ${peer}; add one with --peer, or link with a token`,
      )
    return found
  }

  #transcript(session: Session, request: Proved, tokenId: Uint8Array): Transcript {
    return {
      step: request.kind,
      askerHello: hashHello(session.theirs),
      answererHello: hashHello(session.mine),
      asker: publicKeyFromPeerId(session.peer),
      answerer: this.#options.publicKey,
      tokenId,
      terms: request.kind === 'link' ? request.terms : null,
    }
  }

  #feedsOf(replication: Replication): { feedId: Uint8Array; name: string; feedType: string }[] {
    return replication.feeds.flatMap(({ local }) => {
      const feed = this.#options.registry.locals.get(local)
      return feed === undefined ? [] : [{ feedId: feed.feedId, name: feed.name, feedType: feed.feedType }]
    })
  }

  #describe(session: Session, request: Extract<LinkRequest, { kind: 'describe' }>): LinkReply {
    const { replication } = this.#verifyProof(session, request)
    return {
      kind: 'described',
      feeds: this.#feedsOf(replication),
      communication: replication.communication,
      mode: replication.mode,
    }
  }

  async #link(session: Session, request: Extract<LinkRequest, { kind: 'link' }>): Promise<LinkReply> {
    const { replication, token } = this.#verifyProof(session, request)
    this.#verifyTerms(replication, request.terms)
    const links = request.terms.pairs.map((pair) =>
      this.#createLink(session.peer, replication, { pair, tokenId: request.tokenId }),
    )
    const fresh = links.filter((link) => this.#options.book.links.find(link.id) === undefined)
    const revoked = links.some((link) => (this.#options.book.links.find(link.id)?.revokedAt ?? null) !== null)
    if (revoked)
      throw new FeedmeshError(
        'TOKEN_REVOKED',
        'this link was revoked here; ask the operator of this end for a new token',
      )
    if (fresh.length > 0) {
      const used = token === undefined ? [] : [this.#useToken(token)]
      await this.#options.book.commit({ links: fresh, tokens: used })
    }
    this.#options.reach('link.accepted')
    for (const link of fresh) await this.#options.onLinked(link)
    return { kind: 'linked', feeds: this.#feedsOf(replication) }
  }

  #verifyTerms(replication: Replication, terms: LinkTerms): void {
    const feeds = this.#feedsOf(replication)
    verifyPair(replication, terms)
    if (terms.pairs.length === 0) throw new FeedmeshError('BAD_INPUT', 'link: no feeds named')
    for (const pair of terms.pairs) {
      const feed = feeds.find((candidate) => Buffer.compare(candidate.feedId, pair.remote) === 0)
      if (feed === undefined)
        throw new FeedmeshError(
          'NOT_FOUND',
          `this token does not open the feed asked for; it opens ${feeds.map((one) => one.name).join(', ') || 'none any more'}`,
        )
      if (feed.feedType !== pair.feedType) {
        throw new FeedmeshError(
          'TYPE_MISMATCH',
          `feed ${feed.name} at the incoming end is of type ${feed.feedType}, feed ${pair.localName} at the outgoing end of type ${pair.feedType}: create the outgoing end's feed with --type ${feed.feedType}`,
        )
      }
    }
  }

  #createLink(peer: string, replication: Replication, from: { pair: LinkPair; tokenId: Uint8Array | null }): Link {
    const { book, publicKey, hello } = this.#options
    const id = linkId({ tokenId: from.tokenId, asker: publicKeyFromPeerId(peer), answerer: publicKey, pair: from.pair })
    const localName =
      this.#feedsOf(replication).find((feed) => Buffer.compare(feed.feedId, from.pair.remote) === 0)?.name ?? ''
    const known = book.links.find(id)
    if (known !== undefined) return known
    return {
      id,
      replication: replication.id,
      peer,
      local: from.pair.remote,
      localName,
      remote: from.pair.local,
      remoteName: from.pair.localName,
      tokenId: from.tokenId,
      linkedAt: hello.now(),
      revokedAt: null,
      addresses: [],
      confirmed: null,
      lastError: null,
      equalAt: null,
      grant: [],
    }
  }

  /** @throws TOKEN_EXPIRED, TOKEN_USED_UP */
  #useToken(token: Token): Token {
    if (token.expiresAt !== null && this.#options.hello.now() >= token.expiresAt) {
      throw new FeedmeshError(
        'TOKEN_EXPIRED',
        `this token could be used to link until ${new Date(token.expiresAt).toISOString()}; ask the other end for a new one`,
      )
    }
    if (token.usesLeft === 0)
      throw new FeedmeshError(
        'TOKEN_USED_UP',
        'this token was used to link as often as it may be; ask the other end for a new one',
      )
    return token.usesLeft === null ? token : { ...token, usesLeft: token.usesLeft - 1 }
  }

  /** The peer's live link on our feed. @throws TOKEN_REVOKED, NOT_FOUND */
  #getLink(session: Session, feedId: Uint8Array): Link {
    const links = this.#options.book.links
      .all()
      .filter((link) => link.peer === session.peer && Buffer.compare(link.local, feedId) === 0)
    const live = links.find((link) => link.revokedAt === null)
    if (live !== undefined) return live
    if (links.length > 0) throw new FeedmeshError('TOKEN_REVOKED', LINK_REVOKED)
    throw new FeedmeshError('NOT_FOUND', 'there is no link between the two nodes on this feed; link again with a token')
  }

  async #confirm(session: Session, request: Extract<LinkRequest, { kind: 'confirm' }>): Promise<LinkReply> {
    const link = this.#getLink(session, request.feedId)
    // Whoever only offers content is not told what is in the feed it offers to.
    this.#options.policy.verifyMay(session.peer, 'read', feedIdText(request.feedId))
    const at = this.#options.hello.now()
    const { digest, entries, problem } = request
    await this.#options.book.commit({
      links: [{ ...link, confirmed: { digest, at, entries }, lastError: problem === null ? null : { ...problem, at } }],
    })
    const view = this.#options.registry.getView(feedIdText(link.local))
    return { kind: 'confirmed', digest: view.totals.root.hash, entries: view.totals.entries }
  }

  async #poke(session: Session, request: Extract<LinkRequest, { kind: 'poke' }>): Promise<LinkReply> {
    const link = this.#options.book
      .linksWith(session.peer)
      .find((candidate) => Buffer.compare(candidate.remote, request.feedId) === 0)
    const replication = link && this.#options.book.replications.find(link.replication)
    if (link === undefined || replication === undefined || !isReceiving(replication.mode)) {
      throw new FeedmeshError('NOT_FOUND', 'this node does not receive that feed from the peer')
    }
    const result = await this.#options.onPoke(link)
    return { kind: 'poked', ...result, message: result.message.slice(0, 500) }
  }
}
