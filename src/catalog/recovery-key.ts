/** The recovery key of a feed as text with a checksum, for a drawer far from the node: `fmr1_…`. */

import { bytes, record, type Shaped } from './cbor.ts'
import { parsePrintable, renderPrintable } from './token.ts'

const recoveryKeyShape = record({
  feedId: [1, bytes({ size: 32 })],
  /** Seed of the Ed25519 key. */
  seed: [2, bytes({ size: 32 })],
})
export type RecoveryKey = Shaped<typeof recoveryKeyShape>

const PREFIX = 'fmr1_'

export function renderRecoveryKey(key: RecoveryKey): string {
  return renderPrintable(PREFIX, recoveryKeyShape, key)
}

/** Blanks and line breaks are ignored. @throws TOKEN_MISTYPED */
export function parseRecoveryKey(input: string): RecoveryKey {
  return parsePrintable(input, { prefix: PREFIX, shape: recoveryKeyShape, name: 'recovery key' })
}
