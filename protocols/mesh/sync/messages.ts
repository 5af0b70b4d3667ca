/** Messages of `/feedmesh/sync/1`; the schema for other implementations is `messages.cddl`. */

import { bytes, list, nullable, oneOf, record, type Shape, type Shaped, text, uint } from '../../../src/catalog/cbor.ts'
import { MAX_CHARTER_VERSIONS } from '../../../src/catalog/charter.ts'
import { forkProofShape } from '../../../src/catalog/fork-proof.ts'
import { revocationsShape } from '../../../src/catalog/grant.ts'
import { depsShape } from '../../../src/catalog/manifest.ts'
import { MAX_ROW_BYTES } from '../../../src/catalog/row.ts'
import { MAX_SIGNED_BYTES } from '../../../src/catalog/signed.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { errorReply, MAX_FRAME_BYTES } from '../exchange.ts'

export const SYNC_PROTOCOL = '/feedmesh/sync/1'

/** Nodes asked for in one request. */
export const MAX_PATHS = 256
/** Rows asked for in one request. */
export const MAX_WANTED_ROWS = 4096
/** Charters in one reply; a newcomer asks again for the rest. */
export const MAX_CHARTERS = 256
/** Raw bytes of one frame of rows or operations, before compression; a larger one is alone in its frame. */
export const MAX_SEGMENT_BYTES = 256 * 1024
/** Raw bytes of the operations that come along with a head. */
export const MAX_HEAD_TAIL_BYTES = 64 * 1024
/** Raw bytes of a frame with one large row. */
const MAX_RAW_BYTES = MAX_ROW_BYTES + 8
/** Length of the hints by which trie nodes and entries are compared before the whole root is checked. */
export const HINT_BYTES = 4
/** Length of the hashes in wide nodes, which prove each other from the signed root on. */
export const HASH_BYTES = 32

const feedId = bytes({ size: 32 })
const stateRoot = bytes({ size: 32 })
/** Nibbles from the root, as hex digits. */
const path: Shape<string> = {
  form: text(64).form,
  toCbor: (value) => value,
  fromCbor: (value, where) => {
    const digits = text(64).fromCbor(value, where)
    if (/^[0-9a-f]*$/.test(digits)) return digits
    throw new FeedmeshError('PEER_INVALID', `${where}: expected up to 64 hex digits`)
  },
}

export const syncRequest = oneOf({
  /** Is there anything newer than (charterVersion, epoch, seq, refresh)? */
  head: [
    1,
    record({
      feedId: [1, feedId],
      charterVersion: [2, uint(MAX_CHARTER_VERSIONS)],
      epoch: [3, uint()],
      seq: [4, uint()],
      refresh: [5, uint()],
      /** Operations of the epoch's log that are here: those that follow may come along. null: none are wanted. */
      logSize: [6, nullable(uint())],
      /** Hash of the newest charter that is here; null without one. */
      charter: [7, nullable(bytes({ size: 32 }))],
      /** Hash of the manifest that is here, so that another one of the same order shows; null without one. */
      manifest: [8, nullable(bytes({ size: 32 }))],
    }),
  ],
  /** Trie nodes of the state `stateRoot`; wide ones name their children by whole hashes. */
  nodes: [
    2,
    record({ feedId: [1, feedId], stateRoot: [2, stateRoot], paths: [3, list(path, MAX_PATHS)], wide: [4, uint(1)] }),
  ],
  /** Rows named by leaf and hint. */
  rows: [
    3,
    record({
      feedId: [1, feedId],
      stateRoot: [2, stateRoot],
      wants: [
        3,
        list(record({ path: [1, path], hints: [2, bytes({ max: MAX_WANTED_ROWS * HINT_BYTES })] }), MAX_WANTED_ROWS),
      ],
    }),
  ],
  /** All rows under `path` after the place `after`, in order of places. */
  subtree: [
    4,
    record({
      feedId: [1, feedId],
      stateRoot: [2, stateRoot],
      path: [3, path],
      after: [4, nullable(bytes({ size: 32 }))],
    }),
  ],
  /** Operations `from` … `to` (exclusive) of the epoch's log. */
  tail: [
    5,
    record({ feedId: [1, feedId], stateRoot: [2, stateRoot], epoch: [3, uint()], from: [4, uint()], to: [5, uint()] }),
  ],
})
export type SyncRequest = Shaped<typeof syncRequest>

const segment = record({
  /** zstd frame of length-prefixed (u32) rows or operations. */
  data: [1, bytes({ max: MAX_FRAME_BYTES - 1024 })],
  rawBytes: [2, uint(MAX_RAW_BYTES)],
  /** Whether more segments of this reply follow. */
  more: [3, uint(1)],
})

export const syncReply = oneOf({
  error: [0, errorReply],
  head: [
    1,
    record({
      charters: [1, list(bytes({ max: MAX_SIGNED_BYTES }), MAX_CHARTERS)],
      /** null: the asker has the newest. */
      manifest: [2, nullable(bytes({ max: MAX_SIGNED_BYTES }))],
      deps: [3, depsShape],
      revocations: [4, nullable(revocationsShape)],
      /** The log is there from this operation of the epoch on. */
      logFrom: [5, uint()],
      /** All operations from the asked `logSize` to the manifest's, when they are few; the asker replays them. */
      tail: [
        6,
        nullable(
          record({ data: [1, bytes({ max: 2 * MAX_HEAD_TAIL_BYTES })], rawBytes: [2, uint(MAX_HEAD_TAIL_BYTES)] }),
        ),
      ],
      /** That the owner forked the feed in the epoch of its newest charter. */
      fork: [7, nullable(forkProofShape)],
    }),
  ],
  nodes: [2, record({ nodes: [1, list(bytes({ max: 64 * 1024 }), MAX_PATHS)] })],
  segment: [3, segment],
})
export type SyncReply = Shaped<typeof syncReply>
export type HeadReply = Extract<SyncReply, { kind: 'head' }>
