/** Where the readers of a feed stand in the directory: under a key that only they can compute. */

import { createHmac } from 'node:crypto'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'

/** `salt` is that of the feed's charter, which nobody is told but its readers; the id alone is told in other places, too. */
export function directoryKey(feedId: FeedId, salt: Uint8Array): Buffer {
  return createHmac('sha256', salt).update('feedmesh/dht/1').update(feedIdBytes(feedId)).digest()
}
