/** What decoders say of bytes that came from this node's own database: not a peer's fault, but damage. */

import { FeedmeshError, isFeedmeshError } from '../errors.ts'

/** What to do about a damaged database: the essentials file and the peers have what it held. */
export const HOW_TO_REBUILD =
  'stop the node, move the folder records in its data folder away and start it again: what it held comes back from peers; or restore a backup'

/** Runs `read`. @throws CORRUPT for stored bytes that cannot be decoded; everything else passes */
export async function readStored<T>(what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    if (!isFeedmeshError(cause, 'PEER_INVALID', 'FORGED')) throw cause
    throw new FeedmeshError('CORRUPT', `${what} in the database cannot be read (${cause.message}); ${HOW_TO_REBUILD}`, {
      cause,
    })
  }
}
