/** A spoke that was away while d entries changed: bytes on the wire against the changed rows themselves. */

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import {
  awaitEqual,
  copyFolder,
  filledFolder,
  HUB_FEED,
  type LinkedPair,
  meshPort,
  startEqualPair,
} from './linked-pair.ts'
import type { EntryChoice } from './node-methods.ts'

const CHANGES = [10, 1_000, 10_000]
const MAX_RATIO = 4
const SETTLE_MS = 500

interface Case {
  readonly choice: EntryChoice
  /** Whether the hub's log still reaches back to what the spoke has. */
  readonly hasLog: boolean
  readonly revision: number
}

/** The hub stops, forgets its log and comes back, so that the spoke has to compare the tries. */
async function restartWithoutLog({ hub, proxy }: LinkedPair): Promise<void> {
  await hub.child.call('close', hub.folder)
  await hub.child.call('forgetLog', hub.folder)
  proxy.setTarget('127.0.0.1', meshPort(await hub.child.call('open', hub.folder)))
}

async function measure(pair: LinkedPair, { choice, hasLog, revision }: Case): Promise<Finding> {
  const { hub, spoke, proxy, replication } = pair
  await spoke.child.call('pause', spoke.folder, replication, true)
  await hub.child.call('write', hub.folder, HUB_FEED, choice, revision)
  const minimum = await hub.child.call('rowBytes', hub.folder, HUB_FEED, choice)
  if (!hasLog) await restartWithoutLog(pair)
  proxy.take()
  await spoke.child.call('pause', spoke.folder, replication, false)
  const { seconds } = await awaitEqual(pair)
  await delay(SETTLE_MS)
  const { up, down, turns } = proxy.take()
  return {
    what: `${choice.count} of ${choice.of}, ${choice.kind}, by ${hasLog ? 'log' : 'tries'}`,
    ours: formatBytes(up + down),
    peer: `rows ${formatBytes(minimum)}`,
    ratio: (up + down) / minimum,
    target: { atMost: MAX_RATIO },
    spread: null,
    note: `${formatNumber(seconds)} s, ${turns} turns`,
  }
}

async function run(lab: Lab): Promise<Finding[]> {
  const entries = lab.full ? 1_000_000 : 100_000
  const filled = await filledFolder(lab, entries)
  const hubFolder = await copyFolder(filled, join(lab.folder, 'hub'))
  lab.say('first run')
  await using pair = await startEqualPair(hubFolder, join(lab.folder, 'spoke'))
  const findings: Finding[] = []
  let revision = 200
  for (const hasLog of [true, false]) {
    for (const kind of ['random', 'burst'] as const) {
      for (const count of CHANGES) {
        revision += 1
        lab.say(`${count} entries, ${kind}, ${hasLog ? 'by log' : 'by tries'}`)
        findings.push(await measure(pair, { choice: { kind, count, of: entries }, hasLog, revision }))
      }
    }
  }
  return findings
}

export const catchUp: Bench = {
  name: 'catch-up',
  about: 'bytes for d changed entries against the rows themselves',
  run,
}
