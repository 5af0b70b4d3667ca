/** The dialling side of the bulk lane: connections to peers, kept for a while after use, and when to try again where there are none. */

import type { OnReadOpts } from 'node:net'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { abortError } from './dial-errors.ts'
import type { LaneAddress } from './lane-listener.ts'
import { type LaneTls, verifyLanePeer } from './lane-security.ts'
import { LaneSocket } from './lane-socket.ts'
import { type SetTimer, startTimeLimit } from './timers.ts'

/** Shorter than the listener keeps it, so that a connection is not closed there while it is taken up here. */
const WARM_MS = 2 * 60_000
/** Who waits for a lane goes on without one after this long. */
const WAIT_MS = 5000
const FIRST_RETRY_MS = 10_000
const LAST_RETRY_MS = 15 * 60_000
const MAX_SOCKETS_OF_PEER = 12
/** A protocol that a peer does not serve on its lane is asked for again after this long. */
const ASK_AGAIN_MS = 60_000
/** Decrypted bytes come in pieces of at most 16 KiB. */
const READ_BYTES = 16 * 1024

export interface LaneDiallerOptions {
  readonly tls: LaneTls
  readonly log: Log
  readonly now: () => number
  readonly random: () => number
  readonly setTimer: SetTimer
  findLane(peerId: string, signal: AbortSignal): Promise<PeerLane>
}

export interface PeerLane {
  /** Where it listens, best first; none when the peer has no lane. */
  readonly addresses: readonly LaneAddress[]
  readonly protocols: readonly string[]
}

interface LanePeer {
  readonly sockets: Set<LaneSocket>
  /** Without a channel, the newest last, each with what stops its end. */
  readonly warm: Map<LaneSocket, () => void>
  lane: Promise<PeerLane> | undefined
  /** Of `lane`, once it is known. */
  protocols: readonly string[] | undefined
  /** Until then what the peer told is not asked again. */
  toldUntil: number
  dialling: number
  failures: number
  retryAt: number
}

export class LaneDialler implements Disposable {
  readonly #options: LaneDiallerOptions
  readonly #peers = new Map<string, LanePeer>()
  readonly #stopping = new AbortController()
  /** Shared by all connections: what comes is copied before the next piece does. */
  readonly #readBuffer = Buffer.allocUnsafeSlow(READ_BYTES)

  constructor(options: LaneDiallerOptions) {
    this.#options = options
  }

  /**
   * A connection for one channel of the protocol; undefined where there is none now. Somebody waits for the first attempt
   * only: after a failure the next one, in its time, is made beside. @throws what `signal` was aborted with
   */
  async find(peerId: string, protocol: string, signal: AbortSignal): Promise<LaneSocket | undefined> {
    const peer = this.#peer(peerId)
    if (!this.#maySpeak(peer, protocol)) return undefined
    const warm = this.#takeWarm(peer)
    if (warm !== undefined) return warm
    if (peer.sockets.size + peer.dialling >= MAX_SOCKETS_OF_PEER || this.#options.now() < peer.retryAt) return undefined
    if (peer.failures > 0) {
      peer.retryAt = this.#options.now() + WAIT_MS
      void this.#tryAgain(peerId, peer)
      return undefined
    }
    const socket = await this.#tryDial(peerId, peer, signal)
    if (signal.aborted) {
      if (socket !== undefined) this.giveBack(socket)
      throw abortError(signal, `opening a bulk connection to ${peerId}`)
    }
    if (socket === undefined || peer.protocols?.includes(protocol) === true) return socket
    this.giveBack(socket)
    return undefined
  }

  /** Not if the peer has just said otherwise; it may have been starting. */
  #maySpeak(peer: LanePeer, protocol: string): boolean {
    if (peer.protocols?.includes(protocol) !== false) return true
    if (this.#options.now() < peer.toldUntil) return false
    peer.lane = undefined
    peer.protocols = undefined
    return true
  }

  /** The channel is over and the connection open: somebody may want it soon. */
  giveBack(socket: LaneSocket): void {
    const peer = this.#peers.get(socket.remote)
    if (peer === undefined || !socket.isOpen || this.#stopping.signal.aborted) {
      socket.close()
      return
    }
    peer.warm.set(
      socket,
      this.#options.setTimer(() => {
        peer.warm.delete(socket)
        socket.close()
      }, WARM_MS),
    )
  }

  /** A connection was of no use: the others are not trusted either, and the next attempts wait. */
  noteLost(peerId: string, why: string): void {
    const peer = this.#peers.get(peerId)
    if (peer === undefined || this.#stopping.signal.aborted) return
    this.#closeWarm(peer)
    peer.lane = undefined
    peer.protocols = undefined
    const { now, random, log } = this.#options
    // Several at once are one failure.
    if (now() < peer.retryAt) return
    peer.failures += 1
    const delayMs = Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** (peer.failures - 1)) * (0.75 + random() / 2)
    peer.retryAt = now() + delayMs
    log.debug({ peer: peerId, why, retryMs: Math.round(delayMs) }, 'no bulk lane to the peer; streams are used instead')
  }

  /** The peer is gone, or back from somewhere else: what is known of it counts no longer. Channels go on. */
  forget(peerId: string): void {
    const peer = this.#peers.get(peerId)
    if (peer === undefined) return
    this.#closeWarm(peer)
    this.#peers.delete(peerId)
  }

  [Symbol.dispose](): void {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    for (const peer of this.#peers.values()) {
      this.#closeWarm(peer)
      for (const socket of peer.sockets) socket.close()
    }
    this.#peers.clear()
  }

  #peer(peerId: string): LanePeer {
    const known = this.#peers.get(peerId)
    if (known !== undefined) return known
    const peer = {
      sockets: new Set<LaneSocket>(),
      warm: new Map(),
      lane: undefined,
      protocols: undefined,
      toldUntil: 0,
      dialling: 0,
      failures: 0,
      retryAt: 0,
    }
    this.#peers.set(peerId, peer)
    return peer
  }

  #takeWarm(peer: LanePeer): LaneSocket | undefined {
    for (const [socket, stopTimer] of [...peer.warm].reverse()) {
      peer.warm.delete(socket)
      stopTimer()
      if (socket.isOpen) return socket
    }
    return undefined
  }

  #closeWarm(peer: LanePeer): void {
    for (const [socket, stopTimer] of peer.warm) {
      stopTimer()
      socket.close()
    }
    peer.warm.clear()
  }

  async #tryAgain(peerId: string, peer: LanePeer): Promise<void> {
    const socket = await this.#tryDial(peerId, peer, this.#stopping.signal)
    if (socket === undefined) return
    peer.failures = 0
    this.giveBack(socket)
  }

  /** undefined after a failure, which has been noted. */
  async #tryDial(peerId: string, peer: LanePeer, signal: AbortSignal): Promise<LaneSocket | undefined> {
    using limit = startTimeLimit(this.#options.setTimer, WAIT_MS, this.#stopping.signal, signal)
    peer.dialling += 1
    try {
      return await this.#dial(peerId, peer, limit.signal)
    } catch (error) {
      if (!signal.aborted) {
        if (peer.failures > 0) peer.retryAt = 0
        this.noteLost(peerId, error instanceof Error ? error.message : String(error))
      }
      return undefined
    } finally {
      peer.dialling -= 1
    }
  }

  /** @throws PEER_UNREACHABLE naming each address and why */
  async #dial(peerId: string, peer: LanePeer, signal: AbortSignal): Promise<LaneSocket> {
    peer.lane ??= this.#findLane(peerId)
    const { addresses, protocols } = await peer.lane
    peer.protocols = protocols
    peer.toldUntil = this.#options.now() + ASK_AGAIN_MS
    const failures: string[] = []
    for (const address of addresses) {
      try {
        const socket = await this.#connect(peerId, address, signal)
        peer.sockets.add(socket)
        void letGo(socket, peer)
        return socket
      } catch (error) {
        if (signal.aborted) throw abortError(signal, `dialling the bulk lane of ${peerId}`)
        failures.push(`${address.host}:${address.port}: ${error instanceof Error ? error.message : String(error)}`)
      }
    }
    throw new FeedmeshError('PEER_UNREACHABLE', failures.join('; ') || 'it has none')
  }

  /** For all who wait for it: the end of one of them does not stop it. */
  async #findLane(peerId: string): Promise<PeerLane> {
    using limit = startTimeLimit(this.#options.setTimer, WAIT_MS, this.#stopping.signal)
    return await this.#options.findLane(peerId, limit.signal)
  }

  async #connect(peerId: string, { host, port }: LaneAddress, signal: AbortSignal): Promise<LaneSocket> {
    let socket: LaneSocket | undefined
    const options: ConnectionOptions & { readonly onread: OnReadOpts } = {
      ...this.#options.tls,
      host,
      port,
      checkServerIdentity: () => undefined,
      onread: {
        buffer: this.#readBuffer,
        callback: (length, bytes) => {
          if (socket === undefined) tls.destroy()
          else socket.feed(bytes, length)
          return true
        },
      },
    }
    const tls = connect(options)
    const stop = (): void => {
      tls.destroy()
    }
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    try {
      await handshake(tls)
      const remote = verifyLanePeer(tls)
      if (remote !== peerId) throw new FeedmeshError('PEER_INVALID', `another node answers there: ${remote}`)
      socket = new LaneSocket(tls, remote)
      return socket
    } catch (error) {
      tls.destroy()
      throw error
    } finally {
      signal.removeEventListener('abort', stop)
    }
  }
}

function handshake(tls: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    tls.once('secureConnect', resolve)
    tls.once('error', reject)
    tls.once('close', () => reject(new Error('it closed the connection')))
  })
}

async function letGo(socket: LaneSocket, peer: LanePeer): Promise<void> {
  await socket.closed
  peer.sockets.delete(socket)
  peer.warm.get(socket)?.()
  peer.warm.delete(socket)
}
