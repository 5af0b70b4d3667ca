/** Messages of `/feedmesh/link/1`; the schema for other implementations is `messages.cddl`. */

import {
  bytes,
  encodeCbor,
  list,
  nullable,
  oneOf,
  record,
  type Shaped,
  text,
  uint,
  word,
} from '../../../src/catalog/cbor.ts'
import { sha256 } from '../../../src/catalog/digest.ts'
import { MAX_GRANT_CHAIN } from '../../../src/catalog/grant.ts'
import { COMMUNICATION_MODES, REPLICATION_MODES } from '../../../src/catalog/policy.ts'
import { MAX_SIGNED_BYTES } from '../../../src/catalog/signed.ts'
import { errorReply } from '../exchange.ts'

export const LINK_PROTOCOL = '/feedmesh/link/1'
export const MAX_LINKED_FEEDS = 64

const id32 = bytes({ size: 32 })
const name = text(128)

export const helloShape = record({
  /** Protocols spoken, as `/feedmesh/<name>/<major>`. */
  protocols: [1, list(text(64), 32)],
  software: [2, text(64)],
  capabilities: [3, list(text(64), 64)],
  /** Unix time, ms. */
  clock: [4, uint()],
  /** Random, one a process: two live ones behind one PeerId are a copied data folder. */
  instance: [5, bytes({ size: 16 })],
  nonce: [6, id32],
  site: [7, text(128)],
  region: [8, text(128)],
})
export type Hello = Shaped<typeof helloShape>

/** One pair of feeds to be linked; ids of both ends. */
const pair = record({ remote: [1, id32], local: [2, id32], feedType: [3, text(32)], localName: [4, name] })
export type LinkPair = Shaped<typeof pair>

/** What the asking end is to be: signed into the transcript. */
const terms = record({
  communication: [1, word(COMMUNICATION_MODES)],
  mode: [2, word(REPLICATION_MODES)],
  pairs: [3, list(pair, MAX_LINKED_FEEDS)],
  /** Globs within which the asking end offers content; empty = it offers none, or all where the answering end sets no scope. */
  scope: [4, list(text(256), 64)],
})
export type LinkTerms = Shaped<typeof terms>

export const linkRequest = oneOf({
  hello: [1, helloShape],
  /** Which feeds does the token open? `proof` signs the transcript of the hellos. tokenId null: by PeerId. */
  describe: [2, record({ tokenId: [1, nullable(bytes({ size: 8 }))], proof: [2, nullable(bytes({ size: 64 }))] })],
  link: [
    3,
    record({
      tokenId: [1, nullable(bytes({ size: 8 }))],
      terms: [2, terms],
      proof: [3, nullable(bytes({ size: 64 }))],
    }),
  ],
  /** What the asking end holds of the answering end's feed, and the grant it wants renewed. */
  confirm: [
    4,
    record({ feedId: [1, id32], digest: [2, id32], entries: [3, uint()], problem: [4, nullable(errorReply)] }),
  ],
  /** A fresh grant for the asking peer on a feed it is linked to. */
  grant: [5, record({ feedId: [1, id32] })],
  /** The answering end is asked to sync the linked feed now and to say how it went. */
  poke: [6, record({ feedId: [1, id32] })],
})
export type LinkRequest = Shaped<typeof linkRequest>

const describedFeed = record({ feedId: [1, id32], name: [2, name], feedType: [3, text(32)] })

export const linkReply = oneOf({
  error: [0, errorReply],
  hello: [1, helloShape],
  described: [
    2,
    record({
      feeds: [1, list(describedFeed, MAX_LINKED_FEEDS)],
      communication: [2, word(COMMUNICATION_MODES)],
      mode: [3, word(REPLICATION_MODES)],
    }),
  ],
  linked: [3, record({ feeds: [1, list(describedFeed, MAX_LINKED_FEEDS)] })],
  confirmed: [4, record({ digest: [1, id32], entries: [2, uint()] })],
  granted: [5, record({ chain: [1, list(bytes({ max: MAX_SIGNED_BYTES }), MAX_GRANT_CHAIN)] })],
  poked: [
    6,
    record({
      state: [1, word(['succeeded', 'failed', 'partial'])],
      items: [2, uint()],
      bytes: [3, uint()],
      message: [4, text(1024)],
    }),
  ],
})
export type LinkReply = Shaped<typeof linkReply>

export const transcriptShape = record({
  step: [1, word(['describe', 'link'])],
  askerHello: [2, id32],
  answererHello: [3, id32],
  /** Ed25519 keys of the two ends, as their connection proved them. */
  asker: [4, id32],
  answerer: [5, id32],
  tokenId: [6, bytes({ size: 8 })],
  terms: [7, nullable(terms)],
})
export type Transcript = Shaped<typeof transcriptShape>

/** What the key derived from a token signs: both ends, both hellos (with their nonces), and what is agreed. */
export function encodeTranscript(value: Transcript): Uint8Array {
  return encodeCbor(transcriptShape, value)
}

export function hashHello(hello: Hello): Uint8Array {
  return sha256(Uint8Array.of(0x1e), encodeCbor(helloShape, hello))
}
