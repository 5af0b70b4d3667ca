/** The packument of a package with 1,000 versions right after one more was published: ours warm, ours cold, Verdaccio. */

import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { versionNames } from './npm-documents.ts'
import {
  FEED,
  findVerdaccioRegistry,
  getPackument,
  type OwnRegistry,
  publishAll,
  type Registry,
  startOwnRegistry,
} from './npm-registry.ts'
import { alternate, medianOf, spreadOf, timed } from './samples.ts'
import { NO_VERDACCIO } from './verdaccio.ts'

const VERSIONS = 1000
const ROUNDS = 15
const NAME = 'tall-0'
const KINDS = ['abbreviated', 'full'] as const

function version(number: number) {
  return { name: NAME, version: `1.0.${number}`, fileBytes: 100 }
}

/** Time of the first GET after a publish that changed the document, ms. */
async function measureChanged(registry: Registry, kind: (typeof KINDS)[number], number: number): Promise<number> {
  await publishAll(registry, [version(number)], 1)
  return (await timed(() => getPackument(registry, NAME, kind))) * 1000
}

async function compare(registries: ReadonlyMap<string, Registry>, kind: (typeof KINDS)[number], first: number) {
  for (const registry of registries.values()) await getPackument(registry, NAME, kind)
  const samples = await alternate([...registries.keys()], ROUNDS, (name, round) =>
    measureChanged(registries.get(name)!, kind, first + round),
  )
  const { body } = await getPackument(registries.get('feedmesh')!, NAME, kind)
  return { ours: samples.get('feedmesh')!, peer: samples.get('verdaccio'), bytes: body.length }
}

/** The first GET of a node that has just started, ms; the node goes on at another port. */
async function measureCold(registry: OwnRegistry, kind: (typeof KINDS)[number]): Promise<number> {
  const { child, folder } = registry.node
  await child.call('close', folder)
  const { http } = await child.call('open', folder)
  return (await timed(() => getPackument({ ...registry, url: `${http}/npm/${FEED}/` }, NAME, kind))) * 1000
}

async function run({ folder, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const own = await startOwnRegistry(folder, stack)
  const registries = new Map<string, Registry>([['feedmesh', own]])
  const verdaccio = await findVerdaccioRegistry(folder, stack)
  if (verdaccio !== undefined) registries.set('verdaccio', verdaccio)
  say(`publishing ${VERSIONS} versions of one package`)
  const versions = versionNames('tall', 1, VERSIONS).map((one) => ({ ...one, fileBytes: 100 }))
  for (const registry of registries.values()) await publishAll(registry, versions, 4)
  const findings: Finding[] = []
  const warm = new Map<string, number>()
  for (const [at, kind] of KINDS.entries()) {
    const { ours, peer, bytes } = await compare(registries, kind, VERSIONS + at * ROUNDS)
    warm.set(kind, medianOf(ours))
    findings.push({
      what: `${kind}, changed`,
      ours: `${formatNumber(medianOf(ours))} ms`,
      peer: peer === undefined ? NO_VERDACCIO : `Verdaccio ${formatNumber(medianOf(peer))} ms`,
      ratio: peer === undefined ? null : medianOf(peer) / medianOf(ours),
      target: { atLeast: 5 },
      spread: Math.max(spreadOf(ours), peer === undefined ? 0 : spreadOf(peer)),
      note: `${formatBytes(bytes)} gzip'd`,
    })
  }
  findings.push(await countRendered(own, VERSIONS + KINDS.length * ROUNDS))
  for (const kind of KINDS) {
    const cold = await measureCold(own, kind)
    findings.push({
      what: `${kind}, cold`,
      ours: `changed ${formatNumber(warm.get(kind)!)} ms`,
      peer: `first after a start ${formatNumber(cold)} ms`,
      ratio: cold / warm.get(kind)!,
      target: null,
      spread: null,
    })
  }
  return findings
}

/** The work of one changed document, in parts of versions that were rendered. */
async function countRendered({ node, ...registry }: OwnRegistry, next: number): Promise<Finding> {
  const cold = await node.child.call('countRendered', node.folder, FEED, NAME)
  await publishAll(registry, [version(next)], 1)
  const rendered = await node.child.call('countRendered', node.folder, FEED, NAME)
  return {
    what: 'versions rendered after one publish',
    ours: String(rendered),
    peer: `${cold} when cold`,
    ratio: rendered,
    target: { atMost: 1 },
    spread: null,
  }
}

export const npmPackument: Bench = { name: 'npm-packument', about: 'a 1,000-version packument that changed', run }
