/** The stored charters of a feed: all versions, which a later generation or epoch may replace from some version on. */

import { type Charter, charterShape } from '../catalog/charter.ts'
import type { CharterChain } from '../catalog/charter-chain.ts'
import { reopenObject, type Signed } from '../catalog/signed.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { charterWrite, type FeedState, readCharters } from './feed-state.ts'

/** @throws CORRUPT */
function reopenCharter(encoded: Uint8Array): Signed<Charter> {
  return reopenObject('charter', charterShape, encoded)
}

/** All charters of a feed that is here, oldest first. @throws CORRUPT when one is missing */
export async function readChain(records: Records, state: FeedState): Promise<CharterChain> {
  const chain = (await readCharters(records, state.number)).map(reopenCharter)
  if (chain.some(({ value }, index) => value.version !== index + 1))
    throw new FeedmeshError(
      'CORRUPT',
      `a charter of feed ${state.feedId} is missing; restore the data folder from a backup`,
    )
  return chain
}

/** Puts `charters` (each the successor of the one before) in the place of what is stored from the first of them on. */
export function chainWrites(number: number, charters: CharterChain, known: Signed<Charter> | undefined): Write[] {
  const newest = charters.at(-1)?.value.version
  if (newest === undefined) return []
  const writes = charters.map((charter) => charterWrite(number, charter))
  for (let version = newest + 1; version <= (known?.value.version ?? 0); version += 1)
    writes.push({ type: 'del', key: keys.charter(number, version) })
  return writes
}

/** Whether the charter that an asker says is its newest is one of this feed's. */
export async function hasCharter(
  records: Records,
  state: FeedState,
  asked: { readonly charterVersion: number; readonly charter: Uint8Array | null },
): Promise<boolean> {
  if (asked.charter === null) return asked.charterVersion === 0
  const { charter } = state
  if (asked.charterVersion === charter.value.version) return Buffer.compare(charter.hash, asked.charter) === 0
  if (asked.charterVersion > charter.value.version) return false
  const stored = await records.find(keys.charter(state.number, asked.charterVersion))
  return stored !== undefined && Buffer.compare(reopenCharter(stored).hash, asked.charter) === 0
}
