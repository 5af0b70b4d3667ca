/** Who may do what, from the links that are agreed, the grants that are held and the chains that were shown. */

import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { type Grant, MAX_GRANT_MS, signGrant, VERBS, verifyGrantChain } from '../catalog/grant.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { isServed, type Place } from '../catalog/policy.ts'
import type { Signer } from '../catalog/signed.ts'
import { MAX_CLOCK_AHEAD_MS } from '../catalog/stamp.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Registry } from '../ledger/registry.ts'
import type { Book, Link } from './book.ts'
import { listReplicationsOf } from './feeds-here.ts'
import { NOT_HERE, type Policy, type Right } from './guard.ts'
import { OpenedGrants } from './opened-grants.ts'
import type { Presence } from './presence.ts'
import { type Chain, ShownChains } from './shown-chains.ts'

export const LINK_REVOKED = 'this link was revoked at the other end; ask its operator for a new token'

export interface LinkPolicyOptions {
  readonly book: Book
  readonly registry: Registry
  readonly presence: Presence
  readonly signer: Signer
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
  /** Where this node says it is; nowhere unless told. */
  readonly place?: Place
}

/**
 * A grant held for less than this is renewed: every hour, as often as owners sign a quiet feed again. When an owner falls silent
 * its grants so last about as long as its manifest, whose expiry begins the grace.
 */
const RENEW_BEFORE_MS = MAX_GRANT_MS - 3_600_000
/** Grants start earlier, for clocks that are behind by as much as signatures may be ahead. */
const BACKDATE_MS = MAX_CLOCK_AHEAD_MS

const NOWHERE: Place = { site: '', region: '' }

interface ChainUse {
  readonly feedId: FeedId
  readonly verb: 'read' | 'relay'
  /** Key of the peer that reads or hands on. */
  readonly subject: Uint8Array
}

export class LinkPolicy implements Policy {
  readonly #options: LinkPolicyOptions
  readonly #grants = new OpenedGrants()
  readonly #shown = new ShownChains()

  constructor(options: LinkPolicyOptions) {
    this.#options = options
  }

  verifyMay(peer: string, right: Right, feedId: FeedId): void {
    const { book, presence } = this.#options
    const verb = right === 'offer' ? 'offer' : 'read'
    const links = book.linksWith(peer)
    if (links.length > 0) presence.verifyNotDuplicated(peer)
    if (book.grantsOf(peer, verb, feedId).length > 0) return
    if (verb === 'read' && links.length > 0 && this.#isOwnedBy(publicKeyFromPeerId(peer), feedId)) return
    if (verb === 'read' && this.#mayRelay(peer, feedId)) return
    if (right === 'blobs' && this.#isProvenFor(peer, feedId)) return presence.verifyNotDuplicated(peer)
    this.#verifyNotRevoked(peer, feedId)
    throw new FeedmeshError('NOT_FOUND', NOT_HERE)
  }

  /**
   * Takes a chain by which a peer without a link may read blobs of the feed, for as long as it holds. The signatures are
   * checked whether or not the feed is here: an unknown feed and a forbidden one cost the same.
   * @throws NOT_FOUND, always the same
   */
  acceptChain(peer: string, feedId: FeedId, chain: Chain): void {
    const subject = publicKeyFromPeerId(peer)
    const isSigned = this.#isSigned(chain)
    if (!isSigned || !this.#isGood(chain, { feedId, verb: 'read', subject }) || !this.#isServed(peer, feedId))
      throw new FeedmeshError('NOT_FOUND', NOT_HERE)
    this.#shown.keep(peer, feedId, chain)
  }

  #isSigned(chain: Chain): boolean {
    try {
      for (const link of chain) this.#grants.open(link)
      return true
    } catch (error) {
      if (isFeedmeshError(error, 'FORGED', 'PEER_INVALID')) return false
      throw error
    }
  }

  /** Whether the peer has shown a chain that still holds, for any feed. */
  isProven(peer: string): boolean {
    for (const [feedId] of this.#shown.of(peer)) if (this.#isProvenFor(peer, feedId)) return true
    return false
  }

  /** Asked anew each time: grants expire, are revoked, and charters and settings change. */
  #isProvenFor(peer: string, feedId: FeedId): boolean {
    const chain = this.#shown.find(peer, feedId)
    if (chain === undefined) return false
    const subject = publicKeyFromPeerId(peer)
    return this.#isGood(chain, { feedId, verb: 'read', subject }) && this.#isServed(peer, feedId)
  }

  /** Whether any replication that the feed comes or goes by lets this node serve a peer that stands where this one says. */
  #isServed(peer: string, feedId: FeedId): boolean {
    const { presence, place = NOWHERE } = this.#options
    if (this.#isEnded(peer, feedId)) return false
    const asker = presence.find(peer) ?? NOWHERE
    return listReplicationsOf(this.#options, feedId).some(({ serve }) => isServed(serve, place, asker))
  }

  /** An operator here has ended the links by which the peer read the feed: chains from then, or from others, do not help it here. */
  #isEnded(peer: string, feedId: FeedId): boolean {
    const { book, registry } = this.#options
    const links = book.links.all().filter((link) => link.peer === peer)
    return (
      links.every(({ revokedAt }) => revokedAt !== null) &&
      links.some(({ local }) => registry.reaches(feedIdText(local), feedId))
    )
  }

  /** A peer that was linked to the feed knows that it is here; it is told why it gets no more. @throws TOKEN_REVOKED */
  #verifyNotRevoked(peer: string, feedId: FeedId): void {
    const ended = this.#options.book.links
      .all()
      .some((link) => link.peer === peer && link.revokedAt !== null && feedIdText(link.local) === feedId)
    if (ended) throw new FeedmeshError('TOKEN_REVOKED', LINK_REVOKED)
  }

  /** The feed is in the closure of one that the peer may read here, and its owner lets this node pass it on. */
  #mayRelay(peer: string, feedId: FeedId): boolean {
    const { book, registry } = this.#options
    const reads = book.linksWith(peer).filter((link) => book.grantsOf(peer, 'read', feedIdText(link.local)).length > 0)
    const inClosure = reads.some((link) => registry.views.get(feedIdText(link.local))?.closure.members.has(feedId))
    return inClosure && (this.#isOwner(feedId) || this.findChain(feedId, 'relay') !== undefined)
  }

  #isOwner(feedId: FeedId): boolean {
    return this.#isOwnedBy(this.#options.signer.publicKey, feedId)
  }

  /** A linked owner may have its own feed back: after a disk failed, or a backup was restored. */
  #isOwnedBy(publicKey: Uint8Array, feedId: FeedId): boolean {
    const owner = this.#options.registry.charterOf(feedId)?.owner
    return owner !== undefined && Buffer.compare(owner, publicKey) === 0
  }

  /** A chain held by this node that is good for `verb` on the feed now. */
  findChain(feedId: FeedId, verb: 'read' | 'relay'): readonly Uint8Array[] | undefined {
    const { book } = this.#options
    return book.links
      .all()
      .filter((link) => link.revokedAt === null && feedIdText(link.remote) === feedId && link.grant.length > 0)
      .find((link) => this.#isGood(link.grant, { feedId, verb, subject: this.#options.signer.publicKey }))?.grant
  }

  /** The chain to show for blobs of a linked feed to peers without a link: also while the feed is not here yet. */
  findChainToShow(feedId: FeedId): Chain | undefined {
    const held = this.#options.book.links
      .all()
      .filter((link) => link.revokedAt === null && feedIdText(link.remote) === feedId && link.grant.length > 0)
    return held.find((link) => this.isFit(link.grant, feedId))?.grant
  }

  /** Whether a chain may take the place of the one that is held. Of a feed that is not here yet, nobody can tell. */
  isFit(chain: readonly Uint8Array[], feedId: FeedId): boolean {
    const subject = this.#options.signer.publicKey
    return !this.#options.registry.states.has(feedId) || this.#isGood(chain, { feedId, verb: 'read', subject })
  }

  #isGood(chain: Chain, { feedId, verb, subject }: ChainUse): boolean {
    const { registry, now } = this.#options
    const state = registry.states.get(feedId)
    if (state === undefined) return false
    const nowMs = now()
    const ownerSilent = state.manifest === undefined || state.manifest.value.expiresAt < nowMs
    const graceMs = ownerSilent ? state.charter.value.freshness.offlineGraceMs : 0
    const { owner } = state.charter.value
    try {
      const question = { feedId, owner, asker: subject, verb, nowMs, revocations: state.revocations, graceMs }
      verifyGrantChain(chain, question, this.#grants.open)
      return true
    } catch (error) {
      if (isFeedmeshError(error, 'FORBIDDEN', 'FORGED', 'PEER_INVALID')) return false
      throw error
    }
  }

  /** Whether the grant that came with a link is worth renewing: one that does not verify, or is from a clock ahead, is. */
  isRenewalDue({ grant }: Pick<Link, 'grant'>): boolean {
    const last = grant.at(-1)
    if (last === undefined) return true
    try {
      const { notBefore, expiresAt } = this.#grants.open(last).value
      const now = this.#options.now()
      return expiresAt - now < RENEW_BEFORE_MS || notBefore > now + MAX_CLOCK_AHEAD_MS
    } catch (error) {
      if (isFeedmeshError(error, 'FORGED', 'PEER_INVALID')) return true
      throw error
    }
  }

  /** A chain for `peer` on a feed it is linked to or may read in a closure. @throws NOT_FOUND */
  issueGrant(peer: string, feedId: FeedId): readonly Uint8Array[] {
    this.verifyMay(peer, 'read', feedId)
    const { signer, now, randomBytes, book } = this.#options
    const base = this.#isOwner(feedId) ? [] : this.findChain(feedId, 'relay')
    if (base === undefined) throw new FeedmeshError('NOT_FOUND', NOT_HERE)
    const relay = book
      .grantsOf(peer, 'read', feedId)
      .some((link) => book.replications.find(link.replication)?.relay === true)
    const notBefore = now() - BACKDATE_MS
    const grant: Grant = {
      feedId: feedIdBytes(feedId),
      subject: publicKeyFromPeerId(peer),
      verbs: VERBS.read | (relay || base.length > 0 ? VERBS.relay : 0),
      notBefore,
      expiresAt: notBefore + MAX_GRANT_MS,
      id: randomBytes(16),
    }
    return [...base, signGrant(grant, signer).bytes]
  }
}
