/**
 * Nodes that fetch the same blobs by plans, in simulated time: uplinks with a cap that serve their transfers in turn, a matrix
 * of delays, and peers that lie, drip, die or do nothing. Every promise of a plan is checked as it is given.
 */

import assert from 'node:assert/strict'
import { FeedmeshError } from '../../src/errors.ts'
import type { FetchPeer } from '../../src/fetching/fetch-peers.ts'
import { FetchPlan } from '../../src/fetching/fetch-plan.ts'
import type { PlannedBlob } from '../../src/fetching/parts.ts'
import { PeerMemory } from '../../src/fetching/peer-memory.ts'
import type { PlannedRequest, RequestedPart } from '../../src/fetching/requests.ts'
import { EventHeap } from './event-heap.ts'

export type Behaviour = 'honest' | 'liar' | 'dripper' | 'idler' | 'boaster'

export interface NodeOptions {
  readonly id: string
  readonly site: string
  readonly region: string
  /** Bytes per ms. */
  readonly up: number
  readonly down: number
  /** `liar`: its bytes are wrong. `dripper`: gives a KiB a second. `idler`: fetches nothing. `boaster`: tells of what it has not. */
  readonly behaviour?: Behaviour
  /** Says nothing more from then on. */
  readonly diesAtMs?: number
  readonly holdsAll?: boolean
}

export interface WorldOptions {
  readonly blobs: readonly PlannedBlob[]
  /** One way. */
  readonly latencyMs: (from: NodeOptions, to: NodeOptions) => number
  /** Who knows whom as a peer; fetching neighbours tell each other what they have. */
  readonly knows: (node: NodeOptions, other: NodeOptions) => boolean
  readonly limitMs: number
  /** When each node begins. */
  readonly startMs?: (node: NodeOptions) => number
}

const SMALL_BYTES = 64 * 1024
const QUANTUM_BYTES = 512 * 1024
/** Of a hub: many are served in turn. */
const HUB_QUANTUM_BYTES = 128 * 1024
const ANNOUNCE_MS = 100
/** Who gets something and has nothing new tells that it is at work this often. */
const AT_WORK_MS = 3000
/** A dead peer is noticed after this long. */
const SILENCE_MS = 5000
const RERUN_MS = 10_000
const DRIP_BYTES = 1024

interface Transfer {
  readonly server: WorldNode
  readonly client: WorldNode
  readonly request: number
  /** What the server has still to send. */
  readonly parts: RequestedPart[]
  /** What the client has still to get. */
  readonly owed: Set<string>
  position: number
  isOver: boolean
}

interface HeldPart {
  bytes: number
  isTainted: boolean
}

class WorldNode {
  readonly about: NodeOptions
  readonly memory = new PeerMemory()
  plan: FetchPlan | undefined
  readonly has = new Set<string>()
  readonly held = new Map<string, HeldPart>()
  readonly transfers = new Map<number, Transfer>()
  readonly turn: Transfer[] = []
  isServing = false
  downFreeMs = 0
  egress = 0
  received = 0
  kept = 0
  /** What was thrown away because it was wrong. */
  thrown = 0
  news: string[] = []
  saidAtMs = 0
  wakeAtMs = Number.POSITIVE_INFINITY
  doneAtMs: number | undefined
  reruns = 0
  lies = 0

  constructor(about: NodeOptions) {
    this.about = about
  }

  isDead(nowMs: number): boolean {
    return this.about.diesAtMs !== undefined && nowMs >= this.about.diesAtMs
  }
}

export interface NodeReport {
  readonly about: NodeOptions
  readonly doneAtMs: number | undefined
  readonly egress: number
  readonly received: number
  readonly kept: number
  readonly thrown: number
  readonly reruns: number
  readonly lies: number
}

export class FetchWorld {
  readonly #events = new EventHeap()
  readonly #options: WorldOptions
  readonly #nodes: WorldNode[]
  readonly #byId: ReadonlyMap<string, WorldNode>
  readonly #partNames: readonly string[]
  events = 0

  constructor(nodes: readonly NodeOptions[], options: WorldOptions) {
    this.#options = options
    this.#nodes = nodes.map((about) => new WorldNode(about))
    this.#byId = new Map(this.#nodes.map((node) => [node.about.id, node]))
    this.#partNames = options.blobs.flatMap(namesOf)
    for (const node of this.#nodes)
      if (node.about.holdsAll === true) for (const name of this.#partNames) node.has.add(name)
  }

  run(): readonly NodeReport[] {
    for (const node of this.#nodes) {
      if (node.about.holdsAll === true || node.about.behaviour === 'idler') continue
      this.#events.at(this.#options.startMs?.(node.about) ?? 0, () => this.#begin(node))
    }
    while (this.#nodes.some((node) => this.#isWaitedFor(node)) && this.#events.step()) {
      this.events += 1
      if (this.#events.nowMs > this.#options.limitMs) break
    }
    return this.#nodes.map(({ about, doneAtMs, egress, received, kept, thrown, reruns, lies }) => ({
      about,
      doneAtMs,
      egress,
      received,
      kept,
      thrown,
      reruns,
      lies,
    }))
  }

  get nowMs(): number {
    return this.#events.nowMs
  }

  #isWaitedFor({ about, doneAtMs }: WorldNode): boolean {
    const fetches = about.holdsAll !== true && about.behaviour !== 'idler' && about.diesAtMs === undefined
    return fetches && doneAtMs === undefined
  }

  #begin(node: WorldNode): void {
    const plan = new FetchPlan({ own: node.about, memory: node.memory, smallBytes: SMALL_BYTES })
    node.plan = plan
    for (const other of this.#peersOf(node)) {
      plan.addPeer(this.#describe(node, other), this.nowMs)
      if (other.about.holdsAll !== true) plan.noteHoldings(other.about.id, this.#toldBy(other), this.nowMs)
    }
    plan.want(this.#options.blobs.filter((blob) => namesOf(blob).some((name) => !node.has.has(name))))
    this.#act(node)
  }

  #toldBy(node: WorldNode): string[] {
    return node.about.behaviour === 'boaster' ? [...this.#partNames] : [...node.has]
  }

  #peersOf(node: WorldNode): WorldNode[] {
    return this.#nodes.filter((other) => other !== node && this.#options.knows(node.about, other.about))
  }

  #describe(node: WorldNode, { about }: WorldNode): FetchPeer {
    const { id, site, region, holdsAll = false } = about
    const rttMs = this.#latency(node, this.#byId.get(id)!) * 2
    return { id, site, region, isConnected: true, rttMs, holds: holdsAll ? 'all' : 'told', isFetching: !holdsAll }
  }

  #latency(from: WorldNode, to: WorldNode): number {
    return this.#options.latencyMs(from.about, to.about)
  }

  /** Does what the plan of the node says now. */
  #act(node: WorldNode): void {
    const { plan } = node
    if (plan === undefined || node.isDead(this.nowMs)) return
    const { send, cancel, failed, lies, wakeAtMs } = plan.decide(this.nowMs)
    node.lies += lies.length
    for (const id of cancel) this.#cancel(node, id)
    for (const request of send) this.#send(node, request)
    if (plan.isOver) this.#finish(node)
    else assert.ok(node.transfers.size > 0 || wakeAtMs !== undefined || failed.length > 0, 'a plan waits for nothing')
    if (wakeAtMs !== undefined && wakeAtMs < node.wakeAtMs) this.#wake(node, wakeAtMs)
  }

  #wake(node: WorldNode, atMs: number): void {
    node.wakeAtMs = atMs
    this.#events.at(atMs, () => {
      if (node.wakeAtMs !== atMs) return
      node.wakeAtMs = Number.POSITIVE_INFINITY
      this.#act(node)
    })
  }

  #finish(node: WorldNode): void {
    node.plan = undefined
    if (this.#partNames.every((name) => node.has.has(name))) {
      node.doneAtMs ??= this.nowMs
      return
    }
    node.reruns += 1
    this.#events.at(this.nowMs + RERUN_MS, () => this.#begin(node))
  }

  #send(node: WorldNode, { id, peer, parts }: PlannedRequest): void {
    const server = this.#byId.get(peer)!
    for (const part of parts) this.#verifyAsked(node, part)
    const owed = new Set(parts.map(({ name }) => name))
    const position = parts[0]!.from
    const transfer = { server, client: node, request: id, parts: [...parts], owed, position, isOver: false }
    node.transfers.set(id, transfer)
    const arrivesMs = this.nowMs + this.#latency(node, server)
    if (server.isDead(arrivesMs)) this.#notice(transfer)
    else this.#events.at(arrivesMs, () => this.#enqueue(transfer))
  }

  /** No byte that is here is asked for again. */
  #verifyAsked(node: WorldNode, part: RequestedPart): void {
    assert.ok(!node.has.has(part.name), `${part.name} is asked for again`)
    if (part.isAlone) node.held.delete(part.name)
    const held = this.#heldOf(node, part.name)
    const isSmall = part.to - part.from + held.bytes <= SMALL_BYTES
    const twin = [...node.transfers.values()].some(({ owed }) => owed.has(part.name))
    if (isSmall && !twin) held.bytes = 0
    assert.equal(part.from % PART_GRID, held.bytes % PART_GRID, `${part.name} is asked for from a wrong offset`)
    assert.ok(!(twin && part.isAlone), `${part.name} is asked of two although one is to give it`)
  }

  #heldOf(node: WorldNode, name: string): HeldPart {
    const held = node.held.get(name) ?? { bytes: 0, isTainted: false }
    node.held.set(name, held)
    return held
  }

  #cancel(node: WorldNode, request: number): void {
    const transfer = node.transfers.get(request)
    if (transfer === undefined) return
    node.transfers.delete(request)
    this.#events.at(this.nowMs + this.#latency(node, transfer.server), () => {
      transfer.isOver = true
    })
  }

  /** The peer is gone without a word. */
  #notice(transfer: Transfer): void {
    transfer.isOver = true
    this.#events.at(this.nowMs + SILENCE_MS, () => {
      if (!transfer.client.transfers.delete(transfer.request)) return
      const error = new FeedmeshError('PEER_UNREACHABLE', `${transfer.server.about.id} is gone`)
      transfer.client.plan?.broke(transfer.request, error, this.nowMs)
      this.#act(transfer.client)
    })
  }

  #enqueue(transfer: Transfer): void {
    const { server } = transfer
    if (server.about.behaviour === 'dripper') return this.#drip(transfer)
    server.turn.push(transfer)
    if (server.isServing) return
    server.isServing = true
    this.#serveNext(server)
  }

  /** One quantum of the transfer whose turn it is. */
  #serveNext(server: WorldNode): void {
    let transfer = server.turn.shift()
    while (transfer?.isOver === true) transfer = server.turn.shift()
    if (transfer === undefined) {
      server.isServing = false
      return
    }
    if (server.isDead(this.nowMs)) {
      this.#notice(transfer)
      return this.#serveNext(server)
    }
    const quantum = server.about.holdsAll === true ? HUB_QUANTUM_BYTES : QUANTUM_BYTES
    const bytes = this.#give(transfer, quantum)
    const next = transfer
    this.#events.at(this.nowMs + bytes / server.about.up, () => {
      if (next.parts.length > 0) server.turn.push(next)
      this.#serveNext(server)
    })
  }

  #drip(transfer: Transfer): void {
    if (transfer.isOver || transfer.parts.length === 0) return
    this.#give(transfer, DRIP_BYTES)
    this.#events.at(this.nowMs + 1000, () => this.#drip(transfer))
  }

  /** Sends up to so many bytes of what is next. @returns how many */
  #give(transfer: Transfer, maxBytes: number): number {
    const { server, client } = transfer
    const part = transfer.parts[0]!
    const arrivesMs = this.nowMs + this.#latency(server, client)
    if (!server.has.has(part.name)) {
      transfer.parts.shift()
      transfer.position = transfer.parts[0]?.from ?? 0
      this.#events.at(arrivesMs, () => this.#refuse(transfer, part.name))
      return 0
    }
    const [from, bytes] = [transfer.position, Math.min(maxBytes, part.to - transfer.position)]
    transfer.position += bytes
    if (transfer.position === part.to) {
      transfer.parts.shift()
      transfer.position = transfer.parts[0]?.from ?? 0
    }
    server.egress += bytes
    client.downFreeMs = Math.max(client.downFreeMs, arrivesMs + bytes / server.about.up) + bytes / client.about.down
    this.#events.at(client.downFreeMs, () => this.#arrive(transfer, part, from, bytes))
    return bytes
  }

  #refuse(transfer: Transfer, name: string): void {
    const { client, request } = transfer
    if (!client.transfers.has(request)) return
    this.#settle(transfer, name)
    client.plan?.refused(request, name, new FeedmeshError('NOT_FOUND', 'not here'), this.nowMs)
    this.#act(client)
  }

  #settle({ client, request, owed }: Transfer, name: string): void {
    owed.delete(name)
    if (owed.size === 0) client.transfers.delete(request)
  }

  #arrive(transfer: Transfer, part: RequestedPart, from: number, bytes: number): void {
    const { client, server, request } = transfer
    client.received += bytes
    if (!client.transfers.has(request) || client.plan === undefined) return
    if (from + bytes === part.to) this.#settle(transfer, part.name)
    if (!client.plan.expects(request, part.name)) return
    const held = this.#heldOf(client, part.name)
    const start = from - startOf(part.name) * PART_GRID
    const kept = client.has.has(part.name) ? 0 : Math.max(0, start + bytes - held.bytes)
    held.bytes += kept
    client.kept += kept
    if (kept > 0 && server.about.behaviour === 'liar') held.isTainted = true
    client.plan.arrived(request, part.name, bytes, kept)
    if (this.nowMs - client.saidAtMs >= AT_WORK_MS) this.#announce(client)
    if (kept > 0 && from + bytes === part.to) this.#complete(client, request, part.name)
    this.#act(client)
  }

  #complete(client: WorldNode, request: number, name: string): void {
    const held = this.#heldOf(client, name)
    if (held.isTainted) {
      client.thrown += held.bytes
      client.held.delete(name)
      client.plan?.wrong(request, name, new FeedmeshError('PEER_INVALID', 'wrong bytes'), this.nowMs)
      return
    }
    client.has.add(name)
    client.plan?.done(request, name, this.nowMs)
    client.news.push(name)
    if (client.news.length === 1) this.#events.at(this.nowMs + ANNOUNCE_MS, () => this.#announce(client))
  }

  #announce(node: WorldNode): void {
    const names = node.news
    node.news = []
    node.saidAtMs = this.nowMs
    if (node.isDead(this.nowMs)) return
    for (const other of this.#peersOf(node)) {
      if (other.plan === undefined) continue
      this.#events.at(this.nowMs + this.#latency(node, other), () => {
        other.plan?.noteHoldings(node.about.id, names, this.nowMs)
        this.#act(other)
      })
    }
  }
}

/** Parts of the simulated blobs begin at multiples of this. */
export const PART_GRID = 4 * 1024 * 1024

function startOf(name: string): number {
  return Number(name.split('#')[1] ?? 0)
}

function namesOf({ digest, size, partBytes }: PlannedBlob): string[] {
  const count = partBytes === undefined ? 1 : Math.max(1, Math.ceil(size / partBytes))
  return count === 1 ? [digest] : Array.from({ length: count }, (_, index) => `${digest}#${index}`)
}
