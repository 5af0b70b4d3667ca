/**
 * Grants: signed, short-lived permissions for a PeerId, chained from a feed's owner; and the owner's revocation list.
 *
 * A chain starts at the owner; each further grant is signed by the subject of the one before, which must carry `relay`.
 * The subject of the last is the peer that asks, as authenticated by the connection.
 */

import { FeedmeshError } from '../errors.ts'
import { bytes, encodeCbor, list, record, type Shaped, uint } from './cbor.ts'
import { type FeedId, feedIdText } from './charter.ts'
import { sha256 } from './digest.ts'
import { openObject, type Signed, type Signer, signObject } from './signed.ts'

export const VERBS = { read: 1, offer: 2, relay: 4 } as const
export type Verb = keyof typeof VERBS

export const MAX_GRANT_MS = 24 * 3_600_000
export const MAX_GRANT_CHAIN = 8
export const MAX_REVOCATIONS = 4096

export const grantShape = record({
  feedId: [1, bytes({ size: 32 })],
  /** Ed25519 key of the peer that may. */
  subject: [2, bytes({ size: 32 })],
  /** Sum of VERBS. */
  verbs: [3, uint(7)],
  notBefore: [4, uint()],
  expiresAt: [5, uint()],
  id: [6, bytes({ size: 16 })],
})
export type Grant = Shaped<typeof grantShape>

/** Grants of (feed, subject) that were not issued before `notIssuedBefore` ms count; earlier ones are revoked. */
const revocation = record({ subject: [1, bytes({ size: 32 })], notIssuedBefore: [2, uint()] })
export const revocationsShape = record({
  feedId: [1, bytes({ size: 32 })],
  list: [2, list(revocation, MAX_REVOCATIONS)],
})
export type Revocations = Shaped<typeof revocationsShape>

export function hashRevocations(revocations: Revocations): Buffer {
  return sha256(Uint8Array.of(0x1a), encodeCbor(revocationsShape, revocations))
}

export function signGrant(grant: Grant, signer: Signer): Signed<Grant> {
  return signObject('grant', grantShape, grant, signer)
}

export interface ChainQuestion {
  readonly feedId: FeedId
  /** Owner's key, from the charter in force. */
  readonly owner: Uint8Array
  /** Key of the peer that asks, proved by its connection. */
  readonly asker: Uint8Array
  readonly verb: Verb
  readonly nowMs: number
  readonly revocations: Revocations
  /** How long past its expiry a grant still counts, ms: `offlineGrace` while the owner is silent, else 0. */
  readonly graceMs: number
}

function refuse(why: string): never {
  throw new FeedmeshError('FORBIDDEN', `this grant does not allow it: ${why}`)
}

function isRevoked(grant: Grant, revocations: Revocations): boolean {
  return revocations.list.some(
    (entry) => Buffer.compare(entry.subject, grant.subject) === 0 && grant.notBefore < entry.notIssuedBefore,
  )
}

function verifyLink(grant: Grant, question: ChainQuestion): void {
  if (feedIdText(grant.feedId) !== question.feedId) refuse('it is for another feed')
  if (grant.expiresAt - grant.notBefore > MAX_GRANT_MS) refuse('it lasts longer than 24 hours')
  if (question.nowMs < grant.notBefore) refuse('it is not valid yet')
  if (question.nowMs >= grant.expiresAt + question.graceMs) refuse('it has expired')
  if ((grant.verbs & VERBS[question.verb]) === 0) refuse(`it has no ${question.verb} right`)
  if (isRevoked(grant, question.revocations)) refuse('it was revoked')
}

/** Decodes a grant and checks its signature, and nothing of what it says. @throws PEER_INVALID, FORGED */
export function openGrant(encoded: Uint8Array): Signed<Grant> {
  return openObject('grant', grantShape, encoded)
}

/**
 * Checks every link of a chain, first to last. `open` may remember what it has opened before: everything else is checked
 * anew each time, so that what was revoked or replaced since is noticed.
 * @throws FORBIDDEN saying which rule it breaks; PEER_INVALID, FORGED for bytes that are not signed grants
 */
export function verifyGrantChain(
  encoded: readonly Uint8Array[],
  question: ChainQuestion,
  open: (encoded: Uint8Array) => Signed<Grant> = openGrant,
): void {
  if (encoded.length === 0 || encoded.length > MAX_GRANT_CHAIN)
    refuse(`a chain has 1 to ${MAX_GRANT_CHAIN} links, not ${encoded.length}`)
  let issuer = question.owner
  for (const [index, link] of encoded.entries()) {
    const grant = open(link)
    if (Buffer.compare(grant.signer, issuer) !== 0)
      refuse(`link ${index + 1} is not signed by ${index === 0 ? 'the owner' : 'the subject of the link before'}`)
    verifyLink(grant.value, question)
    const last = index === encoded.length - 1
    if (!last && (grant.value.verbs & VERBS.relay) === 0) refuse(`link ${index + 1} has no relay right`)
    issuer = grant.value.subject
  }
  if (Buffer.compare(issuer, question.asker) !== 0) refuse('it names another peer')
}
