/** What a seed decides before anything happens: the table that is printed when it fails. */

import type { ReplicationMode } from '../../src/catalog/policy.ts'
import { createRandom, type Random } from '../support/random.ts'

export const FAULT_KINDS = [
  'pair cut',
  'partition',
  'one-way silence',
  'slow link',
  'connection reset',
  'announcement lost',
  'announcement late',
  'announcement doubled',
  'peer stalls in a stream',
  'killed',
  'killed at a fault point',
  'power cut',
  'restart',
  'disk full',
  'disk error',
  'clock skewed',
  'clock ahead',
  'clock behind',
  'old floor file',
  'backup restored',
  'folder cloned',
  'records lost',
  'blob rotten',
  'relay lies',
  'relay serves old heads',
  'bits flipped on the wire',
] as const
export type FaultKind = (typeof FAULT_KINDS)[number]

export interface PlannedNode {
  /** Index of the node it links with; undefined for the hub. */
  readonly parent: number | undefined
  readonly link: Extract<ReplicationMode, 'pull' | 'mirror'>
  /** Also offers its own feed to the parent. */
  readonly isOffering: boolean
  readonly availability: 'full' | 'on-demand'
  readonly everyMs: number
  /** Mean time between two changes by its clients, ms; undefined: none publish there. */
  readonly changeEveryMs: number | undefined
  readonly skewMs: number
}

export interface SimulationOptions {
  readonly seed: number
  readonly nodes: readonly PlannedNode[]
  /** How long things go wrong, ms. */
  readonly chaosMs: number
  readonly faults: ReadonlySet<FaultKind>
  /** Mean time between two faults, ms. */
  readonly faultEveryMs: number
  readonly latencyMs: number
  /** Bytes per ms. */
  readonly bandwidth: number
  readonly diskMs: number
  readonly slowReads: number
  readonly units: number
  /** Largest content that is published, bytes. */
  readonly maxContentBytes: number
  readonly keptOperations: number
  readonly gcEveryMs: number
}

const HOUR_MS = 3_600_000

/**
 * Either a tree in which content flows down, or spokes of one hub, which may also offer theirs. (A feed that a hub was offered
 * is not passed on below the hub's own spokes: they hold no grant of its owner, and views without it are partial.)
 */
function planNode(index: number, isFlat: boolean, random: Random): PlannedNode {
  const parent = index === 0 ? undefined : isFlat || index <= 2 ? 0 : random.below(3)
  const isChanging = index === 0 || random.chance(0.5)
  const mayOffer = isFlat && index > 0
  return {
    parent,
    link: mayOffer && random.chance(0.15) ? 'mirror' : 'pull',
    isOffering: mayOffer && random.chance(0.3),
    // Whoever is pulled from in full has all.
    availability: (isFlat || index > 2) && index > 0 && random.chance(0.25) ? 'on-demand' : 'full',
    everyMs: random.logUniform(10_000, 120_000),
    changeEveryMs: isChanging ? random.logUniform(10_000, 600_000) : undefined,
    skewMs: random.chance(0.3) ? random.below(240_000) - 120_000 : 0,
  }
}

export function drawOptions(seed: number, only?: Partial<SimulationOptions>): SimulationOptions {
  const random = createRandom(seed)
  const count = 3 + random.below(random.chance(0.2) ? 6 : 3)
  const isCalm = random.chance(0.05)
  const isFlat = random.chance(0.5)
  return {
    seed,
    nodes: Array.from({ length: count }, (_, index) => planNode(index, isFlat, random)),
    chaosMs: random.logUniform(HOUR_MS / 4, 2 * HOUR_MS),
    faults: new Set(FAULT_KINDS.filter(() => !isCalm && random.chance(0.5))),
    faultEveryMs: random.logUniform(15_000, 600_000),
    latencyMs: random.logUniform(1, 400),
    bandwidth: random.logUniform(20, 20_000),
    diskMs: random.logUniform(1, 60),
    slowReads: random.chance(0.4) ? random.next() * 0.05 : 0,
    units: random.logUniform(1, 40),
    maxContentBytes: random.logUniform(10, 300_000),
    keptOperations: random.logUniform(1, 300),
    gcEveryMs: random.logUniform(60_000, HOUR_MS),
    ...only,
  }
}

export function renderOptions(options: SimulationOptions): string {
  const { nodes, faults, ...rest } = options
  const lines = Object.entries(rest).map(([name, value]) => `  ${name.padEnd(16)} ${String(value)}`)
  const off = FAULT_KINDS.filter((kind) => !faults.has(kind))
  const table = nodes.map((node, index) => `  node ${index}           ${JSON.stringify(node)}`)
  return [...lines, `  faults off       ${off.join(', ') || 'none'}`, ...table].join('\n')
}
