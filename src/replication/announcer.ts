/**
 * Gossip on authorised links: whoever may read a feed hears of its new manifest from those who have it, and passes it on once
 * it has adopted it itself. Nobody without a link learns anything. Lost announcements cost a poll interval, no more.
 */

import {
  ANNOUNCE_PROTOCOL,
  type Announcement,
  announcement,
  WHOLE_MANIFEST_PEERS,
} from '../../protocols/mesh/announce/messages.ts'
import { MAX_FRAME_BYTES } from '../../protocols/mesh/exchange.ts'
import { FrameReader, writeFrame } from '../../protocols/mesh/frames.ts'
import { decodeCbor, encodeCbor } from '../catalog/cbor.ts'
import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { compareOrder } from '../catalog/manifest.ts'
import { isFeedmeshError } from '../errors.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book, Link } from './book.ts'
import type { Policy } from './guard.ts'

export interface AnnouncerOptions {
  readonly host: MeshHost
  readonly ledger: Ledger
  readonly book: Book
  readonly policy: Policy
  readonly floor: Floor
  readonly log: Log
  /** A peer has something newer of the feed a link includes. */
  onNews(link: Link): void
}

const SEND_TIMEOUT_MS = 10_000

export class Announcer implements AsyncDisposable {
  readonly #options: AnnouncerOptions
  readonly #stopping = new AbortController()
  /** Feeds with a newer state than the one that was announced last. */
  readonly #due = new Set<FeedId>()
  #sending: Promise<void> = Promise.resolve()
  #unsubscribe: () => void = () => {}

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    const limits = { maxInboundStreams: 16, maxDurationMs: SEND_TIMEOUT_MS }
    await this.#options.host.handle(ANNOUNCE_PROTOCOL, limits, async (channel) => {
      const frame = await new FrameReader(channel.receive()).read(MAX_FRAME_BYTES)
      if (frame !== undefined) this.#hear(channel.remote, decodeCbor(announcement, frame, ANNOUNCE_PROTOCOL))
    })
    this.#unsubscribe = this.#options.ledger.onChange((feedId) => this.#announceSoon(feedId))
  }

  /** Only what comes over a link on which this end receives counts, and only if it is newer than what is here. */
  #hear(peer: string, heard: Announcement): void {
    const { book, ledger } = this.#options
    const feedId = feedIdText(heard.feedId)
    const known = ledger.registry.states.get(feedId)?.manifest?.value
    if (known !== undefined && compareOrder(heard, known) <= 0) return
    for (const link of book.linksWith(peer)) {
      const source = feedIdText(link.remote)
      const isReached = source === feedId || ledger.registry.views.get(source)?.closure.members.has(feedId) === true
      if (isReached) this.#options.onNews(link)
    }
  }

  /** Changes that come while announcements are under way share the next ones. */
  #announceSoon(feedId: FeedId): void {
    if (this.#due.size === 0) this.#sending = this.#sending.then(() => this.#announceDue())
    this.#due.add(feedId)
  }

  async #announceDue(): Promise<void> {
    const { floor, ledger, log } = this.#options
    const due = [...this.#due]
    this.#due.clear()
    const states = due.flatMap((feedId) => ledger.registry.states.get(feedId) ?? [])
    const messages = states.flatMap((state) =>
      this.#readers(state.feedId).map((peer, index) => ({ peer, state, isWhole: index < WHOLE_MANIFEST_PEERS })),
    )
    if (messages.length === 0 || this.#stopping.signal.aborted) return
    try {
      await floor.flush()
    } catch (error) {
      // Without the floor file no manifest may leave; polls will be refused the same way until the disk is mended.
      log.warn({ err: error }, 'a new manifest is not announced: the floor file cannot be written')
      return
    }
    await Promise.all(messages.map(({ peer, state, isWhole }) => this.#send(peer, state, isWhole)))
  }

  /** Connected peers that may read the feed. */
  #readers(feedId: FeedId): string[] {
    const { host, policy, book } = this.#options
    return host
      .peers()
      .filter(
        (peer) => peer.connected && book.linksWith(peer.peerId).length > 0 && mayRead(policy, peer.peerId, feedId),
      )
      .map((peer) => peer.peerId)
  }

  async #send(peer: string, state: FeedState, isWhole: boolean): Promise<void> {
    if (state.manifest === undefined) return
    const { epoch, seq, refresh } = state.manifest.value
    const manifest = isWhole ? state.manifest.bytes : null
    const message: Announcement = {
      feedId: feedIdBytes(state.feedId),
      epoch,
      seq,
      refresh,
      hash: state.manifest.hash,
      manifest,
    }
    try {
      const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(SEND_TIMEOUT_MS)])
      const channel = await this.#options.host.open(peer, ANNOUNCE_PROTOCOL, signal)
      await writeFrame(channel, encodeCbor(announcement, message))
      await channel.end()
    } catch (error) {
      this.#options.log.debug({ err: error, peer }, 'an announcement did not get through')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe()
    this.#stopping.abort()
    await this.#sending
  }
}

function mayRead(policy: Policy, peer: string, feedId: FeedId): boolean {
  try {
    policy.verifyMay(peer, 'read', feedId)
    return true
  } catch (error) {
    if (isFeedmeshError(error)) return false
    throw error
  }
}
