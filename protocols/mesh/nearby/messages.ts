/** Messages of `/feedmesh/nearby/1`; the schema for other implementations is `messages.cddl`. */

import { bool, bytes, list, nullable, oneOf, record, type Shaped, text, uint, word } from '../../../src/catalog/cbor.ts'
import { MAX_GRANT_CHAIN } from '../../../src/catalog/grant.ts'
import { SERVE_SETTINGS } from '../../../src/catalog/policy.ts'
import { errorReply } from '../exchange.ts'

export const NEARBY_PROTOCOL = '/feedmesh/nearby/1'

/** Peers of one message. */
export const MAX_INTRODUCED = 64
/** Addresses of one peer. */
export const MAX_TOLD_ADDRESSES = 8
export const MAX_ADDRESS_BYTES = 256
/** One grant of a chain that is shown, bytes. */
export const MAX_SHOWN_GRANT_BYTES = 4096
/** Blobs of one piece of news. */
export const MAX_TOLD_BLOBS = 128
/** Runs of chunks told of one blob. */
export const MAX_TOLD_RUNS = 128
/** Chunks of one blob that can be told of: 256 GiB of it. */
export const MAX_TOLD_CHUNKS = 65_536

const id32 = bytes({ size: 32 })
const label = text(128)
const addresses = list(text(MAX_ADDRESS_BYTES), MAX_TOLD_ADDRESSES)

export const AVAILABILITIES = ['full', 'on-demand'] as const

export const introducedPeer = record({
  peerId: [1, text(64)],
  /** Multiaddrs. */
  addresses: [2, addresses],
  site: [3, label],
  region: [4, label],
  /** `full`: it fetches everything of the feed by itself. */
  availability: [5, word(AVAILABILITIES)],
})
export type IntroducedPeer = Shaped<typeof introducedPeer>

export const nearbyRequest = oneOf({
  /** The asker reads the feed here, and wants to know who else does and to be known to them. */
  introduce: [
    1,
    record({
      feedId: [1, id32],
      addresses: [2, addresses],
      site: [3, label],
      region: [4, label],
      /** Whom it reads blobs out for. */
      serve: [5, word(SERVE_SETTINGS)],
      availability: [6, word(AVAILABILITIES)],
    }),
  ],
  /** The chain of grants that lets the asker read the feed, though no link leads here. */
  show: [2, record({ feedId: [1, id32], chain: [2, list(bytes({ max: MAX_SHOWN_GRANT_BYTES }), MAX_GRANT_CHAIN)] })],
  /** News of the feed, for as long as the stream is open. */
  follow: [3, record({ feedId: [1, id32] })],
})
export type NearbyRequest = Shaped<typeof nearbyRequest>

/** Chunks from `first` on, of `CHUNK_BYTES` each. */
const run = record({ first: [1, uint(MAX_TOLD_CHUNKS - 1)], count: [2, uint(MAX_TOLD_CHUNKS)] })
export type ChunkRun = Shaped<typeof run>

/** What the sender has of a blob, all of it, verified; `runs` is empty where the blob is whole. */
const toldBlob = record({
  digest: [1, text(135)],
  isWhole: [2, bool],
  runs: [3, list(run, MAX_TOLD_RUNS)],
})
export type ToldBlob = Shaped<typeof toldBlob>

const position = record({ epoch: [1, uint()], seq: [2, uint()] })

export const nearbyReply = oneOf({
  error: [0, errorReply],
  introduced: [1, record({ feedId: [1, id32], peers: [2, list(introducedPeer, MAX_INTRODUCED)] })],
  shown: [2, record({ feedId: [1, id32] })],
  followed: [3, record({ feedId: [1, id32], availability: [2, word(AVAILABILITIES)] })],
  // What follows answers nothing: it comes when there is something to tell.
  /** Peers that have come since, or tell something else of themselves now. */
  newcomers: [4, record({ feedId: [1, id32], peers: [2, list(introducedPeer, MAX_INTRODUCED)] })],
  news: [
    5,
    record({
      feedId: [1, id32],
      /** State of which the sender has every blob; null: it does not claim to have all of any. */
      at: [2, nullable(position)],
      /** It is fetching blobs of the feed now. */
      isAtWork: [3, bool],
      blobs: [4, list(toldBlob, MAX_TOLD_BLOBS)],
    }),
  ],
  /** The right to follow has ended; a newer chain may open it again. */
  gone: [6, record({ feedId: [1, id32] })],
})
export type NearbyReply = Shaped<typeof nearbyReply>
export type News = Extract<NearbyReply, { kind: 'news' }>
export type Introduce = Extract<NearbyRequest, { kind: 'introduce' }>
