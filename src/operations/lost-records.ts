/**
 * A database that is gone: what the essentials file holds of it is put back in one batch, and the rest comes from peers.
 *
 * The feeds made here are there again with their charters, but without rows: they are behind the floor file, so nothing is
 * signed for them before peers have given them back (`replication/catch-up.ts`). Where the floor file is lost too, every
 * linked peer is asked.
 */

import { decodeCbor } from '../catalog/cbor.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { openCharters } from '../catalog/charter-chain.ts'
import { openManifest } from '../catalog/manifest.ts'
import { EMPTY_ROOT } from '../catalog/trie.ts'
import { charterWrite, createFeedState, type FeedState, stateWrite } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'
import { RESTORED_FACT } from '../replication/catch-up.ts'
import { keys, u32, u64 } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import { ownStateShape } from './essentials.ts'
import { type Essential, readEssentials } from './essentials-file.ts'

/** When the database was rebuilt, ms. */
export const REBUILT_FACT = 'rebuilt'

export interface LostRecordsOptions {
  readonly records: Records
  /** Of the essentials file. */
  readonly path: string
  readonly floor: Floor
  /** For the log of the node. */
  warn(details: object, message: string): void
  readonly now: () => number
}

/** Nothing but facts about itself. */
async function isEmpty(records: Records): Promise<boolean> {
  const first = keys.fact('').at(0) ?? 0
  for await (const _ of records.scanKeys({ gte: Uint8Array.of(first + 1), lt: Uint8Array.of(0xff), limit: 1 }))
    return false
  return true
}

/** The state of a feed that had no rows is all there; of others only the charters are. */
function rebuildState(
  number: number,
  feedId: FeedId,
  essentials: readonly Essential[],
): { state: FeedState; writes: Write[] } {
  const of = (kind: Essential['kind']) =>
    essentials.filter((one) => one.kind === kind && feedIdText(one.key) === feedId).map((one) => one.value)
  const charters = openCharters(feedId, undefined, of('charter'))
  const base = createFeedState(number, charters.at(-1)!)
  const [stored] = of('state')
  const own = stored === undefined ? undefined : decodeCbor(ownStateShape, stored, 'essentials')
  const manifest = own === undefined ? undefined : openManifest(own.manifest)
  const isWhole =
    manifest !== undefined &&
    EMPTY_ROOT.hash.equals(manifest.value.stateRoot) &&
    Buffer.compare(manifest.value.charter, base.charter.hash) === 0
  const state =
    own === undefined || !isWhole
      ? base
      : { ...base, manifest, deps: own.deps, revocations: own.revocations, logFrom: manifest.value.logSize }
  const writes: Write[] = [
    { type: 'put', key: keys.feed(number), value: u32(number) },
    ...charters.map((charter) => charterWrite(number, charter)),
    stateWrite(state),
  ]
  return { state, writes }
}

/** Does nothing unless the database is empty and there is a file. @throws CORRUPT, FORGED */
export async function rebuildLostRecords(options: LostRecordsOptions): Promise<void> {
  const { records, path, floor, now } = options
  if (!(await isEmpty(records))) return
  const essentials = await readEssentials(path)
  if (essentials === undefined || essentials.length === 0) {
    if (floor.feeds().length > 0)
      options.warn(
        { path },
        'the database is empty, and there is no essentials file to rebuild it from: feeds must be linked again',
      )
    return
  }
  const writes: Write[] = essentials
    .filter(({ kind }) => kind === 'record')
    .map(({ key, value }) => ({ type: 'put', key, value }))
  const feeds = new Set(essentials.filter(({ kind }) => kind === 'charter').map(({ key }) => feedIdText(key)))
  for (const [index, feedId] of [...feeds].entries()) writes.push(...rebuildState(index + 1, feedId, essentials).writes)
  writes.push({ type: 'put', key: keys.fact(REBUILT_FACT), value: u64(now()) })
  if ([...feeds].some((feedId) => floor.find(feedId) === undefined))
    writes.push({ type: 'put', key: keys.fact(RESTORED_FACT), value: Uint8Array.of(1) })
  await records.write(writes)
  options.warn(
    { feeds: feeds.size, records: writes.length },
    'the database was lost and is rebuilt from the essentials file; content comes back from peers',
  )
}

/** When the database was rebuilt; undefined if it never was. */
export async function findRebuiltAt(records: Records): Promise<number | undefined> {
  const stored = await records.find(keys.fact(REBUILT_FACT))
  return stored === undefined ? undefined : Number(Buffer.from(stored).readBigUInt64BE())
}
