/** Messages of `/feedmesh/blob/1`; the schema for other implementations is `messages.cddl`. */

import { bytes, nullable, oneOf, record, type Shaped, text, uint } from '../../../src/catalog/cbor.ts'
import { MAX_NAME_BYTES } from '../../../src/catalog/row.ts'
import { errorReply } from '../exchange.ts'

export const BLOB_PROTOCOL = '/feedmesh/blob/1'

export const blobRequest = oneOf({
  /** Bytes of a file, its chunk list or its metadata, named by a row of the feed. */
  get: [
    1,
    record({
      feedId: [1, bytes({ size: 32 })],
      unit: [2, text(MAX_NAME_BYTES)],
      key: [3, text(MAX_NAME_BYTES)],
      digest: [4, text(135)],
      offset: [5, uint()],
      /** So many bytes from `offset` on; null: all the rest. */
      length: [6, nullable(uint())],
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
