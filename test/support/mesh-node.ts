/** A complete mesh node over memory stores and a memory network: ledger, book, policy, answerers, puller. No timers of its own. */

import { randomBytes as cryptoRandomBytes } from 'node:crypto'
import type { ProgressRule } from '../../protocols/mesh/progress.ts'
import { answerSync, type SyncSource } from '../../protocols/mesh/sync/answerer.ts'
import { type SyncReply, type SyncRequest } from '../../protocols/mesh/sync/messages.ts'
import type { FeedId } from '../../src/catalog/charter.ts'
import type { Place, ReplicationMode } from '../../src/catalog/policy.ts'
import { FeedmeshError } from '../../src/errors.ts'
import { noFaults, type ReachFaultPoint } from '../../src/fault-points.ts'
import type { RowDraft } from '../../src/feeds/feed.ts'
import { LedgerFeed } from '../../src/feeds/ledger-feed.ts'
import type { NewReplication } from '../../src/http/operations.ts'
import { type Floor, MemoryFloor } from '../../src/ledger/floor.ts'
import { Ledger } from '../../src/ledger/ledger.ts'
import { createLog } from '../../src/log.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import type { MemoryNetwork } from '../../src/network/memory-network.ts'
import { type SetTimer, setUnrefTimer } from '../../src/network/timers.ts'
import { AuditLog } from '../../src/operations/audit.ts'
import { Linking } from '../../src/operations/linking.ts'
import { ReplicationOperations } from '../../src/operations/replication-operations.ts'
import { Announcer } from '../../src/replication/announcer.ts'
import { BlobFetcher } from '../../src/replication/blob-fetcher.ts'
import { type BlobSourceStores, serveBlobs } from '../../src/replication/blob-source.ts'
import { Book } from '../../src/replication/book.ts'
import { CatchUp } from '../../src/replication/catch-up.ts'
import { listServers } from '../../src/replication/feed-servers.ts'
import { NOT_HERE } from '../../src/replication/guard.ts'
import { LinkAnswerer } from '../../src/replication/link-answerer.ts'
import { LinkAsker } from '../../src/replication/link-asker.ts'
import { LinkPolicy } from '../../src/replication/link-policy.ts'
import { Presence } from '../../src/replication/presence.ts'
import { Puller } from '../../src/replication/puller.ts'
import { Replicator } from '../../src/replication/replicator.ts'
import { type Run, RunLog } from '../../src/replication/runs.ts'
import { LedgerSyncSource, serveSync } from '../../src/replication/sync-source.ts'
import { SyncStreams } from '../../src/replication/sync-streams.ts'
import type { BlobStore } from '../../src/store/blobs.ts'
import { createMemoryBlobs } from '../../src/store/memory-blobs.ts'
import { createMemoryRecords } from '../../src/store/memory-records.ts'
import type { Records } from '../../src/store/records.ts'
import { createMemoryNeighbourhood } from './memory-neighbourhood.ts'

const START = Date.parse('2026-01-01T00:00:00Z')
const ACTOR = { name: 'test', from: 'test' }

/** Replies to a request in place of the honest ones. */
export type AnswerSync = (source: SyncSource, request: SyncRequest) => AsyncIterable<SyncReply>

export interface MeshNodeOptions {
  readonly identity?: Identity
  readonly clock?: { now: number }
  readonly records?: Records
  readonly blobs?: BlobStore
  readonly floor?: Floor
  readonly reach?: ReachFaultPoint
  /** Whether polls and greetings on connect run by themselves. */
  readonly isAutomatic?: boolean
  /** Whether news is announced to peers. */
  readonly isAnnouncing?: boolean
  /** Whether a restored node signs only after it has caught up, as in production. */
  readonly catchesUp?: boolean
  /** Where the node says it is; one that says so looks for neighbours, too. */
  readonly place?: Place
  /** In place of that: whether it does. */
  readonly hasNeighbours?: boolean
  /** What the node takes from its surroundings, where a test decides it. */
  readonly ports?: Partial<NodePorts>
}

export interface NodePorts {
  /** Unix ms; in place of `clock`. */
  readonly now: () => number
  readonly setTimer: SetTimer
  /** In [0, 1). */
  readonly random: () => number
  readonly randomBytes: (size: number) => Buffer
  readonly wrapHost: (host: MeshHost) => MeshHost
  /** Below this the own clock is wrong for certain. */
  readonly buildTimeMs: number
  /** What a peer has to give in time; unlimited unless told. */
  readonly progress: ProgressRule
  readonly keptOperations: number
}

export interface Created {
  readonly id: string
  readonly token: string
}

type Parts = Awaited<ReturnType<typeof openParts>>

/** What surrounds a node: the test's, or the usual. */
function resolveSurroundings(options: MeshNodeOptions) {
  const { clock = { now: START }, ports = {}, identity = generateIdentity(), reach = noFaults } = options
  const { randomBytes = cryptoRandomBytes, setTimer = setUnrefTimer, random = () => 0.5, progress } = ports
  const now = ports.now ?? (() => (clock.now += 1))
  const { keptOperations, buildTimeMs = 0 } = ports
  return {
    identity,
    clock,
    now,
    reach,
    randomBytes,
    setTimer,
    random,
    buildTimeMs,
    elapsedMs: progress?.now ?? now,
    progress: progress === undefined ? {} : { progress },
    kept: keptOperations === undefined ? {} : { keptOperations },
  }
}

async function openParts(network: MemoryNetwork, options: MeshNodeOptions, stack: AsyncDisposableStack) {
  const surroundings = resolveSurroundings(options)
  const { identity, now, reach, randomBytes, buildTimeMs, elapsedMs } = surroundings
  const log = createLog('silent')
  const records = options.records ?? stack.use(createMemoryRecords())
  const blobs = options.blobs ?? createMemoryBlobs({ records })
  const floor = options.floor ?? new MemoryFloor()
  const book = await Book.open(records)
  const presence = new Presence(now, {
    buildTimeMs,
    elapsedMs,
    isLinked: (peer) => book.linksWith(peer).length > 0,
  })
  const signer = { publicKey: identity.publicKey, sign: (message: Uint8Array) => identity.sign(message) }
  const catchUp = await CatchUp.open(records, floor)
  const verifyMaySign = (feedId: FeedId) => {
    presence.verifyMaySign()
    if (options.catchesUp === true) catchUp.verifyCaughtUp(feedId, { registry: ledger.registry, book })
  }
  const ledger: Ledger = await Ledger.open({
    records,
    blobs,
    floor,
    signer,
    now,
    randomBytes,
    reach,
    verifyMaySign,
    ...surroundings.kept,
  })
  const opened = stack.use(network.openHost(identity))
  const host: MeshHost = options.ports?.wrapHost?.(opened) ?? opened
  const runs = await RunLog.open(records, now)
  const place = options.place ?? { site: '', region: '' }
  const policy = new LinkPolicy({ book, registry: ledger.registry, presence, signer, now, randomBytes, place })
  return {
    ...surroundings,
    log,
    records,
    blobs,
    floor,
    presence,
    signer,
    ledger,
    host,
    book,
    runs,
    policy,
    catchUp,
    place,
    hasNeighbours: options.hasNeighbours ?? options.place !== undefined,
  }
}

function createReplication(parts: Parts, stack: AsyncDisposableStack) {
  const { identity, now, reach, log, records, blobs, floor, presence, ledger, host, book, runs, policy, catchUp } =
    parts
  const { elapsedMs, setTimer, random, randomBytes, progress, place } = parts
  const hello = { software: 'feedmesh/test', instance: randomBytes(16), ...place, now, randomBytes }
  const asker = new LinkAsker({ host, hello, presence, publicKey: identity.publicKey })
  const nearby = parts.hasNeighbours ? stack.use(createMemoryNeighbourhood({ ...parts, asker })) : undefined
  const near = nearby === undefined ? {} : { nearby }
  const fetcher = new BlobFetcher({ host, records, blobs, reach, hello, presence, ...progress, ...near })
  const isOwn = (feedId: FeedId) => ledger.registry.localById(feedId) !== undefined
  const itemName = (_type: string, unit: string, key: string) => `${unit} ${key}`
  const streams = stack.use(new SyncStreams({ host, ...progress }))
  const servers = (id: FeedId, except: string) =>
    listServers({ book, host, registry: ledger.registry }, id).filter((peer) => peer !== except)
  const context = { streams, ledger, blobs, floor, fetcher, now, reach, isOwn, itemName, servers }
  const puller = new Puller({ context, book, runs, policy, asker, log, setTimer, elapsedMs })
  const replicator = stack.use(
    new Replicator({ host, book, ledger, puller, asker, catchUp, log, now, elapsedMs, setTimer, random }),
  )
  const linking = new Linking({
    book,
    registry: ledger.registry,
    host,
    asker,
    replicator,
    publicKey: identity.publicKey,
    now,
    reach,
    setTimer,
  })
  const operations = new ReplicationOperations({
    book,
    ledger,
    linking,
    replicator,
    audit: new AuditLog(records, now),
    publicKey: identity.publicKey,
    now,
    randomBytes,
    verifyMaySign: () => presence.verifyMaySign(),
    addresses: () => host.addresses(),
    createFeed: async () => {
      throw new FeedmeshError('INTERNAL', 'a test creates its feeds itself')
    },
  })
  const announcer = stack.use(
    new Announcer({ host, ledger, book, policy, floor, log, setTimer, now, onNews: (link) => replicator.onNews(link) }),
  )
  return { hello, asker, fetcher, puller, replicator, operations, announcer, nearby }
}

type Replication = ReturnType<typeof createReplication>

/** Refused attempts to link, as the operator of this end sees them. */
export interface Refusal {
  readonly peer: string
  readonly error: FeedmeshError
}

const NOTHING_THROUGH: NonNullable<BlobSourceStores['through']> = {
  openPieces: () => Promise.reject(new FeedmeshError('NOT_FOUND', NOT_HERE)),
}

export class MeshNode implements AsyncDisposable {
  readonly parts: Parts
  readonly replication: Replication
  readonly refusals: Refusal[] = []
  /** Set to answer something else than the truth. */
  answerSync: AnswerSync = answerSync
  /** Set to get for peers what is not here. */
  through: BlobSourceStores['through']
  /** Set to take over every stream on which a peer asks for blobs. */
  answerBlobs: Parameters<MeshHost['handle']>[2] | undefined
  readonly #stack: AsyncDisposableStack

  constructor(parts: Parts, replication: Replication, stack: AsyncDisposableStack) {
    this.parts = parts
    this.replication = replication
    this.#stack = stack
  }

  get peerId(): string {
    return this.parts.identity.peerId
  }

  get host(): MeshHost {
    return this.parts.host
  }

  get ledger(): Ledger {
    return this.parts.ledger
  }

  get book(): Book {
    return this.parts.book
  }

  /** From here on peers are answered. */
  async serve(): Promise<void> {
    const { host, book, ledger, floor, blobs, policy, presence, identity, reach } = this.parts
    const { hello, replicator } = this.replication
    const { registry } = ledger
    const source = new LedgerSyncSource(registry, floor)
    await new LinkAnswerer({
      host,
      book,
      registry,
      policy,
      presence,
      hello,
      publicKey: identity.publicKey,
      reach,
      onLinked: (link) => replicator.establish(link),
      onRefused: (peer, error) => this.refusals.push({ peer, error }),
      onPoke: (link) => replicator.onPoke(link),
    }).serve()
    const through: BlobSourceStores['through'] = {
      openPieces: (...asked) => (this.through ?? NOTHING_THROUGH).openPieces(...asked),
    }
    await serveBlobs(this.#interceptedHost(), policy, { registry, blobs, through })
    await serveSync(host, policy, source, (...asked) => this.answerSync(...asked))
  }

  /** The host, but for blob streams that `answerBlobs` takes over. */
  #interceptedHost(): MeshHost {
    const { host } = this.parts
    const handle: MeshHost['handle'] = (protocol, limits, handler) =>
      host.handle(protocol, limits, (channel, signal) => (this.answerBlobs ?? handler)(channel, signal))
    return new Proxy(host, { get: (target, name) => (name === 'handle' ? handle : Reflect.get(target, name)) })
  }

  /** Creates a feed and opens it. */
  async createFeed(name: string, feedType = 'npm'): Promise<LedgerFeed> {
    const { ledger, blobs } = this.parts
    const local = await ledger.createFeed({
      name,
      feedType,
      publicRead: false,
      maxFileBytes: 1 << 30,
      keepRecoverySeed: async () => {},
    })
    const fetchBlob = async (): Promise<never> => {
      throw new FeedmeshError('NOT_FOUND', 'not here')
    }
    return new LedgerFeed({ name, feedId: local.id, ledger, blobs, fetchBlob })
  }

  /** The incoming end of a replication; the token is for the other end. */
  async accept(wanted: Partial<NewReplication> & { feed: string; mode: ReplicationMode }): Promise<Created> {
    const { feed, ...rest } = wanted
    const created = await this.replication.operations.add(
      { feeds: [{ local: feed }], communication: 'incoming', token: 'new', ...rest },
      ACTOR,
    )
    return { id: created.id, token: created.token ?? '' }
  }

  /** The outgoing end, linked with the node that made the token. Returns the id of the replication. */
  async link(
    other: MeshNode,
    token: string,
    wanted: Partial<NewReplication> & { feed: string; mode: ReplicationMode },
  ): Promise<string> {
    const { feed, ...rest } = wanted
    const addresses = other.host.addresses()
    const created = await this.replication.operations.add(
      { feeds: [{ local: feed }], communication: 'outgoing', token, addresses, ...rest },
      ACTOR,
    )
    return created.id
  }

  /** One pull over the replication's only link. */
  async pull(replication: string): Promise<Run> {
    const outcomes = await this.replication.replicator.runNow(this.book.getReplication(replication), {})
    const received = outcomes[0]?.received
    if (received === undefined) throw new FeedmeshError('INTERNAL', `replication ${replication} does not pull`)
    return received
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync()
  }
}

export async function openMeshNode(network: MemoryNetwork, options: MeshNodeOptions = {}): Promise<MeshNode> {
  await using stack = new AsyncDisposableStack()
  const parts = await openParts(network, options, stack)
  const replication = createReplication(parts, stack)
  const node = new MeshNode(parts, replication, stack.move())
  await node.serve()
  if (options.isAnnouncing === true) await replication.announcer.start()
  await replication.nearby?.start()
  if (options.isAutomatic === true) replication.replicator.start()
  return node
}

/** Publishes a version with one file of `content`. */
export async function publishVersion(feed: LedgerFeed, unit: string, key: string, content: Uint8Array): Promise<void> {
  await using staged = await feed.stage({ maxBytes: content.byteLength })
  await staged.write(content)
  const blob = await staged.seal()
  const draft: RowDraft = { key, rowClass: 'immutable', meta: Buffer.from(key), files: [{ role: 'file', blob }] }
  await feed.change(unit, () => ({ put: [draft] }))
}

/** A hub that pushes to whoever has the token, and a spoke that pulls; both feeds are called `packages`. */
export async function openHubAndSpoke(
  network: MemoryNetwork,
  stack: AsyncDisposableStack,
  options: MeshNodeOptions = {},
) {
  const clock = options.clock ?? { now: START }
  const hub = stack.use(await openMeshNode(network, { ...options, clock }))
  const spoke = stack.use(await openMeshNode(network, { clock }))
  const [hubFeed, spokeFeed] = [await hub.createFeed('packages'), await spoke.createFeed('packages')]
  const { token } = await hub.accept({ feed: 'packages', mode: 'push' })
  const replication = await spoke.link(hub, token, { feed: 'packages', mode: 'pull' })
  return { hub, spoke, hubFeed, spokeFeed, token, replication, clock }
}

/** All records of the tables named by their letters, hex, for comparison. Default: everything that content consists of. */
export async function readContent(records: Records, tables = 'fFhsrnlVvwubc'): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  const everything = { gte: new Uint8Array(0), lt: Buffer.alloc(64, 0xff) }
  for await (const [key, value] of records.scan(everything)) {
    if (tables.includes(String.fromCharCode(key[0] ?? 0)))
      all.set(Buffer.from(key).toString('hex'), Buffer.from(value).toString('hex'))
  }
  return all
}
