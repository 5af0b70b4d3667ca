/**
 * Image manifests, image indexes and artifact manifests: bytes → what they name. Pure.
 * https://github.com/opencontainers/image-spec/blob/main/manifest.md, …/image-index.md; Docker's manifest v2 schema 2 and
 * manifest list are the same but for the media types.
 */

import { type Digest, isDigest } from '../../../src/catalog/digest.ts'
import { isFeedmeshError } from '../../../src/errors.ts'
import { isObject, parseJson } from '../request-body.ts'
import { RegistryError } from './registry-error.ts'

/** Registries have to take 4 MiB at least. */
export const MAX_MANIFEST_BYTES = 8 * 1024 * 1024
/** A row names up to 4096 files: the manifest itself, and these. */
export const MAX_NAMED = 4095
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
export const IMAGE_TYPE = 'application/vnd.oci.image.manifest.v1+json'
export const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
const ARTIFACT_TYPE = 'application/vnd.oci.artifact.manifest.v1+json'
const MEDIA_TYPE = /^[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}\/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}$/
const FOREIGN_LAYER = /^application\/vnd\.(?:oci\.image\.layer\.nondistributable\.|docker\.image\.rootfs\.foreign\.)/

export interface Descriptor {
  readonly mediaType: string
  readonly digest: Digest
  readonly size: number
}

/** What a manifest names; a digest that it names twice is here once. */
export interface NamedFile {
  /** `config`, `layer/0`…, `blob/0`…; `manifest/0`… for the manifests of an index. */
  readonly role: string
  readonly digest: Digest
  readonly size: number
  /** A layer that may not be given on by registries and comes from elsewhere; need not be here. */
  readonly isForeign: boolean
}

export interface Manifest {
  readonly mediaType: string
  readonly kind: 'image' | 'index' | 'artifact'
  /** As lists of referrers show it: its own, else the type of the configuration. */
  readonly artifactType: string | undefined
  readonly subject: Descriptor | undefined
  readonly annotations: Readonly<Record<string, string>> | undefined
  readonly named: readonly NamedFile[]
}

type Fields = Readonly<Record<string, unknown>>

/** @throws MANIFEST_INVALID */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const fields = parseFields(bytes)
  const mediaType = chooseMediaType(fields, contentType)
  const kind = findKind(fields)
  if (fields['schemaVersion'] !== 2 && mediaType !== ARTIFACT_TYPE)
    throw invalid(
      `schemaVersion is ${JSON.stringify(fields['schemaVersion']) ?? 'missing'}, not 2; older images have to be pushed anew by a present client`,
    )
  const named = listNamed(fields)
  if (named.length > MAX_NAMED)
    throw invalid(`it names ${named.length} blobs, at most ${MAX_NAMED} are taken here; split it with an image index`)
  const config = kind === 'image' && isObject(fields['config']) ? fields['config']['mediaType'] : undefined
  const artifactType = optionalType(fields, 'artifactType') ?? (typeof config === 'string' ? config : undefined)
  return {
    mediaType,
    kind,
    artifactType,
    subject: fields['subject'] === undefined ? undefined : parseDescriptor(fields['subject'], 'subject'),
    annotations: parseAnnotations(fields['annotations']),
    named,
  }
}

function parseFields(bytes: Uint8Array): Fields {
  try {
    const fields = parseJson(bytes, 'manifest')
    if (isObject(fields)) return fields
  } catch (cause) {
    if (isFeedmeshError(cause, 'BAD_INPUT')) throw invalid('it is not JSON in UTF-8', cause)
    throw cause
  }
  throw invalid('it is no JSON object')
}

function findKind(fields: Fields): Manifest['kind'] {
  const isIndex = fields['manifests'] !== undefined
  const isImage = fields['layers'] !== undefined || fields['config'] !== undefined
  const isArtifact = fields['blobs'] !== undefined
  // One that readers could take for either is refused (CVE-2021-41190).
  if (Number(isIndex) + Number(isImage) + Number(isArtifact) > 1)
    throw invalid('it is an image and an index at once; keep config and layers, or manifests')
  if (isIndex) return 'index'
  if (isImage) return 'image'
  if (isArtifact || fields['mediaType'] === ARTIFACT_TYPE) return 'artifact'
  throw invalid('it has neither config and layers nor manifests')
}

function chooseMediaType(fields: Fields, contentType: string | undefined): string {
  const stated = optionalType(fields, 'mediaType')
  const sent = contentType?.split(';', 1)[0]?.trim() ?? ''
  // What clients send without being asked says nothing.
  const given = ['', 'application/octet-stream', 'application/json', 'application/x-www-form-urlencoded'].includes(sent)
    ? undefined
    : sent
  if (given !== undefined && !MEDIA_TYPE.test(given))
    throw invalid(`Content-Type ${JSON.stringify(given.slice(0, 80))} is not a media type`)
  if (stated !== undefined && given !== undefined && stated !== given)
    throw invalid(`it was sent as ${given}, but says it is ${stated}`)
  return stated ?? given ?? (findKind(fields) === 'index' ? INDEX_TYPE : IMAGE_TYPE)
}

function optionalType(fields: Fields, name: 'mediaType' | 'artifactType'): string | undefined {
  const value = fields[name]
  if (value === undefined || value === '') return undefined
  if (typeof value === 'string' && MEDIA_TYPE.test(value)) return value
  throw invalid(`${name} ${JSON.stringify(value)?.slice(0, 80)} is not a media type`)
}

function listNamed(fields: Fields): NamedFile[] {
  const named = new Map<Digest, NamedFile>()
  const add = (role: string, value: unknown) => {
    const { digest, size, mediaType } = parseDescriptor(value, role)
    const isForeign = role.startsWith('layer/') && FOREIGN_LAYER.test(mediaType)
    const known = named.get(digest)
    if (known !== undefined && known.size !== size) throw invalid(`${digest} has two sizes, ${known.size} and ${size}`)
    if (known === undefined || (known.isForeign && !isForeign)) named.set(digest, { role, digest, size, isForeign })
  }
  if (fields['config'] !== undefined) add('config', fields['config'])
  for (const [list, role] of [
    ['layers', 'layer'],
    ['blobs', 'blob'],
    ['manifests', 'manifest'],
  ] as const)
    for (const [at, value] of listOf(fields, list).entries()) add(`${role}/${at}`, value)
  return [...named.values()]
}

function listOf(fields: Fields, name: string): readonly unknown[] {
  const value = fields[name] ?? []
  if (Array.isArray(value)) return value
  throw invalid(`${name} is no list`)
}

function parseDescriptor(value: unknown, where: string): Descriptor {
  if (!isObject(value)) throw invalid(`${where} is no descriptor`)
  const { mediaType, digest, size } = value
  if (!isDigest(digest))
    throw invalid(`${where} has the digest ${JSON.stringify(digest)?.slice(0, 160)}; sha256 and sha512 are known here`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0)
    throw invalid(`${where} has the size ${JSON.stringify(size)?.slice(0, 40)}`)
  if (typeof mediaType !== 'string' || mediaType.length > 255) throw invalid(`${where} has no media type`)
  return { mediaType, digest, size }
}

function parseAnnotations(value: unknown): Record<string, string> | undefined {
  if (value === undefined || value === null) return undefined
  if (isObject(value) && Object.values(value).every((text) => typeof text === 'string'))
    return value as Record<string, string>
  throw invalid('annotations are not texts by name')
}

function invalid(what: string, cause?: unknown): RegistryError {
  return new RegistryError('MANIFEST_INVALID', `the manifest cannot be taken: ${what}`, { cause })
}
