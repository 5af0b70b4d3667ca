/** Charters that a node signs at a beginning: of a feed, of an epoch, of a generation. Pure. */

import {
  type Charter,
  DEFAULT_FRESHNESS,
  feedIdOf,
  signCharter,
  succeedCharter,
  verifyNextCharter,
} from '../catalog/charter.ts'
import type { Manifest } from '../catalog/manifest.ts'
import type { Signed, Signer } from '../catalog/signed.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Write } from '../store/records.ts'
import type { FloorOrder } from './floor.ts'
import type { LocalFeed } from './registry.ts'

/** What begins with a new charter. */
export interface Beginning {
  readonly charter: Signed<Charter>
  /** All that goes into the same batch, the charter among it. */
  readonly writes: readonly Write[]
  /** A feed that becomes one of this node. */
  readonly local?: LocalFeed
}

export interface FirstCharter {
  readonly feedType: string
  readonly owner: Uint8Array
  readonly recovery: Uint8Array
  readonly salt: Uint8Array
  readonly issuedAt: number
  readonly indexKeys: Charter['indexKeys']
}

export function firstCharter({ feedType, owner, recovery, salt, issuedAt, indexKeys }: FirstCharter): Charter {
  const order = { generation: 0, epoch: 1, version: 1 }
  const empty = { feedId: null, previous: null, includes: [], lastGood: null }
  return { ...empty, ...order, feedType, owner, recovery, salt, issuedAt, indexKeys, freshness: DEFAULT_FRESHNESS }
}

/** What the floor file remembers may be more than the database: no number is signed twice. */
function isTaken(charter: Charter, floor: FloorOrder | undefined): boolean {
  if (floor === undefined || floor.generation < charter.generation) return false
  return floor.generation > charter.generation || floor.epoch >= charter.epoch
}

/** @throws MAY_NOT_SIGN when that epoch was begun before and its charters are lost */
export function signEpoch(
  current: Signed<Charter>,
  by: { readonly owner: Signer; readonly nowMs: number; readonly floor: FloorOrder | undefined },
): Signed<Charter> {
  const charter = { ...succeedCharter(current, by.nowMs), epoch: current.value.epoch + 1 }
  if (isTaken(charter, by.floor))
    throw new FeedmeshError(
      'MAY_NOT_SIGN',
      `epoch ${charter.epoch} of feed ${feedIdOf(current)} was signed here before and its charter is lost, so only the recovery key can go on: feedmesh feed recover`,
    )
  return signCharter(charter, by.owner)
}

export interface Recovery {
  readonly key: Signer
  /** Who owns the feed from now on. */
  readonly owner: Uint8Array
  /** The state that counts; what was signed after it does not. */
  readonly lastGood: Manifest
  readonly nowMs: number
  readonly floor: FloorOrder | undefined
}

/** @throws FORBIDDEN when it is not the feed's recovery key */
export function signGeneration(current: Signed<Charter>, recovery: Recovery): Signed<Charter> {
  const { key, owner, lastGood, nowMs, floor } = recovery
  const { generation, epoch } = current.value
  const charter = signCharter(
    {
      ...succeedCharter(current, nowMs),
      generation: generation + 1,
      // Above everything that is remembered of an earlier attempt.
      epoch: Math.max(epoch, lastGood.epoch, floor?.epoch ?? 0) + 1,
      owner,
      lastGood: { epoch: lastGood.epoch, seq: lastGood.seq, stateRoot: lastGood.stateRoot },
    },
    key,
  )
  try {
    verifyNextCharter(current, charter)
  } catch (error) {
    if (!isFeedmeshError(error, 'FORGED')) throw error
    throw new FeedmeshError('FORBIDDEN', `this is not the recovery key of feed ${feedIdOf(current)}`, { cause: error })
  }
  if (floor !== undefined && floor.generation > generation)
    throw new FeedmeshError(
      'MAY_NOT_SIGN',
      `feed ${feedIdOf(current)} was recovered before, and its charter of generation ${floor.generation} is not here; feedmesh replication run --all fetches it from a peer`,
    )
  return charter
}
