/** Plans of many nodes at once: every node is served, the far hub gives little, and no byte comes twice. */

import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { PlannedBlob } from '../../src/fetching/parts.ts'
import { createRandom, type Random } from '../support/random.ts'
import { type Behaviour, FetchWorld, type NodeOptions, type NodeReport, PART_GRID } from './fetch-world.ts'

const MIB = 1024 * 1024
/** 25 MB/s. */
const HUB_UP = 25_000
/** A gigabit. */
const LAN = 125_000
const LAN_MS = 0.5
const REGION_MS = 10
const OCEAN_MS = 80

/** Of the large run: nodes and seeds. */
const NODES = Number(process.env.FETCH_NODES ?? 120)
const SEEDS = Number(process.env.FETCH_SEEDS ?? 3)

const HUB: NodeOptions = { id: 'hub', site: 'far', region: 'far', up: HUB_UP, down: LAN, holdsAll: true }

function latencyMs(a: NodeOptions, b: NodeOptions): number {
  if (a.site === b.site) return LAN_MS
  return a.region === b.region ? REGION_MS : OCEAN_MS
}

function spokes(count: number, sites: number): NodeOptions[] {
  return Array.from({ length: count }, (_, at) => {
    const site = at % sites
    return { id: `spoke-${at}`, site: `site-${site}`, region: `region-${site % 5}`, up: LAN, down: LAN }
  })
}

/** The hub and the neighbours. */
function knows(node: NodeOptions, other: NodeOptions): boolean {
  return other.holdsAll === true || node.site === other.site
}

const total = (blobs: readonly PlannedBlob[]) => blobs.reduce((sum, blob) => sum + blob.size, 0)

function inParts(size: number): PlannedBlob {
  return { digest: `sha256:${size}`, size, partBytes: PART_GRID }
}

function blobOf(name: string, size: number): PlannedBlob {
  return { digest: `sha256:${name}`, size }
}

interface Figures {
  readonly egressPerSite: number
  readonly times: number
}

/** What the hubs sent, in copies a site, and the time against what their uplinks allow; shown with the test. */
function judge(t: TestContext, reports: readonly NodeReport[], blobs: readonly PlannedBlob[]): Figures {
  const hubs = reports.filter(({ about }) => about.holdsAll === true)
  const others = reports.filter(({ about }) => about.holdsAll !== true)
  const sites = new Set(others.map(({ about }) => about.site)).size
  const egress = hubs.reduce((sum, hub) => sum + hub.egress, 0)
  const lastMs = Math.max(...others.map(({ doneAtMs }) => doneAtMs ?? 0))
  const hubUp = hubs.reduce((sum, { about }) => sum + about.up, 0)
  const boundMs = Math.max((sites * total(blobs)) / hubUp, total(blobs) / LAN) + 3 * OCEAN_MS
  const egressPerSite = egress / sites / total(blobs)
  const times = lastMs / boundMs
  t.diagnostic(
    `${others.length} nodes, ${sites} sites: the hub sent ${egressPerSite.toFixed(3)} copies a site (bound 1), done after ${(lastMs / 1000).toFixed(1)} s = ${times.toFixed(2)} times the bound`,
  )
  return { egressPerSite, times }
}

function assertServed(reports: readonly NodeReport[]): void {
  for (const { about, doneAtMs } of reports) {
    if (about.holdsAll === true || about.behaviour === 'idler' || about.diesAtMs !== undefined) continue
    assert.notEqual(doneAtMs, undefined, `${about.id} is not served`)
  }
}

test('a cold site of four costs the far hub one copy of a 256 MiB blob, nearly as fast as it can send', (t) => {
  const blobs = [inParts(256 * MIB)]
  const nodes = [HUB, ...spokes(8, 2)]
  const reports = new FetchWorld(nodes, { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
  const { egressPerSite, times } = judge(t, reports, blobs)
  assert.ok(egressPerSite <= 1.05, `${egressPerSite}`)
  assert.ok(times <= 1.15, `${times}`)
  for (const { about, received } of reports.slice(1)) assert.equal(received, total(blobs), about.id)
})

test('a blob in one part crosses the ocean once a site, and the neighbours get it from each other', (t) => {
  const blobs: PlannedBlob[] = [{ digest: 'sha256:whole', size: 64 * MIB }]
  const reports = new FetchWorld([HUB, ...spokes(20, 2)], { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
  const { egressPerSite } = judge(t, reports, blobs)
  assert.ok(egressPerSite <= 1.3, `${egressPerSite}`)
})

test('clients that wait for the same blob on all nodes of a site cost one copy, too', (t) => {
  const blobs: PlannedBlob[] = [{ ...inParts(64 * MIB), isWaited: true }]
  const reports = new FetchWorld([HUB, ...spokes(16, 2)], { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
  assert.ok(judge(t, reports, blobs).egressPerSite <= 1.3)
})

test('thousands of small packages cost a site one copy', (t) => {
  const random = createRandom(7)
  const blobs = Array.from({ length: 1000 }, (_, at) => ({ digest: `sha256:${at}`, size: random.logUniform(500, MIB) }))
  const reports = new FetchWorld([HUB, ...spokes(8, 2)], { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
  assert.ok(judge(t, reports, blobs).egressPerSite <= 1.3)
})

test('a site finishes by itself what the hub had given once before it vanished', () => {
  const blobs = [inParts(64 * MIB)]
  const sent = total(blobs) / HUB_UP
  const nodes = [{ ...HUB, diesAtMs: sent * 1.25 + 1000 }, ...spokes(6, 1)]
  const reports = new FetchWorld(nodes, { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
})

test('neighbours that should fetch a part and do nothing are not waited for long', (t) => {
  const blobs = [inParts(64 * MIB)]
  const idle = spokes(8, 1).map((node, at): NodeOptions => (at < 3 ? { ...node, behaviour: 'idler' } : node))
  const reports = new FetchWorld([HUB, ...idle], { blobs, latencyMs, knows, limitMs: 600_000 }).run()
  assertServed(reports)
  const { egressPerSite } = judge(t, reports, blobs)
  assert.ok(egressPerSite <= 1.3, `${egressPerSite}`)
  assert.ok(Math.max(...reports.map(({ doneAtMs }) => doneAtMs ?? 0)) < 30_000)
})

test(`${NODES} nodes that start within seconds are served, and each site costs one copy`, (t) => {
  const random = createRandom(3)
  const sites = Math.max(2, Math.round(NODES / 20))
  const blobs = [inParts(64 * MIB), blobOf('whole', 2 * MIB), blobOf('small', 2000)]
  const nodes = [HUB, ...spokes(NODES, sites)]
  const starts = new Map(nodes.map(({ id }) => [id, random.below(3000)]))
  const startMs = ({ id }: NodeOptions) => starts.get(id) ?? 0
  const reports = new FetchWorld(nodes, { blobs, latencyMs, knows, limitMs: 3_600_000, startMs }).run()
  assertServed(reports)
  const { egressPerSite, times } = judge(t, reports, blobs)
  assert.ok(egressPerSite <= 1.3, `${egressPerSite}`)
  assert.ok(times <= 1.5, `${times}`)
})

const BAD: readonly Behaviour[] = ['liar', 'dripper', 'idler', 'boaster']

/** Some that lie, drip, boast, do nothing or die, at each site at least two that are as they should be. */
function withFaults(nodes: readonly NodeOptions[], random: Random, sites: number): NodeOptions[] {
  return nodes.map((node, at): NodeOptions => {
    if (at < 2 * sites || !random.chance(0.2)) return node
    if (random.chance(0.3)) return { ...node, diesAtMs: random.below(20_000) }
    return { ...node, behaviour: random.pick(BAD) }
  })
}

for (let seed = 1; seed <= SEEDS; seed += 1) {
  test(`seed ${seed}: ${NODES} nodes are served although every fifth lies, drips, boasts, idles or dies`, (t) => {
    const random = createRandom(seed)
    const sites = Math.max(2, Math.round(NODES / 20))
    const blobs: PlannedBlob[] = [inParts(48 * MIB + random.below(8 * MIB))]
    for (let at = 0; at < 40; at += 1) {
      const size = random.logUniform(100, 2 * MIB)
      blobs.push({ digest: `sha256:small-${at}`, size, isWaited: random.chance(0.1) })
    }
    const hubs = [HUB, { ...HUB, id: 'second', site: 'other', region: 'region-1' }]
    const nodes = [...hubs, ...withFaults(spokes(NODES, sites), random, sites)]
    const matrix = new Map<string, number>()
    const jittered = (a: NodeOptions, b: NodeOptions) => {
      const pair = [a.site, b.site].sort().join(' ')
      const stretch = matrix.get(pair) ?? 0.5 + 2 * random.next()
      matrix.set(pair, stretch)
      return latencyMs(a, b) * stretch
    }
    const starts = new Map(nodes.map(({ id }) => [id, random.below(3000)]))
    const startMs = ({ id }: NodeOptions) => starts.get(id) ?? 0
    const world = new FetchWorld(nodes, { blobs, latencyMs: jittered, knows, limitMs: 3_600_000, startMs })
    const reports = world.run()
    assertServed(reports)
    const { egressPerSite } = judge(t, reports, blobs)
    const needed = total(blobs)
    const served = reports.filter(({ about, doneAtMs }) => about.holdsAll !== true && doneAtMs !== undefined)
    const extra = served.reduce((sum, { received }) => sum + received - needed, 0)
    const thrown = served.reduce((sum, node) => sum + node.thrown, 0)
    t.diagnostic(
      `${world.events} events; fetched twice: ${((extra / served.length / needed) * 100).toFixed(1)} % of a copy a node, ${((thrown / served.length / needed) * 100).toFixed(1)} % because it was wrong; reruns ${served.reduce((sum, { reruns }) => sum + reruns, 0)}`,
    )
    // A neighbour that died, lied or did nothing with its part of it costs the site another copy of that.
    assert.ok(egressPerSite <= 1.3, `${egressPerSite}`)
    for (const { kept, thrown: wrong, about } of served) assert.equal(kept - wrong, needed, about.id)
  })
}

test('the same seed gives the same run', () => {
  const run = () => {
    const blobs = [inParts(32 * MIB)]
    const nodes = [HUB, ...withFaults(spokes(30, 3), createRandom(5), 3)]
    const world = new FetchWorld(nodes, { blobs, latencyMs, knows, limitMs: 3_600_000 })
    return { reports: world.run(), events: world.events }
  }
  assert.deepEqual(run(), run())
})
