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
import type { Channel } from '../../protocols/mesh/channel.ts'
import { MAX_FRAME_BYTES } from '../../protocols/mesh/exchange.ts'
import { FrameReader } from '../../protocols/mesh/frames.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { decodeCbor } from '../catalog/cbor.ts'
import { type FeedId, feedIdBytes, feedIdText, MAX_CLOSURE } from '../catalog/charter.ts'
import { compareOrder, type ManifestOrder } from '../catalog/manifest.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { Floor } from '../ledger/floor.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { ANNOUNCE_IDLE_MS, AnnounceStream } from './announce-stream.ts'
import type { Book, Link } from './book.ts'
import type { Policy } from './guard.ts'

export interface AnnouncerOptions {
  readonly host: MeshHost
  readonly ledger: Ledger
  readonly book: Book
  readonly policy: Policy
  readonly floor: Floor
  readonly log: Log
  readonly setTimer: SetTimer
  readonly now: () => number
  /** A peer has something newer of the feed a link includes. */
  onNews(link: Link): void
}

/** What changes within this time after an announcement shares the next one. */
const SPACING_MS = 100
const LIMITS = { maxInboundStreams: 4, maxDurationMs: 24 * 3_600_000, idleMs: ANNOUNCE_IDLE_MS }
/** Announcements of one stream in WINDOW_MS; a peer that sends more is cut off. */
const MAX_IN_WINDOW = 1000
const WINDOW_MS = 10_000

export class Announcer implements AsyncDisposable {
  readonly #options: AnnouncerOptions
  readonly #stopping = new AbortController()
  /** Feeds with a newer state than the one that was announced last. */
  readonly #due = new Set<FeedId>()
  /** The newest manifest of each feed that a connected peer said it has. */
  readonly #had = new Map<string, Map<FeedId, ManifestOrder>>()
  readonly #streams = new Map<string, AnnounceStream>()
  #sending: Promise<void> = Promise.resolve()
  #isPaced = false
  #cancelPace: () => void = () => {}
  #unsubscribe: () => void = () => {}

  constructor(options: AnnouncerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    await this.#options.host.handle(ANNOUNCE_PROTOCOL, LIMITS, (channel, signal) => this.#listen(channel, signal))
    const unsubscribe = this.#options.ledger.onChange((feedId) => this.#announceSoon(feedId))
    const forget = this.#options.host.onPeer(({ type, peerId }) => {
      if (type === 'disconnected') this.#had.delete(peerId)
    })
    this.#unsubscribe = () => {
      unsubscribe()
      forget()
    }
  }

  async #listen(channel: Channel, signal: AbortSignal): Promise<void> {
    // Between two announcements nothing is lost: such a stream does not hold up a stop.
    const onStop = () => channel.abort(new FeedmeshError('ABORTED', 'this node is stopping'))
    signal.addEventListener('abort', onStop, { once: true })
    const frames = new FrameReader(channel.receive())
    let window = { endsAt: 0, count: 0 }
    for (;;) {
      const frame = await frames.read(MAX_FRAME_BYTES)
      if (frame === undefined) return
      const now = this.#options.now()
      window = now >= window.endsAt ? { endsAt: now + WINDOW_MS, count: 1 } : { ...window, count: window.count + 1 }
      if (window.count > MAX_IN_WINDOW)
        throw new FeedmeshError('PEER_INVALID', `more than ${MAX_IN_WINDOW} announcements in ${WINDOW_MS / 1000} s`)
      this.#hear(channel.remote, decodeCbor(announcement, frame, ANNOUNCE_PROTOCOL))
    }
  }

  /** Only what comes over a link on which this end receives counts, and only if it is newer than what is here. */
  #hear(peer: string, heard: Announcement): void {
    const { book, ledger } = this.#options
    if (book.linksWith(peer).length === 0) return
    const feedId = feedIdText(heard.feedId)
    this.#noteHas(peer, feedId, heard)
    const known = ledger.registry.states.get(feedId)?.manifest?.value
    if (known !== undefined && compareOrder(heard, known) <= 0) return
    for (const link of book.linksWith(peer)) {
      if (ledger.registry.reaches(feedIdText(link.remote), feedId)) this.#options.onNews(link)
    }
  }

  /** Who says that it has a manifest need not be told of it. */
  #noteHas(peer: string, feedId: FeedId, { epoch, seq, refresh }: ManifestOrder): void {
    const feeds = this.#had.get(peer) ?? new Map<FeedId, ManifestOrder>()
    if (!feeds.has(feedId) && feeds.size >= MAX_CLOSURE) feeds.clear()
    this.#had.set(peer, feeds.set(feedId, { epoch, seq, refresh }))
  }

  #has(peer: string, feedId: FeedId): boolean {
    const manifest = this.#options.ledger.registry.states.get(feedId)?.manifest?.value
    const had = this.#had.get(peer)?.get(feedId)
    return had !== undefined && (manifest === undefined || compareOrder(had, manifest) >= 0)
  }

  #announceSoon(feedId: FeedId): void {
    this.#due.add(feedId)
    if (!this.#isPaced) this.#announceNow()
  }

  #announceNow(): void {
    this.#isPaced = true
    this.#cancelPace = this.#options.setTimer(() => {
      this.#isPaced = false
      if (this.#due.size > 0 && !this.#stopping.signal.aborted) this.#announceNow()
    }, SPACING_MS)
    this.#sending = this.#sending.then(() => this.#announceDue())
  }

  async #announceDue(): Promise<void> {
    const { floor, log } = this.#options
    const due = [...this.#due]
    this.#due.clear()
    const readers = due.map((feedId) => ({ feedId, peers: this.#readers(feedId) }))
    if (this.#stopping.signal.aborted || readers.every(({ peers }) => peers.length === 0)) return
    try {
      await floor.flush()
    } catch (error) {
      // Without the floor file no manifest may leave; polls will be refused the same way until the disk is mended.
      log.warn({ err: error }, 'a new manifest is not announced: the floor file cannot be written')
      return
    }
    for (const { feedId, peers } of readers)
      for (const [index, peer] of peers.entries()) this.#streamTo(peer).tell(feedId, index < WHOLE_MANIFEST_PEERS)
  }

  /** Connected peers that may read the feed and have not said that they have its manifest. */
  #readers(feedId: FeedId): string[] {
    const { host, policy, book } = this.#options
    return host
      .peers()
      .filter(
        (peer) =>
          peer.connected &&
          !this.#has(peer.peerId, feedId) &&
          book.linksWith(peer.peerId).length > 0 &&
          mayRead(policy, peer.peerId, feedId),
      )
      .map((peer) => peer.peerId)
  }

  #streamTo(peer: string): AnnounceStream {
    const open = this.#streams.get(peer)
    if (open !== undefined) return open
    const { host, log, setTimer } = this.#options
    const render = (feedId: FeedId, isWhole: boolean) => this.#render(feedId, isWhole)
    const stream = new AnnounceStream({ host, peer, log, setTimer, render })
    this.#streams.set(peer, stream)
    return stream
  }

  #render(feedId: FeedId, isWhole: boolean): Announcement | undefined {
    const manifest = this.#options.ledger.registry.states.get(feedId)?.manifest
    if (manifest === undefined) return undefined
    const { epoch, seq, refresh } = manifest.value
    const { hash, bytes } = manifest
    return { feedId: feedIdBytes(feedId), epoch, seq, refresh, hash, manifest: isWhole ? bytes : null }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#unsubscribe()
    this.#cancelPace()
    this.#stopping.abort()
    await this.#sending
    await Promise.all([...this.#streams.values()].map((stream) => stream[Symbol.asyncDispose]()))
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
