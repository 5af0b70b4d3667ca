/** A TCP proxy between two nodes that counts what passes and can hold it back, to stand for a distant peer. */

import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

export interface WireCount {
  /** Bytes from the side that connects. */
  readonly up: number
  readonly down: number
  /** How often the direction changed to `up`: round trips, as far as nothing else is under way. */
  readonly turns: number
  /** Reads from the sockets, as a rough number of packets. */
  readonly pieces: number
}

/** The uplink of one node: what all proxies in front of it pass on together. */
export class Uplink {
  readonly bytesPerSecond: number
  #freeAt = 0

  constructor(bytesPerSecond: number) {
    this.bytesPerSecond = bytesPerSecond
  }

  /** @returns when so many more bytes are through, by `performance.now()` */
  take(bytes: number): number {
    this.#freeAt = Math.max(performance.now(), this.#freeAt) + (bytes / this.bytesPerSecond) * 1000
    return this.#freeAt
  }
}

export class WireProxy implements AsyncDisposable {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #target: { readonly host: string; readonly port: number } | undefined
  #count = { up: 0, down: 0, turns: 0, pieces: 0 }
  #last: 'up' | 'down' = 'down'
  /** How long each piece is held back, ms, in each direction: half a round trip. */
  delayMs = 0
  /** Through which all that goes `down` has to go. */
  uplink: Uplink | undefined

  private constructor(server: Server) {
    this.#server = server
    server.on('connection', (socket) => this.#accept(socket))
  }

  /** At a free port of 127.0.0.1 unless told. */
  static async open(
    at: { readonly host: string; readonly port: number } = { host: '127.0.0.1', port: 0 },
  ): Promise<WireProxy> {
    const server = createServer()
    server.listen(at.port, at.host)
    await once(server, 'listening')
    return new WireProxy(server)
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  setTarget(host: string, port: number): void {
    this.#target = { host, port }
  }

  /** What passed since the last call. */
  take(): WireCount {
    const count = this.#count
    this.#count = { up: 0, down: 0, turns: 0, pieces: 0 }
    return count
  }

  #accept(inner: Socket): void {
    if (this.#target === undefined) {
      inner.destroy()
      return
    }
    const outer = connect({ ...this.#target, noDelay: true })
    inner.setNoDelay(true)
    this.#pass(inner, outer, 'up')
    this.#pass(outer, inner, 'down')
  }

  #pass(from: Socket, to: Socket, direction: 'up' | 'down'): void {
    this.#sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      this.#note(direction, chunk.length)
      if (this.uplink !== undefined && direction === 'down') this.#squeeze(from, to, chunk, this.uplink)
      else if (this.delayMs > 0) setTimeout(() => this.#write(from, to, chunk), this.delayMs)
      else this.#write(from, to, chunk)
    })
    // What is still held back goes first.
    from.on('close', () => {
      this.#sockets.delete(from)
      setTimeout(() => to.destroySoon(), this.delayMs)
    })
    from.on('error', () => from.destroy())
  }

  #write(from: Socket, to: Socket, chunk: Buffer): void {
    // Of several pieces that were held back and are too much, the first has stopped the reading.
    if (to.destroyed || to.write(chunk) || from.isPaused()) return
    from.pause()
    to.once('drain', () => from.resume())
  }

  /** Nothing more is read before the piece is through. */
  #squeeze(from: Socket, to: Socket, chunk: Buffer, uplink: Uplink): void {
    from.pause()
    setTimeout(
      () => {
        if (to.destroyed || to.write(chunk)) from.resume()
        else to.once('drain', () => from.resume())
      },
      Math.max(0, uplink.take(chunk.length) - performance.now()),
    )
  }

  #note(direction: 'up' | 'down', bytes: number): void {
    this.#count[direction] += bytes
    this.#count.pieces += 1
    if (direction === 'up' && this.#last === 'down') this.#count.turns += 1
    this.#last = direction
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
