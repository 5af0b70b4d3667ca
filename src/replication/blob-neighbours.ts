/** What one fetch has to do with the peers near this node: it may ask them, hears what they have, and tells what it has. */

import type { FetchPeer } from '../fetching/fetch-peers.ts'
import type { FetchPlan } from '../fetching/fetch-plan.ts'
import type { MeshHost } from '../network/host.ts'
import { CHUNK_BYTES } from '../store/blobs.ts'
import type { WantedBlob } from './blob-fetcher.ts'
import type { Nearby, NearPeer, PartNews } from './nearby.ts'

export interface NeighboursPort {
  readonly nearby: Nearby
  readonly host: MeshHost
  readonly plan: FetchPlan
  readonly now: () => number
  /** Peers of the plan to which a link leads. */
  readonly linked: ReadonlySet<string>
  /** Without a clock nobody is waited for. */
  readonly hasClock: boolean
}

export class BlobNeighbours implements Disposable {
  readonly #port: NeighboursPort
  readonly #wanted: ReadonlyMap<string, WantedBlob>
  /** Blobs by the chunk list that proves them. */
  readonly #byList: ReadonlyMap<string, WantedBlob>
  /** Positions wanted of each feed. */
  readonly #feeds: ReadonlyMap<WantedBlob['feedId'], WantedBlob['at']>
  readonly #stack = new DisposableStack()
  /** Those that could be asked when they were last looked at, and whether a connection led to them. */
  readonly #known = new Map<string, boolean>()
  #onChange: () => void = () => {}

  constructor(port: NeighboursPort, wanted: readonly WantedBlob[]) {
    this.#port = port
    this.#wanted = new Map(wanted.map((one) => [one.digest, one]))
    this.#byList = new Map(wanted.flatMap((one) => (one.chunkRoot === undefined ? [] : [[one.chunkRoot, one]])))
    this.#feeds = new Map(wanted.map(({ feedId, at }) => [feedId, at]))
    this.#addPeers()
  }

  /** `onChange`: the plan has heard something new. */
  start(onChange: () => void): void {
    const { nearby } = this.#port
    for (const feedId of this.#feeds.keys()) {
      this.#stack.use(nearby.listen(feedId, (news) => this.#hear(news)))
      this.#stack.use(nearby.work(feedId))
    }
    this.#onChange = onChange
  }

  /** Chunks that can be read from the store. */
  tellChunks({ feedId, digest }: WantedBlob, indexes: readonly number[]): void {
    if (indexes.length > 0) this.#port.nearby.tell(feedId, digest, indexes)
  }

  /** A blob that the store knows. */
  tellWhole({ feedId, digest }: WantedBlob): void {
    this.#port.nearby.tell(feedId, digest, 'all')
  }

  [Symbol.dispose](): void {
    this.#stack.dispose()
  }

  #addPeers(): void {
    const { host, nearby, plan, now } = this.#port
    const states = new Map(host.peers().map((state) => [state.peerId, state]))
    for (const [feedId, at] of this.#feeds) {
      for (const near of nearby.peersFor(feedId, at)) {
        if (near.id === host.peerId) continue
        const state = states.get(near.id)
        const isConnected = state?.connected === true
        if (this.#known.get(near.id) === isConnected) continue
        this.#known.set(near.id, isConnected)
        plan.addPeer({ ...this.#describe(near), isConnected, rttMs: state?.rttMs }, now())
      }
    }
  }

  /** Who is linked, too, may have more than it tells. */
  #describe({ id, site, region, holds, isFetching }: NearPeer): Omit<FetchPeer, 'isConnected' | 'rttMs'> {
    const { linked, hasClock } = this.#port
    const known = linked.has(id) && holds === 'told' ? 'unknown' : holds
    return { id, site, region, holds: known, isFetching: isFetching && hasClock }
  }

  #hear({ peer, digest, parts }: PartNews): void {
    if (this.#known.get(peer) !== true) this.#addPeers()
    this.#port.plan.noteHoldings(peer, this.#namesOf(digest, parts), this.#port.now())
    this.#onChange()
  }

  /** As a plan names them; of other blobs nothing is kept. Whoever has a chunk has the list that proves it. */
  #namesOf(digest: PartNews['digest'], parts: PartNews['parts']): string[] {
    const wanted = this.#wanted.get(digest)
    if (wanted === undefined) return this.#byList.has(digest) && parts === 'all' ? [digest] : []
    const count = Math.ceil(wanted.size / CHUNK_BYTES)
    const list = wanted.chunkRoot === undefined ? [] : [wanted.chunkRoot]
    if (parts !== 'all') {
      const known = parts.filter((index) => Number.isSafeInteger(index) && index >= 0 && index < count)
      return known.length === 0 ? [] : [...list, ...known.map((index) => `${digest}#${index}`)]
    }
    const chunks =
      wanted.chunkRoot === undefined ? [] : Array.from({ length: count }, (_, index) => `${digest}#${index}`)
    return [digest, ...list, ...chunks]
  }
}
