/** One stream to a peer on which blobs are asked for; answers come in the order of the questions. */

import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import { Exchange } from '../../protocols/mesh/exchange.ts'
import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { MeshHost } from '../network/host.ts'

export type BlobExchange = Exchange<BlobRequest, BlobReply>

export interface BlobStreamOptions {
  readonly host: MeshHost
  readonly progress: ProgressRule | undefined
  readonly signal: AbortSignal
}

export class BlobStream {
  readonly peer: string
  /** How much has been asked for on it; see `load` of planned requests. */
  load = 0
  readonly #opening: Promise<BlobExchange>
  #asking: Promise<unknown> = Promise.resolve()
  #receiving: Promise<unknown> = Promise.resolve()
  #broken: FeedmeshError | undefined

  constructor(peer: string, options: BlobStreamOptions) {
    this.peer = peer
    this.#opening = this.#open(options)
    this.#opening.catch(() => undefined) // Whoever asks on it is told.
  }

  async #open({ host, progress, signal }: BlobStreamOptions): Promise<BlobExchange> {
    const channel = await host.open(this.peer, BLOB_PROTOCOL, signal)
    const shapes = { out: blobRequest, in: blobReply, what: BLOB_PROTOCOL, progress }
    const exchange: BlobExchange = new Exchange(channel, shapes)
    if (this.#broken !== undefined) await exchange[Symbol.asyncDispose]()
    return exchange
  }

  get isBroken(): boolean {
    return this.#broken !== undefined
  }

  /**
   * Asks after what was asked before, and receives after what was received before. Once one of them fails the stream is of no
   * use any more.
   * @returns undefined when all went well; why it failed; `given up` when the reason is none of its own
   */
  async perform<Asked>(
    ask: (exchange: BlobExchange) => Promise<Asked>,
    receive: (exchange: BlobExchange, asked: Asked) => Promise<void>,
  ): Promise<FeedmeshError | 'given up' | undefined> {
    const [askedBefore, receivedBefore] = [this.#asking, this.#receiving]
    const turn = Promise.withResolvers<void>()
    this.#receiving = turn.promise
    const asked = this.#askAfter(askedBefore, ask)
    this.#asking = asked.catch(() => undefined) // Told by what receives.
    try {
      await receivedBefore
      await receive(await this.#exchange(), await asked)
      return undefined
    } catch (error) {
      const isOwn = this.#broken === undefined
      await this.abort()
      return isOwn ? asFeedmeshError(error) : 'given up'
    } finally {
      turn.resolve()
    }
  }

  async #askAfter<Asked>(before: Promise<unknown>, ask: (exchange: BlobExchange) => Promise<Asked>): Promise<Asked> {
    await before
    return await ask(await this.#exchange())
  }

  async #exchange(): Promise<BlobExchange> {
    const exchange = await this.#opening
    if (this.#broken !== undefined) throw this.#broken
    return exchange
  }

  /** Resets the stream. */
  async abort(): Promise<void> {
    if (this.#broken !== undefined) return
    this.#broken = new FeedmeshError('ABORTED', `${BLOB_PROTOCOL}: the stream was given up`)
    const exchange = await this.#opening.catch(() => undefined) // It never came to be.
    await exchange?.[Symbol.asyncDispose]()
  }

  /** Nothing more is asked for. */
  async end(): Promise<void> {
    if (this.#broken !== undefined) return
    this.#broken = new FeedmeshError('ABORTED', `${BLOB_PROTOCOL}: the stream was ended`)
    const exchange = await this.#opening.catch(() => undefined) // It never came to be.
    try {
      await exchange?.end()
    } finally {
      await exchange?.[Symbol.asyncDispose]()
    }
  }
}
