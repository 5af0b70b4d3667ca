/**
 * The peers near this node that read the same feeds: who they are, by introduction and by what they show, the connections with
 * them, and what both sides tell each other. They stay known when the hub that introduced them is gone, also over a restart.
 */

import type { Introduce, IntroducedPeer } from '../../protocols/mesh/nearby/messages.ts'
import { MAX_TOLD_ADDRESSES } from '../../protocols/mesh/nearby/messages.ts'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import type { Digest } from '../catalog/digest.ts'
import type { Place } from '../catalog/policy.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import type { Book } from '../replication/book.ts'
import type { FeedHere } from '../replication/feeds-here.ts'
import type { LinkAsker } from '../replication/link-asker.ts'
import type { LinkPolicy } from '../replication/link-policy.ts'
import type { FeedPosition, Nearby, NearPeer, PartNews } from '../replication/nearby.ts'
import type { Presence } from '../replication/presence.ts'
import type { Chain } from '../replication/shown-chains.ts'
import type { Records } from '../store/records.ts'
import { NearbyAnswerer } from './answerer.ts'
import { directoryKey } from './directory-key.ts'
import { DirectoryUse } from './directory-use.ts'
import { type HeardParts, SIGN_OF_LIFE } from './heard-news.ts'
import { HeldChains } from './held-chains.ts'
import { Introducers } from './introducers.ts'
import { KnownPeers } from './known-peers.ts'
import { Neighbour } from './neighbour.ts'
import { NeighbourStore } from './neighbour-store.ts'
import { NewsDesk } from './news-desk.ts'
import { ReadFeeds } from './read-feeds.ts'
import { chooseNeighbours, isPeerId } from './wanted-peers.ts'

export interface NeighbourhoodOptions {
  readonly host: MeshHost
  readonly records: Records
  readonly ledger: Ledger
  readonly book: Book
  readonly policy: LinkPolicy
  readonly presence: Pick<Presence, 'find'>
  readonly asker: LinkAsker
  /** Where this node says it is. */
  readonly place: Place
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1): spreads what many nodes do. */
  readonly random: () => number
  /** Addresses at which this node can be dialled. */
  readonly addresses: () => readonly string[]
  /** Whether an address that somebody tells of a peer is worth a dial. */
  readonly isAddressOf: (address: string, peerId: string) => boolean
  /** Nodes of the directory that are always dialled, where the host takes part in it. */
  readonly bootstrap?: readonly string[]
}

const TICK_MS = 1000
/** What happens within this time is acted on together … */
const SOON_MS = 20
/** … and no sooner than so long after the last time. */
const SPACING_MS = 200
const GREET_TIMEOUT_MS = 10_000
type NewsListener = (news: PartNews) => void

export class Neighbourhood implements Nearby, AsyncDisposable {
  readonly #options: NeighbourhoodOptions
  readonly #stopping = new AbortController()
  readonly #desk: NewsDesk
  readonly #answerer: NearbyAnswerer
  readonly #known = new KnownPeers()
  readonly #chains: HeldChains
  readonly #store: NeighbourStore
  readonly #introducers: Introducers
  readonly #neighbours = new Map<string, Neighbour>()
  readonly #listeners = new Map<FeedId, Set<NewsListener>>()
  readonly #leaving = new Set<Promise<void>>()
  readonly #feeds: ReadFeeds
  readonly #directory: DirectoryUse | undefined
  /** As they were found when things were arranged last: all neighbours ask for the same. */
  readonly #chainsNow = new Map<FeedId, Chain>()
  #arrangedAtMs = Number.NEGATIVE_INFINITY
  #cancelTick: () => void = () => {}
  #cancelSoon: (() => void) | undefined
  #unsubscribe: () => void = () => {}

  /** @throws BAD_INPUT an address of a bootstrap peer is none */
  constructor(options: NeighbourhoodOptions) {
    this.#options = options
    const { host, ledger, policy, setTimer, elapsedMs, isAddressOf, records, log } = options
    this.#feeds = new ReadFeeds({ book: options.book, registry: ledger.registry })
    this.#desk = new NewsDesk({
      setTimer,
      findWhole: (feedId) => this.#feeds.findWhole(feedId),
      onNews: (feedId) => this.#answerer.tellNews(feedId),
    })
    this.#answerer = new NearbyAnswerer({
      host,
      policy,
      desk: this.#desk,
      setTimer,
      elapsedMs,
      isAddressOf,
      availabilityOf: (feedId) => this.#feeds.availabilityOf(feedId),
      onShown: (peer, feedId) => this.#onShown(peer, feedId),
    })
    this.#introducers = new Introducers({
      ...options,
      onPeers: (feedId, peers) => this.#onIntroduced(feedId, peers),
    })
    this.#chains = new HeldChains({ ...options, signal: this.#stopping.signal, onFetched: () => this.#soon() })
    this.#store = new NeighbourStore({ records, log, elapsedMs, known: this.#known, chains: this.#chains })
    this.#directory = this.#openDirectory()
    const unlisten = ledger.onChange((feedId) => {
      this.#desk.moved(feedId)
      this.#soon()
    })
    const forget = host.onPeer(({ type, peerId }) => {
      if (type === 'connected') {
        this.#neighbours.get(peerId)?.hurry()
        this.#directory?.onConnected(peerId)
      }
      this.#soon()
    })
    this.#unsubscribe = () => {
      unlisten()
      forget()
    }
  }

  #openDirectory(): DirectoryUse | undefined {
    const { host, ledger, bootstrap = [] } = this.#options
    if (host.directory === undefined) return undefined
    return new DirectoryUse({
      ...this.#options,
      directory: host.directory,
      bootstrap,
      known: this.#known,
      signal: this.#stopping.signal,
      served: (max) => this.#feeds.served(max),
      findKey: (feedId) => {
        const charter = ledger.registry.states.get(feedId)?.charter.value
        return charter === undefined ? undefined : directoryKey(feedId, charter.salt)
      },
      onFound: () => this.#soon(),
    })
  }

  /** Answers peers, and looks for neighbours, from here on. */
  async start(): Promise<void> {
    await this.#store.read(this.#options.elapsedMs())
    await this.#answerer.serve()
    this.#arrange()
    this.#tick()
  }

  peersFor(feedId: FeedId, at?: FeedPosition): readonly NearPeer[] {
    const { presence } = this.#options
    const connected = this.#connected()
    return [...this.#neighbours.values()].flatMap((neighbour) => {
      const id = neighbour.peerId
      if (!neighbour.follows(feedId) || !connected.has(id)) return []
      const { site, region } = presence.find(id) ?? this.#known.find(feedId, id) ?? { site: '', region: '' }
      const holdsAll = neighbour.holdsAll(feedId, at)
      const isFetching = !holdsAll && neighbour.fetchesAll(feedId)
      return [{ id, site, region, holds: holdsAll ? ('all' as const) : ('told' as const), isFetching }]
    })
  }

  listen(feedId: FeedId, onNews: NewsListener): Disposable {
    const listeners = this.#listeners.get(feedId) ?? new Set()
    this.#listeners.set(feedId, listeners.add(onNews))
    for (const neighbour of this.#neighbours.values())
      for (const told of neighbour.told(feedId)) onNews({ peer: neighbour.peerId, ...told })
    return {
      [Symbol.dispose]: () => {
        listeners.delete(onNews)
        if (listeners.size === 0 && this.#listeners.get(feedId) === listeners) this.#listeners.delete(feedId)
      },
    }
  }

  work(feedId: FeedId): Disposable {
    return this.#desk.work(feedId)
  }

  tell(feedId: FeedId, digest: Digest, parts: readonly number[] | 'all'): void {
    this.#desk.tell(feedId, digest, parts)
  }

  #tick(): void {
    this.#cancelTick = this.#options.setTimer(() => {
      this.#arrange()
      this.#tick()
    }, TICK_MS)
  }

  #soon(): void {
    if (this.#stopping.signal.aborted) return
    const sinceMs = this.#options.elapsedMs() - this.#arrangedAtMs
    this.#cancelSoon ??= this.#options.setTimer(
      () => {
        this.#cancelSoon = undefined
        this.#arrange()
      },
      Math.max(SOON_MS, SPACING_MS - sinceMs),
    )
  }

  /** Everything that is to be done now; cheap where nothing is. */
  #arrange(): void {
    if (this.#stopping.signal.aborted) return
    this.#arrangedAtMs = this.#options.elapsedMs()
    this.#chainsNow.clear()
    this.#feeds.refresh()
    for (const feedId of this.#known.feeds()) if (this.#feeds.find(feedId) === undefined) this.#forget(feedId)
    // What brings a feed here may be another thing now, and so what is told of it.
    for (const { feedId } of this.#feeds.all()) this.#desk.moved(feedId)
    this.#introduce()
    this.#attend()
    this.#useDirectory()
    this.#store.writeSoon()
  }

  #forget(feedId: FeedId): void {
    this.#known.forget(feedId)
    this.#chains.forget(feedId)
    this.#desk.forget(feedId)
    this.#directory?.forget(feedId)
  }

  #useDirectory(): void {
    if (this.#directory === undefined) return
    const connected = this.#connected()
    const alone = this.#feeds
      .all()
      .filter(({ isOwn, servers }) => !isOwn && !servers.some((peer) => connected.has(peer)))
      .filter(({ feedId }) => this.peersFor(feedId).length === 0)
    this.#directory.act(
      connected,
      alone.map(({ feedId }) => feedId),
    )
  }

  #connected(): Set<string> {
    return new Set(this.#options.host.peers().flatMap(({ peerId, connected }) => (connected ? [peerId] : [])))
  }

  #introduce(): void {
    const connected = this.#connected()
    const wanted = new Map<string, Introduce[]>()
    for (const here of this.#feeds.all()) {
      for (const server of here.servers.filter((peer) => connected.has(peer)))
        wanted.set(server, [...(wanted.get(server) ?? []), this.#introduction(here)])
    }
    for (const over of this.#introducers.act(wanted)) this.#leave(over)
  }

  #introduction(here: FeedHere): Introduce {
    const { site, region } = this.#options.place
    const addresses = this.#options.addresses().slice(0, MAX_TOLD_ADDRESSES)
    const availability = this.#feeds.availabilityOf(here.feedId)
    const serve = this.#feeds.serveSettingOf(here.feedId)
    return { kind: 'introduce', feedId: feedIdBytes(here.feedId), addresses, site, region, serve, availability }
  }

  #onIntroduced(feedId: FeedId, peers: readonly IntroducedPeer[]): void {
    const { elapsedMs, isAddressOf, host } = this.#options
    if (!this.#feeds.isReadHere(feedId)) return
    for (const peer of peers) {
      if (!isPeerId(peer.peerId))
        throw new FeedmeshError('PEER_INVALID', `introduced ${JSON.stringify(peer.peerId)}, which is not a PeerId`)
      if (peer.peerId === host.peerId) continue
      const addresses = peer.addresses.filter((address) => isAddressOf(address, peer.peerId))
      this.#known.mention(feedId, { ...peer, addresses }, elapsedMs())
    }
    this.#soon()
  }

  /** Whoever reads the feed is a neighbour for this node, too. */
  #onShown(peerId: string, feedId: FeedId): void {
    const { presence, elapsedMs } = this.#options
    if (!this.#feeds.isReadHere(feedId)) return
    const { site, region } = presence.find(peerId) ?? { site: '', region: '' }
    const availability = this.#known.find(feedId, peerId)?.availability ?? 'on-demand'
    this.#known.mention(feedId, { peerId, addresses: [], site, region, availability }, elapsedMs())
    this.#neighbours.get(peerId)?.hurry()
    this.#soon()
  }

  #attend(): void {
    const { host, place } = this.#options
    const wanted = chooseNeighbours({ peerId: host.peerId, ...place }, this.#feeds.all(), this.#known)
    for (const [peerId, feeds] of wanted) {
      for (const feedId of feeds) this.#chains.need(this.#feeds.find(feedId)!)
      this.#neighbourAt(peerId).act(feeds)
    }
    for (const [peerId, neighbour] of this.#neighbours) {
      if (wanted.has(peerId)) continue
      this.#neighbours.delete(peerId)
      this.#leave(neighbour)
    }
  }

  #neighbourAt(peerId: string): Neighbour {
    const found = this.#neighbours.get(peerId)
    if (found !== undefined) return found
    const { asker, elapsedMs } = this.#options
    const neighbour = new Neighbour(peerId, {
      ...this.#options,
      greet: (peer, signal) => this.#greet(peer, asker, signal),
      findChain: (feedId) => this.#findChain(feedId),
      addressesOf: (peer) => this.#addressesOf(peer),
      onNews: (feedId, peer, parts) => this.#tellListeners(feedId, peer, parts),
      onFollowed: (feedId, peer) => {
        this.#known.prove(feedId, peer)
        this.#tellListeners(feedId, peer, [SIGN_OF_LIFE])
      },
      onFailure: (peer, failures) =>
        this.#known.noteFailures(peer, failures, { ms: elapsedMs(), isInformed: !this.#introducers.isEmpty }),
    })
    if (this.#isConnected(peerId)) neighbour.hurry()
    this.#neighbours.set(peerId, neighbour)
    return neighbour
  }

  #findChain(feedId: FeedId): Chain | undefined {
    const known = this.#chainsNow.get(feedId)
    if (known !== undefined) return known
    const found = this.#chains.find(feedId)
    if (found !== undefined) this.#chainsNow.set(feedId, found)
    return found
  }

  #tellListeners(feedId: FeedId, peer: string, parts: readonly HeardParts[]): void {
    for (const listener of this.#listeners.get(feedId) ?? []) for (const one of parts) listener({ peer, ...one })
  }

  async #greet(peer: string, asker: LinkAsker, signal: AbortSignal): Promise<void> {
    using limit = startTimeLimit(this.#options.setTimer, GREET_TIMEOUT_MS, signal)
    await asker.greet(peer, limit.signal)
  }

  #isConnected(peerId: string): boolean {
    return this.#options.host.peers().some((peer) => peer.peerId === peerId && peer.connected)
  }

  #addressesOf(peerId: string): readonly string[] {
    return [...new Set(this.#known.feeds().flatMap((feedId) => this.#known.find(feedId, peerId)?.addresses ?? []))]
  }

  #leave(left: AsyncDisposable): void {
    const leaving = this.#dispose(left)
    this.#leaving.add(leaving)
    void leaving.finally(() => this.#leaving.delete(leaving))
  }

  async #dispose(left: AsyncDisposable): Promise<void> {
    try {
      await left[Symbol.asyncDispose]()
    } catch (error) {
      this.#options.log.error({ err: asFeedmeshError(error) }, 'a stream of a neighbour did not close')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping'))
    this.#unsubscribe()
    this.#cancelTick()
    this.#cancelSoon?.()
    this.#desk[Symbol.dispose]()
    this.#answerer[Symbol.dispose]()
    for (const one of [...this.#introducers.act(new Map()), ...this.#neighbours.values()]) this.#leave(one)
    await Promise.all(this.#leaving)
    await this.#directory?.[Symbol.asyncDispose]()
    await this.#chains[Symbol.asyncDispose]()
    await this.#store[Symbol.asyncDispose]()
  }
}
