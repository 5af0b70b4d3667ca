/** The mesh host over libp2p: TCP, noise, yamux; with a bulk lane beside it for the protocols that carry much. */

import type { Libp2p } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import { BULK_PROTOCOL } from '../../protocols/mesh/bulk/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { publicKeyFromPeerId } from '../catalog/peer-id.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { AddressBook } from './address-book.ts'
import { type BulkLane, openBulkLane } from './bulk-lane.ts'
import { abortError } from './dial-errors.ts'
import { dialPeer } from './dialler.ts'
import type { FeedDirectory } from './feed-directory.ts'
import type { MeshHost, PeerListener, PeerState, ProtocolLimits } from './host.ts'
import { type ChannelHandler, serveChannel } from './host-channel.ts'
import type { Identity } from './identity.ts'
import { chooseLaneAddress, findHostAndPort } from './lane-address.ts'
import { type ListeningNode, openNode } from './libp2p-node.ts'
import { LivePeers, MAX_OUTBOUND_STREAMS, type StreamKind } from './live-peers.ts'
import { answerPing, PING_PROTOCOL } from './peer-probe.ts'
import { describePeers } from './peer-states.ts'
import { Redial } from './redial.ts'
import { SharedDials } from './shared-dials.ts'
import { setUnrefTimer } from './timers.ts'

export interface Libp2pHostOptions {
  readonly identity: Identity
  /** Multiaddrs, e.g. `/ip4/0.0.0.0/tcp/4001`; none: this node only dials. */
  readonly listen: readonly string[]
  /** What to tell others instead of the addresses listened on. */
  readonly announce: readonly string[]
  /** Where the bulk lane listens: `HOST:PORT`, `auto` for beside the first of `listen`; null or not told: there is none. */
  readonly bulk?: string | null
  /** Peers that may use the bulk lane while they are connected; all unless told. */
  readonly isLinked?: (peerId: string) => boolean
  readonly log: Log
  /** Unix ms. */
  readonly now?: () => number
  readonly random?: () => number
  readonly setTimer?: SetTimer
  readonly maxConnections?: number
  /** Whether it takes part in the directory. */
  readonly dht?: boolean
  /** A channel on which nothing moves for this long is aborted; 30 s unless told. */
  readonly idleMs?: number
  /** What open channels get to finish when the host stops or a peer is released; 1 s unless told. */
  readonly drainMs?: number
}

export interface ListeningMeshHost extends MeshHost {
  /** `HOST:PORT` of the bulk lane. */
  readonly bulk: string | null
}

/** Starts listening. @throws BAD_INPUT an address is not one or cannot be listened on */
export async function openLibp2pHost(options: Libp2pHostOptions): Promise<ListeningMeshHost> {
  const { identity, listen, announce, maxConnections = 1000, bulk = null, dht = false } = options
  const listening = await openNode({ identity, listen, announce, maxConnections, dht })
  const host = new Libp2pHost(listening, options)
  await host.handle(PING_PROTOCOL, { maxInboundStreams: 4, maxDurationMs: 15_000 }, answerPing)
  try {
    if (bulk !== null) await host.openLane(bulk)
  } catch (error) {
    await host[Symbol.asyncDispose]()
    throw error
  }
  return host
}

class Libp2pHost implements ListeningMeshHost {
  readonly peerId: string
  readonly #node: Libp2p
  readonly #listening: ListeningNode
  readonly #options: Libp2pHostOptions
  readonly #log: Log
  readonly #now: () => number
  readonly #random: () => number
  readonly #setTimer: SetTimer
  readonly #drainMs: number
  readonly #live: LivePeers
  readonly #book = new AddressBook()
  readonly #redials = new Map<string, Redial>()
  readonly #dials: SharedDials
  readonly #protocols = new Set<string>()
  readonly #serving = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  #lane: BulkLane | undefined
  #stopped: Promise<void> | undefined

  constructor(listening: ListeningNode, options: Libp2pHostOptions) {
    this.peerId = options.identity.peerId
    this.#listening = listening
    this.#node = listening.node
    this.#options = options
    this.#log = options.log
    this.#now = options.now ?? Date.now
    this.#random = options.random ?? Math.random
    this.#setTimer = options.setTimer ?? setUnrefTimer
    this.#drainMs = options.drainMs ?? 1000
    this.#live = new LivePeers(this.#node, {
      log: this.#log,
      now: this.#now,
      setTimer: this.#setTimer,
      idleMs: options.idleMs ?? 30_000,
    })
    this.#dials = new SharedDials({
      dial: (peerId, addresses, signal) => this.#runDial(peerId, addresses, signal),
    })
    this.#live.onPeer((event) => {
      this.#onPeer(event.type, event.peerId)
    })
  }

  get directory(): FeedDirectory | undefined {
    return this.#listening.directory
  }

  get bulk(): string | null {
    return this.#lane?.address ?? null
  }

  /** Before any protocol that is to use it is handled. @throws BAD_INPUT */
  async openLane(bulk: string): Promise<void> {
    const { identity, listen, announce, isLinked = () => true, idleMs = 30_000 } = this.#options
    const { now = () => performance.now() } = this.#options
    const lane = await openBulkLane({
      identity,
      listen: chooseLaneAddress(bulk, listen),
      announce,
      log: this.#log,
      now,
      random: this.#random,
      setTimer: this.#setTimer,
      idleMs,
      stopping: this.#stopping.signal,
      admits: (peerId) => this.#live.isConnected(peerId) && isLinked(peerId),
      hostsOf: (peerId) => this.#hostsOf(peerId),
      openStream: (peerId, protocol, signal) => this.#openStream(peerId, { protocol }, signal),
      onBytes: (peerId, direction, bytes) => this.#live.count(peerId, direction, bytes),
    })
    this.#lane = lane
    await this.handle(BULK_PROTOCOL, { maxInboundStreams: 8, maxDurationMs: 10_000 }, (channel) => lane.answer(channel))
  }

  addresses(): readonly string[] {
    const { announce } = this.#options
    const own = announce.length > 0 ? announce : this.#listening.listenAddresses().map((each) => each.toString())
    const suffix = `/p2p/${this.peerId}`
    return own.map((address) => (address.endsWith(suffix) ? address : address + suffix))
  }

  async handle(protocol: string, limits: ProtocolLimits, handler: ChannelHandler): Promise<void> {
    if (this.#protocols.has(protocol)) throw new FeedmeshError('INTERNAL', `${protocol} is handled already`)
    this.#protocols.add(protocol)
    const served = { protocol, limits, handler }
    if (limits.bulk === true) this.#lane?.serve(served)
    const context = { log: this.#log, setTimer: this.#setTimer, stopping: this.#stopping.signal }
    await this.#node.handle(
      protocol,
      (stream, connection) => {
        const channel = this.#live.wrap(stream, connection, { protocol, idleMs: limits.idleMs })
        if (this.#stopping.signal.aborted) {
          channel.abort(abortError(this.#stopping.signal, protocol))
          return
        }
        const serving = serveChannel(channel, served, context)
        this.#serving.add(serving)
        void serving.then(() => this.#serving.delete(serving))
      },
      { maxInboundStreams: limits.maxInboundStreams, maxOutboundStreams: MAX_OUTBOUND_STREAMS },
    )
  }

  async connect(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    this.#check(peerId)
    const entry = this.#book.find(peerId)
    // Hints about a kept peer are tried, but do not displace what an operator said.
    if (entry?.kept !== true) this.#book.note(peerId, addresses)
    if (this.#live.isConnected(peerId)) return
    await this.#dials.join(peerId, addresses.length > 0 ? addresses : (entry?.addresses ?? []), signal)
  }

  async open(peerId: string, protocol: string, signal: AbortSignal, idleMs?: number): Promise<Channel> {
    this.#check(peerId)
    if (this.#lane?.carries(protocol) !== true) return await this.#openStream(peerId, { protocol, idleMs }, signal)
    await this.#reach(peerId, signal)
    const channel = await this.#lane.findChannel(peerId, { protocol, idleMs }, signal)
    return channel ?? (await this.#openStream(peerId, { protocol, idleMs }, signal))
  }

  async #openStream(peerId: string, kind: StreamKind, signal: AbortSignal): Promise<Channel> {
    for (const connection of this.#live.connectionsOf(peerId)) {
      try {
        return await this.#live.open(connection, kind, signal)
      } catch (error) {
        // The connection may have died unnoticed; the next one, or a new one, may do.
        if (!isFeedmeshError(error, 'PEER_UNREACHABLE')) throw error
        this.#log.debug({ peer: peerId, protocol: kind.protocol }, error.message)
      }
    }
    await this.#dials.join(peerId, this.#book.find(peerId)?.addresses ?? [], signal)
    const [connection] = this.#live.connectionsOf(peerId)
    if (connection === undefined) {
      throw new FeedmeshError('PEER_UNREACHABLE', `${peerId} closed the connection as soon as it was open`)
    }
    return this.#live.open(connection, kind, signal)
  }

  async #reach(peerId: string, signal: AbortSignal): Promise<void> {
    if (this.#live.isConnected(peerId)) return
    await this.#dials.join(peerId, this.#book.find(peerId)?.addresses ?? [], signal)
  }

  #hostsOf(peerId: string): string[] {
    const connections = this.#live.connectionsOf(peerId)
    const hosts = connections.map((connection) => findHostAndPort(connection.remoteAddr.toString())?.host)
    return [...new Set(hosts.filter((host) => host !== undefined))]
  }

  keep(peerId: string, addresses: readonly string[]): void {
    this.#check(peerId)
    this.#book.keep(peerId, addresses)
    const running = this.#redials.get(peerId)
    if (running !== undefined) {
      running.dialNow()
      return
    }
    this.#tag(peerId, true)
    this.#redials.set(
      peerId,
      new Redial({
        dial: (signal) => this.#dials.join(peerId, this.#book.find(peerId)?.addresses ?? [], signal),
        isConnected: () => this.#live.isConnected(peerId),
        setTimer: this.#setTimer,
        now: this.#now,
        random: this.#random,
      }),
    )
  }

  async release(peerId: string): Promise<void> {
    this.#redials.get(peerId)?.[Symbol.dispose]()
    this.#redials.delete(peerId)
    this.#book.release(peerId)
    this.#dials.stop(peerId, new FeedmeshError('ABORTED', `${peerId} was released`))
    this.#tag(peerId, false)
    await this.#drain([...(this.#live.find(peerId)?.channels ?? []), ...(this.#lane?.channels(peerId) ?? [])])
    this.#lane?.drop(peerId)
    const connections = [...(this.#live.find(peerId)?.connections.keys() ?? [])]
    for (const connection of connections) {
      try {
        await connection.close({ signal: AbortSignal.timeout(1000) })
      } catch (error) {
        connection.abort(error instanceof Error ? error : new Error(String(error)))
      }
    }
  }

  redialNow(peerId: string): void {
    this.#redials.get(peerId)?.dialNow()
  }

  peers(): readonly PeerState[] {
    return describePeers(this.#book, this.#live.describe())
  }

  onPeer(listener: PeerListener): () => void {
    return this.#live.onPeer(listener)
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #stop(): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    for (const redial of this.#redials.values()) redial[Symbol.dispose]()
    this.#dials.close(new FeedmeshError('ABORTED', 'the node is stopping'))
    this.#live[Symbol.dispose]()
    // Streams that are open when the node stops are cut off without a word to either end.
    await this.#drain([...this.#live.channels(), ...(this.#lane?.channels() ?? [])])
    await this.#within(Promise.all(this.#serving))
    await this.#within(Promise.resolve(this.#lane?.[Symbol.asyncDispose]()))
    await this.#node.stop()
  }

  async #drain(channels: Iterable<{ readonly closed: Promise<unknown>; abort(reason: Error): void }>): Promise<void> {
    const open = [...channels]
    const closed = Promise.all(open.map((channel) => channel.closed))
    if (await this.#within(closed)) return
    for (const channel of open) channel.abort(new FeedmeshError('ABORTED', 'the connection is being closed'))
    await closed
  }

  /** Whether `work` was done within the time for draining. */
  async #within(work: Promise<unknown>): Promise<boolean> {
    const late = Promise.withResolvers<boolean>()
    const cancel = this.#setTimer(() => {
      late.resolve(false)
    }, this.#drainMs)
    const inTime = await Promise.race([work.then(() => true), late.promise])
    cancel()
    return inTime
  }

  async #runDial(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    try {
      await dialPeer(this.#node, peerId, addresses, signal)
      this.#book.noteSuccess(peerId)
    } catch (error) {
      if (this.#live.isConnected(peerId)) return
      if (isFeedmeshError(error, 'PEER_UNREACHABLE')) {
        this.#book.noteFailure(peerId, { message: error.message, at: this.#now() })
      }
      throw error
    }
  }

  #onPeer(type: 'connected' | 'disconnected', peerId: string): void {
    this.#lane?.forget(peerId)
    if (type === 'disconnected') {
      this.#redials.get(peerId)?.disconnected()
      return
    }
    this.#redials.get(peerId)?.connected()
    this.#book.noteSuccess(peerId)
    const [connection] = this.#live.connectionsOf(peerId)
    if (connection?.direction !== 'inbound') return
    this.#dials.stop(peerId, new FeedmeshError('ABORTED', `${peerId} is connected`))
  }

  /** libp2p closes the connections of peers with the lowest tags when there are too many. */
  #tag(peerId: string, kept: boolean): void {
    const tags = { 'feedmesh-kept': kept ? { value: 100 } : undefined }
    this.#node.peerStore.merge(peerIdFromString(peerId), { tags }).catch((error: unknown) => {
      this.#log.warn({ err: error, peer: peerId }, 'the peer could not be marked as kept')
    })
  }

  #check(peerId: string): void {
    publicKeyFromPeerId(peerId)
    if (peerId === this.peerId) throw new FeedmeshError('BAD_INPUT', `${peerId} is this node itself`)
    if (this.#stopping.signal.aborted) throw abortError(this.#stopping.signal, `connecting to ${peerId}`)
  }
}
