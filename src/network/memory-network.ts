/** Mesh hosts inside one process, with faults that a test can cause. No socket, and no timer unless latency is asked for. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from './host.ts'
import { createMemoryStream, type MemoryChannel } from './memory-channel.ts'
import { MemoryHost } from './memory-host.ts'
import { RateMeter } from './rate-meter.ts'
import { setUnrefTimer } from './timers.ts'

export interface MemoryNetworkOptions {
  /** Unix ms; only rates and the times of dial errors come from it. */
  readonly now?: () => number
  /** One way; 0 unless told. */
  readonly latencyMs?: number
  /** In [0, 1): stretches each connection's latency by up to a tenth. */
  readonly random?: () => number
  /** For latency and, when given, for the time limits of handlers, which are otherwise not enforced. */
  readonly setTimer?: SetTimer
  readonly log?: Log
}

export interface MemoryNetwork {
  /** A host at `address`, unless told at `/memory/<PeerId>` or, when a host with that identity is there, beside it. */
  openHost(identity: { readonly peerId: string }, address?: string): MeshHost
  /** Breaks what connects the two peers, and keeps them apart until `heal`. */
  cut(a: string, b: string): void
  heal(a: string, b: string): void
  /** As if the process of the peer was killed: its hosts vanish without a word. */
  stop(peerId: string): void
}

/** One connection; its two ends are hosts. */
export interface MemoryConnection {
  readonly dialler: MemoryHost
  readonly listener: MemoryHost
  readonly latencyMs: number
  readonly channels: Set<MemoryChannel>
}

export function createMemoryNetwork(options: MemoryNetworkOptions = {}): MemoryNetwork {
  return new Network(options)
}

const noTimer: SetTimer = () => () => {}

export class Network implements MemoryNetwork {
  readonly now: () => number
  /** For the limits of handlers. */
  readonly setTimer: SetTimer
  readonly log: Log | undefined
  readonly #latencyMs: number
  readonly #random: () => number
  readonly #latencyTimer: SetTimer
  readonly #hosts = new Map<string, MemoryHost>()
  readonly #cuts = new Set<string>()

  constructor(options: MemoryNetworkOptions) {
    this.now = options.now ?? Date.now
    this.setTimer = options.setTimer ?? noTimer
    this.log = options.log
    this.#latencyMs = options.latencyMs ?? 0
    this.#random = options.random ?? (() => 0)
    this.#latencyTimer = options.setTimer ?? setUnrefTimer
  }

  openHost(identity: { readonly peerId: string }, address = this.#freeAddress(identity.peerId)): MeshHost {
    if (this.#hosts.has(address)) {
      throw new FeedmeshError('BAD_INPUT', `cannot listen on ${address}: another host uses it; stop it first`)
    }
    const host = new MemoryHost(this, identity.peerId, address)
    this.#hosts.set(address, host)
    this.#retryAll()
    return host
  }

  cut(a: string, b: string): void {
    this.#cuts.add(pair(a, b))
    for (const host of this.#hosts.values()) {
      if (host.peerId === a) host.dropConnections(b, 'the connection broke')
    }
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b))
    this.#retryAll()
  }

  stop(peerId: string): void {
    for (const host of this.#hosts.values()) {
      if (host.peerId === peerId) host.vanish()
    }
  }

  remove(host: MemoryHost): void {
    if (this.#hosts.get(host.address) === host) this.#hosts.delete(host.address)
  }

  /** @throws Error with the reason, as a phrase */
  dial(from: MemoryHost, peerId: string, address: string): MemoryConnection {
    const suffix = `/p2p/${peerId}`
    const listener = this.#hosts.get(address.endsWith(suffix) ? address.slice(0, -suffix.length) : address)
    if (listener === undefined) throw new Error('nobody listens there')
    if (this.#cuts.has(pair(from.peerId, listener.peerId))) throw new Error('no answer in time')
    if (listener.peerId !== peerId) throw new Error(`another node answers there: ${listener.peerId}`)
    const latencyMs = this.#latencyMs * (1 + this.#random() / 10)
    const connection = { dialler: from, listener, latencyMs, channels: new Set<MemoryChannel>() }
    from.addConnection(peerId, connection)
    listener.addConnection(from.peerId, connection)
    return connection
  }

  /** A stream from one end of the connection to the other. */
  openStream(
    connection: MemoryConnection,
    from: MemoryHost,
    protocol: string,
  ): readonly [near: MemoryChannel, far: MemoryChannel] {
    const to = otherEnd(connection, from)
    const channels = createMemoryStream({
      protocol,
      dialler: from.peerId,
      listener: to.peerId,
      latencyMs: connection.latencyMs,
      setTimer: this.#latencyTimer,
      onBytes: (sender, bytes) => {
        const [source, target] = sender === from.peerId ? [from, to] : [to, from]
        source.find(target.peerId)?.outRate.add(bytes)
        target.find(source.peerId)?.inRate.add(bytes)
      },
    })
    for (const channel of channels) {
      connection.channels.add(channel)
      void channel.closed.then(() => connection.channels.delete(channel))
    }
    return channels
  }

  createRateMeter(): RateMeter {
    return new RateMeter(this.now)
  }

  /** Waits as long as one way over the connection takes. */
  async travel(connection: MemoryConnection): Promise<void> {
    if (connection.latencyMs === 0) return
    await new Promise<void>((resolve) => {
      this.#latencyTimer(resolve, connection.latencyMs)
    })
  }

  #freeAddress(peerId: string): string {
    const base = `/memory/${peerId}`
    for (let at = 2, address = base; ; at += 1) {
      if (!this.#hosts.has(address)) return address
      address = `${base}-${at}`
    }
  }

  #retryAll(): void {
    for (const host of this.#hosts.values()) host.retryKept()
  }
}

export function otherEnd(connection: MemoryConnection, host: MemoryHost): MemoryHost {
  return connection.dialler === host ? connection.listener : connection.dialler
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
