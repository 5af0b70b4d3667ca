/** The answering end of one stream of `/feedmesh/nearby/1`. What is told unasked waits for nobody: a slow reader misses it. */

import type { Channel } from '../../protocols/mesh/channel.ts'
import { renderError } from '../../protocols/mesh/exchange.ts'
import { encodeFrame, FrameReader } from '../../protocols/mesh/frames.ts'
import {
  type IntroducedPeer,
  MAX_INTRODUCED,
  NEARBY_PROTOCOL,
  type NearbyReply,
  type NearbyRequest,
  nearbyReply,
  nearbyRequest,
} from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { decodeCbor, encodeCbor } from '../catalog/cbor.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Right } from '../replication/guard.ts'
import { MAX_NEARBY_FRAME_BYTES } from './nearby-stream.ts'
import type { NewsDesk } from './news-desk.ts'

/** Feeds of each kind that one stream may be about. */
const MAX_FEEDS = 64
/** What becomes news within this time shares a message. */
export const NEWS_SPACING_MS = 250
/** Messages sent at once; what is left waits for the next time. */
const MAX_BURST = 16
/** Requests in WINDOW_MS. */
const MAX_IN_WINDOW = 256
/** Of these, requests that are refused: checking a chain takes eight signatures. */
const MAX_REFUSED_IN_WINDOW = 64
const WINDOW_MS = 10_000

export interface AnsweredStreamOptions {
  readonly channel: Channel
  readonly desk: NewsDesk
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  readonly isAllowed: (right: Right, feedId: FeedId) => boolean
  readonly answer: (request: NearbyRequest, stream: AnsweredStream) => NearbyReply
}

interface Followed {
  turn: number
  isDue: boolean
}

export class AnsweredStream {
  readonly #options: AnsweredStreamOptions
  /** Newcomers to be told of, by feed; feeds without are there too. */
  readonly #introduced = new Map<FeedId, Map<string, IntroducedPeer>>()
  readonly #followed = new Map<FeedId, Followed>()
  #sending: Promise<void> = Promise.resolve()
  #isPumping = false
  #isPaced = false
  #cancelPace: (() => void) | undefined
  #isOver = false

  constructor(options: AnsweredStreamOptions) {
    this.#options = options
  }

  get remote(): string {
    return this.#options.channel.remote
  }

  /** Until the other end has nothing more to ask. @throws PEER_INVALID, PEER_UNREACHABLE */
  async run(): Promise<void> {
    try {
      await this.#serve()
    } finally {
      this.#isOver = true
      this.#cancelPace?.()
    }
  }

  async #serve(): Promise<void> {
    const { channel, elapsedMs, answer } = this.#options
    const frames = new FrameReader(channel.receive())
    let window = { endsAt: 0, count: 0, refused: 0 }
    for (;;) {
      const frame = await frames.read(MAX_NEARBY_FRAME_BYTES)
      if (frame === undefined) return
      const now = elapsedMs()
      if (now >= window.endsAt) window = { endsAt: now + WINDOW_MS, count: 0, refused: 0 }
      const reply = this.#reply(decodeCbor(nearbyRequest, frame, NEARBY_PROTOCOL), answer)
      window.count += 1
      if (reply.kind === 'error') window.refused += 1
      if (window.count > MAX_IN_WINDOW || window.refused > MAX_REFUSED_IN_WINDOW)
        throw new FeedmeshError(
          'PEER_INVALID',
          `${window.count} requests in ${WINDOW_MS / 1000} s, ${window.refused} of them refused`,
        )
      await this.#send(reply)
      this.#pumpSoon()
    }
  }

  #reply(request: NearbyRequest, answer: AnsweredStreamOptions['answer']): NearbyReply {
    try {
      return answer(request, this)
    } catch (error) {
      if (!isFeedmeshError(error)) throw error
      return renderError(error)
    }
  }

  /** From here on it is told of newcomers. @throws BUSY */
  introduce(feedId: FeedId): void {
    if (!this.#introduced.has(feedId)) this.#introduced.set(claim(this.#introduced, feedId), new Map())
  }

  /** Whoever asks again has what it was told. @throws BUSY */
  follow(feedId: FeedId): void {
    const known = this.#followed.get(feedId)
    if (known === undefined) this.#followed.set(claim(this.#followed, feedId), { turn: 0, isDue: true })
    else known.isDue = true
  }

  tellNewcomer(feedId: FeedId, peer: IntroducedPeer): void {
    const due = this.#introduced.get(feedId)
    if (due === undefined || (due.size >= MAX_INTRODUCED && !due.has(peer.peerId))) return
    due.set(peer.peerId, peer)
    this.#pumpSoon()
  }

  tellNews(feedId: FeedId): void {
    const followed = this.#followed.get(feedId)
    if (followed === undefined) return
    followed.isDue = true
    this.#pumpSoon()
  }

  #send(reply: NearbyReply): Promise<void> {
    const frame = encodeFrame(encodeCbor(nearbyReply, reply))
    this.#sending = this.#sending.then(() => this.#options.channel.send(frame))
    return this.#sending
  }

  #pumpSoon(): void {
    if (this.#isPaced || this.#isPumping || this.#isOver || !this.#hasDue()) return
    this.#isPaced = true
    this.#cancelPace = this.#options.setTimer(() => {
      this.#isPaced = false
      this.#pumpSoon()
    }, NEWS_SPACING_MS)
    void this.#pump()
  }

  #hasDue(): boolean {
    return (
      [...this.#followed.values()].some(({ isDue }) => isDue) ||
      [...this.#introduced.values()].some(({ size }) => size > 0)
    )
  }

  async #pump(): Promise<void> {
    this.#isPumping = true
    try {
      let sent = 0
      for (let next = this.#takeDue(); next !== undefined && !this.#isOver; next = this.#takeDue()) {
        await this.#send(next)
        sent += 1
        if (sent === MAX_BURST) break
      }
    } catch (error) {
      // The stream broke: whoever reads from it is told.
      if (!isFeedmeshError(error)) throw error
      this.#isOver = true
    } finally {
      this.#isPumping = false
    }
    this.#pumpSoon()
  }

  /** The next message that is due; the feed that was told of goes behind the others. */
  #takeDue(): NearbyReply | undefined {
    for (const [feedId, due] of this.#introduced) {
      if (due.size === 0) continue
      const peers = [...due.values()]
      due.clear()
      if (!this.#options.isAllowed('read', feedId)) this.#introduced.delete(feedId)
      else return { kind: 'newcomers', feedId: feedIdBytes(feedId), peers }
    }
    for (const [feedId, followed] of this.#followed) {
      if (!followed.isDue) continue
      this.#followed.delete(feedId)
      if (!this.#options.isAllowed('blobs', feedId)) return { kind: 'gone', feedId: feedIdBytes(feedId) }
      const { news, turn, isAll } = this.#options.desk.render(feedId, followed.turn)
      this.#followed.set(feedId, { turn, isDue: !isAll })
      return news
    }
    return undefined
  }
}

/** @throws BUSY */
function claim(feeds: ReadonlyMap<FeedId, unknown>, feedId: FeedId): FeedId {
  if (feeds.size < MAX_FEEDS) return feedId
  throw new FeedmeshError('BUSY', `one stream may be about ${MAX_FEEDS} feeds; open another`)
}
