/**
 * The receiving half: rows of another's feed are checked against its signed state before anything is stored.
 *
 * `prepareAdoption` computes and verifies, `Ledger.adopt` makes it visible in one batch. Between the two the caller fetches
 * the blobs that the new rows name.
 */

import { type Charter, type FeedId, feedIdText } from '../catalog/charter.ts'
import { hashRevocations, type Revocations } from '../catalog/grant.ts'
import { type Deps, hashDeps, type Manifest } from '../catalog/manifest.ts'
import { encodeRow, placeOf, type Row, rowDigest } from '../catalog/row.ts'
import type { Signed } from '../catalog/signed.ts'
import { type TrieChange, updateTrie } from '../catalog/trie.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import { CheckedTrie } from './checked-trie.ts'
import type { FeedState } from './feed-state.ts'
import { compareFloor, floorOf } from './floor.ts'
import { StoredRow } from './loaded-unit.ts'
import { RecordTrie } from './record-trie.ts'
import type { Registry } from './registry.ts'
import type { FeedChange } from './transitions.ts'

/** The difference between what is here and a signed state, as a peer sent it. */
export interface ReceivedState {
  readonly feedId: FeedId
  /** Accepted by `verifyManifest`. */
  readonly manifest: Signed<Manifest>
  /** The charter in force, already part of the registry or the verified successor of the one that is. */
  readonly charter: Signed<Charter>
  readonly deps: Deps
  readonly revocations: Revocations
  readonly puts: readonly Row[]
  readonly drops: readonly { readonly unit: string; readonly key: string }[]
}

/** A state whose root was recomputed and equals the signed one. */
export interface VerifiedState extends FeedChange {
  /** The state it was computed from; adopting it over another one is refused. */
  readonly base: FeedState
  readonly writes: Write[]
}

export function verifyAttachments(received: Omit<ReceivedState, 'puts' | 'drops'>): void {
  const { manifest, deps, revocations } = received
  if (!hashDeps(deps).equals(manifest.value.depsRoot))
    throw new FeedmeshError('FORGED', `the deps sent with feed ${received.feedId} are not the signed ones`)
  if (!hashRevocations(revocations).equals(manifest.value.revocations)) {
    throw new FeedmeshError('FORGED', `the revocation list sent with feed ${received.feedId} is not the signed one`)
  }
}

/** @throws FORGED, PEER_INVALID when the rows do not lead to the signed state; nothing is stored */
export async function prepareAdoption(registry: Registry, received: ReceivedState): Promise<VerifiedState> {
  verifyAttachments(received)
  const base = registry.getState(received.feedId)
  const { salt } = received.charter.value
  const rows = new Map<string, Map<string, StoredRow | undefined>>()
  const changes = new Map<string, TrieChange>()
  const writes: Write[] = []
  const change = (unit: string, key: string, row: Row | undefined) => {
    const place = placeOf(salt, unit, key)
    const encoded = row === undefined ? undefined : encodeRow(row)
    changes.set(place.toString('hex'), { place, digest: encoded === undefined ? undefined : rowDigest(encoded) })
    const rowKey = keys.row(base.number, base.generation, place)
    writes.push(encoded === undefined ? { type: 'del', key: rowKey } : { type: 'put', key: rowKey, value: encoded })
    const unitRows = rows.get(unit) ?? new Map<string, StoredRow | undefined>()
    rows.set(unit, unitRows.set(key, row === undefined ? undefined : new StoredRow(row, received.feedId)))
  }
  for (const { unit, key } of received.drops) change(unit, key, undefined)
  for (const row of received.puts) {
    if (row.stamp > received.manifest.value.clock)
      throw new FeedmeshError(
        'PEER_INVALID',
        `row ${row.key} of ${row.unit} is stamped later than the manifest of feed ${received.feedId} says`,
      )
    change(row.unit, row.key, row)
  }
  const trie = RecordTrie.ofState(registry.records, base.number, base.generation)
  const update = await updateTrie(new CheckedTrie(trie, base.root), base.root, [...changes.values()])
  const { stateRoot, entries, logSize } = received.manifest.value
  if (!update.root.hash.equals(stateRoot) || update.root.count !== entries) {
    throw new FeedmeshError(
      'PEER_INVALID',
      `the rows received for feed ${received.feedId} do not lead to the signed state; nothing was stored`,
    )
  }
  for (const write of trie.nodeWrites(update)) writes.push(write)
  const { charter, manifest, deps, revocations } = received
  return {
    base,
    rows,
    writes,
    state: { ...base, charter, manifest, deps, revocations, root: update.root, logFrom: logSize },
  }
}

/** Whether every feed that `deps` name is here at least as new, is being adopted with it, or cannot be had. */
export function isClosed(deps: Deps, states: ReadonlyMap<FeedId, FeedState>, absent: ReadonlySet<FeedId>): boolean {
  return deps.every((dep) => {
    const feedId = feedIdText(dep.feedId)
    const manifest = states.get(feedId)?.manifest?.value
    const isMet =
      manifest === undefined || manifest.epoch > dep.epoch || (manifest.epoch === dep.epoch && manifest.seq >= dep.seq)
    return isMet || absent.has(feedId)
  })
}

/** Its head may have been compared with a state before the one that its rows were. @throws CONFLICT */
export function verifyNotOlder({ base, state }: VerifiedState): void {
  const [before, next] = [base.manifest?.value, state.manifest?.value]
  if (before === undefined || next === undefined) return
  if (compareFloor(floorOf(state.charter.value, next), floorOf(base.charter.value, before)) < 0)
    throw new FeedmeshError('CONFLICT', `a newer state of feed ${state.feedId} has come meanwhile`)
}
