/**
 * A spoke that was off for three weeks catches up, and pays for what differs.
 *
 * Bytes are payload at the ends of the streams, both directions together. The least there is to send: the encoded rows that
 * the spoke lacks, and a place of 32 bytes for each that went; files are counted apart, against their own sizes.
 */

import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOB_PROTOCOL } from '../../protocols/mesh/blob/messages.ts'
import { keys } from '../../src/store/keys.ts'
import type { DiskImage } from './disk-image.ts'
import { drawOptions, type PlannedNode } from './options.ts'
import { running, World } from './world.ts'

const HOUR_MS = 3_600_000
const DAYS = 21
const CHANGES_A_DAY = 45
const PLACE_BYTES = 32
/** To ask for a file and to say what comes. */
const REQUEST_BYTES = 256

const hubPlan: PlannedNode = {
  parent: undefined,
  link: 'pull',
  isOffering: false,
  availability: 'full',
  everyMs: 60_000,
  changeEveryMs: undefined,
  skewMs: 0,
}

function createWorld(keptOperations: number): World {
  const nodes = [hubPlan, { ...hubPlan, parent: 0 }]
  const network = { latencyMs: 40, bandwidth: 5000, diskMs: 5, slowReads: 0 }
  return new World(
    drawOptions(3, { nodes, faults: new Set(), units: 40, maxContentBytes: 2000, keptOperations, ...network }),
  )
}

/** Rows of the hub's feed on a disk, by place. */
function rowsOf(world: World, image: DiskImage, name: 'hub' | 'spoke'): Map<string, Buffer> {
  const [hub, spoke] = [world.nodes[0]!, world.nodes[1]!]
  const state = running(name === 'hub' ? hub : spoke).node.ledger.registry.getState(hub.feedId)
  const entries = image.records.range(keys.rows(state.number, state.generation))
  return new Map(
    entries.map(([key, value]) => [Buffer.from(key.subarray(-PLACE_BYTES)).toString('hex'), Buffer.from(value)]),
  )
}

async function change(world: World, times: number): Promise<void> {
  for (let at = 0; at < times; at += 1) await world.run(world.workload.act(world.nodes[0]!))
}

async function liveThreeWeeks(world: World): Promise<void> {
  const { timeline, verify } = world
  for (let day = 0; day < DAYS; day += 1) {
    await change(world, CHANGES_A_DAY)
    await timeline.advanceTo(timeline.now() + HOUR_MS / 2, verify)
    timeline.skip(24 * HOUR_MS - (timeline.now() % (24 * HOUR_MS)))
  }
}

for (const [name, keptOperations] of [
  ['the log reaches back', 100_000],
  ['the log does not reach back', 1],
] as const) {
  test(`a spoke three weeks behind becomes equal for at most four times what differs: ${name}`, {
    timeout: 300_000,
  }, async (t) => {
    const world = createWorld(keptOperations)
    const [hub, spoke] = [world.nodes[0]!, world.nodes[1]!]
    await world.setUp()
    await change(world, 150)
    await world.timeline.advanceTo(world.timeline.now() + 5 * 60_000, world.verify)
    assert.deepEqual(world.differences(), [])
    const before = rowsOf(world, spoke.image, 'spoke')
    const logSize = running(spoke).node.ledger.registry.getState(hub.feedId).manifest?.value.logSize ?? 0
    await world.run(spoke.stop())

    await liveThreeWeeks(world)
    const state = running(hub).node.ledger.registry.getState(hub.feedId)
    assert.equal(state.logFrom <= logSize, keptOperations > 1, `the log begins at ${state.logFrom}`)

    world.sent.clear()
    await world.run(spoke.start())
    const since = world.timeline.now()
    while (world.differences().length > 0 && world.timeline.now() < since + 3 * 60_000)
      await world.timeline.advanceTo(world.timeline.now() + 1000, world.verify)
    assert.deepEqual(world.differences(), [])
    await world.audit()

    const after = rowsOf(world, hub.image, 'hub')
    const lacking = [...after].filter(([place, row]) => before.get(place)?.equals(row) !== true)
    const gone = [...before.keys()].filter((place) => !after.has(place))
    const least = lacking.reduce((sum, [, row]) => sum + row.length, 0) + gone.length * PLACE_BYTES
    const { bytes: files, items } = running(spoke).node.parts.runs.list(1)[0]!.fetched
    const blobs = world.sent.get(BLOB_PROTOCOL) ?? 0
    const metadata = [...world.sent.values()].reduce((sum, bytes) => sum + bytes, 0) - blobs
    t.diagnostic(
      `${lacking.length} rows new, ${gone.length} gone of ${after.size}: ${metadata} bytes of metadata for ${least}, ${blobs} bytes of files for ${files}`,
    )
    assert.ok(metadata <= 4 * least, `${metadata} bytes of metadata where ${least} would do`)
    assert.ok(blobs <= files + REQUEST_BYTES * items, `${blobs} bytes for ${items} files of ${files} bytes`)
  })
}
