/** Images made here: manifests with the blobs they name, and OCI archives of them. */

import { createHash, randomBytes } from 'node:crypto'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import type { Digest } from '../../src/catalog/digest.ts'

export const IMAGE_TYPE = 'application/vnd.oci.image.manifest.v1+json'
export const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json'
export const CONFIG_TYPE = 'application/vnd.oci.image.config.v1+json'
export const LAYER_TYPE = 'application/vnd.oci.image.layer.v1.tar'

export interface Content {
  readonly bytes: Buffer
  readonly digest: Digest
}

export interface MadeImage extends Content {
  readonly mediaType: string
  readonly blobs: readonly Content[]
}

export function contentOf(bytes: Buffer | string, algorithm: 'sha256' | 'sha512' = 'sha256'): Content {
  const content = Buffer.from(bytes)
  return { bytes: content, digest: `${algorithm}:${createHash(algorithm).update(content).digest('hex')}` }
}

export function descriptorOf(mediaType: string, { bytes, digest }: Content, more: object = {}): object {
  return { mediaType, digest, size: bytes.length, ...more }
}

export interface ImageOptions {
  readonly layers?: readonly Buffer[]
  readonly algorithm?: 'sha256' | 'sha512'
  /** Further fields of the manifest. */
  readonly fields?: object
}

export function makeImage({
  layers = [randomBytes(2000)],
  algorithm = 'sha256',
  fields = {},
}: ImageOptions = {}): MadeImage {
  const config = contentOf(
    JSON.stringify({ architecture: 'amd64', os: 'linux', salt: randomBytes(4).toString('hex') }),
    algorithm,
  )
  const made = layers.map((layer) => contentOf(layer, algorithm))
  const manifest = {
    schemaVersion: 2,
    mediaType: IMAGE_TYPE,
    config: descriptorOf(CONFIG_TYPE, config),
    layers: made.map((layer) => descriptorOf(LAYER_TYPE, layer)),
    ...fields,
  }
  return { ...contentOf(JSON.stringify(manifest), algorithm), mediaType: IMAGE_TYPE, blobs: [config, ...made] }
}

export function makeIndex(manifests: readonly Content[], fields: object = {}): MadeImage {
  const index = {
    schemaVersion: 2,
    mediaType: INDEX_TYPE,
    manifests: manifests.map((manifest) => descriptorOf(IMAGE_TYPE, manifest)),
    ...fields,
  }
  return { ...contentOf(JSON.stringify(index)), mediaType: INDEX_TYPE, blobs: [] }
}

/** A tar of an image. `members` come as they are given, after symbolic links. */
export async function makeTar(
  members: readonly (readonly [name: string, content: Buffer | string])[],
  links: readonly (readonly [name: string, target: string])[] = [],
): Promise<Buffer> {
  const archive = pack()
  for (const [name, linkname] of links) archive.entry({ name, type: 'symlink', linkname })
  for (const [name, content] of members) archive.entry({ name }, Buffer.from(content))
  archive.finalize()
  return await buffer(archive)
}

export function layoutMembers(
  contents: readonly Content[],
  named: readonly { readonly image: MadeImage; readonly annotations: object }[],
): (readonly [string, Buffer | string])[] {
  const manifests = named.map(({ image, annotations }) => descriptorOf(image.mediaType, image, { annotations }))
  return [
    ...contents.map(({ digest, bytes }) => [`blobs/${digest.replace(':', '/')}`, bytes] as const),
    ['oci-layout', '{"imageLayoutVersion":"1.0.0"}'],
    ['index.json', JSON.stringify({ schemaVersion: 2, manifests })],
  ]
}
