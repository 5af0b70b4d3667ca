/** The listening side of the bulk lane: takes connections of peers that it admits, and whose certificate proves who they are. */

import { once } from 'node:events'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import { type LaneTls, verifyLanePeer } from './lane-security.ts'
import { LaneSocket } from './lane-socket.ts'

const HANDSHAKE_MS = 10_000
const MAX_CONNECTIONS = 512
const MAX_UNPROVED = 64
export const MAX_CONNECTIONS_OF_PEER = 16

export interface LaneListenerOptions {
  readonly tls: LaneTls
  readonly log: Log
  /** 10 s unless told. */
  readonly handshakeMs?: number | undefined
  /** Whether the peer may have a lane at all. */
  admits(peerId: string): boolean
  /** Nothing has been read from it yet. */
  onSocket(socket: LaneSocket): void
}

export interface LaneAddress {
  readonly host: string
  /** 0: a free one. */
  readonly port: number
}

export class LaneListener implements AsyncDisposable {
  readonly #options: LaneListenerOptions
  readonly #tcp: Server
  readonly #tls: TlsServer
  readonly #open = new Set<Socket>()
  /** Connections that have not proved yet who they are from, by the other end's address and port. */
  readonly #unproved = new Map<string, Socket>()
  readonly #byPeer = new Map<string, Set<LaneSocket>>()

  private constructor(options: LaneListenerOptions) {
    this.#options = options
    this.#tcp = createTcpServer({ noDelay: true }, (socket) => this.#onConnection(socket))
    this.#tcp.maxConnections = MAX_CONNECTIONS
    // It never listens by itself: it is given connections, so that those without proof can be counted.
    this.#tls = createTlsServer({ ...options.tls, handshakeTimeout: options.handshakeMs ?? HANDSHAKE_MS }, (socket) =>
      this.#onHandshake(socket),
    )
    this.#tls.on('tlsClientError', (error, socket) => this.#refuse(socket, error))
  }

  /** @throws BAD_INPUT the address cannot be listened on */
  static async open(address: LaneAddress, options: LaneListenerOptions): Promise<LaneListener> {
    const listener = new LaneListener(options)
    listener.#tcp.listen(address.port, address.host)
    try {
      await once(listener.#tcp, 'listening')
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException
      const why = code === 'EADDRINUSE' ? 'another program uses the port; stop it or choose another port' : code
      throw new FeedmeshError('BAD_INPUT', `cannot listen on ${address.host}:${address.port} for bulk data: ${why}`, {
        cause: error,
      })
    }
    listener.#tcp.on('error', (error) => options.log.warn({ err: error }, 'the bulk lane cannot take a connection'))
    return listener
  }

  get port(): number {
    return (this.#tcp.address() as AddressInfo).port
  }

  #onConnection(socket: Socket): void {
    const name = nameOf(socket)
    // A client without an address is gone already.
    if (name === undefined || this.#unproved.size >= MAX_UNPROVED) {
      socket.destroy()
      return
    }
    this.#open.add(socket)
    this.#unproved.set(name, socket)
    socket.once('close', () => {
      this.#open.delete(socket)
      if (this.#unproved.get(name) === socket) this.#unproved.delete(name)
    })
    this.#tls.emit('connection', socket)
  }

  #onHandshake(tls: TLSSocket): void {
    this.#unproved.delete(nameOf(tls) ?? '')
    try {
      const socket = new LaneSocket(tls, this.#admit(tls))
      this.#keep(socket)
      this.#options.onSocket(socket)
      tls.on('data', (bytes: Buffer) => socket.feed(bytes))
    } catch (error) {
      this.#refuse(tls, error)
    }
  }

  /** @returns the PeerId @throws PEER_INVALID, FORBIDDEN, BUSY */
  #admit(tls: TLSSocket): string {
    const peerId = verifyLanePeer(tls)
    if (!this.#options.admits(peerId)) throw new FeedmeshError('FORBIDDEN', `${peerId} is not connected or not linked`)
    if ((this.#byPeer.get(peerId)?.size ?? 0) >= MAX_CONNECTIONS_OF_PEER) {
      throw new FeedmeshError('BUSY', `${peerId} has too many connections`)
    }
    return peerId
  }

  #keep(socket: LaneSocket): void {
    const sockets = this.#byPeer.get(socket.remote) ?? new Set()
    this.#byPeer.set(socket.remote, sockets)
    sockets.add(socket)
    void this.#letGo(socket, sockets)
  }

  async #letGo(socket: LaneSocket, sockets: Set<LaneSocket>): Promise<void> {
    await socket.closed
    sockets.delete(socket)
    if (sockets.size === 0 && this.#byPeer.get(socket.remote) === sockets) this.#byPeer.delete(socket.remote)
  }

  /** Strangers may try as often as they like: that is worth a line for those who look for it. */
  #refuse(tls: TLSSocket, error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    this.#options.log.debug({ from: nameOf(tls), why }, 'a bulk connection was refused')
    tls.on('error', () => tls.destroy())
    tls.destroy()
  }

  /** Closes those of one peer. */
  drop(peerId: string): void {
    for (const socket of this.#byPeer.get(peerId) ?? []) socket.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#tcp, 'close')
    this.#tcp.close()
    for (const socket of this.#open) socket.destroy()
    await closed
  }
}

function nameOf(socket: Socket): string | undefined {
  return socket.remoteAddress === undefined ? undefined : `${socket.remoteAddress} ${socket.remotePort}`
}
