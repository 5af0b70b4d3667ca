/** Writing of packages. */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import { openNativeFile, type PublishedPackage, putPackage, storing } from '../store-package.ts'
import { packageKey, RPM_ROLE, rpmName, verifyFileName, verifyMetaSize } from './format.ts'
import { encodeMeta } from './meta.ts'
import { type RpmPackage, readRpm } from './rpm-file.ts'

/** @throws BAD_PACKAGE, TOO_LARGE; EXISTS when the version is there with other content */
export async function publishRpm(
  feed: Feed,
  upload: { readonly fileName: string; readonly body: AsyncIterable<Uint8Array> },
): Promise<PublishedPackage> {
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes })
  const read = await readRpm(storing(upload.body, staged))
  verifyFileName(upload.fileName, read)
  verifySigned(feed, read)
  const meta = encodeMeta(read)
  verifyMetaSize(read, meta)
  const blob = await staged.seal()
  const taken = `${rpmName(read)} (epoch ${read.epoch}) is in the feed already, with other content; raise its release`
  return await putPackage(feed, {
    unit: read.name,
    key: packageKey(read),
    meta,
    file: { role: RPM_ROLE, blob },
    taken,
  })
}

function verifySigned(feed: Feed, read: RpmPackage): void {
  if (read.isSigned || feed.unsigned === 'accept') return
  throw new FeedmeshError(
    'BAD_PACKAGE',
    `${rpmName(read)} is not signed by its publisher, and feed ${feed.name} refuses such packages; sign it with rpmsign --addsign, or have the feed take it: feedmesh feed edit ${feed.name} --unsigned accept`,
  )
}

export async function publishNativeFile(feed: Feed, file: NativeFile): Promise<PublishedPackage> {
  return await publishRpm(feed, openNativeFile(feed, file))
}
