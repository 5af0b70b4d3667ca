/** Writing of packages. */

import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import { openNativeFile, type PublishedPackage, putPackage, storing } from '../store-package.ts'
import { readDeb } from './deb.ts'
import {
  DEB_ROLE,
  debName,
  encodePackageMeta,
  type PackageKey,
  type Placement,
  packageKey,
  parsePlacement,
  verifyFileName,
} from './format.ts'

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
  const taken = `${debName(unit, key)} is in ${key.suite}/${key.component} already, with other content; raise its version`
  return await putPackage(feed, { unit, key: packageKey(key), meta, file: { role: DEB_ROLE, blob }, taken })
}

export async function publishNativeFile(feed: Feed, file: NativeFile): Promise<PublishedPackage> {
  return await publishDeb(feed, { place: parsePlacement(), ...openNativeFile(feed, file) })
}
