/** What is kept of neighbours over restarts: without it a node that starts while its hub is down would know nobody. */

import { introducedPeer } from '../../protocols/mesh/nearby/messages.ts'
import { bytes, decodeCbor, encodeCbor, list, record, type Shaped } from '../catalog/cbor.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { MAX_GRANT_CHAIN } from '../catalog/grant.ts'
import { isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'

/** Peers kept of one feed. */
export const MAX_STORED_PEERS = 64

const storedNeighbours = record({
  /** Chain that this node shows; empty where a link has it. */
  chain: [1, list(bytes({ max: 4096 }), MAX_GRANT_CHAIN)],
  peers: [2, list(introducedPeer, MAX_STORED_PEERS)],
})
export type StoredNeighbours = Shaped<typeof storedNeighbours>

/** By feed. A record that cannot be read is left out: the hub introduces everybody again. */
export async function readNeighbours(records: Records, log: Log): Promise<Map<FeedId, StoredNeighbours>> {
  const found = new Map<FeedId, StoredNeighbours>()
  for await (const [key, value] of records.scan(keys.allNeighbours())) {
    const feedId = feedIdText(key.subarray(1))
    try {
      found.set(feedId, decodeCbor(storedNeighbours, value, 'stored neighbours'))
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
      log.warn({ err: error, feedId }, 'the stored neighbours of a feed cannot be read and are left out')
    }
  }
  return found
}

/** Writes those of each feed, and removes those of `gone`. */
export async function writeNeighbours(
  records: Records,
  feeds: ReadonlyMap<FeedId, StoredNeighbours>,
  gone: Iterable<FeedId>,
): Promise<void> {
  await records.write([
    ...[...feeds].map(([feedId, value]) => ({
      type: 'put' as const,
      key: keys.neighbours(feedId),
      value: encodeCbor(storedNeighbours, value),
    })),
    ...[...gone].map((feedId) => ({ type: 'del' as const, key: keys.neighbours(feedId) })),
  ])
}
