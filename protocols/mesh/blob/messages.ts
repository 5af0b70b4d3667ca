/** Messages of `/feedmesh/blob/1`; the schema for other implementations is `messages.cddl`. */

import { bytes, oneOf, record, type Shaped, text, uint } from '../../../src/catalog/cbor.ts'
import { MAX_NAME_BYTES } from '../../../src/catalog/row.ts'
import { errorReply } from '../exchange.ts'

export const BLOB_PROTOCOL = '/feedmesh/blob/1'

export const blobRequest = oneOf({
  /** The bytes from `offset` on of a file, its chunk list or its metadata, named by a row of the feed. */
  get: [
    1,
    record({
      feedId: [1, bytes({ size: 32 })],
      unit: [2, text(MAX_NAME_BYTES)],
      key: [3, text(MAX_NAME_BYTES)],
      digest: [4, text(135)],
      offset: [5, uint()],
    }),
  ],
})
export type BlobRequest = Shaped<typeof blobRequest>

export const blobReply = oneOf({
  error: [0, errorReply],
  /** `length` raw bytes follow the frame. */
  bytes: [1, record({ length: [1, uint()] })],
})
export type BlobReply = Shaped<typeof blobReply>
