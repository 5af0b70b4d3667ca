/**
 * One more version is published in a feed of N entries: what passes on the wire until the linked spoke has it, and in how
 * many round trips of a distant link.
 */

import { join } from 'node:path'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { copyFolder, filledFolder, HUB_FEED, type LinkedPair, linkPair, SPOKE_FEED } from './linked-pair.ts'
import { medianOf, spreadOf, timed } from './samples.ts'

const ROUNDS = 5
const MAX_BYTES = 64 * 1024
const HALF_ROUND_TRIP_MS = 50

interface Measured {
  readonly bytes: number
  readonly turns: number
  readonly pieces: number
  readonly seconds: number
}

async function measureRun({ spoke, proxy, replication }: LinkedPair): Promise<Measured> {
  proxy.take()
  const seconds = await timed(() => spoke.child.call('run', spoke.folder, replication))
  const { up, down, turns, pieces } = proxy.take()
  return { bytes: up + down, turns, pieces, seconds }
}

async function publishOne({ hub }: LinkedPair, entries: number, round: number): Promise<void> {
  const next = { kind: 'burst', count: 1, of: entries } as const
  await hub.child.call('write', hub.folder, HUB_FEED, next, 100 + round)
}

async function measureSize(lab: Lab, entries: number): Promise<Finding[]> {
  const filled = await filledFolder(lab, entries)
  const hubFolder = await copyFolder(filled, join(lab.folder, `hub-${entries}`))
  await using pair = await linkPair(hubFolder, join(lab.folder, `spoke-${entries}`))
  lab.say(`first run over ${entries} entries`)
  await measureRun(pair)
  const { spoke, proxy } = pair
  if ((await spoke.child.call('countEntries', spoke.folder, SPOKE_FEED)) !== entries)
    throw new Error('the spoke is not equal')
  const news: Measured[] = []
  const idle: Measured[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    await publishOne(pair, entries, round)
    news.push(await measureRun(pair))
    idle.push(await measureRun(pair))
  }
  proxy.delayMs = HALF_ROUND_TRIP_MS
  await publishOne(pair, entries, ROUNDS)
  const distant = (await measureRun(pair)).seconds / ((2 * HALF_ROUND_TRIP_MS) / 1000)
  const idleDistant = (await measureRun(pair)).seconds / ((2 * HALF_ROUND_TRIP_MS) / 1000)
  return [
    describe(`one new of ${entries}`, news, distant, { atMost: 1 }),
    describe(`idle poll of ${entries}`, idle, idleDistant, null),
  ]
}

function describe(what: string, runs: readonly Measured[], roundTrips: number, target: Finding['target']): Finding {
  const bytes = runs.map((one) => one.bytes)
  return {
    what,
    ours: `${formatBytes(medianOf(bytes))}, ${formatNumber(roundTrips)} round trips`,
    peer: formatBytes(MAX_BYTES),
    ratio: medianOf(bytes) / MAX_BYTES,
    target,
    spread: spreadOf(bytes),
    note: `${medianOf(runs.map((one) => one.turns))} turns, ${medianOf(runs.map((one) => one.pieces))} pieces, ${formatNumber(medianOf(runs.map((one) => one.seconds)) * 1000)} ms on loopback; grant, pull and confirmation included`,
  }
}

async function run(lab: Lab): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const entries of [1_000, 10_000, 100_000, ...(lab.full ? [1_000_000] : [])])
    findings.push(...(await measureSize(lab, entries)))
  return findings
}

export const oneNewVersion: Bench = { name: 'one-new-version', about: 'bytes and round trips for one new version', run }
