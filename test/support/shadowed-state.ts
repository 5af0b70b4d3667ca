/** Takes a signed feed's state into a node by a shadow, as a pull does that compares what is there with what was signed. */

import { encodeRow, placeOf, type Row, rowDigest } from '../../src/catalog/row.ts'
import { charterWrite } from '../../src/ledger/feed-state.ts'
import type { Shadow } from '../../src/ledger/shadow.ts'
import { prepareShadowAdoption, type ShadowedState } from '../../src/ledger/shadow-adoption.ts'
import type { Write } from '../../src/store/records.ts'
import type { LedgerNode } from './ledger-node.ts'
import type { SignedFeed } from './signed-feed.ts'

/** @returns how many rows had to be put */
export async function correctShadow(shadow: Shadow, rows: readonly Row[]): Promise<number> {
  const missing = new Map(
    rows.map((row) => {
      const encoded = encodeRow(row)
      return [placeOf(shadow.salt, row.unit, row.key).toString('hex'), encoded]
    }),
  )
  const drops: Buffer[] = []
  for (const { place, digest } of await shadow.entries('')) {
    const wanted = missing.get(place.toString('hex'))
    if (wanted === undefined) drops.push(place)
    else if (rowDigest(wanted).equals(digest)) missing.delete(place.toString('hex'))
  }
  await shadow.drop(drops)
  await shadow.put([...missing.values()])
  return missing.size
}

/** Opens the shadow and puts and drops what differs from the signed state. */
export async function prepareByShadow(node: LedgerNode, feed: SignedFeed): Promise<ShadowedState> {
  const { registry, shadows } = node.ledger
  const shadow = await shadows.open(registry.getState(feed.feedId))
  try {
    await correctShadow(shadow, feed.rows)
    return await prepareShadowAdoption(registry, feed.stateAfter([]), shadow)
  } catch (error) {
    await shadow[Symbol.asyncDispose]()
    throw error
  }
}

export function charterWritesOf(node: LedgerNode, feed: SignedFeed): Write[] {
  const { number } = node.ledger.registry.getState(feed.feedId)
  return feed.charters.map((charter) => charterWrite(number, charter))
}

export async function adoptByShadow(node: LedgerNode, feed: SignedFeed): Promise<void> {
  const state = await prepareByShadow(node, feed)
  try {
    await node.ledger.adopt({
      verified: [state],
      writes: charterWritesOf(node, feed),
      absent: new Set(),
      verifyReady: async () => {},
    })
  } finally {
    await state.shadow[Symbol.asyncDispose]()
  }
}
