/** Writing and deleting of files. A file is staged first; only the last step makes it visible, whole. */

import { FeedmeshError, isFeedmeshError } from '../../../src/errors.ts'
import type { Feed, FeedUnit } from '../../../src/feeds/feed.ts'
import type { NativeFile } from '../../../src/feeds/feed-type.ts'
import type { StagedBlob } from '../../../src/store/blobs.ts'
import {
  CONTENT_KEY,
  CONTENT_ROLE,
  encodeAssetMeta,
  guessContentType,
  parseAssetPath,
  parseContentType,
} from './format.ts'

/** Conditional writes, RFC 9110 section 13.1: `If-Match` to replace what is known, `If-None-Match: *` to create only. */
export interface WriteCondition {
  readonly ifMatch?: string | undefined
  readonly ifNoneMatch?: string | undefined
}

interface Asset {
  readonly contentType: string
  readonly condition: WriteCondition
}

/** @throws TOO_LARGE, CONFLICT when the condition does not hold */
export async function storeBody(
  feed: Feed,
  path: string,
  asset: Asset & { readonly body: AsyncIterable<Uint8Array> },
): Promise<void> {
  verifyCondition(await feed.findUnit(path), path, asset.condition)
  await using staged = await feed.stage({ maxBytes: feed.maxFileBytes, hashes: ['md5', 'sha1', 'sha512'] })
  for await (const chunk of asset.body) await staged.write(chunk)
  await storeStaged(feed, path, { ...asset, staged })
}

export async function storeStaged(
  feed: Feed,
  path: string,
  asset: Asset & { readonly staged: StagedBlob },
): Promise<void> {
  verifyCondition(await feed.findUnit(path), path, asset.condition)
  const blob = await asset.staged.seal()
  const { sha256: _sha256, ...hashes } = blob.hashes
  const meta = encodeAssetMeta({ contentType: asset.contentType, hashes, userMetadata: {} })
  await feed.change(path, (current) => {
    verifyCondition(current, path, asset.condition)
    return { put: [{ key: CONTENT_KEY, rowClass: 'register', meta, files: [{ role: CONTENT_ROLE, blob }] }] }
  })
}

/** Whether there was such a file. @throws CONFLICT when the condition does not hold */
export async function deleteAsset(feed: Feed, path: string, condition: WriteCondition): Promise<boolean> {
  try {
    await feed.change(path, (current) => {
      if (current !== undefined) verifyCondition(current, path, condition)
      return { drop: [CONTENT_KEY] }
    })
    return true
  } catch (error) {
    if (isFeedmeshError(error, 'NOT_FOUND')) return false
    throw error
  }
}

export async function publishAsset(feed: Feed, file: NativeFile): Promise<{ unit: string; key: string }> {
  const path = parseAssetPath(file.name.split('/'))
  if (file.size > feed.maxFileBytes) {
    throw new FeedmeshError(
      'TOO_LARGE',
      `${path} has ${file.size} bytes, feed ${feed.name} takes up to ${feed.maxFileBytes}`,
    )
  }
  await storeBody(feed, path, { contentType: guessContentType(path), condition: {}, body: file.open() })
  return { unit: path, key: CONTENT_KEY }
}

/** The type the uploader gave, unless it is what clients send without being asked. @throws BAD_INPUT */
export function parseUploadedType(header: string | undefined, path: string): string {
  const bare = header?.split(';', 1)[0]?.trim().toLowerCase()
  if (bare === 'multipart/form-data') {
    throw new FeedmeshError('BAD_INPUT', 'the file itself has to be the body, not a form; use curl -T FILE URL')
  }
  const isDefault =
    bare === undefined || bare === 'application/x-www-form-urlencoded' || bare === 'application/octet-stream'
  return isDefault ? guessContentType(path) : parseContentType(header?.trim())
}

function verifyCondition(current: FeedUnit | undefined, path: string, condition: WriteCondition): void {
  const digest = current?.rows.find(({ key }) => key === CONTENT_KEY)?.files[0]?.digest
  const etag = digest === undefined ? undefined : `"${digest}"`
  const names = (header: string) =>
    etag !== undefined && (header.trim() === '*' || header.split(',').some((tag) => tag.trim() === etag))
  const { ifMatch, ifNoneMatch } = condition
  if (ifMatch !== undefined && !names(ifMatch)) {
    throw new FeedmeshError(
      'CONFLICT',
      `${path} is ${etag ?? 'not there'}, the request is for ${ifMatch.slice(0, 200)}`,
    )
  }
  if (ifNoneMatch !== undefined && names(ifNoneMatch)) throw new FeedmeshError('CONFLICT', `${path} exists: ${etag}`)
}
