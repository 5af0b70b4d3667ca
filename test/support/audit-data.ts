/** Looks at a data folder (or open stores) as a sceptic: does everything that is said to be there add up? */

import assert from 'node:assert/strict'
import { decodeRow, placeOf, rowDigest } from '../../src/catalog/row.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { buildTrie, type TrieEntry } from '../../src/catalog/trie.ts'
import { dataPaths } from '../../src/data-folder.ts'
import { noFaults } from '../../src/fault-points.ts'
import { openFloor } from '../../src/ledger/floor.ts'
import { Ledger } from '../../src/ledger/ledger.ts'
import type { Registry } from '../../src/ledger/registry.ts'
import { listUnits } from '../../src/ledger/view-index.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { keys } from '../../src/store/keys.ts'
import { openLevelRecords } from '../../src/store/level-records.ts'

export interface Audit {
  /** Visible keys by unit, per local feed. */
  readonly feeds: ReadonlyMap<string, ReadonlyMap<string, readonly string[]>>
  /** (epoch, seq) of each local feed. */
  readonly seqs: ReadonlyMap<string, number>
}

/** Every state leads to its signed root, every view to its digest, every visible row's files are here and whole. */
export async function auditStores(registry: Registry, blobs: BlobStore): Promise<Audit> {
  for (const state of registry.states.values()) {
    const entries: TrieEntry[] = []
    for await (const [, value] of registry.records.scan(keys.rows(state.number, state.generation))) {
      const row = decodeRow(value)
      entries.push({ place: placeOf(state.charter.value.salt, row.unit, row.key), digest: rowDigest(value) })
    }
    const root = buildTrie(entries.sort((a, b) => a.place.compare(b.place)))
    assert.deepEqual(root.hash, state.root.hash, `feed ${state.feedId}: rows do not lead to the stored root`)
    if (state.manifest !== undefined)
      assert.deepEqual(
        Buffer.from(state.manifest.value.stateRoot),
        state.root.hash,
        `feed ${state.feedId}: the manifest signs another root`,
      )
  }
  const feeds = new Map<string, ReadonlyMap<string, readonly string[]>>()
  const seqs = new Map<string, number>()
  for (const local of registry.locals.values()) {
    feeds.set(local.name, await auditFeed(registry, blobs, local.id))
    seqs.set(local.name, registry.states.get(local.id)?.manifest?.value.seq ?? 0)
  }
  return { feeds, seqs }
}

async function auditFeed(
  registry: Registry,
  blobs: BlobStore,
  feedId: string,
): Promise<Map<string, readonly string[]>> {
  const view = registry.getView(feedId)
  const units = new Map<string, readonly string[]>()
  let visible = 0
  for await (const summary of listUnits(registry.records, view, { limit: 1_000_000 })) {
    const unit = await registry.loadUnit(view, summary.unit)
    assert.equal(unit.rows.length, summary.rows, `${summary.unit}: summary and rows differ`)
    visible += unit.rows.length + unit.blocked.length
    for (const row of unit.rows)
      for (const file of row.row.files)
        assert.equal(await blobs.verifyBlob(file.digest), 'ok', `${summary.unit} ${row.key}: ${file.role}`)
    units.set(
      summary.unit,
      unit.rows.map((row) => row.key),
    )
  }
  assert.equal(view.totals.root.count, visible, 'the digest counts other rows than are visible')
  return units
}

/** The same for the data folder of a node that does not run. */
export async function auditDataFolder(directory: string): Promise<Audit> {
  const paths = dataPaths(directory)
  await using records = await openLevelRecords({ directory: paths.records })
  const blobs = await openFileBlobs({ directory: paths.blobs, records })
  const floor = await openFloor(paths.floor)
  const signer = createSeedSigner(Buffer.alloc(32))
  const verifyMaySign = () => {}
  const ledger = await Ledger.open({
    records,
    blobs,
    floor,
    signer,
    now: Date.now,
    randomBytes: () => Buffer.alloc(32),
    reach: noFaults,
    verifyMaySign,
  })
  return await auditStores(ledger.registry, blobs)
}
