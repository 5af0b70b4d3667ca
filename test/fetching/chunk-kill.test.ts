/** kill -9 in the middle of a fetch by chunks: what was verified is not fetched again, and what was not is given to nobody. */

import assert from 'node:assert/strict'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { sha256Digest } from '../../src/catalog/digest.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import { CHUNK_BYTES } from '../../src/store/blobs.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { openTemporaryFolder } from '../store/level-folder.ts'
import { runChild } from '../support/run-child.ts'
import { chunksOf, KILLED_BYTES, openSite, type SiteNode, verifyHolds } from './chunk-site.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'chunk-kill-child.ts')

/** With how many chunks at least are verified by then. */
const POINTS: readonly (readonly [FaultPoint, number, number])[] = [
  ['blob.chunk', 1, 1],
  ['blob.chunk', 5, 5],
  ['blob.chunk', 8, 8],
  ['blob.writing', 300, 0],
  ['blob.written', 2, 8],
  ['blob.synced', 1, 8],
]

/** Chunks of the content that the file in `staging/` holds. */
async function findChunks(directory: string, content: Buffer): Promise<number[]> {
  const [name] = await readdir(join(directory, 'staging'))
  assert.match(name ?? '', /^chunks-sha256-/)
  const draft = await readFile(join(directory, 'staging', name ?? ''))
  return Array.from({ length: chunksOf(content.length) }, (_, index) => index).filter((index) => {
    const [from, to] = [index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES]
    return draft.subarray(from, to).equals(content.subarray(from, to))
  })
}

describe('a fetch by chunks that is killed', { concurrency: 2 }, () => {
  for (const [point, occurrence, atLeast] of POINTS) {
    test(`at ${point}, time ${occurrence}, goes on with the chunks that are missing`, async () => {
      await using folder = await openTemporaryFolder()
      const killed = await runChild(CHILD, [folder.path, point, String(occurrence)])
      assert.equal(killed.signal, 'SIGKILL', killed.stderr)
      await using stack = new AsyncDisposableStack()
      const site = await openSite(stack, {
        size: KILLED_BYTES,
        nodes: 3,
        areNeighbours: false,
        openBlobs: async (records, index) =>
          index === 0 ? await openFileBlobs({ directory: folder.path, records }) : undefined,
      })
      const [spoke, ...servers] = site.nodes as [SiteNode, ...SiteNode[]]
      const here = await findChunks(folder.path, site.content)
      assert.ok(here.length >= atLeast, `${here.length} chunks are here`)
      assert.equal(await spoke.blobs.find(site.wanted.digest), undefined)
      assert.equal(await spoke.blobs.openVerified(site.wanted.digest, { start: 0, end: 1 }), undefined)
      for (const server of servers) server.answer = site.serveContent
      const { outcomes } = await spoke.fetch(
        servers.map(({ host }) => host.peerId),
        [site.wanted],
      )
      assert.deepEqual(
        outcomes.map(({ error }) => error),
        [undefined],
      )
      await verifyHolds(spoke, site)
      const asked = servers.flatMap((server) => server.asked).filter(({ digest }) => digest === site.wanted.digest)
      const expected = [...Array(chunksOf(KILLED_BYTES)).keys()].filter((index) => !here.includes(index))
      assert.deepEqual(
        asked.map(({ offset }) => offset / CHUNK_BYTES).sort((a, b) => a - b),
        expected,
      )
      assert.deepEqual(await readdir(join(folder.path, 'staging')), [])
      assert.equal(sha256Digest(site.content), site.wanted.digest)
    })
  }
})
