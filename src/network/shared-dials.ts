/** Callers that want the same peer at the same time share one dial, each with its own patience. */

import type { FeedmeshError } from '../errors.ts'
import { abortError } from './dial-errors.ts'

export type Dial = (peerId: string, addresses: readonly string[], signal: AbortSignal) => Promise<void>

interface RunningDial {
  readonly addresses: string
  readonly done: Promise<void>
  readonly stop: AbortController
}

export class SharedDials {
  readonly #dial: Dial
  readonly #running = new Map<string, RunningDial>()
  #closedBy: FeedmeshError | undefined

  constructor(options: { readonly dial: Dial }) {
    this.#dial = options.dial
  }

  /**
   * Joins the dial to the peer that is under way, or starts one. When a joined one with other addresses fails, the own
   * addresses are tried next. The dial goes on when one of its callers gives up.
   * @throws what the dial throws; what `signal` was aborted with
   */
  async join(peerId: string, addresses: readonly string[], signal: AbortSignal): Promise<void> {
    const wanted = addresses.join(' ')
    for (;;) {
      if (this.#closedBy !== undefined) throw this.#closedBy
      const dial = this.#running.get(peerId) ?? this.#start(peerId, addresses)
      try {
        await unlessAborted(dial.done, signal, `connecting to ${peerId}`)
        return
      } catch (error) {
        if (signal.aborted || dial.stop.signal.aborted || dial.addresses === wanted) throw error
      }
    }
  }

  /** Ends the dial to the peer, if there is one. */
  stop(peerId: string, reason: FeedmeshError): void {
    this.#running.get(peerId)?.stop.abort(reason)
  }

  /** Ends all dials; no new one starts. */
  close(reason: FeedmeshError): void {
    this.#closedBy = reason
    for (const dial of this.#running.values()) dial.stop.abort(reason)
  }

  #start(peerId: string, addresses: readonly string[]): RunningDial {
    const stop = new AbortController()
    const run = async (): Promise<void> => {
      try {
        await this.#dial(peerId, addresses, stop.signal)
      } finally {
        this.#running.delete(peerId)
      }
    }
    const dial = { addresses: addresses.join(' '), done: run(), stop }
    this.#running.set(peerId, dial)
    return dial
  }
}

async function unlessAborted(work: Promise<void>, signal: AbortSignal, what: string): Promise<void> {
  const aborted = Promise.withResolvers<never>()
  const onAbort = (): void => {
    aborted.reject(abortError(signal, what))
  }
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([work, aborted.promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
