/** Digests in their text form `sha256:<64 hex>` or `sha512:<128 hex>` (the form of the OCI image specification). */

import { createHash, hash } from 'node:crypto'
import { FeedmeshError } from '../errors.ts'

export type Digest = `sha256:${string}` | `sha512:${string}`
export type DigestAlgorithm = 'sha256' | 'sha512'

const PATTERN = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/

export function isDigest(text: unknown): text is Digest {
  return typeof text === 'string' && PATTERN.test(text)
}

/** @throws BAD_INPUT when `text` is not a digest of a known algorithm in lower-case hex. */
export function parseDigest(text: unknown): Digest {
  if (isDigest(text)) return text
  throw new FeedmeshError(
    'BAD_INPUT',
    `not a digest: ${JSON.stringify(text)?.slice(0, 160)}; expected sha256:<64 hex> or sha512:<128 hex>`,
  )
}

export function algorithmOf(digest: Digest): DigestAlgorithm {
  return digest.slice(0, 6) as DigestAlgorithm
}

/** The 32 or 64 raw bytes. */
export function digestBytes(digest: Digest): Buffer {
  return Buffer.from(digest.slice(7), 'hex')
}

/** The text form of 32 (sha256) or 64 (sha512) raw bytes. */
export function digestFromBytes(algorithm: DigestAlgorithm, bytes: Uint8Array): Digest {
  return `${algorithm}:${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex')}`
}

export function sha256(...parts: readonly (Uint8Array | string)[]): Buffer {
  const [only] = parts
  if (parts.length === 1 && only !== undefined) return hash('sha256', only, 'buffer')
  const hasher = createHash('sha256')
  for (const part of parts) hasher.update(part)
  return hasher.digest()
}

export function sha256Digest(bytes: Uint8Array): Digest {
  return digestFromBytes('sha256', sha256(bytes))
}
