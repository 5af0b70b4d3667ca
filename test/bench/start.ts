/** A process starts on a filled data folder: until the node is ready, until its first answer, against an empty folder. */

import { join } from 'node:path'
import { entryPlace } from './entries.ts'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { requestOnce } from './http-connection.ts'
import { copyFolder, filledFolder, HUB_FEED } from './linked-pair.ts'
import { startNode } from './node-process.ts'
import { medianOf, spreadOf } from './samples.ts'

const ROUNDS = 5
const MAX_READY_SECONDS = 3

interface Start {
  /** From the start of the process, s. */
  readonly ready: number
  /** Opening the node alone, s. */
  readonly open: number
  readonly firstAnswer: number
  readonly rssBytes: number
}

async function measureStart(folder: string, path: string): Promise<Start> {
  const start = performance.now()
  await using node = await startNode(folder)
  const ready = (performance.now() - start) / 1000
  const { status } = await requestOnce({ url: `${node.http}${path}` })
  if (status !== 200) throw new Error(`${path} was answered with ${status}`)
  const firstAnswer = (performance.now() - start) / 1000
  return { ready, open: node.seconds, firstAnswer, rssBytes: (await node.child.call('use')).rssBytes }
}

async function measureRounds(folder: string, path: string): Promise<Start[]> {
  await measureStart(folder, path)
  const starts: Start[] = []
  for (let round = 0; round < ROUNDS; round += 1) starts.push(await measureStart(folder, path))
  return starts
}

function describe(entries: number, filled: readonly Start[], empty: readonly Start[]): Finding {
  const pick = (starts: readonly Start[], key: keyof Start) => starts.map((start) => start[key])
  const median = (key: keyof Start) => formatNumber(medianOf(pick(filled, key)))
  return {
    what: `${entries} entries`,
    ours: `ready ${median('ready')} s, first answer ${median('firstAnswer')} s`,
    peer: `${MAX_READY_SECONDS} s until the first answer`,
    ratio: medianOf(pick(filled, 'firstAnswer')) / MAX_READY_SECONDS,
    target: { atMost: 1 },
    spread: spreadOf(pick(filled, 'firstAnswer')),
    note: `opening alone ${median('open')} s; empty folder: ready ${formatNumber(medianOf(pick(empty, 'ready')))} s; RSS ${formatBytes(medianOf(pick(filled, 'rssBytes')))}`,
  }
}

async function run(lab: Lab): Promise<Finding[]> {
  const empty = await measureRounds(join(lab.folder, 'empty'), '/health')
  const findings: Finding[] = []
  for (const entries of [100_000, ...(lab.full ? [1_000_000] : [])]) {
    const folder = await copyFolder(await filledFolder(lab, entries), join(lab.folder, `filled-${entries}`))
    lab.say(`starting with ${entries} entries`)
    const path = `/npm/${HUB_FEED}/${entryPlace(Math.floor(entries / 2)).unit}`
    findings.push(describe(entries, await measureRounds(folder, path), empty))
  }
  return findings
}

export const start: Bench = { name: 'start', about: 'until ready and first answer with a filled data folder', run }
