/** A new spoke takes a feed of many tiny entries: seconds, bytes, memory, and what the parts of it take. */

import { join } from 'node:path'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import {
  awaitEqual,
  copyFolder,
  filledFolder,
  HUB_FEED,
  linkPair,
  type Pair,
  SPOKE_FEED,
  startPair,
} from './linked-pair.ts'

async function measure(pair: Pair, entries: number): Promise<Finding[]> {
  const { hub, spoke, proxy } = pair
  proxy.take()
  await linkPair(pair)
  const run = await awaitEqual(pair)
  const { up, down, turns } = proxy.take()
  // Before anything that only the benchmark asks for.
  const [hubUse, spokeUse] = await Promise.all([hub.child.call('use'), spoke.child.call('use')])
  const count = await spoke.child.call('countEntries', spoke.folder, SPOKE_FEED)
  if (count.entries !== entries) throw new Error(`the spoke has ${count.entries} entries instead of ${entries}`)
  const choice = { kind: 'all', count: entries, of: entries } as const
  const rows = await hub.child.call('rowBytes', hub.folder, HUB_FEED, choice)
  const minimum = rows + count.fileBytes
  const parts = `metadata ${formatNumber(run.metadataSeconds)} s, files and commit ${formatNumber(run.seconds - run.metadataSeconds)} s`
  const plain = { ratio: null, target: null, spread: null, peer: '-' }
  return [
    {
      ...plain,
      what: `${entries} entries, bytes`,
      ours: `${formatBytes(up + down)}, ${turns} turns`,
      peer: `rows and files ${formatBytes(minimum)}`,
      ratio: (up + down) / minimum,
      target: { atMost: 4 },
    },
    {
      ...plain,
      what: 'time',
      ours: `${formatNumber(run.seconds)} s, ${formatNumber(entries / run.seconds)} entries/s`,
      note: parts,
    },
    {
      ...plain,
      what: 'memory at the peak',
      ours: `spoke ${formatBytes(spokeUse.peakRssBytes)}, hub ${formatBytes(hubUse.peakRssBytes)}`,
      peer: '350 MiB a spoke',
      ratio: spokeUse.peakRssBytes / (350 * 1024 ** 2),
      target: { atMost: 1 },
      note: `CPU: spoke ${formatNumber(spokeUse.cpuSeconds)} s, hub ${formatNumber(hubUse.cpuSeconds)} s`,
    },
  ]
}

async function run(lab: Lab): Promise<Finding[]> {
  const entries = lab.full ? 1_000_000 : 100_000
  const hubFolder = await copyFolder(await filledFolder(lab, entries), join(lab.folder, 'hub'))
  await using pair = await startPair(hubFolder, join(lab.folder, 'spoke'))
  lab.say('the spoke takes all of it')
  return await measure(pair, entries)
}

export const newcomer: Bench = { name: 'newcomer', about: 'a new spoke takes a feed of tiny entries', run }
