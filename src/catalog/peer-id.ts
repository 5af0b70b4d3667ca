/** PeerIds in their text form `12D3KooW…`: base58btc of the identity multihash of an Ed25519 public key. */

import { base58btc } from 'multiformats/bases/base58'
import { FeedmeshError } from '../errors.ts'

/** Identity multihash (00), 36 bytes (24); protobuf PublicKey: type Ed25519 (08 01), 32 bytes of data (12 20). */
const PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)
const KEY_BYTES = 32
/** 38 bytes that start as above are always this long in base58. */
const TEXT_LENGTH = 52

/** @throws BAD_INPUT unless `publicKey` has 32 bytes. */
export function peerIdFromPublicKey(publicKey: Uint8Array): string {
  if (publicKey.byteLength !== KEY_BYTES) {
    throw new FeedmeshError('BAD_INPUT', `an Ed25519 public key has 32 bytes, not ${publicKey.byteLength}`)
  }
  const bytes = new Uint8Array(PREFIX.length + KEY_BYTES)
  bytes.set(PREFIX)
  bytes.set(publicKey, PREFIX.length)
  return base58btc.baseEncode(bytes)
}

/** The 32 raw bytes of the Ed25519 public key that `text` is made of. @throws BAD_INPUT */
export function publicKeyFromPeerId(text: string): Uint8Array {
  const bytes = text.length === TEXT_LENGTH ? decodeBase58(text) : undefined
  if (bytes?.byteLength !== PREFIX.length + KEY_BYTES || PREFIX.some((byte, at) => bytes[at] !== byte)) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `not a PeerId: ${JSON.stringify(text.slice(0, 80))}; expected the ${TEXT_LENGTH} characters of an Ed25519 PeerId, 12D3KooW…`,
    )
  }
  return bytes.slice(PREFIX.length)
}

function decodeBase58(text: string): Uint8Array | undefined {
  return /^[1-9A-HJ-NP-Za-km-z]+$/.test(text) ? base58btc.baseDecode(text) : undefined
}
