/**
 * Measures the round trip of one connection every five minutes, and finds out that it is dead: TCP by itself takes a quarter
 * of an hour for that. A peer of whom nothing was heard for 30 s is pinged: of many idle links pings would be most of the
 * work. Whoever opens `/feedmesh/ping/1` sends 32 bytes, gets them back, and both close.
 */

import { randomBytes } from 'node:crypto'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { FrameReader } from '../../protocols/mesh/frames.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'

export const PING_PROTOCOL = '/feedmesh/ping/1'
const PING_BYTES = 32
const INTERVAL_MS = 30_000
/** Intervals with other traffic after which the round trip is measured again. */
const MAX_SKIPPED = 9
/** After an unanswered ping the next one comes sooner. */
const RETRY_MS = 5000
const TIMEOUT_MS = 15_000
const MAX_FAILURES = 2

export interface PeerProbeOptions {
  /** Opens a stream of the ping protocol on the probed connection. */
  readonly open: (signal: AbortSignal) => Promise<Channel>
  /** Whether any byte came from the peer since the last call: then a late answer only means a full line. */
  readonly isAlive: () => boolean
  readonly onRtt: (rttMs: number) => void
  readonly onDead: () => void
  readonly setTimer: SetTimer
}

export class PeerProbe implements Disposable {
  readonly #options: PeerProbeOptions
  readonly #stopping = new AbortController()
  #failures = 0
  #skipped = MAX_SKIPPED
  #cancelTimer: (() => void) | undefined

  /** Starts with a ping at once. */
  constructor(options: PeerProbeOptions) {
    this.#options = options
    void this.#probe()
  }

  [Symbol.dispose](): void {
    this.#stopping.abort()
    this.#cancelTimer?.()
  }

  async #probe(): Promise<void> {
    const isAlive = this.#options.isAlive()
    const isSkipped = isAlive && this.#failures === 0 && this.#skipped < MAX_SKIPPED
    this.#skipped = isSkipped ? this.#skipped + 1 : 0
    if (!isSkipped) {
      const answered = await this.#ping()
      if (this.#stopping.signal.aborted) return
      this.#failures = answered || isAlive || this.#options.isAlive() ? 0 : this.#failures + 1
    }
    if (this.#failures >= MAX_FAILURES) {
      this.#options.onDead()
      return
    }
    this.#cancelTimer = this.#options.setTimer(
      () => {
        void this.#probe()
      },
      this.#failures === 0 ? INTERVAL_MS : RETRY_MS,
    )
  }

  /** Whether the peer answered, be it that it does not know the protocol. */
  async #ping(): Promise<boolean> {
    const timedOut = new AbortController()
    const cancel = this.#options.setTimer(() => {
      timedOut.abort(new FeedmeshError('TIMEOUT', 'the ping was not answered'))
    }, TIMEOUT_MS)
    try {
      this.#options.onRtt(await measure(this.#options.open, AbortSignal.any([timedOut.signal, this.#stopping.signal])))
      return true
    } catch (error) {
      return isFeedmeshError(error, 'PEER_INVALID')
    } finally {
      cancel()
    }
  }
}

async function measure(open: PeerProbeOptions['open'], signal: AbortSignal): Promise<number> {
  const channel = await open(signal)
  const stop = (): void => {
    channel.abort(new FeedmeshError('ABORTED', 'the ping was stopped'))
  }
  signal.addEventListener('abort', stop, { once: true })
  try {
    const sent = randomBytes(PING_BYTES)
    const startedAt = performance.now()
    await channel.send(sent)
    const received = await new FrameReader(channel.receive()).readExactly(PING_BYTES)
    const rttMs = performance.now() - startedAt
    if (!sent.equals(received)) throw new FeedmeshError('PEER_INVALID', `${channel.remote} answered a ping wrongly`)
    await channel.end()
    return rttMs
  } catch (error) {
    channel.abort(error instanceof Error ? error : new Error(String(error)))
    throw error
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

/** The answering end. */
export async function answerPing(channel: Channel): Promise<void> {
  await channel.send(await new FrameReader(channel.receive()).readExactly(PING_BYTES))
}
