/** Names of repositories and tags. https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests */

import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { RegistryError } from './registry-error.ts'

const COMPONENT = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*'
const REPOSITORY = new RegExp(`^${COMPONENT}(?:/${COMPONENT})*$`)
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
/** Clients count the host, too. */
const MAX_REPOSITORY_CHARACTERS = 255

export function isRepositoryName(name: string): boolean {
  return name.length <= MAX_REPOSITORY_CHARACTERS && REPOSITORY.test(name)
}

export function isTag(text: string): boolean {
  return TAG.test(text)
}

/** @throws NAME_INVALID */
export function parseRepositoryName(segments: readonly string[]): string {
  const name = segments.join('/')
  if (name === '')
    throw new RegistryError('NAME_INVALID', 'the image has no name of its own; its address is HOST/FEED/IMAGE:TAG')
  if (!segments.some((segment) => segment.includes('/')) && isRepositoryName(name)) return name
  throw new RegistryError(
    'NAME_INVALID',
    `${JSON.stringify(name.slice(0, 80))} is not an image name: up to 255 lower-case letters, digits and single . _ - between them, in parts with / between`,
  )
}

export type Reference =
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'digest'; readonly digest: Digest }

/** @throws DIGEST_INVALID, TAG_INVALID */
export function parseReference(text: string): Reference {
  if (text.includes(':')) return { kind: 'digest', digest: parseBlobDigest(text) }
  return { kind: 'tag', tag: parseTag(text) }
}

/** @throws TAG_INVALID */
export function parseTag(text: string): string {
  if (isTag(text)) return text
  throw new RegistryError(
    'TAG_INVALID',
    `${JSON.stringify(text.slice(0, 80))} is not a tag: up to 128 letters, digits, . _ and -, not beginning with . or -`,
  )
}

/** @throws DIGEST_INVALID */
export function parseBlobDigest(text: string | undefined): Digest {
  if (isDigest(text)) return text
  throw new RegistryError(
    'DIGEST_INVALID',
    `${JSON.stringify(text)?.slice(0, 160) ?? 'nothing'} is not a digest this registry knows: sha256:<64 hex> or sha512:<128 hex>`,
  )
}
