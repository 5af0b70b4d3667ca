/**
 * `/feedmesh/nearby/1`, answering side.
 *
 * asker                          answerer
 *   introduce(feedId, …)      →   introduced(peers)        linked readers of the feed; newcomers are told of later
 *   show(feedId, chain)       →   shown                    peers without a link prove that they may read
 *   follow(feedId)            →   followed, news …         whoever may read blobs of the feed
 */

import type { Channel } from '../../protocols/mesh/channel.ts'
import {
  type Introduce,
  NEARBY_PROTOCOL,
  type NearbyReply,
  type NearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { MeshHost, ProtocolLimits } from '../network/host.ts'
import type { Policy } from '../replication/guard.ts'
import type { Chain } from '../replication/shown-chains.ts'
import { AnsweredStream } from './answered-stream.ts'
import { Introductions } from './introductions.ts'
import { NEARBY_IDLE_MS } from './nearby-stream.ts'
import type { NewsDesk } from './news-desk.ts'

const LIMITS: ProtocolLimits = { maxInboundStreams: 4, maxDurationMs: 24 * 3_600_000, idleMs: NEARBY_IDLE_MS }

export interface NearbyAnswererOptions {
  readonly host: MeshHost
  readonly policy: Policy & { acceptChain(peer: string, feedId: FeedId, chain: Chain): void }
  readonly desk: NewsDesk
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** Whether this node fetches everything of the feed. */
  readonly availabilityOf: (feedId: FeedId) => 'full' | 'on-demand'
  /** Whether an address that a peer tells of itself is worth handing on. */
  readonly isAddressOf: (address: string, peerId: string) => boolean
  /** A peer without a link has proved that it may read the feed. */
  readonly onShown: (peer: string, feedId: FeedId) => void
}

export class NearbyAnswerer implements Disposable {
  readonly #options: NearbyAnswererOptions
  readonly #introductions = new Introductions()
  readonly #streams = new Set<AnsweredStream>()
  #unsubscribe: () => void = () => {}

  constructor(options: NearbyAnswererOptions) {
    this.#options = options
  }

  /** Open to every peer: each request is checked for itself. */
  async serve(): Promise<void> {
    const { host } = this.#options
    this.#unsubscribe = host.onPeer(({ type, peerId }) => {
      if (type === 'disconnected') this.#introductions.drop(peerId)
    })
    await host.handle(NEARBY_PROTOCOL, LIMITS, (channel, signal) => this.#answerStream(channel, signal))
  }

  /** Tells everybody who follows. */
  tellNews(feedId: FeedId): void {
    for (const stream of this.#streams) stream.tellNews(feedId)
  }

  async #answerStream(channel: Channel, signal: AbortSignal): Promise<void> {
    const { desk, setTimer, elapsedMs } = this.#options
    // What is told here is hints: such a stream does not hold up a stop.
    const onStop = () => channel.abort(new FeedmeshError('ABORTED', 'this node is stopping'))
    signal.addEventListener('abort', onStop, { once: true })
    const stream = new AnsweredStream({
      channel,
      desk,
      setTimer,
      elapsedMs,
      isAllowed: (right, feedId) => {
        try {
          this.#options.policy.verifyMay(channel.remote, right, feedId)
          return true
        } catch (error) {
          if (isFeedmeshError(error)) return false
          throw error
        }
      },
      answer: (request, asked) => this.#answer(request, asked),
    })
    this.#streams.add(stream)
    try {
      await stream.run()
    } finally {
      this.#streams.delete(stream)
    }
  }

  /** @throws NOT_FOUND, TOKEN_REVOKED, IDENTITY_DUPLICATED, BUSY */
  #answer(request: NearbyRequest, stream: AnsweredStream): NearbyReply {
    const { policy, onShown, availabilityOf } = this.#options
    const feedId = feedIdText(request.feedId)
    switch (request.kind) {
      case 'introduce':
        policy.verifyMay(stream.remote, 'read', feedId)
        return this.#introduce(request, feedId, stream)
      case 'show':
        policy.acceptChain(stream.remote, feedId, request.chain)
        onShown(stream.remote, feedId)
        return { kind: 'shown', feedId: request.feedId }
      case 'follow':
        policy.verifyMay(stream.remote, 'blobs', feedId)
        stream.follow(feedId)
        return { kind: 'followed', feedId: request.feedId, availability: availabilityOf(feedId) }
    }
  }

  #introduce(request: Introduce, feedId: FeedId, stream: AnsweredStream): NearbyReply {
    const { elapsedMs, isAddressOf } = this.#options
    const { site, region, serve, availability } = request
    const peerId = stream.remote
    const addresses = request.addresses.filter((address) => isAddressOf(address, peerId))
    stream.introduce(feedId)
    const now = elapsedMs()
    const isNews = this.#introductions.note(feedId, { peerId, addresses, site, region, serve, availability }, now)
    if (isNews) this.#tellOfNewcomer(feedId, peerId, now)
    return { kind: 'introduced', feedId: request.feedId, peers: this.#introductions.othersFor(feedId, peerId, now) }
  }

  #tellOfNewcomer(feedId: FeedId, peerId: string, now: number): void {
    const newcomer = this.#introductions.find(feedId, peerId)
    const others = new Set(this.#introductions.toTell(feedId, peerId, now))
    if (newcomer === undefined || others.size === 0) return
    for (const stream of this.#streams) if (others.has(stream.remote)) stream.tellNewcomer(feedId, newcomer)
  }

  [Symbol.dispose](): void {
    this.#unsubscribe()
  }
}
