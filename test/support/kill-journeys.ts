/** The journeys that are interrupted: publishing to a feed, and pulling all of another node's. */

import type { FaultPoint, ReachFaultPoint } from '../../src/fault-points.ts'
import { createLog } from '../../src/log.ts'
import { openNode } from '../../src/node.ts'

export const VERSIONS = 12
/** Past 64 KiB, so that the file store takes part. */
const BLOB_BYTES = 100_000
const ACTOR = { name: 'test', from: 'test' }

export interface Journey {
  readonly directory: string
  /** Told of everything that was acknowledged. */
  readonly say: (line: string) => void
  /** Told of the fault points once the node has started. */
  readonly reach: ReachFaultPoint
}

async function openArmed({ directory, reach }: Journey) {
  let armed = false
  const reachArmed = (point: FaultPoint) => {
    if (armed) reach(point)
  }
  const node = await openNode({ directory, overrides: {}, log: createLog('silent'), reach: reachArmed })
  const arm = () => {
    armed = true
  }
  return { node, arm }
}

export async function publishVersions(journey: Journey): Promise<void> {
  const { node, arm } = await openArmed(journey)
  await using _node = node
  if ((await node.operations.listFeeds()).length === 0)
    await node.operations.createFeed({ name: 'packages', type: 'npm', publicRead: false }, ACTOR)
  const feed = node.operations.openFeed('packages')
  const present = (await feed.findUnit('left'))?.rows.length ?? 0
  arm()
  for (let number = present; number < present + VERSIONS; number += 1) {
    await using staged = await feed.stage({ maxBytes: BLOB_BYTES })
    await staged.write(Buffer.alloc(BLOB_BYTES, number))
    const blob = await staged.seal()
    const meta = Buffer.from(JSON.stringify({ version: number, long: 'x'.repeat(2000) }))
    await feed.change('left', () => ({
      put: [{ key: `v/1.0.${number}`, rowClass: 'immutable', meta, files: [{ role: 'tarball', blob }] }],
    }))
    journey.say(`v/1.0.${number}`)
  }
}

export async function pullAll(journey: Journey & { readonly url: string; readonly token: string }): Promise<void> {
  const { node, arm } = await openArmed(journey)
  await using _node = node
  if ((await node.operations.listFeeds()).length === 0)
    await node.operations.createFeed({ name: 'shop', type: 'npm', publicRead: false }, ACTOR)
  const [known] = await node.operations.listReplications()
  arm()
  const { url, token } = journey
  const id =
    known?.id ??
    (
      await node.operations.addReplication(
        { feeds: [{ local: 'shop' }], communication: 'outgoing', mode: 'pull', url, token },
        ACTOR,
      )
    ).id
  journey.say('link')
  const result = await node.operations.runReplication(id, {})
  journey.say(`run ${result.state}`)
}
