/**
 * One operation of a feed's log: a row was written, or a key was dropped. Replaying the log from a known state must lead to
 * the signed state root; the log itself needs no other proof.
 *
 *   put  = 01 row          drop = 02 unitLen(2) unit keyLen(2) key
 */

import { FeedmeshError } from '../errors.ts'
import { BinaryReader, decodeRow, encodeName, encodeRow, MAX_NAME_BYTES, type Row } from './row.ts'

export type Operation =
  | { readonly kind: 'put'; readonly row: Row }
  | { readonly kind: 'drop'; readonly unit: string; readonly key: string }

/** @throws BAD_INPUT when a limit of the format is broken */
export function encodeOperation(operation: Operation): Uint8Array {
  if (operation.kind === 'put') return Buffer.concat([Uint8Array.of(1), encodeRow(operation.row)])
  return Buffer.concat([Uint8Array.of(2), encodeName(operation.unit, 'unit'), encodeName(operation.key, 'key')])
}

/** @throws PEER_INVALID */
export function decodeOperation(encoded: Uint8Array): Operation {
  const kind = encoded[0]
  if (kind === 1) return { kind: 'put', row: decodeRow(encoded.subarray(1)) }
  if (kind !== 2) throw new FeedmeshError('PEER_INVALID', `log: unknown operation ${kind}; update this node`)
  const reader = new BinaryReader(encoded.subarray(1), 'log')
  const unit = reader.text(2, MAX_NAME_BYTES)
  const key = reader.text(2, MAX_NAME_BYTES)
  reader.end()
  return { kind: 'drop', unit, key }
}
