/** Two channels that are the ends of one stream inside this process, with a bounded buffer in each direction. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError } from '../errors.ts'
import type { HostChannel } from './host-channel.ts'
import { InboundQueue } from './inbound-queue.ts'

/** What waits for the reader of one direction, plus at most one piece. */
const BUFFER_BYTES = 256 * 1024
const MAX_PIECE_BYTES = 64 * 1024

export interface MemoryStreamOptions {
  readonly protocol: string
  readonly dialler: string
  readonly listener: string
  /** Delay of what is sent now, never such that it overtakes what was sent before; 0: none, and no timer. */
  readonly transitMs: (from: string, bytes: number) => number
  readonly setTimer: SetTimer
  /** An end at which nothing moves for this long is aborted (checked that often, so at most twice that). */
  readonly idleMs?: { readonly dialler: number; readonly listener: number } | undefined
  readonly onBytes: (from: string, bytes: number) => void
}

export function createMemoryStream(
  options: MemoryStreamOptions,
): readonly [dialler: MemoryChannel, listener: MemoryChannel] {
  const near = new MemoryChannel(options, options.dialler, options.listener)
  const far = new MemoryChannel(options, options.listener, options.dialler)
  near.join(far)
  far.join(near)
  return [near, far]
}

export class MemoryChannel implements HostChannel {
  readonly remote: string
  readonly closed: Promise<Error | undefined>
  readonly #local: string
  readonly #options: MemoryStreamOptions
  readonly #queue: InboundQueue
  readonly #settleClosed: (broken: Error | undefined) => void
  #other: MemoryChannel | undefined
  #turn: Promise<void> = Promise.resolve()
  /** Bytes the other end has sent that have not arrived yet. */
  #travelling = 0
  #wakeSender: (() => void) | undefined
  #ended = false
  #remoteEnded = false
  #discarding = false
  #broken: Error | undefined
  #movedSinceCheck = false
  #cancelIdle: (() => void) | undefined

  constructor(options: MemoryStreamOptions, local: string, remote: string) {
    this.remote = remote
    this.#local = local
    this.#options = options
    const closed = Promise.withResolvers<Error | undefined>()
    this.closed = closed.promise
    this.#settleClosed = closed.resolve
    this.#queue = new InboundQueue(() => {
      this.#movedSinceCheck = true
      this.#wakeOther()
    })
    this.#watchIdle()
  }

  join(other: MemoryChannel): void {
    this.#other = other
  }

  send(bytes: Uint8Array): Promise<void> {
    return this.#inTurn(async () => {
      for (let at = 0; at < bytes.byteLength; at += MAX_PIECE_BYTES) {
        this.#throwIfClosed()
        const piece = new Uint8Array(bytes.subarray(at, at + MAX_PIECE_BYTES))
        this.#options.onBytes(this.#local, piece.byteLength)
        this.#movedSinceCheck = true
        this.#other?.arrive(piece)
        await this.#room()
      }
    })
  }

  receive(): AsyncIterable<Uint8Array> {
    return this.#queue.read()
  }

  end(): Promise<void> {
    return this.#inTurn(async () => {
      if (this.#ended) return
      this.#throwIfClosed()
      this.#ended = true
      const other = this.#other
      this.#deliver(0, () => other?.endArrived())
      this.#settleIfDone()
      await Promise.resolve()
    })
  }

  abort(reason: Error): void {
    if (this.#isClosed) return
    this.#break(reason)
    this.#queue.abort(reason)
    const other = this.#other
    this.#deliver(0, () => other?.reset('it reset the stream'))
  }

  discard(): void {
    this.#discarding = true
    this.#queue.abort(new FeedmeshError('ABORTED', 'the rest of the stream was not wanted'))
    this.#wakeOther()
  }

  /** What the other end, or the network between the two, does to this end. */
  reset(how: string): void {
    if (this.#isClosed) return
    const lost = new FeedmeshError('PEER_UNREACHABLE', `lost ${this.#options.protocol} with ${this.remote}: ${how}`)
    this.#break(lost)
    this.#queue.fail(lost)
  }

  arrive(piece: Uint8Array): void {
    this.#travelling += piece.byteLength
    this.#other!.#deliver(piece.byteLength, () => {
      this.#travelling -= piece.byteLength
      this.#movedSinceCheck = true
      if (!this.#discarding) this.#queue.push(piece)
      this.#wakeOther()
    })
  }

  endArrived(): void {
    if (this.#broken !== undefined) return
    this.#remoteEnded = true
    this.#queue.end()
    this.#settleIfDone()
  }

  get waiting(): number {
    return this.#travelling + this.#queue.buffered
  }

  get #isClosed(): boolean {
    return this.#broken !== undefined || (this.#ended && this.#remoteEnded)
  }

  /** What this end sends. */
  #deliver(bytes: number, arrive: () => void): void {
    const delayMs = this.#options.transitMs(this.#local, bytes)
    if (delayMs === 0) arrive()
    else this.#options.setTimer(arrive, delayMs)
  }

  #watchIdle(): void {
    const { setTimer, protocol, dialler } = this.#options
    const idleMs = this.#options.idleMs?.[this.#local === dialler ? 'dialler' : 'listener']
    if (idleMs === undefined) return
    this.#cancelIdle = setTimer(() => {
      if (!this.#movedSinceCheck)
        this.abort(new FeedmeshError('TIMEOUT', `nothing moved on ${protocol} with ${this.remote} for ${idleMs} ms`))
      this.#movedSinceCheck = false
      if (!this.#isClosed) this.#watchIdle()
    }, idleMs)
  }

  /** Resolves when the other end's buffer takes more. */
  async #room(): Promise<void> {
    while (this.#other !== undefined && this.#broken === undefined && this.#other.waiting >= BUFFER_BYTES) {
      await new Promise<void>((resolve) => {
        this.#wakeSender = resolve
      })
    }
    if (this.#broken !== undefined) throw this.#broken
  }

  #wakeOther(): void {
    this.#other?.wake()
  }

  wake(): void {
    this.#wakeSender?.()
    this.#wakeSender = undefined
  }

  #break(reason: Error): void {
    this.#broken = reason
    this.wake()
    this.#cancelIdle?.()
    this.#settleClosed(reason)
  }

  #settleIfDone(): void {
    if (!this.#ended || !this.#remoteEnded) return
    this.#cancelIdle?.()
    this.#settleClosed(undefined)
  }

  #throwIfClosed(): void {
    if (this.#broken !== undefined) throw this.#broken
    if (this.#ended) {
      throw new FeedmeshError('PEER_UNREACHABLE', `${this.#options.protocol} with ${this.remote} was ended already`)
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const done = this.#turn.then(work)
    this.#turn = done.catch(() => {
      // Whoever called gets the error; the next turn finds the stream broken by itself.
    })
    return done
  }
}
