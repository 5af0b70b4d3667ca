/**
 * One more version is published in a feed of N entries: what passes on the wire until the linked spoke has it, and in how
 * many round trips of a distant link.
 */

import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { awaitEqual, copyFolder, filledFolder, HUB_FEED, type LinkedPair, startEqualPair } from './linked-pair.ts'
import { medianOf, spreadOf, timed } from './samples.ts'

const ROUNDS = 5
const MAX_BYTES = 64 * 1024
const HALF_ROUND_TRIP_MS = 50
const SETTLE_MS = 500

interface Measured {
  readonly bytes: number
  readonly turns: number
  readonly pieces: number
  readonly seconds: number
}

async function measure({ proxy }: LinkedPair, work: () => Promise<unknown>): Promise<Measured> {
  proxy.take()
  const seconds = await timed(work)
  // What both ends still say to each other about it, such as the confirmation, counts too.
  await delay(SETTLE_MS)
  const { up, down, turns, pieces } = proxy.take()
  return { bytes: up + down, turns, pieces, seconds }
}

/** From the call that publishes until the spoke shows the version, which the hub's announcement sets off. */
function measureNews(pair: LinkedPair, entries: number, revision: number): Promise<Measured> {
  const { hub } = pair
  const one = { kind: 'burst', count: 1, of: entries } as const
  return measure(pair, async () => {
    await hub.child.call('write', hub.folder, HUB_FEED, one, revision)
    await awaitEqual(pair)
  })
}

function measureIdle(pair: LinkedPair): Promise<Measured> {
  const { spoke, replication } = pair
  return measure(pair, () => spoke.child.call('run', spoke.folder, replication))
}

async function measureSize(lab: Lab, entries: number): Promise<Finding[]> {
  const hubFolder = await copyFolder(await filledFolder(lab, entries), join(lab.folder, `hub-${entries}`))
  lab.say(`first run over ${entries} entries`)
  await using pair = await startEqualPair(hubFolder, join(lab.folder, `spoke-${entries}`))
  const news: Measured[] = []
  const idle: Measured[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    news.push(await measureNews(pair, entries, 100 + round))
    idle.push(await measureIdle(pair))
  }
  pair.proxy.delayMs = HALF_ROUND_TRIP_MS
  const distantNews = await measureNews(pair, entries, 100 + ROUNDS)
  const distantIdle = await measureIdle(pair)
  return [
    describeBytes(`one new of ${entries}, bytes`, news, { atMost: 1 }),
    describeRoundTrips(`one new of ${entries}, round trips`, news, distantNews),
    {
      ...describeBytes(`idle poll of ${entries}, bytes`, idle, null),
      note: `${formatNumber(roundTrips(idle, distantIdle))} round trips`,
    },
  ]
}

function roundTrips(near: readonly Measured[], distant: Measured): number {
  return (distant.seconds - medianOf(near.map((one) => one.seconds))) / ((2 * HALF_ROUND_TRIP_MS) / 1000)
}

/** The announcement itself is half a round trip. */
function describeRoundTrips(what: string, near: readonly Measured[], distant: Measured): Finding {
  const after = roundTrips(near, distant) - 0.5
  return {
    what,
    ours: `${formatNumber(after)} after the announcement`,
    peer: '1',
    ratio: after,
    target: { atMost: 1 },
    spread: null,
    note: `${formatNumber(medianOf(near.map((one) => one.seconds)) * 1000)} ms on loopback`,
  }
}

function describeBytes(what: string, runs: readonly Measured[], target: Finding['target']): Finding {
  const bytes = runs.map((one) => one.bytes)
  return {
    what,
    ours: formatBytes(medianOf(bytes)),
    peer: formatBytes(MAX_BYTES),
    ratio: medianOf(bytes) / MAX_BYTES,
    target,
    spread: spreadOf(bytes),
    note: `${medianOf(runs.map((one) => one.turns))} turns, ${medianOf(runs.map((one) => one.pieces))} pieces`,
  }
}

async function run(lab: Lab): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const entries of [1_000, 10_000, 100_000, ...(lab.full ? [1_000_000] : [])])
    findings.push(...(await measureSize(lab, entries)))
  return findings
}

export const oneNewVersion: Bench = { name: 'one-new-version', about: 'bytes and round trips for one new version', run }
