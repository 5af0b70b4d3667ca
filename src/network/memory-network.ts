/**
 * Mesh hosts inside one process, with faults that a test can cause. No socket. Unless timers are handed in there are none but
 * those of latency, no limit is enforced, and kept peers find each other at once; with timers, limits and redials are those
 * of a real network.
 */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { abortError } from './dial-errors.ts'
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
  /** In place of `latencyMs`: how long what a host sends to another now is on its way. 0: it is there at once. */
  readonly transitMs?: (from: string, to: string, bytes: number) => number
  /** For latency and, when given, for time limits and redials, which are otherwise not there. */
  readonly setTimer?: SetTimer
  readonly onBytes?: (sent: SentBytes) => void
  readonly log?: Log
}

/** Payload that one end of a stream has sent. */
export interface SentBytes {
  readonly from: string
  readonly to: string
  readonly protocol: string
  readonly bytes: number
}

export interface MemoryNetwork {
  /** A host at `address`, unless told at `/memory/<PeerId>` or, when a host with that identity is there, beside it. */
  openHost(identity: { readonly peerId: string }, address?: string): MeshHost
  /** Breaks what connects the two peers, and keeps them apart until `heal`. */
  cut(a: string, b: string): void
  heal(a: string, b: string): void
  /** Breaks what connects the two peers now. */
  drop(a: string, b: string): void
  /**
   * As if the process of the peer was killed: its hosts vanish without a word. Peers find out at once; with `unnoticedMs`,
   * as if its machine was switched off, only after that long.
   */
  stop(peerId: string, unnoticedMs?: number): void
}

/** One connection; its two ends are hosts. */
export interface MemoryConnection {
  readonly dialler: MemoryHost
  readonly listener: MemoryHost
  readonly latencyMs: number
  readonly channels: Set<MemoryChannel>
}

/** What a real host does by the clock. */
export interface MemoryTimers {
  readonly setTimer: SetTimer
  readonly now: () => number
  /** In [0, 1). */
  readonly random: () => number
}

export interface IdleLimits {
  readonly near: number | undefined
  readonly far: number | undefined
}

/** As the libp2p host has it. */
const IDLE_MS = 30_000

export function createMemoryNetwork(options: MemoryNetworkOptions = {}): MemoryNetwork {
  return new Network(options)
}

const noTimer: SetTimer = () => () => {}

export class Network implements MemoryNetwork {
  readonly now: () => number
  /** For the limits of handlers. */
  readonly setTimer: SetTimer
  /** undefined: neither limits nor redials. */
  readonly timers: MemoryTimers | undefined
  readonly log: Log | undefined
  readonly #transitMs: MemoryNetworkOptions['transitMs']
  readonly #onBytes: (sent: SentBytes) => void
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
    this.#transitMs = options.transitMs
    this.#onBytes = options.onBytes ?? (() => {})
    const random = options.random ?? (() => 0)
    this.#random = random
    this.timers = options.setTimer === undefined ? undefined : { setTimer: options.setTimer, now: this.now, random }
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
    this.drop(a, b)
  }

  drop(a: string, b: string): void {
    for (const host of this.#hosts.values()) {
      if (host.peerId === a) host.dropConnections(b, 'the connection broke')
    }
  }

  heal(a: string, b: string): void {
    this.#cuts.delete(pair(a, b))
    this.#retryAll()
  }

  stop(peerId: string, unnoticedMs = 0): void {
    for (const host of this.#hosts.values()) {
      if (host.peerId === peerId) host.vanish(unnoticedMs)
    }
  }

  remove(host: MemoryHost): void {
    if (this.#hosts.get(host.address) === host) this.#hosts.delete(host.address)
  }

  /** The host that answers there. @throws Error with the reason, as a phrase */
  getListener(from: MemoryHost, peerId: string, address: string): MemoryHost {
    const suffix = `/p2p/${peerId}`
    const listener = this.#hosts.get(address.endsWith(suffix) ? address.slice(0, -suffix.length) : address)
    if (listener === undefined) throw new Error('nobody listens there')
    if (this.#cuts.has(pair(from.peerId, listener.peerId))) throw new Error('no answer in time')
    if (listener.peerId !== peerId) throw new Error(`another node answers there: ${listener.peerId}`)
    return listener
  }

  connect(from: MemoryHost, listener: MemoryHost): MemoryConnection {
    const latencyMs = this.#latencyMs * (1 + this.#random() / 10)
    const connection = { dialler: from, listener, latencyMs, channels: new Set<MemoryChannel>() }
    from.addConnection(listener.peerId, connection)
    listener.addConnection(from.peerId, connection)
    return connection
  }

  /** A stream from one end of the connection to the other. */
  openStream(
    connection: MemoryConnection,
    from: MemoryHost,
    { protocol, idleMs }: { readonly protocol: string; readonly idleMs: IdleLimits },
  ): readonly [near: MemoryChannel, far: MemoryChannel] {
    const to = otherEnd(connection, from)
    const channels = createMemoryStream({
      protocol,
      dialler: from.peerId,
      listener: to.peerId,
      transitMs: (sender, bytes) =>
        this.#transit(connection, sender, sender === from.peerId ? to.peerId : from.peerId, bytes),
      setTimer: this.#latencyTimer,
      idleMs:
        this.timers === undefined ? undefined : { dialler: idleMs.near ?? IDLE_MS, listener: idleMs.far ?? IDLE_MS },
      onBytes: (sender, bytes) => {
        const [source, target] = sender === from.peerId ? [from, to] : [to, from]
        this.#onBytes({ from: sender, to: target.peerId, protocol, bytes })
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

  #transit(connection: MemoryConnection, from: string, to: string, bytes: number): number {
    return this.#transitMs === undefined ? connection.latencyMs : this.#transitMs(from, to, bytes)
  }

  /** Waits as long as one way over the connection takes. @throws what `signal` was aborted with */
  async travel(connection: MemoryConnection, from: MemoryHost, signal: AbortSignal): Promise<void> {
    await this.#wait(this.#transit(connection, from.peerId, otherEnd(connection, from).peerId, 0), signal)
  }

  /** Waits as long as it takes to reach the peer and to hear from it, which only `transitMs` says of peers not connected. */
  async travelBothWays(from: string, to: string, signal: AbortSignal): Promise<void> {
    if (this.#transitMs === undefined) return
    await this.#wait(this.#transitMs(from, to, 0), signal)
    await this.#wait(this.#transitMs(to, from, 0), signal)
  }

  async #wait(delayMs: number, signal: AbortSignal): Promise<void> {
    if (delayMs === 0) return
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const onAbort = () => {
      reject(abortError(signal, 'waiting for a peer'))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    const cancel = this.#latencyTimer(resolve, delayMs)
    try {
      await promise
    } finally {
      cancel()
      signal.removeEventListener('abort', onAbort)
    }
  }

  #freeAddress(peerId: string): string {
    const base = `/memory/${peerId}`
    for (let at = 2, address = base; ; at += 1) {
      if (!this.#hosts.has(address)) return address
      address = `${base}-${at}`
    }
  }

  #retryAll(): void {
    if (this.timers !== undefined) return
    for (const host of this.#hosts.values()) host.retryKept()
  }
}

export function otherEnd(connection: MemoryConnection, host: MemoryHost): MemoryHost {
  return connection.dialler === host ? connection.listener : connection.dialler
}

function pair(a: string, b: string): string {
  return a < b ? `${a} ${b}` : `${b} ${a}`
}
