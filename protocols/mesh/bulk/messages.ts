/** Messages of `/feedmesh/bulk/1` and of the bulk lane that it tells of; the schema for other implementations is `messages.cddl`. */

import { list, oneOf, record, type Shaped, text, uint } from '../../../src/catalog/cbor.ts'
import { errorReply } from '../exchange.ts'

export const BULK_PROTOCOL = '/feedmesh/bulk/1'

/** What both ends of a TLS connection of the lane have to agree on. */
export const BULK_ALPN = 'feedmesh-bulk/1'

/** Most addresses in an answer, and the bytes of one. */
export const MAX_LANE_ADDRESSES = 8
const MAX_ADDRESS_BYTES = 300
/** Most protocols that a lane serves, and the bytes of a name. */
export const MAX_LANE_PROTOCOLS = 32
const MAX_PROTOCOL_BYTES = 100

export const bulkRequest = oneOf({
  /** Where does your lane listen? */
  find: [1, record<object>({})],
})
export type BulkRequest = Shaped<typeof bulkRequest>

export const bulkReply = oneOf({
  error: [0, errorReply],
  lane: [
    1,
    record({
      /** 0: there is no lane. */
      port: [1, uint(65_535)],
      /** `HOST:PORT`, announced beside the host that the asker reached. */
      addresses: [2, list(text(MAX_ADDRESS_BYTES), MAX_LANE_ADDRESSES)],
      /** Served there. */
      protocols: [3, list(text(MAX_PROTOCOL_BYTES), MAX_LANE_PROTOCOLS)],
    }),
  ],
})
export type BulkReply = Shaped<typeof bulkReply>

/** First chunk of every channel on the lane: which protocol the rest of it speaks. */
export const bulkOpening = record({ protocol: [1, text(MAX_PROTOCOL_BYTES)] })
export type BulkOpening = Shaped<typeof bulkOpening>

/** Longest opening, bytes. */
export const MAX_OPENING_BYTES = 256
/** Longest chunk of a channel, bytes. */
export const MAX_CHUNK_BYTES = 1024 * 1024

/** In place of a chunk's length: the sender has nothing more to send on this channel. */
export const END_OF_CHANNEL = 0
/** In place of a chunk's length: the sender gives the channel up, and the connection with it. */
export const RESET_OF_CHANNEL = 0xffff_ffff
