/**
 * The charter: a feed's constitution. The hash of its first version is the feed's identity, for ever.
 *
 * Order of charters = (generation, epoch, version). The owner signs new versions and may raise the epoch by one. Only the
 * recovery key raises the generation; only then may owner and recovery key change. Two charters of one order are a fork.
 */

import { FeedmeshError } from '../errors.ts'
import { bytes, list, nullable, record, type Shaped, text, uint, word } from './cbor.ts'
import { openObject, type Signed, type Signer, signObject } from './signed.ts'

/** Hex of the 32-byte hash of charter version 1. */
export type FeedId = string

/** Each inclusion counts at most this many feeds and steps beyond itself; a viewing feed counts at most MAX_CLOSURE. */
export const MAX_THROUGH_STEPS = 4
export const MAX_THROUGH_FEEDS = 64
export const MAX_CLOSURE = 512
export const MAX_INCLUDES = 512
/** A chain of charters longer than this is refused. */
export const MAX_CHARTER_VERSIONS = 4096

const inclusion = record({
  feedId: [1, bytes({ size: 32 })],
  /** Where the included feed stands seen from this one. */
  rank: [2, word(['above', 'beside', 'below'])],
  /** Globs over unit names; empty = all. What no glob matches does not count. */
  scope: [3, list(text(256), 64)],
  rights: [4, record({ mayDelete: [1, uint(1)], mayTag: [2, uint(1)], mayExtend: [3, uint(1)] })],
  /** How many inclusions beyond this one are followed, 0–4. */
  through: [5, uint(MAX_THROUGH_STEPS)],
})
export type Inclusion = Shaped<typeof inclusion>

export const charterShape = record({
  /** null in version 1, whose hash it is. */
  feedId: [1, nullable(bytes({ size: 32 }))],
  feedType: [2, text(32)],
  owner: [3, bytes({ size: 32 })],
  recovery: [4, bytes({ size: 32 })],
  generation: [5, uint()],
  epoch: [6, uint()],
  version: [7, uint(MAX_CHARTER_VERSIONS)],
  /** Hash of the predecessor; null in version 1. */
  previous: [8, nullable(bytes({ size: 32 }))],
  /** Salt of the state trie and what makes two feeds of one owner and type differ; the same in all versions. */
  salt: [9, bytes({ size: 16 })],
  issuedAt: [10, uint()],
  /** ms after which a manifest counts as stale; how long a read grant outlives its expiry while the owner is silent. */
  freshness: [11, record({ manifestTtlMs: [1, uint()], offlineGraceMs: [2, uint()] })],
  /** Public keys of signed indexes (apt, rpm), newest first. */
  indexKeys: [12, list(record({ kind: [1, text(32)], key: [2, bytes({ max: 8192 })] }), 16)],
  includes: [13, list(inclusion, MAX_INCLUDES)],
  /** In a charter of a new generation: the last manifest of the earlier one that counts. */
  lastGood: [14, nullable(record({ epoch: [1, uint()], seq: [2, uint()], stateRoot: [3, bytes({ size: 32 })] }))],
})
export type Charter = Shaped<typeof charterShape>

export const DEFAULT_FRESHNESS = { manifestTtlMs: 24 * 3_600_000, offlineGraceMs: 30 * 24 * 3_600_000 } as const

export function feedIdText(id: Uint8Array): FeedId {
  return Buffer.from(id.buffer, id.byteOffset, id.byteLength).toString('hex')
}

export function feedIdBytes(id: FeedId): Buffer {
  return Buffer.from(id, 'hex')
}

/** The feed that a charter belongs to. */
export function feedIdOf(charter: Signed<Charter>): FeedId {
  return feedIdText(charter.value.feedId ?? charter.hash)
}

export function signCharter(charter: Charter, signer: Signer): Signed<Charter> {
  return signObject('charter', charterShape, charter, signer)
}

/** Decodes and checks the signature, not yet the place in a chain. @throws PEER_INVALID, FORGED */
export function openCharter(encoded: Uint8Array): Signed<Charter> {
  return openObject('charter', charterShape, encoded)
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** @throws FORGED unless `charter` is a version 1 signed by the owner it names */
export function verifyFirstCharter(charter: Signed<Charter>): void {
  const { feedId, previous, version, generation, epoch, owner, lastGood } = charter.value
  const first =
    feedId === null && previous === null && version === 1 && generation === 0 && epoch === 1 && lastGood === null
  if (!first)
    throw new FeedmeshError('FORGED', 'the first charter of a feed must be version 1 of generation 0, epoch 1')
  if (!equal(charter.signer, owner))
    throw new FeedmeshError('FORGED', 'the first charter is not signed by the owner it names')
}

function refuse(next: Signed<Charter>, why: string): never {
  throw new FeedmeshError('FORGED', `charter version ${next.value.version} of feed ${feedIdOf(next)} ${why}`)
}

/** Whether one key signed two charters of one number: a proof that works without anything else. */
export function isCharterFork(a: Signed<Charter>, b: Signed<Charter>): boolean {
  const [one, two] = [a.value, b.value]
  const sameNumber = one.version === two.version && one.generation === two.generation && one.epoch === two.epoch
  return sameNumber && feedIdOf(a) === feedIdOf(b) && equal(a.signer, b.signer) && !equal(a.hash, b.hash)
}

/** @throws FORGED, FORKED unless `next` is a lawful successor of `current` */
export function verifyNextCharter(current: Signed<Charter>, next: Signed<Charter>): void {
  const [old, now] = [current.value, next.value]
  if (feedIdOf(next) !== feedIdOf(current)) refuse(next, 'belongs to another feed')
  if (isCharterFork(current, next))
    throw new FeedmeshError('FORKED', `feed ${feedIdOf(current)} has two charters of version ${old.version}`)
  if (now.version !== old.version + 1 || now.previous === null || !equal(now.previous, current.hash))
    refuse(next, 'does not name its predecessor')
  if (now.feedType !== old.feedType || !equal(now.salt, old.salt)) refuse(next, 'changes the type or the salt')
  if (equal(next.signer, old.recovery)) verifyRecovery(old, now, next)
  else verifyOwnerSuccession(old, now, next)
}

function verifyRecovery(old: Charter, now: Charter, next: Signed<Charter>): void {
  if (now.generation !== old.generation + 1)
    refuse(next, 'is signed by the recovery key but does not raise the generation by one')
  if (now.lastGood === null) refuse(next, 'raises the generation without naming the last good manifest')
  if (now.epoch <= old.epoch) refuse(next, 'raises the generation without raising the epoch')
}

function verifyOwnerSuccession(old: Charter, now: Charter, next: Signed<Charter>): void {
  if (!equal(next.signer, old.owner)) refuse(next, 'is signed neither by the owner nor by the recovery key')
  if (now.generation !== old.generation) refuse(next, 'raises the generation with the owner’s key')
  if (now.epoch !== old.epoch && now.epoch !== old.epoch + 1) refuse(next, 'changes the epoch by more than one')
  if (!equal(now.owner, old.owner) || !equal(now.recovery, old.recovery))
    refuse(next, 'changes owner or recovery key with the owner’s key')
}

/** The fields of the next version, everything as in `current`; change what is to change before signing. */
export function succeedCharter(current: Signed<Charter>, issuedAt: number): Charter {
  return {
    ...current.value,
    feedId: feedIdBytes(feedIdOf(current)),
    version: current.value.version + 1,
    previous: current.hash,
    issuedAt,
    lastGood: null,
  }
}
