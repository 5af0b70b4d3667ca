/**
 * The proof that a feed was forked: two manifests, or two charters, that one key signed under one number. It needs nothing
 * but the two and the feed's charters, so any node can check it and hand it on.
 *
 * A fork counts in the epoch it happened in. Until a manifest of another epoch comes, nothing at or above it is adopted.
 */

import { FeedmeshError } from '../errors.ts'
import { bytes, record, type Shaped, word } from './cbor.ts'
import { type Charter, type FeedId, feedIdOf, feedIdText, isCharterFork, openCharter } from './charter.ts'
import { isFork, openManifest } from './manifest.ts'
import { MAX_SIGNED_BYTES, type Signed } from './signed.ts'

export const forkProofShape = record({
  of: [1, word(['manifest', 'charter'])],
  /** The two envelopes as they were signed, in byte order of their hashes. */
  first: [2, bytes({ max: MAX_SIGNED_BYTES })],
  second: [3, bytes({ max: MAX_SIGNED_BYTES })],
})
export type ForkProof = Shaped<typeof forkProofShape>

/** What a proof says of a feed, once it was held against the feed's charters. */
export interface Fork {
  readonly proof: ForkProof
  readonly feedId: FeedId
  readonly generation: number
  readonly epoch: number
  /** seq of the two manifests, or version of the two charters. */
  readonly number: number
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return Buffer.compare(a, b) === 0
}

/** The same whichever of the two was seen first. */
export function createForkProof(of: ForkProof['of'], one: Signed<unknown>, other: Signed<unknown>): ForkProof {
  const [first, second] = Buffer.compare(one.hash, other.hash) < 0 ? [one, other] : [other, one]
  return { of, first: first.bytes, second: second.bytes }
}

interface Contradiction {
  readonly feedId: FeedId
  readonly signer: Uint8Array
  readonly epoch: number
  readonly number: number
  /** Manifests name none. */
  readonly generation: number | undefined
}

function verifyOrder(one: Signed<unknown>, other: Signed<unknown>): void {
  if (Buffer.compare(one.hash, other.hash) >= 0)
    throw new FeedmeshError('PEER_INVALID', 'the two halves of a proof of a fork are in the wrong order')
}

function refuse(of: string, why: string): never {
  throw new FeedmeshError('FORGED', `two ${of}s that ${why} were given as the proof of a fork`)
}

function openManifests(proof: ForkProof): Contradiction {
  const [one, other] = [openManifest(proof.first), openManifest(proof.second)]
  verifyOrder(one, other)
  if (!sameBytes(one.signer, other.signer) || !isFork(one.value, other.value))
    refuse('manifest', 'do not contradict each other')
  const { feedId, epoch, seq } = one.value
  return { feedId: feedIdText(feedId), signer: one.signer, epoch, number: seq, generation: undefined }
}

function openCharters(proof: ForkProof): Contradiction {
  const [one, other] = [openCharter(proof.first), openCharter(proof.second)]
  verifyOrder(one, other)
  if (!isCharterFork(one, other)) refuse('charter', 'do not contradict each other')
  const { epoch, version, generation } = one.value
  return { feedId: feedIdOf(one), signer: one.signer, epoch, number: version, generation }
}

/**
 * The fork that `proof` proves of the feed whose charters are `chain`, oldest first; undefined for one of another epoch or
 * generation, which bars nothing.
 * @throws PEER_INVALID, FORGED when it is no proof, is about another feed or was not signed by a key of the feed
 */
export function findFork(proof: ForkProof, chain: readonly Signed<Charter>[]): Fork | undefined {
  const newest = chain.at(-1)
  if (newest === undefined) throw new FeedmeshError('PEER_INVALID', 'the proof of a fork without a charter of the feed')
  const said = proof.of === 'manifest' ? openManifests(proof) : openCharters(proof)
  if (said.feedId !== feedIdOf(newest)) refuse(proof.of, `belong to feed ${said.feedId}`)
  const { generation, epoch } = newest.value
  if (said.epoch !== epoch || (said.generation ?? generation) !== generation) return undefined
  const inForce = chain.filter(({ value }) => value.epoch === epoch && value.generation === generation)
  const keys = inForce.flatMap(({ value, signer }) => (proof.of === 'manifest' ? [value.owner] : [value.owner, signer]))
  if (!keys.some((key) => sameBytes(key, said.signer))) refuse(proof.of, 'no key of the feed signed')
  return { proof, feedId: said.feedId, generation, epoch, number: said.number }
}

/** Whether a state is on one of the two sides of a fork, or above them: such a state is not adopted. */
export function isAboveFork(
  fork: Fork,
  state: { readonly charter: Pick<Charter, 'generation' | 'epoch' | 'version'>; readonly seq: number },
): boolean {
  const { charter, seq } = state
  if (charter.generation !== fork.generation || charter.epoch !== fork.epoch) return false
  return fork.proof.of === 'manifest' ? seq >= fork.number : charter.version >= fork.number
}

/** Whether the fork still bars what comes after a state of this charter: a later epoch or generation has ended it otherwise. */
export function isForkOpen(fork: Fork, charter: Pick<Charter, 'generation' | 'epoch'>): boolean {
  return fork.generation > charter.generation || (fork.generation === charter.generation && fork.epoch >= charter.epoch)
}

/** Of two forks of one feed the one that bars more: the later one, then that of charters, then that of the lower number. */
export function worseFork(one: Fork, other: Fork): Fork {
  const order =
    one.generation - other.generation ||
    one.epoch - other.epoch ||
    Number(one.proof.of === 'charter') - Number(other.proof.of === 'charter') ||
    other.number - one.number
  return order >= 0 ? one : other
}

/** For whoever is told that the feed cannot be followed. */
export function renderFork(fork: Fork): string {
  const what =
    fork.proof.of === 'manifest' ? `states as epoch ${fork.epoch} seq` : `charters as epoch ${fork.epoch} version`
  return `the owner of feed ${fork.feedId} signed two different ${what} ${fork.number}`
}
