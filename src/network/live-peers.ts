/** The connected peers of a libp2p node: their connections, open channels, round trip and rates. */

import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { abortError, openStreamError } from './dial-errors.ts'
import type { PeerListener } from './host.ts'
import { PeerProbe, PING_PROTOCOL } from './peer-probe.ts'
import type { ConnectedPeer } from './peer-states.ts'
import { RateMeter } from './rate-meter.ts'
import { StreamChannel } from './stream-channel.ts'

/** Streams this end may have open on one protocol of one connection. */
export const MAX_OUTBOUND_STREAMS = 256
const OPEN_TIMEOUT_MS = 10_000

export interface LivePeersOptions {
  readonly log: Log
  readonly now: () => number
  readonly setTimer: SetTimer
  readonly idleMs: number
}

export interface LivePeer {
  readonly peerId: string
  /** Oldest first. Several when both ends dialled, or when two nodes run with one identity. */
  readonly connections: Map<Connection, PeerProbe>
  readonly channels: Set<StreamChannel>
  readonly inRate: RateMeter
  readonly outRate: RateMeter
  rttMs: number | undefined
  movedSinceProbe: boolean
}

export interface StreamKind {
  readonly protocol: string
  /** The usual limit unless told. */
  readonly idleMs?: number | undefined
}

export class LivePeers implements Disposable {
  readonly #options: LivePeersOptions
  readonly #peers = new Map<string, LivePeer>()
  readonly #listeners = new Set<PeerListener>()
  #disposed = false

  constructor(node: Libp2p, options: LivePeersOptions) {
    this.#options = options
    node.addEventListener('connection:open', ({ detail }) => {
      this.#add(detail)
    })
    node.addEventListener('connection:close', ({ detail }) => {
      this.#remove(detail)
    })
  }

  find(peerId: string): LivePeer | undefined {
    return this.#peers.get(peerId)
  }

  channels(): StreamChannel[] {
    return [...this.#peers.values()].flatMap((peer) => [...peer.channels])
  }

  *describe(): Iterable<ConnectedPeer> {
    for (const { peerId, connections, inRate, outRate, rttMs } of this.#peers.values()) {
      const newest = [...connections.keys()].at(-1)
      yield {
        peerId,
        connections: connections.size,
        ...(newest === undefined ? {} : { direction: newest.direction }),
        ...(rttMs === undefined ? {} : { rttMs }),
        inRate: inRate.bytesPerSecond,
        outRate: outRate.bytesPerSecond,
      }
    }
  }

  /** Open connections to the peer, newest first. */
  connectionsOf(peerId: string): Connection[] {
    const connections = [...(this.#peers.get(peerId)?.connections.keys() ?? [])]
    return connections.filter((connection) => connection.status === 'open').reverse()
  }

  isConnected(peerId: string): boolean {
    return this.connectionsOf(peerId).length > 0
  }

  onPeer(listener: PeerListener): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /** @throws PEER_INVALID, PEER_UNREACHABLE, TIMEOUT, BUSY; what `signal` was aborted with */
  async open(connection: Connection, kind: StreamKind, signal: AbortSignal): Promise<StreamChannel> {
    const { protocol } = kind
    const peerId = connection.remotePeer.toString()
    if (signal.aborted) throw abortError(signal, `opening ${protocol} to ${peerId}`)
    try {
      const stream = await connection.newStream(protocol, {
        signal: AbortSignal.any([signal, AbortSignal.timeout(OPEN_TIMEOUT_MS)]),
        maxOutboundStreams: MAX_OUTBOUND_STREAMS,
      })
      return this.wrap(stream, connection, kind)
    } catch (error) {
      if (signal.aborted) throw abortError(signal, `opening ${protocol} to ${peerId}`)
      throw openStreamError(error, peerId, protocol)
    }
  }

  wrap(stream: Stream, connection: Connection, { protocol, idleMs }: StreamKind): StreamChannel {
    const peer = this.#peers.get(connection.remotePeer.toString())
    const channel = new StreamChannel(stream, {
      remote: connection.remotePeer.toString(),
      protocol,
      idleMs: idleMs ?? this.#options.idleMs,
      setTimer: this.#options.setTimer,
      onBytes: (direction, bytes) => {
        if (peer === undefined) return
        // A ping that leaves proves nothing, and pings are no payload.
        if (direction === 'in' || protocol !== PING_PROTOCOL) peer.movedSinceProbe = true
        if (protocol !== PING_PROTOCOL) count(peer, direction, bytes)
      },
    })
    peer?.channels.add(channel)
    void channel.closed.then(() => peer?.channels.delete(channel))
    return channel
  }

  /** Payload that went another way than over a stream; it says nothing about the connections. */
  count(peerId: string, direction: 'in' | 'out', bytes: number): void {
    const peer = this.#peers.get(peerId)
    if (peer !== undefined) count(peer, direction, bytes)
  }

  /** Stops measuring; nothing is announced any more. */
  [Symbol.dispose](): void {
    this.#disposed = true
    this.#listeners.clear()
    for (const peer of this.#peers.values()) {
      for (const probe of peer.connections.values()) probe[Symbol.dispose]()
    }
  }

  #add(connection: Connection): void {
    if (this.#disposed || connection.status !== 'open') return
    const peerId = connection.remotePeer.toString()
    const { now } = this.#options
    const known = this.#peers.get(peerId)
    const peer: LivePeer = known ?? {
      peerId,
      connections: new Map(),
      channels: new Set(),
      inRate: new RateMeter(now),
      outRate: new RateMeter(now),
      rttMs: undefined,
      movedSinceProbe: false,
    }
    this.#peers.set(peerId, peer)
    peer.connections.set(connection, this.#probe(peer, connection))
    if (known === undefined) this.#announce({ type: 'connected', peerId })
  }

  #remove(connection: Connection): void {
    const peerId = connection.remotePeer.toString()
    const peer = this.#peers.get(peerId)
    peer?.connections.get(connection)?.[Symbol.dispose]()
    if (peer?.connections.delete(connection) !== true || peer.connections.size > 0) return
    this.#peers.delete(peerId)
    this.#announce({ type: 'disconnected', peerId })
  }

  #probe(peer: LivePeer, connection: Connection): PeerProbe {
    return new PeerProbe({
      open: (signal) => this.open(connection, { protocol: PING_PROTOCOL }, signal),
      isAlive: () => {
        const moved = peer.movedSinceProbe
        peer.movedSinceProbe = false
        return moved
      },
      onRtt: (rttMs) => {
        peer.rttMs = peer.rttMs === undefined ? rttMs : peer.rttMs + (rttMs - peer.rttMs) / 4
      },
      onDead: () => {
        this.#options.log.warn({ peer: peer.peerId }, 'the peer stopped answering; its connection is dropped')
        connection.abort(new FeedmeshError('PEER_UNREACHABLE', `${peer.peerId} stopped answering`))
      },
      setTimer: this.#options.setTimer,
    })
  }

  #announce(event: Parameters<PeerListener>[0]): void {
    for (const listener of this.#listeners) {
      try {
        listener(event)
      } catch (error) {
        this.#options.log.error({ err: error, peer: event.peerId }, `a listener for ${event.type} peers failed`)
      }
    }
  }
}

function count(peer: LivePeer, direction: 'in' | 'out', bytes: number): void {
  if (direction === 'in') peer.inRate.add(bytes)
  else peer.outRate.add(bytes)
}
