/** A large state that comes by a shadow, whose every operation fails in turn. */

import { feedIdBytes } from '../../src/catalog/charter.ts'
import type { Row } from '../../src/catalog/row.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { pull, rowOf } from './feed-graph.ts'
import { type LedgerNode, openLedgerNode } from './ledger-node.ts'
import { adoptByShadow } from './shadowed-state.ts'
import { SignedFeed } from './signed-feed.ts'
import type { Journey, Live } from './swept-journeys.ts'
import type { SweptStores } from './swept-stores.ts'

const SIGNER = createSeedSigner(Buffer.alloc(32, 7))
const HOUR_MS = 3_600_000

function rowsFrom(from: number, to: number, meta: string): Row[] {
  return Array.from({ length: to - from }, (_, at) =>
    rowOf(`v/${from + at}`, { unit: `unit-${(from + at) % 9}`, rowClass: 'register', meta }),
  )
}

/** A feed of this node that includes `remote`, and has a few rows of its own. */
async function fill(stores: SweptStores, remote: SignedFeed): Promise<void> {
  const node = await openNode(stores)
  const own = await node.createFeed('packages')
  for (const unit of ['unit-1', 'own'])
    await own.change(unit, () => ({
      put: [{ key: 'v/own', rowClass: 'register', meta: Buffer.from('own'), files: [] }],
    }))
  await node.ledger.learnFeed(remote.charters)
  const { id } = node.ledger.registry.getLocal('packages')
  await node.ledger.amendCharter(id, () => ({
    includes: [{ ...pull('remote'), feedId: feedIdBytes(remote.feedId) }],
  }))
}

function openNode(stores: SweptStores): Promise<LedgerNode> {
  return openLedgerNode({ records: stores.records, blobs: stores.blobs, signer: SIGNER, batchWrites: 25 })
}

function isThere(node: LedgerNode, remote: SignedFeed): boolean {
  const wanted = remote.stateAfter([]).manifest.value.stateRoot
  return node.ledger.registry.getState(remote.feedId).root.hash.equals(wanted)
}

/** Takes the state, and an hour later removes what the one before it left. */
async function take(node: LedgerNode, remote: SignedFeed): Promise<void> {
  if (!isThere(node, remote)) await adoptByShadow(node, remote)
  node.clock.now += HOUR_MS
  await node.ledger.clearLeftovers()
}

function taking(title: string, options: { readonly isNewcomer: boolean; readonly isRestarted: boolean }): Journey {
  const openLive = async (stores: SweptStores, remote: SignedFeed): Promise<Live> => {
    const node = await openNode(stores)
    const run = () => take(node, remote)
    const goOn = () => (options.isRestarted ? openLive(stores, remote) : Promise.resolve(live))
    const live: Live = { ledger: node.ledger, acknowledged: new Set(), run, goOn }
    return live
  }
  const prepare: Journey['prepare'] = async (filled) => {
    const remote = new SignedFeed('remote')
    await fill(filled, remote)
    if (!options.isNewcomer) {
      remote.sign(rowsFrom(0, 36, 'old'))
      await take(await openNode(filled), remote)
    }
    remote.sign([...rowsFrom(5, 10, 'old'), ...rowsFrom(10, 40, 'new')])
    return { open: (stores) => openLive(stores, remote) }
  }
  return { title, failureLeaves: 'either', prepare }
}

export const SHADOW_JOURNEYS: readonly Journey[] = [
  taking('a newcomer’s state', { isNewcomer: true, isRestarted: true }),
  taking('a state that is mostly another one, on a node that goes on running', {
    isNewcomer: false,
    isRestarted: false,
  }),
]
