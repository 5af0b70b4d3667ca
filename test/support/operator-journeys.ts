/** What an operator does to a node, to be killed in the middle of: create feeds, reclaim, remove a replication, back up, restore, start. */

import { join } from 'node:path'
import { isDataFolder, restoreDataFolder } from '../../src/data-folder.ts'
import type { ReachFaultPoint } from '../../src/fault-points.ts'
import type { NodeOperations } from '../../src/http/operations.ts'
import { createLog } from '../../src/log.ts'
import { openNode } from '../../src/node.ts'

const ACTOR = { name: 'test', from: 'test' }
export const NEW_FEEDS = ['second', 'third', 'fourth'] as const

export const OPERATOR_JOURNEYS = ['create', 'gc', 'remove', 'backup', 'restore', 'start'] as const
export type OperatorJourney = (typeof OPERATOR_JOURNEYS)[number]

export const backupOf = (directory: string): string => join(directory, '..', 'backup')
export const restoredOf = (directory: string): string => join(directory, '..', 'restored')

/** A folder with two versions, one of them burned, a removed feed, a replication that waits, and a backup beside it. */
export async function prepareFolder(directory: string): Promise<void> {
  await using node = await openNode({ directory, overrides: {}, log: createLog('silent') })
  const { operations } = node
  for (const name of ['packages', 'old']) {
    await operations.createFeed({ name, type: 'npm', publicRead: false }, ACTOR)
    for (const version of ['1.0.0', '1.1.0']) await publish(operations, name, version)
  }
  const burn = { key: 'v/1.0.0', rowClass: 'burn', meta: new Uint8Array(0), files: [] } as const
  await operations.openFeed('packages').change('left', () => ({ put: [burn] }))
  await operations.deleteFeed('old', ACTOR)
  await operations.addReplication(
    { feeds: [{ local: 'packages' }], communication: 'incoming', mode: 'push', token: 'new' },
    ACTOR,
  )
}

async function publish(operations: NodeOperations, name: string, version: string): Promise<void> {
  const feed = operations.openFeed(name)
  await using staged = await feed.stage({ maxBytes: 200_000 })
  await staged.write(Buffer.alloc(90_000, `${name} ${version}`))
  const blob = await staged.seal()
  const meta = Buffer.from(JSON.stringify({ version, long: 'x'.repeat(2000) }))
  await feed.change('left', () => ({
    put: [{ key: `v/${version}`, rowClass: 'immutable', meta, files: [{ role: 'tarball', blob }] }],
  }))
}

async function removeReplications(operations: NodeOperations): Promise<void> {
  for (const { id } of await operations.listReplications()) await operations.removeReplication(id, ACTOR)
}

/** Does what an earlier, interrupted attempt left to do. `began` is called when the journey itself begins. */
export async function runOperatorJourney(
  journey: OperatorJourney,
  directory: string,
  hooks: { readonly reach: ReachFaultPoint; readonly began: () => void; readonly say: (line: string) => void },
): Promise<void> {
  if (journey === 'start' || journey === 'restore') hooks.began()
  if (journey === 'restore') {
    if (!(await isDataFolder(restoredOf(directory))))
      await restoreDataFolder(backupOf(directory), restoredOf(directory))
    return
  }
  await using node = await openNode({ directory, overrides: {}, log: createLog('silent'), reach: hooks.reach })
  const { operations } = node
  if (journey !== 'start') hooks.began()
  if (journey === 'gc') await operations.reclaim({ isDryRun: false }, ACTOR)
  if (journey === 'remove') await removeReplications(operations)
  if (journey === 'backup') await operations.backup(backupOf(directory), ACTOR)
  if (journey !== 'create') return
  const present = new Set((await operations.listFeeds()).map((feed) => feed.name))
  for (const name of NEW_FEEDS) {
    if (present.has(name)) continue
    await operations.createFeed({ name, type: 'npm', publicRead: false }, ACTOR)
    hooks.say(name)
  }
}
