/**
 * A libp2p stream as a channel. The traps of libp2p 3.3 streams are dealt with here and nowhere else:
 * the stream's own iterator, its readers and `onDrain()` have no working back-pressure, so this reads by events with
 * pause/resume and waits for `drain` events; a connection that closes looks like a clean end, so only the other end's half
 * close (`remoteCloseWrite`) ends `receive()`; nothing enforces an idle limit, so this does.
 */

import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import type { HostChannel } from './host-channel.ts'
import { InboundQueue } from './inbound-queue.ts'

/** yamux makes one frame of one send, and the other end holds a whole frame: larger ones would block small streams beside. */
export const MAX_PIECE_BYTES = 64 * 1024
/** Pause the stream when this much waits for the reader, and go on when half of it is left. */
const PAUSE_AT_BYTES = 1024 * 1024

export interface ChannelOptions {
  readonly remote: string
  readonly protocol: string
  /** The channel is aborted with TIMEOUT when no byte has moved for this long (checked that often, so at most twice that). */
  readonly idleMs: number
  readonly setTimer: SetTimer
  readonly onBytes: (direction: 'in' | 'out', bytes: number) => void
}

export class StreamChannel implements HostChannel {
  readonly remote: string
  readonly closed: Promise<Error | undefined>
  readonly #stream: Stream
  readonly #options: ChannelOptions
  readonly #queue: InboundQueue
  readonly #settleClosed: (broken: Error | undefined) => void
  /** Sends and the half close take effect one after the other. */
  #turn: Promise<void> = Promise.resolve()
  #ending: Promise<void> | undefined
  #remoteEnded = false
  #discarding = false
  #resuming = false
  #isClosed = false
  #broken: Error | undefined
  #wakeSender: (() => void) | undefined
  #cancelIdle: (() => void) | undefined
  #movedSinceCheck = false

  constructor(stream: Stream, options: ChannelOptions) {
    this.remote = options.remote
    this.#stream = stream
    this.#options = options
    const closed = Promise.withResolvers<Error | undefined>()
    this.closed = closed.promise
    this.#settleClosed = closed.resolve
    this.#queue = new InboundQueue((bytes) => {
      this.#onTaken(bytes)
    })
    this.#watchIdle()
    this.#attach()
  }

  /** Bytes that have arrived and were not read, those inside the stream included. */
  get buffered(): number {
    return this.#queue.buffered + this.#stream.readBufferLength
  }

  send(bytes: Uint8Array): Promise<void> {
    return this.#inTurn(() => this.#send(bytes))
  }

  receive(): AsyncIterable<Uint8Array> {
    return this.#queue.read()
  }

  end(): Promise<void> {
    this.#ending ??= this.#inTurn(() => this.#closeWrite())
    return this.#ending
  }

  abort(reason: Error): void {
    if (this.#isClosed) return
    this.#broken ??= reason
    this.#queue.abort(reason)
    this.#stream.abort(reason)
  }

  discard(): void {
    this.#discarding = true
    this.#queue.abort(new FeedmeshError('ABORTED', 'the rest of the stream was not wanted'))
    this.#resumeIfRoom()
  }

  #attach(): void {
    const stream = this.#stream
    stream.addEventListener('drain', () => {
      this.#wakeSender?.()
    })
    stream.addEventListener('remoteCloseWrite', () => {
      this.#onRemoteEnd()
    })
    stream.addEventListener('end', () => {
      // A local abort drops what was not handed over yet, and then says 'end' all the same.
      if (this.#remoteEnded && stream.status !== 'aborted') this.#queue.end()
    })
    stream.addEventListener('close', (event) => {
      this.#onClose(event)
    })
    // The other end may have half closed, or the connection gone, while the protocol was still being negotiated.
    if (stream.status !== 'open') this.#onClose({})
    else if ((stream as { remoteWriteStatus?: string }).remoteWriteStatus === 'closed') this.#onRemoteEnd()
    stream.addEventListener('message', (event) => {
      this.#onMessage(event)
    })
  }

  #onMessage(event: StreamMessageEvent): void {
    const { data } = event
    this.#movedSinceCheck = true
    this.#options.onBytes('in', data.byteLength)
    if (this.#discarding) return
    if (data instanceof Uint8Array) this.#queue.push(data)
    else for (const piece of data) this.#queue.push(piece)
    if (!this.#resuming) this.#pauseIfFull()
  }

  #onTaken(bytes: number): void {
    if (bytes > 0) this.#movedSinceCheck = true
    this.#resumeIfRoom()
  }

  #pauseIfFull(): void {
    if (this.#queue.buffered >= PAUSE_AT_BYTES && this.#stream.readStatus === 'readable') this.#stream.pause()
  }

  /**
   * `resume()` hands over what waits inside the stream and only then opens the window again; a `pause()` from within
   * would be undone by that, and the stream would overflow. So pausing again comes after it.
   */
  #resumeIfRoom(): void {
    if (this.#resuming || this.#queue.buffered > PAUSE_AT_BYTES / 2 || this.#stream.readStatus !== 'paused') return
    this.#resuming = true
    try {
      this.#stream.resume()
    } catch (error) {
      // What waited was handed over before the window update failed; on a closed connection nobody needs the update.
      if (!this.#isClosed) this.abort(unreachable(this.#options, 'the connection failed', error))
    } finally {
      this.#resuming = false
    }
    this.#pauseIfFull()
  }

  #onRemoteEnd(): void {
    this.#remoteEnded = true
    this.#movedSinceCheck = true
    if (this.#stream.readBufferLength === 0) this.#queue.end()
  }

  #onClose(event: Pick<StreamCloseEvent, 'error' | 'local'>): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#cancelIdle?.()
    if (event.error !== undefined || !this.#remoteEnded) {
      const how =
        event.error === undefined ? 'the connection closed' : event.local ? 'the stream failed' : 'it reset the stream'
      this.#broken ??= unreachable(this.#options, how, event.error)
    }
    // After the half close everything has arrived; unless the stream was aborted here, the rest can still be read from it.
    if (this.#broken !== undefined && (!this.#remoteEnded || this.#stream.status === 'aborted')) {
      this.#queue.fail(this.#broken)
    }
    this.#wakeSender?.()
    this.#settleClosed(this.#broken)
  }

  async #send(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.byteLength; at += MAX_PIECE_BYTES) {
      this.#throwIfClosed()
      // The muxer keeps what does not fit into the window, and the caller uses the bytes again.
      const piece = new Uint8Array(bytes.subarray(at, at + MAX_PIECE_BYTES))
      try {
        this.#stream.send(piece)
      } catch (error) {
        throw this.#broken ?? unreachable(this.#options, 'the stream is closed for sending', error)
      }
      while (this.#stream.writableNeedsDrain) await this.#drained()
      this.#movedSinceCheck = true
      this.#options.onBytes('out', piece.byteLength)
    }
  }

  async #closeWrite(): Promise<void> {
    this.#throwIfClosed()
    try {
      await this.#stream.close()
    } catch (error) {
      throw this.#broken ?? unreachable(this.#options, 'the stream could not be ended', error)
    }
    if (this.#broken !== undefined) throw this.#broken
  }

  async #drained(): Promise<void> {
    this.#throwIfClosed()
    await new Promise<void>((resolve) => {
      this.#wakeSender = resolve
    })
    this.#wakeSender = undefined
    this.#throwIfClosed()
  }

  #throwIfClosed(): void {
    if (this.#broken !== undefined) throw this.#broken
    if (this.#isClosed) throw unreachable(this.#options, 'the stream is closed')
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {
      // Whoever called gets the error; the next turn finds the stream broken by itself.
    })
    return done
  }

  #watchIdle(): void {
    const { idleMs, setTimer, protocol } = this.#options
    this.#cancelIdle = setTimer(() => {
      if (this.#isClosed) return
      if (this.#movedSinceCheck) {
        this.#movedSinceCheck = false
        this.#watchIdle()
      } else {
        this.abort(new FeedmeshError('TIMEOUT', `nothing moved on ${protocol} with ${this.remote} for ${idleMs} ms`))
      }
    }, idleMs)
  }
}

function unreachable(options: ChannelOptions, how: string, cause?: unknown): FeedmeshError {
  return new FeedmeshError('PEER_UNREACHABLE', `lost ${options.protocol} with ${options.remote}: ${how}`, { cause })
}
