/** One simulated node: a disk, a clock, a key, and the process that runs on them while there is one. */

import { peerIdFromPublicKey } from '../../src/catalog/peer-id.ts'
import { createSeedSigner } from '../../src/catalog/token.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { FaultPoint } from '../../src/fault-points.ts'
import { type FetchBlob, LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { Identity } from '../../src/network/identity.ts'
import { MemoryHost } from '../../src/network/memory-host.ts'
import type { MemoryNetwork } from '../../src/network/memory-network.ts'
import type { SetTimer } from '../../src/network/timers.ts'
import { AuditLog } from '../../src/operations/audit.ts'
import { Maintenance } from '../../src/operations/maintenance.ts'
import { createDemandFetch } from '../../src/replication/demand-fetch.ts'
import { MediumBlobs } from '../../src/store/medium-blobs.ts'
import { RecentlySealed } from '../../src/store/recently-sealed.ts'
import { type MeshNode, openMeshNode } from '../support/mesh-node.ts'
import type { Random } from '../support/random.ts'
import { Disk, SimulatedFloor, SimulatedMedium, SimulatedRecords } from './disk.ts'
import { DiskImage } from './disk-image.ts'
import { type HostTroubles, troubleHost } from './node-host.ts'
import type { PlannedNode, SimulationOptions } from './options.ts'
import type { Timeline } from './timeline.ts'

export const FEED = 'packages'
/** Simulated wall clock at the beginning; the software is a little older. */
export const EPOCH_MS = Date.parse('2027-01-01T00:00:00Z')
export const BUILD_TIME_MS = Date.parse('2026-12-01T00:00:00Z')
const SEALED_GRACE_MS = 600_000
const MINUTE_MS = 60_000

export interface NodeSurroundings {
  readonly timeline: Timeline
  readonly network: MemoryNetwork
  readonly options: SimulationOptions
  /** Called with everything the node signs. */
  onSigned(node: SimNode, message: Uint8Array, signature: Uint8Array): void
  /** Called when a process has come up, before it talks to anybody. */
  onStarted(node: SimNode, process: Process): void
}

function createSimIdentity(random: Random, onSigned: (message: Uint8Array, signature: Uint8Array) => void): Identity {
  const signer = createSeedSigner(random.bytes(32))
  const refuse = (): never => {
    throw new FeedmeshError('INTERNAL', 'a simulated key does not leave its node')
  }
  return {
    peerId: peerIdFromPublicKey(signer.publicKey),
    publicKey: signer.publicKey,
    sign: (message) => {
      const signature = signer.sign(message)
      onSigned(message, signature)
      return signature
    },
    keyObject: refuse,
    exportProtobuf: refuse,
  }
}

/** A running process. Once it has crashed its disk, network and timers are gone, and what it still computes concerns nobody. */
export class Process {
  readonly disk: Disk
  isAlive = true
  /** Fault point at which it dies, once that was reached this often. */
  doom: { point: FaultPoint; after: number } | undefined
  node!: MeshNode
  feed!: LedgerFeed
  maintenance!: Maintenance
  host!: MemoryHost
  fetchBlob!: FetchBlob
  readonly stopping = new AbortController()

  constructor(disk: Disk) {
    this.disk = disk
  }
}

export class SimNode {
  readonly name: string
  /** Whether this is a second process behind the identity of another one. */
  readonly isTwin: boolean
  readonly plan: PlannedNode
  readonly identity: Identity
  readonly troubles: HostTroubles
  readonly #around: NodeSurroundings
  readonly #random: Random
  image = new DiskImage()
  /** Own clock minus true time. */
  clockOffsetMs: number
  /** True time at which the clock was last set. */
  clockSetAt = 0
  process: Process | undefined
  /** Put back from a backup: of its own rows it may lack files that nobody had when it asked. */
  wasRestored = false
  /** A file has rotted and was not mended yet. */
  isDamaged = false
  /** Counts starts, and sets apart what belongs to which process. */
  starts = 0
  /** Id of the replication with the parent, once linked. */
  replication = ''
  feedId = ''

  constructor(
    name: string,
    parts: {
      readonly around: NodeSurroundings
      readonly plan: PlannedNode
      readonly random: Random
      readonly troubles: HostTroubles
      readonly twin?: SimNode
    },
  ) {
    this.name = name
    this.plan = parts.plan
    this.troubles = parts.troubles
    this.#around = parts.around
    this.#random = parts.random
    this.clockOffsetMs = parts.plan.skewMs
    const onSigned = (message: Uint8Array, signature: Uint8Array) => this.#around.onSigned(this, message, signature)
    this.isTwin = parts.twin !== undefined
    this.identity = parts.twin?.identity ?? createSimIdentity(this.#random.fork(), onSigned)
  }

  get peerId(): string {
    return this.identity.peerId
  }

  now(): number {
    return Math.floor(EPOCH_MS + this.#around.timeline.now() + this.clockOffsetMs)
  }

  setClock(offsetMs: number): void {
    this.clockOffsetMs = offsetMs
    this.clockSetAt = this.#around.timeline.now()
  }

  /** Timers that die with the process, as exact as real ones: whole ms, at least one. */
  #timersOf(process: Process): SetTimer {
    return (run, delayMs) =>
      this.#around.timeline.setTimer(
        () => {
          if (process.isAlive) run()
        },
        Math.max(1, Math.ceil(delayMs)),
      )
  }

  #reach(process: Process, point: FaultPoint): void {
    const { doom } = process
    if (doom?.point !== point || !process.isAlive) return
    doom.after -= 1
    if (doom.after < 0) this.crash('kill')
  }

  /** Starts on what the disk holds. Its clock is set before, as time services do when a machine starts. */
  async start(): Promise<Process> {
    if (Math.abs(this.clockOffsetMs) > MINUTE_MS * 4) this.setClock(this.plan.skewMs)
    const { timeline, network, options } = this.#around
    const random = this.#random.fork()
    this.starts += 1
    const reach = (point: FaultPoint) => this.#reach(process, point)
    const { diskMs: writeMs, slowReads } = options
    const process: Process = new Process(
      new Disk({
        image: this.image,
        random,
        setTimer: (run, delayMs) => this.#timersOf(process)(run, delayMs),
        reach,
        writeMs,
        slowReads,
      }),
    )
    this.process = process
    const setTimer = this.#timersOf(process)
    const records = new SimulatedRecords(process.disk)
    const now = () => this.now()
    const medium = new SimulatedMedium(process.disk)
    const sealed = new RecentlySealed(SEALED_GRACE_MS, () => timeline.now())
    const blobs = new MediumBlobs({ records, medium, reach, sealed })
    const randoms = random.fork()
    const node = await openMeshNode(network, {
      identity: this.identity,
      records,
      blobs,
      floor: new SimulatedFloor(process.disk),
      reach,
      catchesUp: true,
      ports: {
        now,
        setTimer,
        random: () => randoms.next(),
        randomBytes: (size) => randoms.bytes(size),
        buildTimeMs: BUILD_TIME_MS,
        keptOperations: options.keptOperations,
        progress: { now: () => timeline.now(), setTimer },
        wrapHost: (host) => {
          if (!(host instanceof MemoryHost)) throw new Error('not a host of the memory network')
          process.host = host
          return troubleHost(host, { troubles: this.troubles, random: random.fork(), setTimer })
        },
      },
    })
    this.#furnish(process, { node, blobs, records, setTimer })
    this.#around.onStarted(this, process)
    await node.replication.announcer.start()
    node.replication.replicator.start()
    return process
  }

  #furnish(
    process: Process,
    made: {
      readonly node: MeshNode
      readonly blobs: MediumBlobs
      readonly records: SimulatedRecords
      readonly setTimer: SetTimer
    },
  ): void {
    const { node, blobs, records, setTimer } = made
    const { ledger, book } = node
    process.node = node
    process.fetchBlob = createDemandFetch({
      book,
      registry: ledger.registry,
      fetcher: node.replication.fetcher,
      blobs,
      stopping: process.stopping.signal,
      setTimer,
    })
    const audit = new AuditLog(records, () => this.now())
    const pinned = () => node.replication.puller.pinned()
    process.maintenance = new Maintenance({ ledger, blobs, fetchBlob: process.fetchBlob, audit, pinned })
    if (ledger.registry.locals.has(FEED)) this.openFeed(process)
  }

  openFeed(process: Process): void {
    const { ledger, parts } = process.node
    this.feedId = ledger.registry.getLocal(FEED).id
    process.feed = new LedgerFeed({
      name: FEED,
      feedId: this.feedId,
      ledger,
      blobs: parts.blobs,
      fetchBlob: process.fetchBlob,
    })
  }

  /** Dies at once. A power cut goes unnoticed by peers for a while, and loses what was not synced. */
  crash(kind: 'kill' | 'power'): void {
    const { process } = this
    if (process === undefined) return
    this.process = undefined
    process.isAlive = false
    process.disk.crash(kind)
    process.host?.vanish(kind === 'power' ? 1 + this.#random.below(45_000) : 0)
  }

  /** Ends as an operator ends it. */
  async stop(): Promise<void> {
    const { process } = this
    if (process === undefined) return
    process.stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    await process.node[Symbol.asyncDispose]()
    process.disk.close()
    process.isAlive = false
    if (this.process === process) this.process = undefined
  }
}
