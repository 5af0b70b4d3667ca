/**
 * The benchmarks: `node test/bench/run.ts [NAME…]`, all of them without a name. Prints a table and writes
 * bench/results.json. BENCH_FULL=1 adds sizes that take longer, BENCH_PROFILE=FOLDER writes CPU profiles of our nodes.
 */

import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { announce } from './announce.ts'
import { blobTransfer } from './blob-transfer.ts'
import { catchUp } from './catch-up.ts'
import { dockerBlobs } from './docker-blobs.ts'
import { fanOut } from './fan-out.ts'
import { type Bench, type Finding, isMet, renderTable } from './findings.ts'
import { readMachineFacts } from './machine.ts'
import { memory } from './memory.ts'
import { newcomer } from './newcomer.ts'
import { npmPackument } from './npm-packument.ts'
import { npmPublish } from './npm-publish.ts'
import { npmServe } from './npm-serve.ts'
import { nugetSearch } from './nuget-search.ts'
import { oneNewVersion } from './one-new-version.ts'
import { rpmIndex } from './rpm-index.ts'
import { signedIndex } from './signed-index.ts'
import { smallPackages } from './small-packages.ts'
import { start } from './start.ts'

const BENCHES: readonly Bench[] = [
  announce,
  npmPublish,
  npmPackument,
  npmServe,
  dockerBlobs,
  signedIndex,
  rpmIndex,
  nugetSearch,
  start,
  oneNewVersion,
  catchUp,
  newcomer,
  blobTransfer,
  smallPackages,
  fanOut,
  memory,
]
const RESULTS = resolve(import.meta.dirname, '../../bench/results.json')

interface Outcome {
  readonly name: string
  readonly about: string
  readonly seconds: number
  readonly findings: readonly (Finding & { readonly met: boolean | null })[]
  readonly error?: string
}

async function runBench(bench: Bench, root: string): Promise<Outcome> {
  const started = performance.now()
  const seconds = () => Math.round((performance.now() - started) / 100) / 10
  const folder = join(root, bench.name)
  const say = (text: string) => console.error(`${bench.name} ${String(seconds()).padStart(6)} s  ${text}`)
  const { name, about } = bench
  await mkdir(folder)
  try {
    const findings = await bench.run({ folder, full: process.env.BENCH_FULL === '1', say })
    console.log(`\n${renderTable(name, findings)}\n`)
    return { name, about, seconds: seconds(), findings: findings.map((one) => ({ ...one, met: isMet(one) })) }
  } catch (error) {
    console.error(`${name} failed:`, error)
    return { name, about, seconds: seconds(), findings: [], error: String(error) }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

function chooseBenches(names: readonly string[]): readonly Bench[] {
  const unknown = names.filter((name) => !BENCHES.some((bench) => bench.name === name))
  if (unknown.length > 0)
    throw new Error(`no benchmark ${unknown.join(', ')}; there are ${BENCHES.map((bench) => bench.name).join(', ')}`)
  return names.length === 0 ? BENCHES : BENCHES.filter((bench) => names.includes(bench.name))
}

const benches = chooseBenches(process.argv.slice(2))
const machine = readMachineFacts()
const root = await mkdtemp(join(tmpdir(), 'feedmesh-bench-'))
const outcomes: Outcome[] = []
try {
  for (const bench of benches) outcomes.push(await runBench(bench, root))
} finally {
  await rm(root, { recursive: true, force: true })
}
await mkdir(resolve(RESULTS, '..'), { recursive: true })
await writeFile(RESULTS, `${JSON.stringify({ machine, outcomes }, null, 2)}\n`)
console.log(
  `${machine.cpu}, ${machine.cores} cores, ${machine.memoryGiB} GiB, ${machine.system}, Node ${machine.node}, ${machine.commit}`,
)
if (outcomes.some((outcome) => outcome.error !== undefined)) process.exitCode = 1
