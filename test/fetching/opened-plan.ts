/** Plans with peers and blobs, and what happens to them: for tests of the rules. */

import { FeedmeshError } from '../../src/errors.ts'
import type { FetchPeer } from '../../src/fetching/fetch-peers.ts'
import { FetchPlan } from '../../src/fetching/fetch-plan.ts'
import type { PlannedBlob } from '../../src/fetching/parts.ts'
import { PeerMemory } from '../../src/fetching/peer-memory.ts'

export const MIB = 1024 * 1024
export const OWN = { id: 'own', site: 'here', region: 'europe' }

export function peer(id: string, more: Partial<FetchPeer> = {}): FetchPeer {
  return { id, site: 'there', region: 'asia', isConnected: true, rttMs: 10, holds: 'all', ...more }
}

export function blob(digest: string, more: Partial<PlannedBlob> = {}): PlannedBlob {
  return { digest, size: 10 * MIB, ...more }
}

export function openPlan(
  peers: readonly FetchPeer[],
  blobs: readonly PlannedBlob[],
  memory = new PeerMemory(),
  own = OWN,
) {
  const plan = new FetchPlan({ own, memory, smallBytes: 64 * 1024 })
  for (const one of peers) plan.addPeer(one, 0)
  plan.want(blobs)
  return plan
}

export const refused = (message: string) => new FeedmeshError('NOT_FOUND', message)
export const broken = new FeedmeshError('PEER_UNREACHABLE', 'it broke')
export const lie = new FeedmeshError('PEER_INVALID', 'wrong bytes')
