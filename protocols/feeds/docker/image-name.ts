/** Which image a manifest of an archive is. https://github.com/opencontainers/image-spec/blob/main/annotations.md */

import { FeedmeshError } from '../../../src/errors.ts'
import { isRepositoryName, isTag } from './names.ts'

export interface ImageName {
  readonly repository: string
  readonly tag: string
}

/** Written by containerd, and so by `docker save`. */
const CONTAINERD_NAME = 'io.containerd.image.name'
const REF_NAME = 'org.opencontainers.image.ref.name'

/**
 * `[HOST/]IMAGE:TAG` of the annotations; where they say only a tag, the image is called as the file without its ending;
 * where they say nothing, the tag is `latest`. @throws BAD_PACKAGE
 */
export function parseImageName(annotations: Readonly<Record<string, unknown>>, fileName: string): ImageName {
  const stated = annotations[CONTAINERD_NAME] ?? annotations[REF_NAME] ?? 'latest'
  const text = typeof stated === 'string' ? stated : ''
  const name = isTag(text) ? { repository: fileStem(fileName), tag: text } : splitName(text)
  if (isRepositoryName(name.repository) && isTag(name.tag)) return name
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `${JSON.stringify(fileName.slice(0, 80))} holds ${JSON.stringify(text.slice(0, 120))}, which leads to no image name; copy it with a name: skopeo copy oci-archive:FILE oci-archive:NEW.tar:IMAGE:TAG`,
  )
}

function fileStem(fileName: string): string {
  const base = fileName.slice(fileName.lastIndexOf('/') + 1)
  return base.replace(/(?:\.oci)?(?:\.tar)?$/, '').toLowerCase()
}

function splitName(text: string): ImageName {
  const [first = '', ...rest] = text.split('/')
  const isHost = rest.length > 0 && (first === 'localhost' || /[.:]/.test(first))
  const name = isHost ? rest.join('/') : text
  const colon = name.lastIndexOf(':')
  return colon < 0
    ? { repository: name, tag: 'latest' }
    : { repository: name.slice(0, colon), tag: name.slice(colon + 1) }
}
