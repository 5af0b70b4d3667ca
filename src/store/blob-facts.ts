/** The index record of a blob: place (1 byte), size (8 bytes, big-endian), sha256 of the chunk list (32 bytes, if any). */

import { type Digest, digestBytes, digestFromBytes } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'
import type { BlobFacts } from './blobs.ts'
import { u64 } from './keys.ts'

export interface StoredBlob extends BlobFacts {
  /** `inline`: the bytes are a record too. `file`: they are in the medium. */
  readonly place: 'inline' | 'file'
}

const PLACES = ['inline', 'file'] as const
const ROOT_OFFSET = 9

export function encodeBlobFacts(blob: StoredBlob): Buffer {
  const place = Buffer.from([PLACES.indexOf(blob.place)])
  return Buffer.concat([place, u64(blob.size), ...(blob.chunkRoot ? [digestBytes(blob.chunkRoot)] : [])])
}

/** @throws CORRUPT when `bytes` is not the index record of a blob. */
export function decodeBlobFacts(digest: Digest, bytes: Uint8Array): StoredBlob {
  const record = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const place = PLACES[record[0] ?? -1]
  if (place === undefined || (record.length !== ROOT_OFFSET && record.length !== ROOT_OFFSET + 32)) {
    throw new FeedmeshError(
      'CORRUPT',
      `the index record of ${digest} is unreadable; remove the blob and fetch it again`,
    )
  }
  const size = Number(record.readBigUInt64BE(1))
  if (record.length === ROOT_OFFSET) return { place, size }
  return { place, size, chunkRoot: digestFromBytes('sha256', record.subarray(ROOT_OFFSET)) }
}
