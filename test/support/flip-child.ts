/**
 * Flips one bit after the other in copies of a data folder: `flip-child.ts FIRST COUNT FOLDER`. A process of its own, because LevelDB
 * ends the process on some damaged tables. Prints `flipped SEED KIND: WHERE` before and `outcome KIND: OUTCOME` after each.
 */

import assert from 'node:assert/strict'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isFeedmeshError } from '../../src/errors.ts'
import { createMemoryNetwork } from '../../src/network/memory-network.ts'
import { type Flip, flipOneBit, type OpenHub, Original, openHub } from './damaged-folder.ts'
import { createRandom } from './random.ts'

const ACTOR = { name: 'test', from: 'test' }
/** Damage to these must be found by `verify`, or at the start: rows, trie nodes, blob index, small blobs, settings of feeds. */
const IN_USE = ['r', 'n', 'b', 'c', 'F']

type Outcome =
  | 'starts without any feed'
  | 'refused'
  | 'found'
  | 'signs nothing, being behind its floor file'
  | 'unchanged'
  | `not found: ${string}`

async function verifyFinds(hub: OpenHub): Promise<boolean> {
  try {
    const report = await hub.maintenance.verify({ repair: false, signal: AbortSignal.timeout(10_000) }, ACTOR)
    return report.damaged.length > 0
  } catch (error) {
    assert.ok(isFeedmeshError(error, 'CORRUPT'), `verify: ${String(error)}`)
    return true
  }
}

/** The end of the database's log is gone: what is left is whole, and older than what was signed. */
function isBehindFloor({ node }: OpenHub): boolean {
  const { ledger, book, parts } = node
  const { registry } = ledger
  return [...registry.locals.values()].some((local) => parts.catchUp.find(local.id, { registry, book })?.isBehindFloor)
}

async function openDamaged(directory: string, network: ReturnType<typeof createMemoryNetwork>) {
  try {
    return await openHub(network, directory)
  } catch (error) {
    assert.ok(isFeedmeshError(error, 'CORRUPT', 'BAD_INPUT', 'DATA_NEWER', 'STORAGE_IO'), `start: ${String(error)}`)
    return undefined
  }
}

/** undefined where LevelDB itself refuses to read on. */
async function readTables(original: Original, hub: OpenHub): Promise<ReadonlySet<string> | undefined> {
  try {
    return await original.differingTables(hub.node.parts.records)
  } catch (error) {
    assert.ok(isFeedmeshError(error, 'CORRUPT'), String(error))
    return undefined
  }
}

async function examine(original: Original, directory: string, flip: Flip): Promise<Outcome> {
  const network = createMemoryNetwork()
  await using hub = await openDamaged(directory, network)
  if (hub === undefined) return 'refused'
  await original.pullHonestly(network, hub.node)
  const outcome = await classify(original, hub, flip)
  // What the database holds is as it was, or older: a catch-up comes before the next signature.
  if (flip.kind === 'blob file' || outcome === 'unchanged' || isBehindFloor(hub)) return outcome
  await original.publishOnTop(hub.node)
  await original.pullHonestly(network, hub.node)
  return outcome
}

async function classify(original: Original, hub: OpenHub, flip: Flip): Promise<Outcome> {
  if (await verifyFinds(hub)) return 'found'
  if (hub.node.ledger.registry.locals.size === 0) return 'starts without any feed'
  if (isBehindFloor(hub)) return 'signs nothing, being behind its floor file'
  const tables = await readTables(original, hub)
  if (tables === undefined) return 'not found: some records cannot be read'
  assert.notEqual(flip.kind, 'blob file', 'a damaged file is not found')
  for (const table of IN_USE) assert.ok(!tables.has(table), `damage to table ${table} is not found`)
  return tables.size === 0 ? 'unchanged' : `not found: ${[...tables].sort().join('')}`
}

const [, , first = '1', count = '1', root = ''] = process.argv
const say = (line: string) => process.stdout.write(`${line}\n`)
const original = await Original.create(root)
for (let seed = Number(first); seed < Number(first) + Number(count); seed += 1) {
  const directory = join(root, `copy-${seed}`)
  const flip = await flipOneBit(original, directory, createRandom(seed))
  say(`flipped ${seed} ${flip.kind}: ${flip.where}`)
  say(`outcome ${flip.kind}: ${await examine(original, directory, flip)}`)
  await rm(directory, { recursive: true, force: true })
}
