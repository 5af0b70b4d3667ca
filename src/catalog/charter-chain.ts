/**
 * Chains of charters: every version from the first on. Two chains of one feed may differ from some version on; then the one
 * that is later by (generation, epoch) counts, and what the other says from there on is void. So what the recovery key signs
 * overrules whatever a thief of the owner's key signed, and an owner who lost the last charters goes on in a new epoch.
 */

import { FeedmeshError } from '../errors.ts'
import {
  type Charter,
  type FeedId,
  feedIdOf,
  isCharterFork,
  openCharter,
  verifyFirstCharter,
  verifyNextCharter,
} from './charter.ts'
import { createForkProof, type ForkProof } from './fork-proof.ts'
import type { Signed } from './signed.ts'

export type CharterChain = readonly Signed<Charter>[]

/** By (generation, epoch): which of two charters that do not follow each other counts. */
export function compareEpochs(
  a: Pick<Charter, 'generation' | 'epoch'>,
  b: Pick<Charter, 'generation' | 'epoch'>,
): number {
  return a.generation - b.generation || a.epoch - b.epoch
}

export function isSameCharter(a: Signed<Charter>, b: Signed<Charter>): boolean {
  return Buffer.compare(a.hash, b.hash) === 0
}

/** Opens charters that follow `current` (undefined: that begin with version 1). @throws PEER_INVALID, FORGED, FORKED */
export function openCharters(
  feedId: FeedId,
  current: Signed<Charter> | undefined,
  encoded: readonly Uint8Array[],
): Signed<Charter>[] {
  const charters: Signed<Charter>[] = []
  let last = current
  for (const bytes of encoded) {
    const next = openCharter(bytes)
    if (last === undefined) verifyFirstCharter(next)
    else verifyNextCharter(last, next)
    if (feedIdOf(next) !== feedId)
      throw new FeedmeshError('FORGED', `the peer sent the charter of feed ${feedIdOf(next)} for feed ${feedId}`)
    charters.push(next)
    last = next
  }
  return charters
}

/** What a chain that a peer sent means for the one that is here. */
export type ChainComparison =
  /** Ours is all of theirs, or more. */
  | { readonly kind: 'nothing new' }
  /** Charters from the first that differs on; they take the place of ours, of which there may be more. */
  | { readonly kind: 'newer'; readonly charters: CharterChain }
  /** Theirs ends in an earlier generation or epoch than ours. */
  | { readonly kind: 'overruled' }
  /** Neither is later: the owner signed both. */
  | { readonly kind: 'forked'; readonly proof: ForkProof | undefined }

/** Both chains are of one feed and verified. */
export function compareChains(known: CharterChain, offered: CharterChain): ChainComparison {
  const shared = offered.findIndex((charter, index) => {
    const ours = known[index]
    return ours === undefined || !isSameCharter(ours, charter)
  })
  if (shared === -1) return { kind: 'nothing new' }
  const charters = offered.slice(shared)
  if (shared >= known.length) return { kind: 'newer', charters }
  const order = compareEpochs(offered.at(-1)!.value, known.at(-1)!.value)
  if (order > 0) return { kind: 'newer', charters }
  if (order < 0) return { kind: 'overruled' }
  return { kind: 'forked', proof: proveCharterFork(known, charters) }
}

/** Two charters of one number, if the chains have such; two that open one epoch as different versions are none. */
export function proveCharterFork(known: CharterChain, offered: CharterChain): ForkProof | undefined {
  for (const theirs of offered) {
    const ours = known[theirs.value.version - 1]
    if (ours !== undefined && isCharterFork(ours, theirs)) return createForkProof('charter', ours, theirs)
  }
  return undefined
}
