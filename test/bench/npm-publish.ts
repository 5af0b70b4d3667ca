/**
 * npm's PUT documents over HTTP, 8 connections: versions a second, against Verdaccio, and for files of their own against
 * what the disk can: as many files of that size at a time written, synced and renamed.
 */

import { randomBytes } from 'node:crypto'
import { mkdir, open, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { versionNames } from './npm-documents.ts'
import { findVerdaccioRegistry, publishAll, type Registry, startOwnRegistry } from './npm-registry.ts'
import { alternate, medianOf, spreadOf, timed } from './samples.ts'
import { NO_VERDACCIO } from './verdaccio.ts'

const CONNECTIONS = 8

interface Case {
  readonly what: string
  readonly prefix: string
  readonly packages: number
  readonly versions: number
  readonly fileBytes: number
  readonly rounds: number
}

const CASES: readonly Case[] = [
  { what: '2 KB, 100 packages × 10', prefix: 'small', packages: 100, versions: 10, fileBytes: 1500, rounds: 3 },
  { what: '2 KB, 1 package × 1,000', prefix: 'deep', packages: 1, versions: 1000, fileBytes: 1500, rounds: 2 },
  { what: '100 KB, 30 packages × 10', prefix: 'large', packages: 30, versions: 10, fileBytes: 100_000, rounds: 3 },
]

async function measure(registries: ReadonlyMap<string, Registry>, one: Case): Promise<Finding> {
  let retries = 0
  const samples = await alternate([...registries.keys()], one.rounds, async (name, round) => {
    const names = versionNames(`${one.prefix}-${round}`, one.packages, one.versions)
    const versions = names.map((version) => ({ ...version, fileBytes: one.fileBytes }))
    const sent = await publishAll(registries.get(name)!, versions, CONNECTIONS)
    if (name !== 'feedmesh') retries += sent.retries
    else if (sent.retries > 0) throw new Error(`feedmesh turned ${sent.retries} publishes away`)
    return versions.length / sent.seconds
  })
  const ours = samples.get('feedmesh')!
  const peer = samples.get('verdaccio')
  return {
    what: one.what,
    ours: `${formatNumber(medianOf(ours))} versions/s`,
    peer: peer === undefined ? NO_VERDACCIO : `Verdaccio ${formatNumber(medianOf(peer))} versions/s`,
    ratio: peer === undefined ? null : medianOf(ours) / medianOf(peer),
    target: { atLeast: 5 },
    spread: Math.max(spreadOf(ours), peer === undefined ? 0 : spreadOf(peer)),
    note: `ours is synced to disk, Verdaccio's is not${retries === 0 ? '' : `; Verdaccio turned ${retries} away, sent again`}`,
  }
}

async function run({ folder, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const registries = new Map<string, Registry>([['feedmesh', await startOwnRegistry(folder, stack)]])
  const verdaccio = await findVerdaccioRegistry(folder, stack)
  if (verdaccio !== undefined) registries.set('verdaccio', verdaccio)
  const warmUp = versionNames('warm-up', 20, 5).map((version) => ({ ...version, fileBytes: 1500 }))
  for (const registry of registries.values()) await publishAll(registry, warmUp, CONNECTIONS)
  const findings: Finding[] = []
  for (const one of CASES) {
    say(one.what)
    findings.push(await measure(registries, one))
  }
  const disk = [await measureDisk(join(folder, 'disk-0')), await measureDisk(join(folder, 'disk-1'))]
  const note = `this disk makes ${formatNumber(medianOf(disk))} files of 100 KB durable a second`
  return [...findings.slice(0, -1), { ...findings.at(-1)!, note: `${findings.at(-1)!.note}; ${note}` }]
}

async function writeSynced(folder: string, name: string, content: Buffer): Promise<void> {
  const path = join(folder, name)
  {
    await using file = await open(`${path}.new`, 'w')
    await file.write(content)
    await file.datasync()
  }
  await rename(`${path}.new`, path)
  await using parent = await open(folder, 'r')
  await parent.sync()
}

/** Files of 100 KB made durable a second, with nothing around it. */
async function measureDisk(folder: string): Promise<number> {
  const files = 300
  const content = randomBytes(100_000)
  await mkdir(folder, { recursive: true })
  let next = 0
  const seconds = await timed(() =>
    Promise.all(
      Array.from({ length: CONNECTIONS }, async () => {
        while (next < files) {
          next += 1
          await writeSynced(folder, String(next), content)
        }
      }),
    ),
  )
  return files / seconds
}

export const npmPublish: Bench = { name: 'npm-publish', about: 'versions published over HTTP against Verdaccio', run }
