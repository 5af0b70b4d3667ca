/** What decoders say of bytes that came from this node's own database: not a peer's fault, but damage. */

import { FeedmeshError, isFeedmeshError } from '../errors.ts'

/** Runs `read`. @throws CORRUPT for stored bytes that cannot be decoded; everything else passes */
export async function readStored<T>(what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    if (!isFeedmeshError(cause, 'PEER_INVALID', 'FORGED')) throw cause
    throw new FeedmeshError(
      'CORRUPT',
      `${what} in the database cannot be read (${cause.message}); stop the node, move its data folder away and restore it from a backup, or start with an empty one and link the feeds again`,
      { cause },
    )
  }
}
