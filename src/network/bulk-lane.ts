/**
 * The bulk lane of a host: TLS connections beside the libp2p ones, for protocols that carry much.
 * Who opens a channel asks the peer over libp2p where its lane listens, dials it, and names the protocol in the first chunk;
 * the listening end serves it as it serves a stream of that protocol. Where that fails, the host uses a stream instead.
 */

import {
  BULK_PROTOCOL,
  type BulkReply,
  type BulkRequest,
  bulkOpening,
  bulkReply,
  bulkRequest,
  MAX_LANE_ADDRESSES,
  MAX_LANE_PROTOCOLS,
} from '../../protocols/mesh/bulk/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { Exchange, parseError } from '../../protocols/mesh/exchange.ts'
import { encodeCbor } from '../catalog/cbor.ts'
import { isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { Blocks } from './block-queue.ts'
import { type ServedProtocol, serveChannel } from './host-channel.ts'
import type { Identity } from './identity.ts'
import { findHostAndPort, type LaneListen, parseHostAndPort, renderHostAndPort } from './lane-address.ts'
import { LaneDialler, type PeerLane } from './lane-dialler.ts'
import { LaneListener } from './lane-listener.ts'
import { OpeningReader } from './lane-opening.ts'
import { createLaneTls } from './lane-security.ts'
import type { LaneSocket } from './lane-socket.ts'
import type { SetTimer } from './timers.ts'
import { TlsChannel, type TlsChannelOptions } from './tls-channel.ts'

/** Addresses of one peer that are tried. */
const MAX_TRIED = 4

export interface BulkLaneOptions {
  readonly identity: Identity
  /** undefined: this end only dials. */
  readonly listen: LaneListen | undefined
  /** Multiaddrs whose hosts are told beside the port. */
  readonly announce: readonly string[]
  readonly log: Log
  readonly now: () => number
  readonly random: () => number
  readonly setTimer: SetTimer
  readonly idleMs: number
  readonly stopping: AbortSignal
  /** Whether the peer may use the lane. */
  admits(peerId: string): boolean
  /** Hosts that the peer's live connections lead to. */
  hostsOf(peerId: string): readonly string[]
  openStream(peerId: string, protocol: string, signal: AbortSignal): Promise<Channel>
  readonly onBytes: (peerId: string, direction: 'in' | 'out', bytes: number) => void
}

export async function openBulkLane(options: BulkLaneOptions): Promise<BulkLane> {
  const lane = new BulkLane(options)
  if (options.listen !== undefined) await lane.listen(options.listen)
  return lane
}

export class BulkLane implements AsyncDisposable {
  readonly #options: BulkLaneOptions
  readonly #dialler: LaneDialler
  readonly #protocols = new Map<string, ServedProtocol>()
  readonly #channels = new Set<TlsChannel>()
  /** Those that the other end opened, with their protocols. */
  readonly #inbound = new Map<TlsChannel, string>()
  readonly #serving = new Set<Promise<void>>()
  readonly #blocks = new Blocks()
  #listener: LaneListener | undefined

  constructor(options: BulkLaneOptions) {
    this.#options = options
    const { identity, log, now, random, setTimer } = options
    this.#dialler = new LaneDialler({
      tls: createLaneTls(identity),
      log,
      now,
      random,
      setTimer,
      findLane: (peerId, signal) => this.#findLane(peerId, signal),
    })
  }

  /** `HOST:PORT` that it listens on, undefined for a lane that only dials. */
  get address(): string | undefined {
    const { listen } = this.#options
    if (this.#listener === undefined || listen === undefined) return undefined
    return renderHostAndPort({ host: listen.host, port: this.#listener.port })
  }

  /** @throws BAD_INPUT */
  async listen(address: LaneListen): Promise<void> {
    const { identity, log } = this.#options
    const options = {
      tls: createLaneTls(identity),
      log,
      admits: (peerId: string) => this.#options.admits(peerId),
      onSocket: (socket: LaneSocket) => this.#awaitOpening(socket, 'first'),
    }
    try {
      this.#listener = await LaneListener.open(address, options)
    } catch (error) {
      if (!address.anyPort || address.port === 0 || !isFeedmeshError(error, 'BAD_INPUT')) throw error
      this.#listener = await LaneListener.open({ ...address, port: 0 }, options)
      log.warn({ port: this.#listener.port }, `${error.message}; a free port was taken for bulk data`)
    }
  }

  serve(served: ServedProtocol): void {
    this.#protocols.set(served.protocol, served)
  }

  carries(protocol: string): boolean {
    return this.#protocols.has(protocol)
  }

  /** undefined where there is no lane to the peer now. @throws what `signal` was aborted with */
  async findChannel(
    peerId: string,
    kind: { readonly protocol: string; readonly idleMs: number | undefined },
    signal: AbortSignal,
  ): Promise<Channel | undefined> {
    const socket = await this.#dialler.find(peerId, kind.protocol, signal)
    if (socket === undefined) return undefined
    const channel = this.#createChannel(socket, kind, {
      onDone: () => this.#dialler.giveBack(socket),
      onLost: () => this.#dialler.noteLost(peerId, 'the connection was lost'),
    })
    // Sent together with the first bytes of the protocol, and as unanswered: a lost connection shows there.
    void socket.write(encodeCbor(bulkOpening, { protocol: kind.protocol })).catch(() => channel.onBroken('closed'))
    return channel
  }

  channels(peerId?: string): TlsChannel[] {
    return [...this.#channels].filter((channel) => peerId === undefined || channel.remote === peerId)
  }

  /** The peer has come or gone: where its lane is may have changed. */
  forget(peerId: string): void {
    this.#dialler.forget(peerId)
  }

  /** Closes all connections of the peer, both ways. */
  drop(peerId: string): void {
    this.#dialler.forget(peerId)
    this.#listener?.drop(peerId)
  }

  /** Answers `/feedmesh/bulk/1`. */
  async answer(channel: Channel): Promise<void> {
    const exchange = new Exchange<BulkReply, BulkRequest>(channel, {
      out: bulkReply,
      in: bulkRequest,
      what: BULK_PROTOCOL,
    })
    while ((await exchange.find()) !== undefined) {
      const port = this.#options.admits(channel.remote) ? (this.#listener?.port ?? 0) : 0
      const protocols = [...this.#protocols.keys()].slice(0, MAX_LANE_PROTOCOLS)
      await exchange.send({ kind: 'lane', port, addresses: port === 0 ? [] : this.#announced(port), protocols })
    }
  }

  /** Resolves once what was served is over; channels have to be aborted before. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#dialler[Symbol.dispose]()
    await this.#listener?.[Symbol.asyncDispose]()
    await Promise.all(this.#serving)
    this.#blocks.clear()
  }

  #announced(port: number): string[] {
    const hosts = this.#options.announce.map((address) => findHostAndPort(address)?.host)
    const known = [...new Set(hosts.filter((host) => host !== undefined))]
    return known.slice(0, MAX_LANE_ADDRESSES).map((host) => renderHostAndPort({ host, port }))
  }

  /** @throws what opening a stream throws; PEER_INVALID */
  async #findLane(peerId: string, signal: AbortSignal): Promise<PeerLane> {
    const channel = await this.#options.openStream(peerId, BULK_PROTOCOL, signal)
    const abort = (): void => channel.abort(signal.reason as Error)
    signal.addEventListener('abort', abort, { once: true })
    try {
      await using exchange = new Exchange<BulkRequest, BulkReply>(channel, {
        out: bulkRequest,
        in: bulkReply,
        what: BULK_PROTOCOL,
      })
      await exchange.send({ kind: 'find' })
      const reply = await exchange.receive()
      await exchange.end()
      if (reply.kind === 'error') throw parseError(reply)
      const { port, protocols } = reply
      if (port === 0) return { addresses: [], protocols }
      const reached = this.#options.hostsOf(peerId).map((host) => ({ host, port }))
      return { addresses: [...reached, ...reply.addresses.map(parseHostAndPort)].slice(0, MAX_TRIED), protocols }
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }

  #awaitOpening(socket: LaneSocket, turn: 'first' | 'next'): void {
    const { setTimer } = this.#options
    socket.readWith(
      new OpeningReader({ socket, turn, setTimer, onOpening: (protocol) => this.#serve(socket, protocol) }),
    )
  }

  #serve(socket: LaneSocket, protocol: string): void {
    const served = this.#protocols.get(protocol)
    const { log, setTimer, stopping } = this.#options
    if (served === undefined || this.#isFull(socket.remote, served) || stopping.aborted) {
      log.debug({ peer: socket.remote, protocol }, 'a channel was refused')
      socket.reset()
      return
    }
    const kind = { protocol, idleMs: served.limits.idleMs }
    const channel = this.#createChannel(socket, kind, {
      onDone: () => this.#awaitOpening(socket, 'next'),
      // The other end dialled, and finds out by itself.
      onLost: () => {},
    })
    this.#inbound.set(channel, protocol)
    const serving = serveChannel(channel, served, { log, setTimer, stopping })
    this.#serving.add(serving)
    void serving.then(() => this.#serving.delete(serving))
  }

  #isFull(peerId: string, { protocol, limits }: ServedProtocol): boolean {
    const open = [...this.#inbound].filter(([channel, of]) => channel.remote === peerId && of === protocol)
    return open.length >= limits.maxInboundStreams
  }

  #createChannel(
    socket: LaneSocket,
    kind: { readonly protocol: string; readonly idleMs: number | undefined },
    ends: Pick<TlsChannelOptions, 'onDone' | 'onLost'>,
  ): TlsChannel {
    const { setTimer, now, idleMs, onBytes } = this.#options
    const channel = new TlsChannel(socket, {
      protocol: kind.protocol,
      idleMs: kind.idleMs ?? idleMs,
      setTimer,
      now,
      blocks: this.#blocks,
      onBytes: (direction, bytes) => onBytes(socket.remote, direction, bytes),
      ...ends,
    })
    this.#channels.add(channel)
    void this.#letGo(channel)
    return channel
  }

  async #letGo(channel: TlsChannel): Promise<void> {
    await channel.closed
    this.#channels.delete(channel)
    this.#inbound.delete(channel)
  }
}
