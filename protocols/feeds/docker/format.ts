/**
 * How a repository becomes rows. Unit = repository.
 *
 *   m/<digest>  immutable  a manifest or index: `manifest` its exact bytes, and every blob or manifest it names
 *   t/<tag>     register   names a digest
 *   f/<digest>  register   a foreign layer that was uploaded all the same: `layer`. Apart from the manifest, so that the
 *                          manifest's row is the same wherever it was pushed
 */

import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'
import type { Manifest } from './manifest.ts'

export const MANIFEST_ROLE = 'manifest'
export const FOREIGN_ROLE = 'layer'

export type RowKey =
  | { readonly kind: 'manifest' | 'foreign'; readonly digest: Digest }
  | { readonly kind: 'tag'; readonly tag: string }

export const manifestKey = (digest: Digest): string => `m/${digest}`
export const tagKey = (tag: string): string => `t/${tag}`
export const foreignKey = (digest: Digest): string => `f/${digest}`

/** undefined for keys of later versions. */
export function findRowKey(key: string): RowKey | undefined {
  const name = key.slice(2)
  if (key.startsWith('t/')) return { kind: 'tag', tag: name }
  if (!isDigest(name)) return undefined
  if (key.startsWith('m/')) return { kind: 'manifest', digest: name }
  return key.startsWith('f/') ? { kind: 'foreign', digest: name } : undefined
}

/** Of the files of a manifest's row, those that clients ask for as blobs. */
export function isBlobRole(role: string): boolean {
  return role !== MANIFEST_ROLE && !role.startsWith('manifest/')
}

/** What answers need of a manifest besides its bytes. */
export interface ManifestMeta {
  readonly mediaType: string
  readonly artifactType: string | undefined
  readonly subject: Digest | undefined
}

export function encodeManifestMeta({ mediaType, artifactType, subject }: Manifest): Uint8Array {
  return Buffer.from(JSON.stringify({ mediaType, artifactType, subject: subject?.digest }))
}

/** @throws CORRUPT */
export function decodeManifestMeta(bytes: Uint8Array): ManifestMeta {
  const meta = parseJson(bytes, 'metadata of a manifest')
  if (!isObject(meta) || typeof meta['mediaType'] !== 'string')
    throw new FeedmeshError('CORRUPT', 'the metadata of a manifest names no media type')
  const { mediaType, artifactType, subject } = meta
  return {
    mediaType,
    artifactType: typeof artifactType === 'string' ? artifactType : undefined,
    subject: isDigest(subject) ? subject : undefined,
  }
}

export function encodeTag(digest: Digest): Uint8Array {
  return Buffer.from(digest)
}

/** @throws CORRUPT */
export function decodeTag(bytes: Uint8Array): Digest {
  const text = Buffer.from(bytes).toString()
  if (isDigest(text)) return text
  throw new FeedmeshError('CORRUPT', `a tag names ${JSON.stringify(text.slice(0, 80))}, which is no digest`)
}
