/**
 * kill −9 in the middle of what operators do. KILL_REPEAT=n repeats each named moment, each time one occurrence later where the
 * journey has that many; KILL_RANDOM=n adds kills at random moments (0).
 */

import assert from 'node:assert/strict'
import { cp, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { initDataFolder, isDataFolder } from '../../src/data-folder.ts'
import { type FaultPoint, noFaults } from '../../src/fault-points.ts'
import { type Audit, auditDataFolder } from '../support/audit-data.ts'
import {
  backupOf,
  NEW_FEEDS,
  OPERATOR_JOURNEYS,
  type OperatorJourney,
  prepareFolder,
  restoredOf,
  runOperatorJourney,
} from '../support/operator-journeys.ts'
import { createRandom } from '../support/random.ts'
import { runChild } from '../support/run-child.ts'

const CHILD = join(import.meta.dirname, '..', 'support', 'operator-child.ts')
const LOOPBACK = { http: '127.0.0.1:0', listen: ['/ip4/127.0.0.1/tcp/0'] }
const REPEAT = Number(process.env['KILL_REPEAT'] ?? 1)
const RANDOM = Number(process.env['KILL_RANDOM'] ?? 0)
const LONGEST_JOURNEY_MS = 400

type Moment = readonly [journey: OperatorJourney, point: FaultPoint | 'after', occurrence: number]

const MOMENTS: readonly Moment[] = [
  ['create', 'feed.keyed', 2],
  ['create', 'records.writing', 2],
  ['create', 'publish.committed', 2],
  ['gc', 'forget.begun', 1],
  ['gc', 'records.written', 2],
  ['gc', 'records.writing', 3],
  ['gc', 'records.written', 5],
  ['remove', 'records.writing', 1],
  ['remove', 'records.written', 1],
  ['backup', 'after', 10],
  ['restore', 'after', 2],
  ['start', 'after', 30],
]

interface Outcome {
  readonly isKilled: boolean
  readonly acknowledged: readonly string[]
}

async function killDuring(moment: Moment, directory: string): Promise<Outcome> {
  const [journey, point, occurrence] = moment
  const child = await runChild(CHILD, [journey, directory, point, String(occurrence)])
  assert.ok(child.signal === 'SIGKILL' || child.exitCode === 0, child.stderr)
  const acknowledged = [...child.stdout.matchAll(/^acknowledged (.+)$/gm)].map((match) => match[1] ?? '')
  return { isKilled: child.signal === 'SIGKILL', acknowledged }
}

function checkPackages({ feeds }: Audit): void {
  assert.deepEqual(feeds.get('packages')?.get('left'), ['v/1.0.0', 'v/1.1.0'])
}

/** A copy is whole, or nothing takes it for a data folder. */
async function checkCopy(copy: string): Promise<void> {
  if (await isDataFolder(copy)) checkPackages(await auditDataFolder(copy))
}

async function killAndRepeat(moment: Moment, originals: string): Promise<Outcome> {
  const [journey] = moment
  const root = await mkdtemp(join(tmpdir(), 'feedmesh-kill-'))
  const directory = join(root, 'data')
  try {
    await cp(join(originals, 'data'), directory, { recursive: true })
    if (journey === 'restore') await cp(join(originals, 'backup'), backupOf(directory), { recursive: true })
    const outcome = await killDuring(moment, directory)
    const audit = await auditDataFolder(directory)
    checkPackages(audit)
    for (const name of outcome.acknowledged)
      assert.ok(audit.feeds.has(name), `feed ${name} was acknowledged and is gone`)
    await checkCopy(backupOf(directory))
    await checkCopy(restoredOf(directory))
    if (journey === 'backup') await rm(backupOf(directory), { recursive: true, force: true })
    await runOperatorJourney(journey, directory, { reach: noFaults, began: () => {}, say: () => {} })
    const end = await auditDataFolder(directory)
    checkPackages(end)
    if (journey === 'create') for (const name of NEW_FEEDS) assert.ok(end.feeds.has(name))
    if (journey === 'backup') assert.ok(await isDataFolder(backupOf(directory)))
    if (journey === 'restore') assert.ok(await isDataFolder(restoredOf(directory)))
    await checkCopy(backupOf(directory))
    await checkCopy(restoredOf(directory))
    return outcome
  } finally {
    await rm(root, { recursive: true, force: true })
  }
}

describe('a node killed while an operator works', { concurrency: 2 }, () => {
  let originals: string

  before(async () => {
    originals = await mkdtemp(join(tmpdir(), 'feedmesh-kill-originals-'))
    const directory = join(originals, 'data')
    await initDataFolder(directory, LOOPBACK)
    await prepareFolder(directory)
    await runOperatorJourney('backup', directory, { reach: noFaults, began: () => {}, say: () => {} })
  })

  after(() => rm(originals, { recursive: true, force: true }))

  for (const [journey, point, first] of MOMENTS) {
    const when = point === 'after' ? `${first} ms into it` : `at ${point} (${first})`
    test(`${journey}, ${when}: is whole afterwards, and what was begun can be completed`, async () => {
      for (let turn = 0; turn < REPEAT; turn += 1) {
        const { isKilled } = await killAndRepeat([journey, point, first + turn], originals)
        if (turn === 0 && point !== 'after') assert.ok(isKilled, `${point} is not reached ${first} times`)
      }
    })
  }

  for (let seed = 1; seed <= RANDOM; seed += 1) {
    const random = createRandom(seed)
    const journey = random.pick(OPERATOR_JOURNEYS)
    const afterMs = random.below(LONGEST_JOURNEY_MS)
    test(`${journey}, killed after ${afterMs} ms (seed ${seed})`, async () => {
      await killAndRepeat([journey, 'after', afterMs], originals)
    })
  }
})
