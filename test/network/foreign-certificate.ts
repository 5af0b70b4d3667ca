/** Self-signed certificates of keys that are no node's. */

import { generateKeyPairSync, sign } from 'node:crypto'

function der(tag: number, ...content: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(content)
  const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.of(tag, ...length), body])
}

/** ecdsa-with-SHA256; sha256WithRSAEncryption */
const ALGORITHMS = { ec: '300a06082a8648ce3d040302', rsa: '300d06092a864886f70d01010b0500' } as const

function generateKeys(kind: 'ec' | 'rsa') {
  return kind === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 })
}

export function createForeignCertificate(kind: 'ec' | 'rsa'): { readonly key: string; readonly cert: string } {
  const { privateKey, publicKey } = generateKeys(kind)
  const algorithm = Buffer.from(ALGORITHMS[kind], 'hex')
  const commonName = der(0x30, Buffer.from('0603550403', 'hex'), der(0x0c, Buffer.from(kind)))
  const name = der(0x30, der(0x31, commonName))
  const validity = der(0x30, der(0x17, Buffer.from('700101000000Z')), der(0x17, Buffer.from('491231235959Z')))
  const body = der(
    0x30,
    Buffer.from('a003020102020101', 'hex'),
    algorithm,
    name,
    validity,
    name,
    publicKey.export({ type: 'spki', format: 'der' }),
  )
  const signature = sign('sha256', body, privateKey)
  const certificate = der(0x30, body, algorithm, der(0x03, Buffer.of(0), signature))
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
    cert: `-----BEGIN CERTIFICATE-----\n${certificate.toString('base64')}\n-----END CERTIFICATE-----\n`,
  }
}
