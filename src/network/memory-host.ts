/** The mesh host of a memory network: the same contract as the libp2p host, without sockets. */

import type { Channel } from '../../protocols/mesh/channel.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { FeedmeshError } from '../errors.ts'
import { createLog, type Log } from '../log.ts'
import { AddressBook } from './address-book.ts'
import { abortError } from './dial-errors.ts'
import type { MeshHost, PeerListener, PeerState, ProtocolLimits } from './host.ts'
import { type ChannelHandler, type ServedProtocol, serveChannel } from './host-channel.ts'
import type { MemoryChannel } from './memory-channel.ts'
import { type MemoryConnection, type Network, otherEnd } from './memory-network.ts'
import { type ConnectedPeer, describePeers } from './peer-states.ts'
import type { RateMeter } from './rate-meter.ts'
import { Redial } from './redial.ts'
import { SharedDials } from './shared-dials.ts'
import { startTimeLimit } from './timers.ts'

/** As the libp2p host has them. */
const ADDRESS_TIMEOUT_MS = 5000
const OPEN_TIMEOUT_MS = 10_000

interface MemoryPeer {
  readonly peerId: string
  /** Oldest first. */
  readonly connections: Set<MemoryConnection>
  readonly inRate: RateMeter
  readonly outRate: RateMeter
}

export class MemoryHost implements MeshHost {
  readonly peerId: string
  readonly address: string
  readonly #network: Network
  readonly #log: Log
  readonly #peers = new Map<string, MemoryPeer>()
  readonly #book = new AddressBook()
  readonly #protocols = new Map<string, ServedProtocol>()
  readonly #inbound = new Map<MemoryConnection, Map<string, Set<MemoryChannel>>>()
  readonly #serving = new Set<Promise<void>>()
  readonly #listeners = new Set<PeerListener>()
  readonly #stopping = new AbortController()
  readonly #redials = new Map<string, Redial>()
  readonly #dials = new SharedDials({
    dial: async (peerId, addresses, signal) => {
      await this.#dial(peerId, addresses, signal)
    },
  })

  constructor(network: Network, peerId: string, address: string) {
    publicKeyFromPeerId(peerId)
    this.#network = network
    this.peerId = peerId
    this.address = address
    this.#log = network.log ?? createLog('silent')
  }

  addresses(): readonly string[] {
    return [`${this.address}/p2p/${this.peerId}`]
  }

  async handle(protocol: string, limits: ProtocolLimits, handler: ChannelHandler): Promise<void> {
    if (this.#protocols.has(protocol)) throw new FeedmeshError('INTERNAL', `${protocol} is handled already`)
    this.#protocols.set(protocol, { protocol, limits, handler })
  }

  async connect(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    this.#check(peerId, signal)
    const entry = this.#book.find(peerId)
    if (entry?.kept !== true) this.#book.note(peerId, addresses)
    if (this.#peers.has(peerId)) return
    await this.#join(peerId, addresses.length > 0 ? addresses : (entry?.addresses ?? []), signal)
  }

  async #join(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    await this.#dials.join(peerId, addresses, AbortSignal.any([this.#stopping.signal, signal]))
  }

  async open(peerId: string, protocol: string, signal: AbortSignal, idleMs?: number): Promise<Channel> {
    this.#check(peerId, signal)
    if (!this.#peers.has(peerId)) await this.#join(peerId, this.#book.find(peerId)?.addresses ?? [], signal)
    const connection = [...(this.#peers.get(peerId)?.connections ?? [])].at(-1)
    if (connection !== undefined) await this.#travel(connection, signal)
    if (signal.aborted) throw abortError(signal, `opening ${protocol} to ${peerId}`)
    if (connection === undefined || !this.#inbound.has(connection)) {
      throw new FeedmeshError('PEER_UNREACHABLE', `the connection to ${peerId} broke while opening ${protocol}`)
    }
    const other = otherEnd(connection, this)
    if (!other.#protocols.has(protocol)) {
      throw new FeedmeshError(
        'PEER_INVALID',
        `${peerId} does not speak ${protocol}; it may run another version of Feedmesh`,
      )
    }
    const limits = { near: idleMs, far: other.#protocols.get(protocol)?.limits.idleMs }
    const [near, far] = this.#network.openStream(connection, this, { protocol, idleMs: limits })
    other.#serve(far, protocol, connection)
    return near
  }

  keep(peerId: string, addresses: readonly string[]): void {
    this.#check(peerId, this.#stopping.signal)
    this.#book.keep(peerId, addresses)
    const { timers } = this.#network
    if (timers === undefined || this.#redials.has(peerId)) {
      this.redialNow(peerId)
      return
    }
    this.#redials.set(
      peerId,
      new Redial({
        ...timers,
        dial: (signal) => this.#join(peerId, this.#book.find(peerId)?.addresses ?? [], signal),
        isConnected: () => this.#peers.has(peerId),
      }),
    )
  }

  async release(peerId: string): Promise<void> {
    this.#redials.get(peerId)?.[Symbol.dispose]()
    this.#redials.delete(peerId)
    this.#book.release(peerId)
    this.dropConnections(peerId, 'the connection closed')
  }

  redialNow(peerId: string): void {
    if (this.#network.timers !== undefined) {
      this.#redials.get(peerId)?.dialNow()
      return
    }
    const isMissing = () =>
      this.#book.find(peerId)?.kept === true && !this.#peers.has(peerId) && !this.#stopping.signal.aborted
    if (!isMissing()) return
    // As with a socket, nobody is told before the caller goes on.
    queueMicrotask(() => {
      if (!isMissing()) return
      this.#dial(peerId, this.#book.find(peerId)?.addresses ?? [], this.#stopping.signal).catch((error: unknown) => {
        // In the book as the last dial error; the next change of the network leads to the next try.
        this.#log.debug({ peer: peerId, err: error }, 'redial failed')
      })
    })
  }

  peers(): readonly PeerState[] {
    return describePeers(
      this.#book,
      [...this.#peers.values()].map((peer) => this.#describe(peer)),
    )
  }

  onPeer(listener: PeerListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.vanish()
    await Promise.all(this.#serving)
  }

  // What the network does to a host.

  find(peerId: string): MemoryPeer | undefined {
    return this.#peers.get(peerId)
  }

  /** What peers see of it comes `unnoticedMs` later. */
  vanish(unnoticedMs = 0): void {
    if (this.#stopping.signal.aborted) return
    const stopped = new FeedmeshError('ABORTED', 'the node is stopping')
    this.#stopping.abort(stopped)
    for (const redial of this.#redials.values()) redial[Symbol.dispose]()
    this.#dials.close(stopped)
    this.#listeners.clear()
    this.#network.remove(this)
    const drop = () => {
      for (const peerId of this.#peers.keys()) this.dropConnections(peerId, 'the connection closed')
    }
    if (unnoticedMs === 0) drop()
    else this.#network.setTimer(drop, unnoticedMs)
  }

  retryKept(): void {
    for (const [peerId, entry] of this.#book.entries()) {
      if (entry.kept) this.redialNow(peerId)
    }
  }

  addConnection(peerId: string, connection: MemoryConnection): void {
    const known = this.#peers.get(peerId)
    const peer = known ?? {
      peerId,
      connections: new Set(),
      inRate: this.#network.createRateMeter(),
      outRate: this.#network.createRateMeter(),
    }
    this.#peers.set(peerId, peer)
    peer.connections.add(connection)
    this.#inbound.set(connection, new Map())
    this.#book.noteSuccess(peerId)
    this.#redials.get(peerId)?.connected()
    if (known === undefined) this.#announce({ type: 'connected', peerId })
  }

  dropConnections(peerId: string, why: string): void {
    for (const connection of this.#peers.get(peerId)?.connections ?? []) {
      for (const channel of connection.channels) channel.reset(why)
      otherEnd(connection, this).#removeConnection(this.peerId, connection)
      this.#removeConnection(peerId, connection)
    }
  }

  #removeConnection(peerId: string, connection: MemoryConnection): void {
    this.#inbound.delete(connection)
    const peer = this.#peers.get(peerId)
    if (peer?.connections.delete(connection) !== true || peer.connections.size > 0) return
    this.#peers.delete(peerId)
    this.#announce({ type: 'disconnected', peerId })
    if (this.#network.timers === undefined) this.redialNow(peerId)
    else this.#redials.get(peerId)?.disconnected()
  }

  #describe(peer: MemoryPeer): ConnectedPeer {
    const newest = [...peer.connections].at(-1)
    return {
      peerId: peer.peerId,
      connections: peer.connections.size,
      direction: newest?.dialler === this ? 'outbound' : 'inbound',
      rttMs: 2 * (newest?.latencyMs ?? 0),
      inRate: peer.inRate.bytesPerSecond,
      outRate: peer.outRate.bytesPerSecond,
    }
  }

  #serve(channel: MemoryChannel, protocol: string, connection: MemoryConnection): void {
    // Nobody notices yet that this end is gone: it is silent.
    if (this.#stopping.signal.aborted) return
    const served = this.#protocols.get(protocol)
    const byProtocol = this.#inbound.get(connection)
    if (served === undefined || byProtocol === undefined) {
      channel.abort(new FeedmeshError('PEER_UNREACHABLE', 'the connection closed'))
      return
    }
    const open = byProtocol.get(protocol) ?? new Set()
    byProtocol.set(protocol, open)
    if (open.size >= served.limits.maxInboundStreams) {
      channel.abort(new FeedmeshError('BUSY', `too many streams of ${protocol} are open`))
      return
    }
    open.add(channel)
    void channel.closed.then(() => open.delete(channel))
    const { setTimer } = this.#network
    const serving = serveChannel(channel, served, { log: this.#log, setTimer, stopping: this.#stopping.signal })
    this.#serving.add(serving)
    void serving.then(() => this.#serving.delete(serving))
  }

  /** What arrives at the far end arrives there in time. @throws as `open` does */
  async #travel(connection: MemoryConnection, signal: AbortSignal): Promise<void> {
    const { timers } = this.#network
    if (timers === undefined) return await this.#network.travel(connection, this, signal)
    using limit = startTimeLimit(timers.setTimer, OPEN_TIMEOUT_MS, this.#stopping.signal, signal)
    await this.#network.travel(connection, this, limit.signal)
  }

  async #reach(peerId: string, address: string, signal: AbortSignal): Promise<void> {
    const { timers } = this.#network
    if (timers !== undefined) {
      using limit = startTimeLimit(timers.setTimer, ADDRESS_TIMEOUT_MS, signal)
      await this.#network.travelBothWays(this.peerId, peerId, limit.signal)
    }
    // One of the two may have dialled the other meanwhile; then there are two connections.
    const connection = this.#network.connect(this, this.#network.getListener(this, peerId, address))
    await this.#network.travel(connection, this, signal)
  }

  async #dial(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    if (addresses.length === 0) throw new FeedmeshError('PEER_UNREACHABLE', `no address of ${peerId} is known`)
    const failures: string[] = []
    for (const address of addresses) {
      try {
        return await this.#reach(peerId, address, signal)
      } catch (error) {
        if (signal.aborted) throw abortError(signal, `dialling ${peerId} at ${address}`)
        failures.push(`${address}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    const message = `${peerId} is not reachable: ${failures.join('; ')}`
    this.#book.noteFailure(peerId, { message, at: this.#network.now() })
    throw new FeedmeshError('PEER_UNREACHABLE', message)
  }

  #announce(event: Parameters<PeerListener>[0]): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        this.#log.error({ err: error, peer: event.peerId }, `a listener for ${event.type} peers failed`)
      }
    }
  }

  #check(peerId: string, signal: AbortSignal): void {
    publicKeyFromPeerId(peerId)
    if (peerId === this.peerId) throw new FeedmeshError('BAD_INPUT', `${peerId} is this node itself`)
    for (const each of [this.#stopping.signal, signal]) {
      if (each.aborted) throw abortError(each, `connecting to ${peerId}`)
    }
  }
}
