/**
 * The feed manifest: what the owner signs whenever the feed's own state changes, and on the refresh timer.
 *
 * Acceptance follows the order of TUF's client workflow (specification §5.3): size, signature, who may sign, times, then
 * the floor. Nothing is stored until everything has been checked.
 */

import { FeedmeshError } from '../errors.ts'
import { bytes, encodeCbor, list, nullable, record, type Shape, type Shaped, uint, uint64 } from './cbor.ts'
import { type Charter, type FeedId, feedIdOf, feedIdText, MAX_CLOSURE } from './charter.ts'
import { sha256 } from './digest.ts'
import { openObject, type Signed, type Signer, signObject } from './signed.ts'
import { MAX_CLOCK_AHEAD_MS, verifyStampNotAhead } from './stamp.ts'

const hash32 = bytes({ size: 32 })

/** Reserved for later: always null in this version. */
const reserved: Shape<null> = {
  form: { type: 'null' },
  toCbor: () => null,
  fromCbor: () => null,
}

export const manifestShape = record({
  feedId: [1, hash32],
  /** Hash of the charter in force. */
  charter: [2, hash32],
  epoch: [3, uint()],
  /** Last seq the owner knows of the previous epoch; 0 in the first. */
  previousEpochSeq: [4, uint()],
  /** Counts changes of the state within the epoch, from 1. */
  seq: [5, uint()],
  /** Counts signings of one state, from 0. */
  refresh: [6, uint()],
  /** Hash of the manifest with the seq before, null for the first. */
  previous: [7, nullable(hash32)],
  issuedAt: [8, uint()],
  expiresAt: [9, uint()],
  /** Hash of the deps, see `hashDeps`. */
  depsRoot: [10, hash32],
  /** Operations logged since the epoch began. */
  logSize: [11, uint()],
  /** Root hash of the state trie. */
  stateRoot: [12, hash32],
  /** Rows of the state. */
  entries: [13, uint()],
  /** Sum of the sizes of all files the rows name. */
  bytes: [14, uint()],
  /** Hash of the revocation list in force. */
  revocations: [15, hash32],
  logRoot: [16, reserved],
  partitions: [17, reserved],
  /** Greatest stamp of any row ever in the state. */
  clock: [18, uint64],
})
export type Manifest = Shaped<typeof manifestShape>

const dep = record({ feedId: [1, hash32], epoch: [2, uint()], seq: [3, uint()], stateRoot: [4, hash32] })
/** The states of all other feeds of the closure as the owner had adopted them, sorted by feedId. */
export const depsShape = list(dep, MAX_CLOSURE)
export type Deps = Shaped<typeof depsShape>

export function hashDeps(deps: Deps): Buffer {
  return sha256(Uint8Array.of(0x19), encodeCbor(depsShape, deps))
}

/** (epoch, seq, refresh): a feed's manifests are totally ordered by it, and it never goes down. */
export interface ManifestOrder {
  readonly epoch: number
  readonly seq: number
  readonly refresh: number
}

export function compareOrder(a: ManifestOrder, b: ManifestOrder): number {
  return a.epoch - b.epoch || a.seq - b.seq || a.refresh - b.refresh
}

export function signManifest(manifest: Manifest, signer: Signer): Signed<Manifest> {
  return signObject('manifest', manifestShape, manifest, signer)
}

/** Decodes and checks the signature; not yet whether it is acceptable. @throws PEER_INVALID, FORGED */
export function openManifest(encoded: Uint8Array): Signed<Manifest> {
  return openObject('manifest', manifestShape, encoded)
}

export interface ManifestContext {
  /** The newest charter of the feed. */
  readonly charter: Signed<Charter>
  /** The highest manifest ever accepted, also if it has expired since. */
  readonly floor?: Signed<Manifest>
  readonly nowMs: number
}

function sameBytes(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === b || (a !== null && b !== null && Buffer.compare(a, b) === 0)
}

/** Whether two manifests of one (epoch, seq) sign different states, logs or charters: the proof that the owner forked. */
export function isFork(a: Manifest, b: Manifest): boolean {
  if (feedIdText(a.feedId) !== feedIdText(b.feedId) || a.epoch !== b.epoch || a.seq !== b.seq) return false
  const sameState = sameBytes(a.stateRoot, b.stateRoot) && sameBytes(a.charter, b.charter)
  return !sameState || a.logSize !== b.logSize || !sameBytes(a.previous, b.previous)
}

function verifySigner(manifest: Signed<Manifest>, charter: Signed<Charter>, id: FeedId): void {
  const value = manifest.value
  if (feedIdText(value.feedId) !== id)
    throw new FeedmeshError('FORGED', `manifest of feed ${feedIdText(value.feedId)} offered for feed ${id}`)
  if (!sameBytes(value.charter, charter.hash))
    throw new FeedmeshError(
      'FORGED',
      `manifest of feed ${id} names another charter than version ${charter.value.version}`,
    )
  if (!sameBytes(manifest.signer, charter.value.owner))
    throw new FeedmeshError('FORGED', `manifest of feed ${id} is not signed by the feed's owner`)
  if (value.epoch !== charter.value.epoch)
    throw new FeedmeshError(
      'FORGED',
      `manifest of feed ${id} is of epoch ${value.epoch}, the charter of epoch ${charter.value.epoch}`,
    )
}

function verifyTimes(value: Manifest, nowMs: number, id: FeedId): void {
  if (value.issuedAt > nowMs + MAX_CLOCK_AHEAD_MS) {
    throw new FeedmeshError(
      'PEER_INVALID',
      `manifest of feed ${id} is issued ${value.issuedAt - nowMs} ms in the future of this node; compare the clocks of both ends`,
    )
  }
  if (value.expiresAt < value.issuedAt)
    throw new FeedmeshError('PEER_INVALID', `manifest of feed ${id} expires before it is issued`)
  verifyStampNotAhead(value.clock, nowMs, `manifest of feed ${id}`)
}

/**
 * Whether `manifest` may follow what this node has: throws, or returns `same` for the floor itself, `refresh` for the same
 * state signed again, `advance` for a new state. An expired manifest is accepted: it is shown as stale, not refused.
 * @throws FORGED, PEER_INVALID, ROLLED_BACK, FORKED
 */
export function verifyManifest(manifest: Signed<Manifest>, context: ManifestContext): 'same' | 'refresh' | 'advance' {
  const id = feedIdOf(context.charter)
  verifySigner(manifest, context.charter, id)
  verifyTimes(manifest.value, context.nowMs, id)
  const floor = context.floor
  if (floor === undefined) return 'advance'
  if (sameBytes(manifest.hash, floor.hash)) return 'same'
  if (isFork(manifest.value, floor.value)) {
    throw new FeedmeshError(
      'FORKED',
      `the owner of feed ${id} signed two states as epoch ${manifest.value.epoch} seq ${manifest.value.seq}`,
    )
  }
  const order = compareOrder(manifest.value, floor.value)
  if (order <= 0) {
    const [have, got] = [floor.value, manifest.value]
    throw new FeedmeshError(
      'ROLLED_BACK',
      `manifest (${got.epoch}, ${got.seq}, ${got.refresh}) of feed ${id} is older than (${have.epoch}, ${have.seq}, ${have.refresh}), which is here already`,
    )
  }
  const sameState = manifest.value.epoch === floor.value.epoch && manifest.value.seq === floor.value.seq
  return sameState ? 'refresh' : 'advance'
}
