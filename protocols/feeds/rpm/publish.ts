/** Writing of packages. A file is checked while it is staged; only the last step makes it visible, whole. */

import { FeedmeshError } from '../../../src/errors.ts'
import type { Feed } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import { listPackages, packageKey, RPM_ROLE, rpmName, verifyFileName, verifyMetaSize } from './format.ts'
import { encodeMeta } from './meta.ts'
import { readRpm } from './rpm-file.ts'

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
export async function publishRpm(
  feed: Feed,
  upload: { readonly fileName: string; readonly body: AsyncIterable<Uint8Array> },
): Promise<PublishedPackage> {
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes })
  const read = await readRpm(storing(upload.body, staged))
  verifyFileName(upload.fileName, read)
  const meta = encodeMeta(read)
  verifyMetaSize(read, meta)
  const blob = await staged.seal()
  const [unit, key] = [read.name, packageKey(read)]
  let isNew = true
  await feed.change(unit, (current) => {
    const known = listPackages(current).find(({ row }) => row.key === key)
    if (known === undefined) return { put: [{ key, rowClass: 'immutable', meta, files: [{ role: RPM_ROLE, blob }] }] }
    isNew = false
    if (known.file.digest === blob.digest) return {}
    throw new FeedmeshError(
      'EXISTS',
      `${rpmName(read)} (epoch ${read.epoch}) is in the feed already, with other content; raise its release`,
    )
  })
  return { unit, key, isNew }
}

export async function publishNativeFile(feed: Feed, file: NativeFile): Promise<PublishedPackage> {
  if (file.size > feed.maxFileBytes)
    throw new FeedmeshError(
      'TOO_LARGE',
      `${file.name} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`,
    )
  const fileName = file.name.slice(file.name.lastIndexOf('/') + 1)
  return await publishRpm(feed, { fileName, body: file.open() })
}
