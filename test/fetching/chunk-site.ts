/** A hub that publishes, and bare nodes that fetch from it and from each other: hosts, stores and fetchers, without links. */

import assert from 'node:assert/strict'
import {
  BLOB_PROTOCOL,
  type BlobReply,
  type BlobRequest,
  blobReply,
  blobRequest,
} from '../../protocols/mesh/blob/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { Exchange } from '../../protocols/mesh/exchange.ts'
import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import { type Digest, sha256Digest } from '../../src/catalog/digest.ts'
import type { RowFile } from '../../src/catalog/row.ts'
import { noFaults } from '../../src/fault-points.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity } from '../../src/network/identity.ts'
import { createMemoryNetwork, type MemoryNetwork, type SentBytes } from '../../src/network/memory-network.ts'
import {
  BlobFetcher,
  type BlobLie,
  type BlobOutcome,
  type BlobWork,
  type WantedBlob,
} from '../../src/replication/blob-fetcher.ts'
import { serveBlobs } from '../../src/replication/blob-source.ts'
import type { Nearby, NearPeer, PartNews } from '../../src/replication/nearby.ts'
import { type BlobStore, CHUNK_BYTES } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'
import { openMeshNode, publishVersion } from '../support/mesh-node.ts'

/** Every 4 KiB say where they are. */
export function chunkedContent(size: number, seed = 1): Buffer {
  const content = Buffer.alloc(size, seed)
  for (let at = 0; at + 8 <= size; at += 4096) content.writeDoubleBE(at + seed, at)
  return content
}

/** Of the blob in whose middle a process is killed: eight chunks. */
export const KILLED_BYTES = 8 * CHUNK_BYTES

/** The clock stands still: nobody is silent for too long, and nobody too slow. */
const STANDING: ProgressRule = { now: () => 0, setTimer: () => () => {} }

type Listener = { readonly peer: string; readonly onNews: (news: PartNews) => void }

/** What the nodes of a site tell each other arrives at once. */
class FakeNearby implements Nearby {
  readonly told: PartNews[] = []
  readonly #own: string
  readonly #site: { readonly peers: NearPeer[]; readonly listeners: Set<Listener> }

  constructor(own: string, site: { readonly peers: NearPeer[]; readonly listeners: Set<Listener> }) {
    this.#own = own
    this.#site = site
  }

  peersFor(): readonly NearPeer[] {
    return this.#site.peers.filter(({ id }) => id !== this.#own)
  }

  listen(_feedId: string, onNews: (news: PartNews) => void): Disposable {
    const listener = { peer: this.#own, onNews }
    this.#site.listeners.add(listener)
    return { [Symbol.dispose]: () => this.#site.listeners.delete(listener) }
  }

  work(): Disposable {
    return { [Symbol.dispose]: () => {} }
  }

  tell(_feedId: string, digest: Digest, parts: readonly number[] | 'all'): void {
    const news = { peer: this.#own, digest, parts }
    this.told.push(news)
    setImmediate(() => {
      for (const { peer, onNews } of this.#site.listeners) if (peer !== this.#own) onNews(news)
    })
  }
}

export type Answer = (
  exchange: Exchange<BlobReply, BlobRequest>,
  request: Extract<BlobRequest, { kind: 'get' }>,
) => Promise<void>

export interface FetchOutcome {
  readonly outcomes: readonly BlobOutcome[]
  readonly lies: readonly BlobLie[]
}

export class SiteNode {
  readonly host: MeshHost
  readonly records: Records
  readonly blobs: BlobStore
  readonly nearby: FakeNearby
  readonly fetcher: BlobFetcher
  /** Ranges that others asked of it, whatever the answer. */
  readonly asked: { readonly digest: string; readonly offset: number; readonly length: number | null }[] = []
  /** Set to answer something else than the truth. */
  answer: Answer | undefined

  constructor(host: MeshHost, parts: { records: Records; blobs: BlobStore; nearby: FakeNearby; fetcher: BlobFetcher }) {
    this.host = host
    this.records = parts.records
    this.blobs = parts.blobs
    this.nearby = parts.nearby
    this.fetcher = parts.fetcher
  }

  async fetch(
    peers: readonly string[],
    wanted: readonly WantedBlob[],
    work: Partial<BlobWork> = {},
  ): Promise<FetchOutcome> {
    const [outcomes, lies]: [BlobOutcome[], BlobLie[]] = [[], []]
    await this.fetcher.fetchAll(peers, wanted, {
      signal: new AbortController().signal,
      onOutcome: (outcome) => outcomes.push(outcome),
      onLie: (lie) => lies.push(lie),
      ...work,
    })
    return { outcomes, lies }
  }

  /** Takes over blob streams while `answer` is set, and notes what is asked. */
  intercept(): MeshHost {
    const { host } = this
    const handle: MeshHost['handle'] = (protocol, limits, handler) =>
      host.handle(protocol, limits, (channel, signal) => this.#serve(channel, () => handler(channel, signal)))
    return new Proxy(host, { get: (target, name) => (name === 'handle' ? handle : Reflect.get(target, name)) })
  }

  async #serve(channel: Channel, honest: () => Promise<void>): Promise<void> {
    const { answer } = this
    if (answer === undefined) return await honest()
    const shapes = { out: blobReply, in: blobRequest, what: BLOB_PROTOCOL }
    const exchange = new Exchange<BlobReply, BlobRequest>(channel, shapes)
    for (let request = await exchange.find(); request !== undefined; request = await exchange.find()) {
      this.asked.push({ digest: request.digest, offset: request.offset, length: request.length })
      await answer(exchange, request)
    }
  }
}

export interface Site {
  readonly network: MemoryNetwork
  readonly hub: MeshHost
  readonly nodes: readonly SiteNode[]
  readonly content: Buffer
  readonly wanted: WantedBlob & { readonly chunkRoot: Digest }
  readonly file: RowFile
  /** Answers as whoever has all of it. */
  readonly serveContent: Answer
  /** Blob bytes that a peer sent. */
  sentBy(peer: string): number
}

export interface SiteOptions {
  readonly size: number
  readonly nodes: number
  /** What the stores of a node are. */
  readonly openBlobs?: (records: Records, index: number) => Promise<BlobStore | undefined>
  /** In place of a clock that stands still. */
  readonly progress?: ProgressRule
  /** Whether the nodes know each other as neighbours; else they are servers as good as any. */
  readonly areNeighbours?: boolean
}

async function openNode(
  network: MemoryNetwork,
  site: ConstructorParameters<typeof FakeNearby>[1],
  { openBlobs, progress }: { openBlobs: (records: Records) => Promise<BlobStore>; progress: ProgressRule },
): Promise<SiteNode> {
  const host = network.openHost(generateIdentity())
  const records = createMemoryRecords()
  const blobs = await openBlobs(records)
  const nearby = new FakeNearby(host.peerId, site)
  const hello = { site: 'here', region: 'near' }
  const fetcher = new BlobFetcher({ host, records, blobs, reach: noFaults, progress, hello, nearby })
  return new SiteNode(host, { records, blobs, nearby, fetcher })
}

/** Every node may ask the hub and every other node, and knows the rows. */
export async function openSite(stack: AsyncDisposableStack, options: SiteOptions): Promise<Site> {
  const sent = new Map<string, number>()
  const onBytes = ({ from, protocol, bytes }: SentBytes) => {
    if (protocol === BLOB_PROTOCOL) sent.set(from, (sent.get(from) ?? 0) + bytes)
  }
  const network = createMemoryNetwork({ onBytes })
  const publisher = stack.use(await openMeshNode(network))
  const feed = await publisher.createFeed('packages')
  const content = chunkedContent(options.size)
  await publishVersion(feed, 'large', 'v/1.0.0', content)
  const file = (await feed.findUnit('large'))?.rows[0]?.files[0]
  const [feedId] = publisher.ledger.registry.states.keys()
  assert.ok(file?.chunkRoot !== undefined && feedId !== undefined)
  const wanted = {
    feedId,
    unit: 'large',
    key: 'v/1.0.0',
    digest: file.digest,
    size: file.size,
    chunkRoot: file.chunkRoot,
  }
  const site = { peers: [] as NearPeer[], listeners: new Set<Listener>() }
  const nodes: SiteNode[] = []
  const { registry } = publisher.ledger
  const hub = stack.use(network.openHost(generateIdentity()))
  await serveBlobs(hub, { verifyMay: () => {} }, { registry, blobs: publisher.parts.blobs })
  for (let index = 0; index < options.nodes; index += 1) {
    const openBlobs = async (records: Records) =>
      (await options.openBlobs?.(records, index)) ?? createMemoryBlobs({ records })
    const node = await openNode(network, site, { openBlobs, progress: options.progress ?? STANDING })
    stack.use(node.host)
    await serveBlobs(node.intercept(), { verifyMay: () => {} }, { registry, blobs: node.blobs })
    nodes.push(node)
  }
  const signal = new AbortController().signal
  for (const node of nodes) {
    for (const other of [hub, ...nodes.map(({ host }) => host)])
      if (other !== node.host) await node.host.connect(other.peerId, other.addresses(), signal)
    if (options.areNeighbours !== false)
      site.peers.push({ id: node.host.peerId, site: 'here', region: 'near', holds: 'told', isFetching: true })
  }
  const serveContent: Answer = async (exchange, { digest, offset, length }) => {
    const bytes = digest === file.digest ? content : await publisher.parts.blobs.read(digest as Digest, 1 << 20)
    const part = bytes.subarray(offset, length === null ? bytes.length : offset + length)
    await exchange.send({ kind: 'bytes', length: part.length })
    await exchange.sendBytes(part)
  }
  return { serveContent, network, hub, nodes, content, wanted, file, sentBy: (peer) => sent.get(peer) ?? 0 }
}

export async function verifyHolds({ blobs }: SiteNode, { wanted, content }: Site): Promise<void> {
  assert.equal(await blobs.verifyBlob(wanted.digest), 'ok')
  assert.equal((await blobs.find(wanted.digest))?.chunkRoot, wanted.chunkRoot)
  assert.equal(sha256Digest(await blobs.read(wanted.digest, content.length)), wanted.digest)
}

export const chunksOf = (size: number): number => Math.ceil(size / CHUNK_BYTES)
