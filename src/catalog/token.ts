/**
 * Sync tokens and join codes: what an operator carries from one node to the other, as printable text with a checksum.
 *
 * A token holds a secret; from it both ends derive an Ed25519 key. The end that made the token keeps only the public half,
 * so neither its database nor the wire yields the token.
 */

import { createPrivateKey, createPublicKey, hkdfSync, sign, timingSafeEqual } from 'node:crypto'
import { FeedmeshError } from '../errors.ts'
import { bytes, decodeCbor, encodeCbor, list, record, type Shape, type Shaped, text } from './cbor.ts'
import { sha256 } from './digest.ts'
import type { Signer } from './signed.ts'

export const tokenShape = record({
  id: [1, bytes({ size: 8 })],
  /** Ed25519 key of the incoming end, which made the token. */
  incoming: [2, bytes({ size: 32 })],
  /** The incoming end's feeds that may be linked with it. */
  feedIds: [3, list(bytes({ size: 32 }), 64)],
  secret: [4, bytes({ size: 32 })],
})
export type SyncToken = Shaped<typeof tokenShape>

export const joinCodeShape = record({
  token: [1, tokenShape],
  /** Multiaddrs of the incoming end. */
  addresses: [2, list(text(256), 32)],
  /** Name and type of each feed, in the order of `token.feedIds`. */
  feeds: [3, list(record({ name: [1, text(128)], feedType: [2, text(32)] }), 64)],
  /** What the incoming end's side of the replication is, so that the other end can take the complement. */
  mode: [4, text(8)],
})
export type JoinCode = Shaped<typeof joinCodeShape>

const TOKEN_PREFIX = 'fmt1_'
const JOIN_PREFIX = 'fmj1_'
const CHECKSUM_BYTES = 6

export function renderPrintable<T>(prefix: string, shape: Shape<T>, value: T): string {
  const body = encodeCbor(shape, value)
  return prefix + Buffer.concat([body, sha256(prefix, body).subarray(0, CHECKSUM_BYTES)]).toString('base64url')
}

/** @throws TOKEN_MISTYPED */
export function parsePrintable<T>(input: string, form: { prefix: string; shape: Shape<T>; name: string }): T {
  const compact = input.replace(/\s+/g, '')
  const mistyped = (why: string) =>
    new FeedmeshError(
      'TOKEN_MISTYPED',
      `this is not a whole ${form.name} (${why}); copy it again from where it was printed, all of it`,
    )
  if (!compact.startsWith(form.prefix)) throw mistyped(`it must start with ${form.prefix}`)
  if (compact.length > 64 * 1024) throw mistyped('it is too long')
  const encoded = compact.slice(form.prefix.length)
  const raw = Buffer.from(encoded, 'base64url')
  // Node skips what is no base64url, and ignores the last bits of a cut character.
  if (raw.toString('base64url') !== encoded) throw mistyped('it has characters that do not belong there')
  const body = raw.subarray(0, Math.max(0, raw.length - CHECKSUM_BYTES))
  const checksum = raw.subarray(body.length)
  const expected = sha256(form.prefix, body).subarray(0, CHECKSUM_BYTES)
  if (checksum.length !== CHECKSUM_BYTES || !timingSafeEqual(checksum, expected))
    throw mistyped('its checksum does not fit')
  return decodeCbor(form.shape, body, form.name)
}

export function renderToken(token: SyncToken): string {
  return renderPrintable(TOKEN_PREFIX, tokenShape, token)
}

/** Blanks and line breaks around and inside are ignored. @throws TOKEN_MISTYPED */
export function parseToken(input: string): SyncToken {
  return parsePrintable(input, { prefix: TOKEN_PREFIX, shape: tokenShape, name: 'sync token' })
}

export function renderJoinCode(code: JoinCode): string {
  return renderPrintable(JOIN_PREFIX, joinCodeShape, code)
}

/** @throws TOKEN_MISTYPED */
export function parseJoinCode(input: string): JoinCode {
  return parsePrintable(input, { prefix: JOIN_PREFIX, shape: joinCodeShape, name: 'join code' })
}

const PKCS8_ED25519 = Buffer.from('302e020100300506032b657004220420', 'hex')

/** Signs with the Ed25519 key of a 32-byte seed (RFC 8032). */
export function createSeedSigner(seed: Uint8Array): Signer {
  const privateKey = createPrivateKey({ key: Buffer.concat([PKCS8_ED25519, seed]), format: 'der', type: 'pkcs8' })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  return { publicKey: new Uint8Array(spki.subarray(-32)), sign: (message) => sign(null, message, privateKey) }
}

/** The key both ends derive from a token's secret (HKDF-SHA-256; info = version, token id, incoming end's key). */
export function deriveLinkSigner(token: SyncToken): Signer {
  const info = Buffer.concat([Buffer.from('feedmesh/link/1\0'), token.id, token.incoming])
  return createSeedSigner(new Uint8Array(hkdfSync('sha256', token.secret, new Uint8Array(0), info, 32)))
}
