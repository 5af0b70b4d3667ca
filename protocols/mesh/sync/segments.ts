/** Segments: many rows or operations in one zstd frame of bounded raw size. */

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { BinaryReader } from '../../../src/catalog/row.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { MAX_SEGMENT_BYTES } from './messages.ts'

/** A frame may ask its reader for a window of at most 2 MiB, whatever it holds; 27, zstd's own limit, would cost 128 MiB. */
const MAX_WINDOW_LOG = 21

export interface Segment {
  readonly data: Uint8Array
  readonly rawBytes: number
}

const COMPRESSION = { [constants.ZSTD_c_compressionLevel]: 3, [constants.ZSTD_c_windowLog]: MAX_WINDOW_LOG }

export function encodeSegment(items: readonly Uint8Array[]): Segment {
  const parts: Uint8Array[] = []
  for (const item of items) {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(item.length)
    parts.push(length, item)
  }
  const raw = Buffer.concat(parts)
  return { data: zstdCompressSync(raw, { params: COMPRESSION }), rawBytes: raw.length }
}

/** Groups items so that each group stays within a segment; an item larger than a segment travels alone. */
export async function* groupItems(
  items: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
): AsyncGenerator<Uint8Array[]> {
  let group: Uint8Array[] = []
  let size = 0
  for await (const item of items) {
    if (group.length > 0 && size + item.length > MAX_SEGMENT_BYTES) {
      yield group
      group = []
      size = 0
    }
    group.push(item)
    size += item.length + 4
  }
  yield group
}

/** Never produces more than `rawBytes`. @throws PEER_INVALID */
export function decodeSegment(segment: Segment): Uint8Array[] {
  let raw: Buffer
  try {
    raw = zstdDecompressSync(segment.data, {
      maxOutputLength: Math.max(1, segment.rawBytes),
      params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
    })
  } catch (cause) {
    throw new FeedmeshError('PEER_INVALID', 'sync: a segment that does not decompress to the size it declares', {
      cause,
    })
  }
  if (raw.length !== segment.rawBytes)
    throw new FeedmeshError('PEER_INVALID', `sync: a segment of ${raw.length} bytes instead of ${segment.rawBytes}`)
  const reader = new BinaryReader(raw, 'sync: segment')
  const items: Uint8Array[] = []
  while (reader.rest > 0) items.push(Buffer.from(reader.take(reader.uint(4))))
  return items
}
