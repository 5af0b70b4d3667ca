/**
 * The certificate of the bulk lane: self-signed X.509 (RFC 5280) whose key is the node's Ed25519 key (RFC 8410). Whoever meets
 * it looks at the key alone. It is the same for one key at any time, and never expires (RFC 5280 §4.1.2.5).
 */

import { createHash } from 'node:crypto'
import type { Identity } from './identity.ts'

const INTEGER = 0x02
const BIT_STRING = 0x03
const OBJECT_IDENTIFIER = 0x06
const UTF8_STRING = 0x0c
const GENERALIZED_TIME = 0x18
const UTC_TIME = 0x17
const SEQUENCE = 0x30
const SET = 0x31
const EXPLICIT_0 = 0xa0

const ED25519 = der(SEQUENCE, der(OBJECT_IDENTIFIER, Buffer.of(0x2b, 0x65, 0x70)))
const COMMON_NAME = der(OBJECT_IDENTIFIER, Buffer.of(0x55, 0x04, 0x03))
const VERSION_3 = der(EXPLICIT_0, der(INTEGER, Buffer.of(2)))

/** DER, tag and length before the content. */
function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content)
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body])
  const length = body.length < 0x100 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...length), body])
}

function bits(bytes: Uint8Array): Buffer {
  return der(BIT_STRING, Buffer.of(0), bytes)
}

/** X.509 in DER. */
export function createBulkCertificate(identity: Identity): Buffer {
  const serial = createHash('sha256').update(identity.publicKey).digest().subarray(0, 16)
  // A serial number is positive.
  serial[0] = (serial[0]! & 0x3f) | 0x40
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from(identity.peerId)))))
  const validity = der(
    SEQUENCE,
    der(UTC_TIME, Buffer.from('700101000000Z')),
    der(GENERALIZED_TIME, Buffer.from('99991231235959Z')),
  )
  const publicKey = der(SEQUENCE, ED25519, bits(identity.publicKey))
  const body = der(SEQUENCE, VERSION_3, der(INTEGER, serial), ED25519, name, validity, name, publicKey)
  return der(SEQUENCE, body, ED25519, bits(identity.sign(body)))
}

export function renderPem(certificate: Uint8Array): string {
  const lines =
    Buffer.from(certificate)
      .toString('base64')
      .match(/.{1,64}/g) ?? []
  return `-----BEGIN CERTIFICATE-----\n${lines.join('\n')}\n-----END CERTIFICATE-----\n`
}
