/**
 * Signed objects: the payload's bytes exactly as they were signed, the Ed25519 key, the signature.
 *
 * Bytes are stored and handed on as received, never encoded again. The signature covers
 * `feedmesh/<domain>/1 NUL payload`, so that bytes signed as one kind of object are worthless as another.
 */

import { createPublicKey, type KeyObject, verify } from 'node:crypto'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import { bytes, decodeCbor, encodeCbor, record, type Shape } from './cbor.ts'
import { sha256 } from './digest.ts'

export type SignatureDomain = 'charter' | 'manifest' | 'grant' | 'revocations' | 'link'

/** Signs with the key of a node or of a feed's recovery; holds the private key where nobody else sees it. */
export interface Signer {
  /** 32 raw bytes. */
  readonly publicKey: Uint8Array
  /** Ed25519 signature, 64 bytes. */
  sign(message: Uint8Array): Uint8Array
}

export interface Signed<T> {
  readonly value: T
  /** 32-byte Ed25519 key that made the signature. */
  readonly signer: Uint8Array
  /** The whole envelope as received or made; what is stored and passed on. */
  readonly bytes: Uint8Array
  /** sha256 over the domain and the payload (not the signature): the object's name. */
  readonly hash: Uint8Array
}

/** Largest signed object, bytes: a charter with 512 inclusions of a few scopes each fits. */
export const MAX_SIGNED_BYTES = 256 * 1024

/** What the envelope adds to a payload at most. */
const ENVELOPE_BYTES = 128

export const envelopeShape = record({
  payload: [1, bytes({ max: MAX_SIGNED_BYTES })],
  signer: [2, bytes({ size: 32 })],
  signature: [3, bytes({ size: 64 })],
})

function domainPrefix(domain: SignatureDomain): Buffer {
  return Buffer.from(`feedmesh/${domain}/1\0`, 'latin1')
}

const SPKI_ED25519 = Buffer.from('302a300506032b6570032100', 'hex')

export function ed25519PublicKey(raw: Uint8Array): KeyObject {
  return createPublicKey({ key: Buffer.concat([SPKI_ED25519, raw]), format: 'der', type: 'spki' })
}

export function signMessage(domain: SignatureDomain, payload: Uint8Array, signer: Signer): Uint8Array {
  return signer.sign(Buffer.concat([domainPrefix(domain), payload]))
}

/** @throws FORGED */
export function verifyMessage(
  domain: SignatureDomain,
  payload: Uint8Array,
  publicKey: Uint8Array,
  signature: Uint8Array,
): void {
  const message = Buffer.concat([domainPrefix(domain), payload])
  if (!verify(null, message, ed25519PublicKey(publicKey), signature)) {
    throw new FeedmeshError('FORGED', `the signature of this ${domain} does not verify`)
  }
}

export function hashObject(domain: SignatureDomain, payload: Uint8Array): Uint8Array {
  return sha256(domainPrefix(domain), payload)
}

/** @throws BAD_INPUT for a value that no node would accept: it breaks a limit of its shape or is too large */
export function signObject<T>(domain: SignatureDomain, shape: Shape<T>, value: T, signer: Signer): Signed<T> {
  const payload = encodeCbor(shape, value)
  verifyAcceptable(domain, shape, payload)
  const signature = signMessage(domain, payload, signer)
  const encoded = encodeCbor(envelopeShape, { payload, signer: signer.publicKey, signature })
  return { value, signer: signer.publicKey, bytes: encoded, hash: hashObject(domain, payload) }
}

/** What is signed and stored but cannot be read again would stop the feed for good. */
function verifyAcceptable(domain: SignatureDomain, shape: Shape<unknown>, payload: Uint8Array): void {
  if (payload.length > MAX_SIGNED_BYTES - ENVELOPE_BYTES) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `a ${domain} of ${payload.length} bytes is over the limit of ${MAX_SIGNED_BYTES - ENVELOPE_BYTES}`,
    )
  }
  try {
    decodeCbor(shape, payload, domain)
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `this ${domain} cannot be signed: ${asFeedmeshError(cause).message}`, {
      cause,
    })
  }
}

/** Decodes and checks the signature; whether `signer` is the right key is the caller's question. @throws PEER_INVALID, FORGED */
export function openObject<T>(domain: SignatureDomain, shape: Shape<T>, encoded: Uint8Array): Signed<T> {
  if (encoded.length > MAX_SIGNED_BYTES)
    throw new FeedmeshError('PEER_INVALID', `${domain}: larger than ${MAX_SIGNED_BYTES} bytes`)
  const { payload, signer, signature } = decodeCbor(envelopeShape, encoded, `signed ${domain}`)
  verifyMessage(domain, payload, signer, signature)
  return { value: decodeCbor(shape, payload, domain), signer, bytes: encoded, hash: hashObject(domain, payload) }
}

/** Like `openObject` for bytes of our own store, whose signature was checked when they came in. */
export function reopenObject<T>(domain: SignatureDomain, shape: Shape<T>, encoded: Uint8Array): Signed<T> {
  const { payload, signer } = decodeCbor(envelopeShape, encoded, `stored ${domain}`)
  return { value: decodeCbor(shape, payload, domain), signer, bytes: encoded, hash: hashObject(domain, payload) }
}
