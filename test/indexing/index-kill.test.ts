/** kill −9 while packages are published and signed: the index that is left is whole, and catches up by itself. */

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { initDataFolder } from '../../src/data-folder.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import type { IndexFile, SignedIndexes } from '../../src/feeds/signed-index.ts'
import { runChild } from '../support/run-child.ts'
import { openTestNode } from '../support/running-node.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'index-kill-child.ts')
const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }

const POINTS: readonly (readonly [FaultPoint, number])[] = [
  ['publish.planned', 2],
  ['publish.signed', 4],
  ['publish.committed', 5],
  ['records.writing', 5],
  ['records.written', 7],
]

async function readAll(file: IndexFile | undefined): Promise<Buffer> {
  assert.ok(file)
  const pieces: Buffer[] = []
  for await (const piece of await file.open()) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

/** Names in the list of amd64, after holding every document against its digest. */
async function readWhole(indexes: SignedIndexes): Promise<string[]> {
  const index = await indexes.find('stable')
  if (index === undefined) return []
  const release = (await readAll(index.findTop('Release'))).toString()
  assert.ok((await readAll(index.findTop('InRelease'))).includes(release.trimEnd()))
  for (const { document, encodings } of index.built.documents)
    for (const encoding of ['', 'gz', 'zst'] as const) {
      const digest: string = createHash('sha256')
        .update(await readAll(index.findDocument(document, encoding)))
        .digest('hex')
      assert.equal(digest, encodings[encoding].sha256)
      assert.ok(release.includes(digest))
    }
  const text = (await readAll(index.findDocument('main/binary-amd64/Packages', ''))).toString()
  return [...text.matchAll(/^Package: (.*)$/gm)].map(([, name]) => name ?? '')
}

describe('a node killed while it signs an index', { concurrency: 2, timeout: 120_000 }, () => {
  for (const [point, occurrence] of POINTS)
    test(`at ${point} (${occurrence})`, async (t) => {
      const directory = await mkdtemp(join(tmpdir(), 'feedmesh-index-kill-'))
      t.after(() => rm(directory, { recursive: true, force: true }))
      const { adminKey } = await initDataFolder(directory, LOOPBACK)
      const killed = await runChild(CHILD, [directory, point, String(occurrence)])
      assert.equal(killed.signal, 'SIGKILL', killed.stderr)
      const acknowledged = [...killed.stdout.matchAll(/^acknowledged (.+)$/gm)].map(([, name]) => name ?? '')
      await using node = await openTestNode(directory, adminKey)
      const indexes = node.operations.openIndexes('os')
      for (let names: string[] = []; acknowledged.some((name) => !names.includes(name)); )
        names = await readWhole(indexes)
    })
})
