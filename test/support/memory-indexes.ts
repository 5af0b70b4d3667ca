/** Signed indexes over a feed in memory: built again whenever they are read after something was published. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Feed, isIndexUnit } from '../../src/feeds/feed.ts'
import type { SignedIndexes, SignedIndexFormat } from '../../src/feeds/signed-index.ts'
import { IndexBuilder } from '../../src/indexing/index-builder.ts'
import { armorPublicKeys, type IndexKey, IndexKeys, type IndexSigner } from '../../src/indexing/index-keys.ts'
import { IndexReader } from '../../src/indexing/index-reader.ts'
import type { OwnRows } from '../../src/indexing/member-store.ts'

const OWNER = 'ab'.repeat(32)

/** Of the elliptic curve: made in a moment. */
export async function createTestKey(): Promise<{ readonly key: IndexKey; readonly signer: IndexSigner }> {
  const folder = mkdtempSync(join(tmpdir(), 'feedmesh-index-keys-'))
  try {
    const keys = new IndexKeys({ folder, now: Date.now, algorithm: 'ed25519' })
    const key = await keys.create('test')
    const signer = await keys.findSigner([key])
    if (signer === undefined) throw new Error('the key is not where it was stored')
    return { key, signer }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

export function createMemoryIndexes(
  feed: Feed,
  format: SignedIndexFormat,
  now: () => number = Date.now,
): SignedIndexes {
  let revision = 0
  const change = feed.change.bind(feed)
  feed.change = async (unit, plan) => {
    await change(unit, plan)
    if (!isIndexUnit(unit)) revision += 1
  }
  const rows: OwnRows = { owner: OWNER, rowsOf: async (unit) => (await feed.findUnit(unit))?.rows ?? [] }
  const testKey = createTestKey()
  const sign: IndexSigner['sign'] = async (...args) => (await testKey).signer.sign(...args)
  let builds = 0
  const builder = new IndexBuilder({ feed, rows, format, now, sign, viewDigest: () => String(revision) })
  const reader = new IndexReader({ feed, rows, revision: () => String(builds) })
  let building: Promise<void> = Promise.resolve()
  const buildOnce = async (): Promise<void> => {
    if (await builder.isCurrent()) return
    await builder.build('all')
    builds += 1
  }
  const build = async (): Promise<IndexReader> => {
    building = building.then(buildOnce)
    await building
    return reader
  }
  return {
    list: async () => (await build()).list(),
    find: async (index) => (await build()).find(index),
    findByHash: async (index, sha256) => (await build()).findByHash(index, sha256),
    readPublicKeys: async () => armorPublicKeys([(await testKey).key]),
  }
}
