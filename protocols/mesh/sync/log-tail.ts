/** By the log: the operations since where this node stands, replayed. */

import { decodeOperation } from '../../../src/catalog/operation.ts'
import { encodeRow, placeOf, rowDigest } from '../../../src/catalog/row.ts'
import { FeedmeshError } from '../../../src/errors.ts'
import { type Asking, type DifferenceSink, segmentsOf } from './asker.ts'

export interface LogRange {
  readonly epoch: number
  /** Operations that are here. */
  readonly from: number
  /** The log's size as it is signed. */
  readonly to: number
}

/** Hands the operations to the sink in order. @throws PEER_INVALID */
export async function replayOperations(
  operations: readonly Uint8Array[],
  salt: Uint8Array,
  sink: DifferenceSink,
): Promise<void> {
  for (const encoded of operations) {
    const operation = decodeOperation(encoded)
    if (operation.kind === 'drop') {
      await sink.drop([placeOf(salt, operation.unit, operation.key)])
      continue
    }
    const { row } = operation
    const bytes = encodeRow(row)
    await sink.put([{ row, encoded: bytes, place: placeOf(salt, row.unit, row.key), digest: rowDigest(bytes) }])
  }
}

/** @throws NOT_FOUND when the peer's log does not reach back that far, PEER_INVALID */
export async function replayTail({ main, target, local, sink }: Asking, log: LogRange): Promise<void> {
  const wanted = log.to - log.from
  let received = 0
  const { feedId, stateRoot } = target
  for await (const operations of segmentsOf(main({ kind: 'tail', feedId, stateRoot, ...log }))) {
    received += operations.length
    if (received > wanted) throw new FeedmeshError('PEER_INVALID', 'sync: more operations than were asked for')
    await replayOperations(operations, local.salt, sink)
  }
  if (received !== wanted) throw new FeedmeshError('PEER_INVALID', `sync: ${received} operations instead of ${wanted}`)
}
