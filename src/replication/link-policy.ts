/** Who may do what, from the links that are agreed and the grants that are held. */

import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { type Grant, grantShape, MAX_GRANT_MS, signGrant, VERBS, verifyGrantChain } from '../catalog/grant.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { openObject, type Signer } from '../catalog/signed.ts'
import { MAX_CLOCK_AHEAD_MS } from '../catalog/stamp.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Registry } from '../ledger/registry.ts'
import type { Book, Link } from './book.ts'
import { NOT_HERE, type Policy } from './guard.ts'
import type { Presence } from './presence.ts'

export const LINK_REVOKED = 'this link was revoked at the other end; ask its operator for a new token'

export interface LinkPolicyOptions {
  readonly book: Book
  readonly registry: Registry
  readonly presence: Presence
  readonly signer: Signer
  readonly now: () => number
  readonly randomBytes: (size: number) => Uint8Array
}

/** A grant held for less than this is renewed. */
const RENEW_BEFORE_MS = MAX_GRANT_MS / 2
/** Grants start a little earlier, for clocks that are behind. */
const BACKDATE_MS = 60_000

export class LinkPolicy implements Policy {
  readonly #options: LinkPolicyOptions

  constructor(options: LinkPolicyOptions) {
    this.#options = options
  }

  verifyMay(peer: string, verb: 'read' | 'offer', feedId: FeedId): void {
    const { book, presence } = this.#options
    const links = book.linksWith(peer)
    if (links.length > 0) presence.verifyNotDuplicated(peer)
    if (book.grantsOf(peer, verb, feedId).length > 0) return
    if (verb === 'read' && links.length > 0 && this.#isOwnedBy(publicKeyFromPeerId(peer), feedId)) return
    if (verb === 'read' && this.#mayRelay(peer, feedId)) return
    this.#verifyNotRevoked(peer, feedId)
    throw new FeedmeshError('NOT_FOUND', NOT_HERE)
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
      .find((link) => this.#isGood(link.grant, feedId, verb))?.grant
  }

  /** Whether a chain may take the place of the one that is held. Of a feed that is not here yet, nobody can tell. */
  isFit(chain: readonly Uint8Array[], feedId: FeedId): boolean {
    return !this.#options.registry.states.has(feedId) || this.#isGood(chain, feedId, 'read')
  }

  #isGood(chain: readonly Uint8Array[], feedId: FeedId, verb: 'read' | 'relay'): boolean {
    const { registry, signer, now } = this.#options
    const state = registry.states.get(feedId)
    if (state === undefined) return false
    const nowMs = now()
    const ownerSilent = state.manifest === undefined || state.manifest.value.expiresAt < nowMs
    const graceMs = ownerSilent ? state.charter.value.freshness.offlineGraceMs : 0
    const { owner } = state.charter.value
    try {
      verifyGrantChain(chain, {
        feedId,
        owner,
        asker: signer.publicKey,
        verb,
        nowMs,
        revocations: state.revocations,
        graceMs,
      })
      return true
    } catch (error) {
      if (isFeedmeshError(error, 'FORBIDDEN', 'FORGED', 'PEER_INVALID')) return false
      throw error
    }
  }

  /** Whether the grant that came with a link is worth renewing: one that does not verify, or is from a clock ahead, is. */
  isRenewalDue(link: Link): boolean {
    const last = link.grant.at(-1)
    if (last === undefined) return true
    try {
      const { notBefore, expiresAt } = openObject<Grant>('grant', grantShape, last).value
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
