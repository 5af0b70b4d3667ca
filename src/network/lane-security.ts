/**
 * What both ends of the bulk lane ask of a TLS connection before they read a byte of it. Node by itself would accept a client
 * without certificate or without ALPN, and shows a resumed session's identity in place of the certificate.
 */

import { constants } from 'node:crypto'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { BULK_ALPN } from '../../protocols/mesh/bulk/messages.ts'
import { peerIdFromPublicKey } from '../catalog/peer-id.ts'
import { FeedmeshError } from '../errors.ts'
import { createBulkCertificate, renderPem } from './bulk-certificate.ts'
import type { Identity } from './identity.ts'

const TLS = 'TLSv1.3'
const KEY_BYTES = 32

export interface LaneTls extends SecureContextOptions {
  readonly ALPNProtocols: string[]
  readonly requestCert: boolean
  readonly rejectUnauthorized: boolean
}

/** Of both ends. The certificate counts for nothing until `verifyLanePeer` has looked at it. */
export function createLaneTls(identity: Identity): LaneTls {
  return {
    key: identity.keyObject().export({ type: 'pkcs8', format: 'pem' }),
    cert: renderPem(createBulkCertificate(identity)),
    minVersion: TLS,
    maxVersion: TLS,
    // 128 before 256: fewer rounds, and the processor is what limits the lane.
    ciphers: 'TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256',
    sigalgs: 'ed25519',
    secureOptions: constants.SSL_OP_NO_TICKET,
    ALPNProtocols: [BULK_ALPN],
    requestCert: true,
    rejectUnauthorized: false,
  }
}

/** The PeerId that the other end's handshake proved. @throws PEER_INVALID */
export function verifyLanePeer(socket: TLSSocket): string {
  if (socket.getProtocol() !== TLS) throw invalid(`it speaks ${socket.getProtocol() ?? 'no TLS'} instead of ${TLS}`)
  if (socket.alpnProtocol !== BULK_ALPN) throw invalid(`its protocol is not ${BULK_ALPN}`)
  if (socket.isSessionReused()) throw invalid('it resumed an earlier session')
  const key = socket.getPeerX509Certificate()?.publicKey
  if (key === undefined) throw invalid('it shows no certificate')
  if (key.asymmetricKeyType !== 'ed25519') throw invalid(`its key is ${key.asymmetricKeyType} instead of ed25519`)
  return peerIdFromPublicKey(key.export({ type: 'spki', format: 'der' }).subarray(-KEY_BYTES))
}

function invalid(why: string): FeedmeshError {
  return new FeedmeshError('PEER_INVALID', `not a peer's bulk lane: ${why}`)
}
