/** Signing for a feed of this node: the next manifest over a new state, or the same state again. */

import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import type { Closure } from '../catalog/closure.ts'
import { hashRevocations } from '../catalog/grant.ts'
import { type Deps, hashDeps, type Manifest, signManifest } from '../catalog/manifest.ts'
import type { Signed, Signer } from '../catalog/signed.ts'
import type { Stamp } from '../catalog/stamp.ts'
import type { FeedState } from './feed-state.ts'

/** What the rows and the log of the new state amount to. */
export interface StateTotals {
  readonly operations: number
  readonly bytesAdded: number
  readonly clock: Stamp
}

export const NO_CHANGE: StateTotals = { operations: 0, bytesAdded: 0, clock: 0n }

/** The adopted states of all other members of the closure, sorted by feedId. */
export function depsOf(closure: Closure, states: ReadonlyMap<FeedId, FeedState>): Deps {
  const ids = [...closure.members.keys()].filter((id) => id !== closure.viewing).sort()
  return ids.flatMap((id) => {
    const manifest = states.get(id)?.manifest?.value
    return manifest === undefined
      ? []
      : [{ feedId: feedIdBytes(id), epoch: manifest.epoch, seq: manifest.seq, stateRoot: manifest.stateRoot }]
  })
}

export interface SigningContext {
  readonly signer: Signer
  readonly nowMs: number
  readonly deps: Deps
  /** How often the floor file says that the state was signed again. */
  readonly refreshFloor: number
}

/** `state` has the charter, revocations and root to sign over, and the manifest to follow. */
function manifestOver(state: FeedState, totals: StateTotals, context: SigningContext): Manifest {
  const { charter, manifest: last } = state
  const sameEpoch = last !== undefined && last.value.epoch === charter.value.epoch
  const clock = last === undefined || totals.clock > last.value.clock ? totals.clock : last.value.clock
  return {
    feedId: feedIdBytes(state.feedId),
    charter: charter.hash,
    epoch: charter.value.epoch,
    previousEpochSeq: sameEpoch ? last.value.previousEpochSeq : (last?.value.seq ?? 0),
    seq: sameEpoch ? last.value.seq + 1 : 1,
    refresh: 0,
    previous: last?.hash ?? null,
    issuedAt: context.nowMs,
    expiresAt: context.nowMs + charter.value.freshness.manifestTtlMs,
    depsRoot: hashDeps(context.deps),
    logSize: (sameEpoch ? last.value.logSize : 0) + totals.operations,
    stateRoot: state.root.hash,
    entries: state.root.count,
    bytes: (last?.value.bytes ?? 0) + totals.bytesAdded,
    revocations: hashRevocations(state.revocations),
    logRoot: null,
    partitions: null,
    clock,
  }
}

export function signState(state: FeedState, totals: StateTotals, context: SigningContext): Signed<Manifest> {
  return signManifest(manifestOver(state, totals, context), context.signer)
}

/** Same state, later times: what keeps a quiet feed fresh. Deps may move with it. */
export function signRefresh(state: FeedState, last: Signed<Manifest>, context: SigningContext): Signed<Manifest> {
  const times = { issuedAt: context.nowMs, expiresAt: context.nowMs + state.charter.value.freshness.manifestTtlMs }
  return signManifest(
    {
      ...last.value,
      ...times,
      refresh: Math.max(last.value.refresh, context.refreshFloor) + 1,
      depsRoot: hashDeps(context.deps),
    },
    context.signer,
  )
}
