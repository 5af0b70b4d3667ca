/** Publishing of packages that are one file each (.deb, .rpm): checked while they are staged, visible as a whole with the last step. */

import { FeedmeshError } from '../../src/errors.ts'
import type { Feed, RowDraft } from '../../src/feeds/feed.ts'
import type { NativeFile } from '../../src/feeds/feed-type.ts'
import type { SealedBlob, StagedBlob } from '../../src/store/blobs.ts'

export interface PublishedPackage {
  readonly unit: string
  readonly key: string
  /** `false` where the same file was there already. */
  readonly isNew: boolean
}

/** `body` once more, for whoever checks it, while it is being stored. */
export async function* storing(body: AsyncIterable<Uint8Array>, staged: StagedBlob): AsyncGenerator<Uint8Array> {
  for await (const piece of body) {
    await staged.write(piece)
    yield piece
  }
}

export interface PackageDraft extends Pick<RowDraft, 'key' | 'meta'> {
  readonly unit: string
  readonly file: { readonly role: string; readonly blob: SealedBlob }
  /** What is said where other content is there under this key. */
  readonly taken: string
}

/** @throws EXISTS when the version is there with other content */
export async function putPackage(feed: Feed, draft: PackageDraft): Promise<PublishedPackage> {
  const { unit, key, meta, file, taken } = draft
  let isNew = true
  await feed.change(unit, (current) => {
    const known = current?.rows.find((row) => row.key === key)
    if (known === undefined) return { put: [{ key, rowClass: 'immutable', meta, files: [file] }] }
    isNew = false
    if (known.files.find(({ role }) => role === file.role)?.digest === file.blob.digest) return {}
    throw new FeedmeshError('EXISTS', taken)
  })
  return { unit, key, isNew }
}

/** A file of an operator's as if a client had uploaded it. @throws TOO_LARGE */
export function openNativeFile(
  feed: Feed,
  file: NativeFile,
): { readonly fileName: string; readonly body: AsyncIterable<Uint8Array> } {
  if (file.size > feed.maxFileBytes)
    throw new FeedmeshError(
      'TOO_LARGE',
      `${file.name} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`,
    )
  return { fileName: file.name.slice(file.name.lastIndexOf('/') + 1), body: file.open() }
}
