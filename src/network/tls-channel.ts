/** A channel on a connection of the bulk lane. When both ends have ended it the connection is free for the next one. */

import { MAX_CHUNK_BYTES } from '../../protocols/mesh/bulk/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import { BlockQueue, type Blocks } from './block-queue.ts'
import type { HostChannel } from './host-channel.ts'
import { IdleWatch } from './idle-watch.ts'
import type { LaneReader, LaneSocket } from './lane-socket.ts'

/** What is sent is cut into chunks of this size: each that leaves counts as movement, however slow the line is. */
const SEND_BYTES = 256 * 1024
/** The connection is not read while this much waits for the reader, until half of it is left. */
const PAUSE_AT_BYTES = 1024 * 1024
/** A channel given up after so long a silence of the other end speaks against the connection, and not only the channel. */
const SILENCE_MS = 10_000

export interface TlsChannelOptions {
  readonly protocol: string
  /** The channel is aborted with TIMEOUT when no byte has moved for this long (checked that often, so at most twice that). */
  readonly idleMs: number
  readonly setTimer: SetTimer
  readonly now: () => number
  readonly blocks: Blocks
  readonly onBytes: (direction: 'in' | 'out', bytes: number) => void
  /** Both ends have ended it; the connection is open and nobody reads from it. */
  readonly onDone: () => void
  /** The connection is of no use, though it was open: it was lost, or is silent. */
  readonly onLost: () => void
}

export class TlsChannel implements HostChannel, LaneReader {
  readonly remote: string
  readonly maxChunkBytes = MAX_CHUNK_BYTES
  readonly closed: Promise<Error | undefined>
  readonly #socket: LaneSocket
  readonly #options: TlsChannelOptions
  readonly #queue: BlockQueue
  readonly #idle: IdleWatch
  readonly #settleClosed: (broken: Error | undefined) => void
  /** Sends and the half close take effect one after the other. */
  #turn: Promise<void> = Promise.resolve()
  #ending: Promise<void> | undefined
  #ended = false
  #remoteEnded = false
  #discarding = false
  #paused = false
  #broken: Error | undefined
  #isClosed = false
  #lastCameAt: number

  constructor(socket: LaneSocket, options: TlsChannelOptions) {
    this.remote = socket.remote
    this.#socket = socket
    this.#options = options
    this.#lastCameAt = options.now()
    const closed = Promise.withResolvers<Error | undefined>()
    this.closed = closed.promise
    this.#settleClosed = closed.resolve
    this.#queue = new BlockQueue(options.blocks, () => this.#onTaken())
    const { idleMs, setTimer, protocol } = options
    this.#idle = new IdleWatch({
      idleMs,
      setTimer,
      onIdle: () => {
        options.onLost()
        this.abort(new FeedmeshError('TIMEOUT', `nothing moved on ${protocol} with ${this.remote} for ${idleMs} ms`))
      },
    })
    socket.readWith(this)
    if (!socket.isOpen) this.onBroken('closed')
  }

  /** Bytes that have arrived and were not read. */
  get buffered(): number {
    return this.#queue.buffered
  }

  send(bytes: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.#send(bytes))
  }

  receive(): AsyncIterable<Uint8Array> {
    return this.#queue.read()
  }

  end(): Promise<void> {
    this.#ending ??= this.#inTurn(async () => {
      this.#throwIfBroken()
      await this.#orBroken(this.#socket.writeEnd())
      this.#ended = true
      this.#settleIfDone()
    })
    return this.#ending
  }

  abort(reason: Error): void {
    if (this.#isClosed) return
    const { now, onLost } = this.#options
    if (!this.#paused && !this.#remoteEnded && now() - this.#lastCameAt > SILENCE_MS) onLost()
    this.#socket.reset()
    this.#queue.abort(reason)
    this.#close(reason)
  }

  discard(): void {
    this.#discarding = true
    this.#queue.abort(new FeedmeshError('ABORTED', 'the rest of the stream was not wanted'))
    this.#resume()
  }

  onBytes(bytes: Uint8Array, from: number, to: number): void {
    this.#lastCameAt = this.#options.now()
    this.#idle.moved()
    this.#options.onBytes('in', to - from)
    if (this.#discarding) return
    this.#queue.push(bytes, from, to)
    if (this.#paused || this.#queue.buffered < PAUSE_AT_BYTES) return
    this.#paused = true
    this.#socket.pause()
  }

  onChunkEnd(): void {}

  onEnd(): void {
    this.#remoteEnded = true
    this.#idle.moved()
    this.#queue.end()
    this.#settleIfDone()
  }

  onBroken(why: 'reset' | 'closed'): void {
    if (this.#isClosed) return
    const { protocol, onLost } = this.#options
    const how = why === 'reset' ? 'it reset the stream' : 'the connection closed'
    const lost = new FeedmeshError('PEER_UNREACHABLE', `lost ${protocol} with ${this.remote}: ${how}`)
    if (why === 'closed') onLost()
    // What came before the other end's half close is whole and can still be read.
    this.#queue.fail(lost)
    this.#close(lost)
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; at += SEND_BYTES) {
      this.#throwIfBroken()
      const piece = bytes.length <= SEND_BYTES ? bytes : bytes.subarray(at, at + SEND_BYTES)
      await this.#orBroken(this.#socket.write(piece))
      this.#idle.moved()
      this.#options.onBytes('out', piece.length)
    }
    this.#throwIfBroken()
  }

  #onTaken(): void {
    this.#idle.moved()
    if (this.#queue.buffered <= PAUSE_AT_BYTES / 2) this.#resume()
  }

  #resume(): void {
    if (!this.#paused) return
    this.#paused = false
    this.#lastCameAt = this.#options.now()
    if (!this.#isClosed) this.#socket.resume()
  }

  #settleIfDone(): void {
    if (!this.#ended || !this.#remoteEnded || this.#isClosed) return
    this.#resume()
    this.#socket.readWith(undefined)
    this.#close(undefined)
    this.#options.onDone()
  }

  #close(broken: Error | undefined): void {
    this.#isClosed = true
    this.#broken = broken
    this.#idle.stop()
    this.#settleClosed(broken)
  }

  /** What a write to a connection that is gone fails with says less than why it is gone. */
  async #orBroken(written: Promise<void>): Promise<void> {
    try {
      await written
    } catch (error) {
      this.onBroken('closed')
      throw this.#broken ?? error
    }
  }

  #throwIfBroken(): void {
    if (this.#broken !== undefined) throw this.#broken
    if (!this.#ended) return
    const { protocol } = this.#options
    throw new FeedmeshError('PEER_UNREACHABLE', `lost ${protocol} with ${this.remote}: this end has ended it`)
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {
      // Whoever called gets the error; the next turn finds the channel broken by itself.
    })
    return done
  }
}
