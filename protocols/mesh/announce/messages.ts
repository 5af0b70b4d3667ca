/** The message of `/feedmesh/announce/1`; the schema for other implementations is `messages.cddl`. */

import { bytes, nullable, record, type Shaped, uint } from '../../../src/catalog/cbor.ts'
import { MAX_SIGNED_BYTES } from '../../../src/catalog/signed.ts'

export const ANNOUNCE_PROTOCOL = '/feedmesh/announce/1'

/**
 * One frame, no answer: the sender has this manifest. A hint and nothing more; whoever is interested asks over the sync
 * protocol, and polls find what a lost announcement would have told.
 */
export const announcement = record({
  feedId: [1, bytes({ size: 32 })],
  epoch: [2, uint()],
  seq: [3, uint()],
  refresh: [4, uint()],
  /** Name of the signed manifest. */
  hash: [5, bytes({ size: 32 })],
  /** The manifest itself, for a few peers; the others ask. */
  manifest: [6, nullable(bytes({ max: MAX_SIGNED_BYTES }))],
})
export type Announcement = Shaped<typeof announcement>

/** Peers that get the manifest whole, so that it travels on even if its sender goes away at once. */
export const WHOLE_MANIFEST_PEERS = 3
