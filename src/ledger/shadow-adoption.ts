/** The last check of a state that came by a shadow: what `Ledger.adopt` takes beside the states that came as a difference. */

import { FeedmeshError } from '../errors.ts'
import { type ReceivedState, type VerifiedState, verifyAttachments } from './adopt.ts'
import type { Registry } from './registry.ts'
import { type Shadow, StoredShadow } from './shadow.ts'

/** A state whose rows are a generation of their own, and lead to the signed root. */
export interface ShadowedState extends VerifiedState {
  readonly shadow: StoredShadow
}

function isShadowed(state: VerifiedState): state is ShadowedState {
  return 'shadow' in state
}

/** @throws CONFLICT when rows were put or dropped since the state was verified, or the shadow was put away */
export function verifyShadow(state: VerifiedState): void {
  if (isShadowed(state) && !state.shadow.leadsTo(state.state.root))
    throw new FeedmeshError('CONFLICT', `the rows of feed ${state.state.feedId} changed after they were verified`)
}

/** The shadow has become the feed's state. */
export function spendShadow(state: VerifiedState): void {
  if (isShadowed(state)) state.shadow.spend()
}

/** @throws FORGED; PEER_INVALID when the rows do not lead to the signed state: they are kept, and may be corrected */
export async function prepareShadowAdoption(
  registry: Registry,
  received: Omit<ReceivedState, 'puts' | 'drops'>,
  shadow: Shadow,
): Promise<ShadowedState> {
  verifyAttachments(received)
  const { feedId, charter, manifest, deps, revocations } = received
  if (!(shadow instanceof StoredShadow) || shadow.feedId !== feedId)
    throw new TypeError(`the rows of feed ${shadow.feedId} are not those of feed ${feedId}`)
  const base = registry.getState(feedId)
  const root = await shadow.settle()
  const { stateRoot, entries, logSize, clock } = manifest.value
  if (!root.hash.equals(stateRoot) || root.count !== entries)
    throw new FeedmeshError(
      'PEER_INVALID',
      `the ${root.count} rows received for feed ${feedId} do not lead to the signed state of ${entries}; nothing became visible`,
    )
  if (shadow.latestStamp > clock)
    throw new FeedmeshError(
      'PEER_INVALID',
      `a row of feed ${feedId} is stamped later than the manifest of the feed says; nothing became visible`,
    )
  const { generation } = shadow
  return {
    base,
    shadow,
    rows: new Map(),
    writes: [],
    state: { ...base, charter, manifest, deps, revocations, generation, root, logFrom: logSize },
  }
}
