/** Writing of packages. A file is checked while it is staged; only the last step makes it visible, whole. */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import { readDeb } from './deb.ts'
import {
  DEB_ROLE,
  debName,
  encodePackageMeta,
  listPackages,
  type PackageKey,
  type Placement,
  packageKey,
  parsePlacement,
  verifyFileName,
} from './format.ts'

export interface PublishedPackage {
  readonly unit: string
  readonly key: string
  /** `false` where the same file was there already. */
  readonly isNew: boolean
}

async function* storing(body: AsyncIterable<Uint8Array>, staged: StagedBlob): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    await staged.write(piece)
    yield piece
  }
}

/** @throws BAD_PACKAGE, TOO_LARGE; EXISTS when the version is there with other content */
export async function publishDeb(
  feed: Feed,
  upload: { readonly place: Placement; readonly fileName: string; readonly body: AsyncIterable<Uint8Array> },
): Promise<PublishedPackage> {
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes, hashes: ['md5', 'sha1'] })
  const control = await readDeb(storing(upload.body, staged))
  verifyFileName(upload.fileName, control)
  const blob = await staged.seal()
  const unit = control.package
  const { version, architecture } = control
  const key: PackageKey = { ...upload.place, version, architecture }
  const text = [...control.fields.values()].join('\n')
  const meta = encodePackageMeta({ md5: blob.hashes.md5 ?? '', sha1: blob.hashes.sha1 ?? '', control: text })
  let isNew = true
  await feed.change(unit, (current) => {
    const known = listPackages(current).find(({ row }) => row.key === packageKey(key))
    if (known === undefined)
      return { put: [{ key: packageKey(key), rowClass: 'immutable', meta, files: [{ role: DEB_ROLE, blob }] }] }
    isNew = false
    if (known.file.digest === blob.digest) return {}
    throw new FeedmeshError(
      'EXISTS',
      `${debName(unit, key)} is in ${key.suite}/${key.component} already, with other content; raise its version`,
    )
  })
  return { unit, key: packageKey(key), isNew }
}

export async function publishNativeFile(feed: Feed, file: NativeFile): Promise<PublishedPackage> {
  if (file.size > feed.maxFileBytes)
    throw new FeedmeshError(
      'TOO_LARGE',
      `${file.name} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`,
    )
  const fileName = file.name.slice(file.name.lastIndexOf('/') + 1)
  return await publishDeb(feed, { place: parsePlacement(), fileName, body: file.open() })
}
