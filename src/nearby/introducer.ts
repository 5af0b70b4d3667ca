/** Introduces this node to one linked peer that serves feeds to it, for as long as it is connected, and hears who else reads them. */

import type { Introduce, IntroducedPeer } from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { NearbyStream } from './nearby-stream.ts'
import { Retries } from './retries.ts'

/** Introductions are repeated this often, ± a tenth. */
const REPEAT_MS = 3 * 60_000
const RETRY = { firstMs: 2000, maxMs: 5 * 60_000 }
/** Whoever breaks the protocol is not asked for this long. */
const SHUN_MS = 10 * 60_000

export interface IntroducerOptions {
  readonly host: MeshHost
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly onPeers: (feedId: FeedId, peers: readonly IntroducedPeer[]) => void
}

interface Introduced {
  readonly what: string
  readonly dueAtMs: number
}

export class Introducer implements AsyncDisposable {
  readonly #peer: string
  readonly #options: IntroducerOptions
  readonly #stopping = new AbortController()
  readonly #retries: Retries
  readonly #introduced = new Map<FeedId, Introduced>()
  #stream: NearbyStream | undefined
  #working: Promise<void> | undefined

  constructor(peer: string, options: IntroducerOptions) {
    this.#peer = peer
    this.#options = options
    this.#retries = new Retries(RETRY, options.elapsedMs())
  }

  /** Says what is to be said now. */
  act(wanted: readonly Introduce[]): void {
    const now = this.#options.elapsedMs()
    if (this.#working !== undefined || this.#stopping.signal.aborted || !this.#retries.isDue(now)) return
    const due = wanted.filter((introduce) => this.#isDue(introduce, now))
    if (due.length === 0) return
    this.#working = this.#introduce(due).finally(() => {
      this.#working = undefined
    })
  }

  #isDue(introduce: Introduce, now: number): boolean {
    const known = this.#introduced.get(feedIdText(introduce.feedId))
    return known === undefined || known.what !== describe(introduce) || now >= known.dueAtMs
  }

  async #introduce(due: readonly Introduce[]): Promise<void> {
    try {
      this.#stream ??= await this.#open()
      const stream = this.#stream
      await Promise.all(due.map((introduce) => this.#introduceFor(stream, introduce)))
      this.#retries.succeed()
    } catch (error) {
      this.#fail(asFeedmeshError(error))
    }
  }

  async #open(): Promise<NearbyStream> {
    const { host, setTimer, elapsedMs, onPeers } = this.#options
    const stream = await NearbyStream.open(this.#peer, {
      host,
      setTimer,
      elapsedMs,
      signal: this.#stopping.signal,
      onPush: (push) => {
        if (push.kind !== 'newcomers')
          throw new FeedmeshError('PEER_INVALID', `${push.kind} of a feed that is not followed`)
        if (this.#introduced.has(feedIdText(push.feedId))) onPeers(feedIdText(push.feedId), push.peers)
      },
    })
    void this.#watch(stream)
    return stream
  }

  async #watch(stream: NearbyStream): Promise<void> {
    const error = await stream.closed
    if (this.#stream === stream) this.#fail(error)
  }

  async #introduceFor(stream: NearbyStream, introduce: Introduce): Promise<void> {
    const { elapsedMs, random, onPeers } = this.#options
    const feedId = feedIdText(introduce.feedId)
    const dueAtMs = elapsedMs() + REPEAT_MS * (0.9 + random() / 5)
    this.#introduced.set(feedId, { what: describe(introduce), dueAtMs })
    try {
      onPeers(feedId, (await stream.ask(introduce)).peers)
    } catch (error) {
      // It does not serve the feed now: asked again with the next round.
      if (!isFeedmeshError(error, 'NOT_FOUND', 'TOKEN_REVOKED', 'BUSY')) throw error
    }
  }

  #fail(error: FeedmeshError): void {
    const { elapsedMs, random, log } = this.#options
    if (this.#stopping.signal.aborted) return
    const stream = this.#stream
    this.#stream = undefined
    this.#introduced.clear()
    void stream?.[Symbol.asyncDispose]()
    this.#retries.fail(elapsedMs(), random())
    if (error.code === 'PEER_INVALID') this.#retries.putOff(elapsedMs() + SHUN_MS)
    if (error.code === 'INTERNAL') log.error({ err: error.cause ?? error }, 'hearing of neighbours failed')
    else log.debug({ err: error, peer: this.#peer }, 'a peer does not introduce others now')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'nothing more to introduce'))
    await this.#working
    await this.#stream?.[Symbol.asyncDispose]()
  }
}

function describe({ addresses, site, region, serve, availability }: Introduce): string {
  return JSON.stringify([addresses, site, region, serve, availability])
}
