/** kill −9 at every named point of publish and of adopt: afterwards nothing is half there, and nothing acknowledged is lost. */

import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { initDataFolder } from '../../src/data-folder.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import { createLog } from '../../src/log.ts'
import { openNode, type RunningNode } from '../../src/node.ts'
import { auditDataFolder } from '../support/audit-data.ts'
import { publishVersions, pullAll, VERSIONS } from '../support/kill-journeys.ts'
import { runChild } from '../support/run-child.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'kill-child.ts')
const ignore = (): void => {}
const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }

/** Points of each journey, with how often each is reached before the kill: in the middle of things. */
const PUBLISH_POINTS: readonly (readonly [FaultPoint, number])[] = [
  ['blob.writing', 5],
  ['blob.written', 5],
  ['blob.synced', 3],
  ['blob.renamed', 3],
  ['records.writing', 6],
  ['records.written', 6],
  ['publish.planned', 4],
  ['publish.signed', 4],
  ['publish.committed', 4],
]
const ADOPT_POINTS: readonly (readonly [FaultPoint, number])[] = [
  ['link.stored', 1],
  ['adopt.fetched', 1],
  ['blob.writing', 4],
  ['blob.renamed', 4],
  ['adopt.blob', 3],
  ['adopt.verified', 1],
  ['records.writing', 8],
  ['records.written', 8],
  ['adopt.committed', 2],
  ['floor.written', 1],
]

async function createFolder(name: string): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), `feedmesh-kill-${name}-`))
  await initDataFolder(directory, LOOPBACK)
  return directory
}

function acknowledged(stdout: string): string[] {
  return [...stdout.matchAll(/^acknowledged (.+)$/gm)].map((match) => match[1] ?? '')
}

describe('a publishing node killed', { concurrency: 2 }, () => {
  for (const [point, occurrence] of PUBLISH_POINTS) {
    test(`at ${point} keeps every acknowledged version and shows no half one`, async (t) => {
      const directory = await createFolder('publish')
      t.after(() => rm(directory, { recursive: true, force: true }))
      const killed = await runChild(CHILD, ['publish', directory, point, String(occurrence)])
      assert.equal(killed.signal, 'SIGKILL', killed.stderr)
      const { feeds } = await auditDataFolder(directory)
      const visible = feeds.get('packages')?.get('left') ?? []
      for (const key of acknowledged(killed.stdout))
        assert.ok(visible.includes(key), `${key} was acknowledged and is gone`)
      await publishVersions({ directory, say: ignore, reach: ignore })
      assert.equal(
        (await auditDataFolder(directory)).feeds.get('packages')?.get('left')?.length,
        visible.length + VERSIONS,
      )
    })
  }
})

describe('a spoke killed', { concurrency: 2 }, () => {
  let hub: RunningNode
  let hubFolder: string

  before(async () => {
    hubFolder = await createFolder('hub')
    await publishVersions({ directory: hubFolder, say: ignore, reach: ignore })
    hub = await openNode({ directory: hubFolder, overrides: {}, log: createLog('silent') })
  })

  after(async () => {
    await hub[Symbol.asyncDispose]()
    await rm(hubFolder, { recursive: true, force: true })
  })

  for (const [point, occurrence] of ADOPT_POINTS) {
    test(`at ${point} has nothing half adopted and is equal after the next run`, async (t) => {
      const directory = await createFolder('spoke')
      t.after(() => rm(directory, { recursive: true, force: true }))
      const { token = '' } = await hub.operations.addReplication(
        { feeds: [{ local: 'packages' }], communication: 'incoming', mode: 'push', token: 'new' },
        { name: 'test', from: 'test' },
      )
      const killed = await runChild(CHILD, ['pull', directory, point, String(occurrence), hub.http, token])
      assert.equal(killed.signal, 'SIGKILL', `${killed.stdout} ${killed.stderr}`)
      const visible = (await auditDataFolder(directory)).feeds.get('shop')?.get('left') ?? []
      assert.ok(
        visible.length === 0 || visible.length === VERSIONS,
        `${visible.length} of ${VERSIONS} versions are visible`,
      )
      const said: string[] = []
      await pullAll({ directory, say: (line) => said.push(line), reach: ignore, url: hub.http, token })
      assert.equal(said.at(-1), 'run succeeded')
      assert.equal((await auditDataFolder(directory)).feeds.get('shop')?.get('left')?.length, VERSIONS)
    })
  }
})
