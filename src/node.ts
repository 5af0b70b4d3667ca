/** The composition root: reads top to bottom in the order things start; stopping is the same backwards. */

import { randomBytes } from 'node:crypto'
import { FEED_TYPES } from '../protocols/feeds/index.ts'
import type { FeedId } from './catalog/charter.ts'
import { type Config, parseConfig, readConfig } from './config.ts'
import { dataPaths, markSchema, removeRunFile, verifyNotNewer, writeRunFile } from './data-folder.ts'
import { FeedmeshError } from './errors.ts'
import { noFaults, type ReachFaultPoint } from './fault-points.ts'
import type { FetchBlob } from './feeds/ledger-feed.ts'
import type { NodeOperations } from './http/operations.ts'
import { openHttpServer } from './http/server.ts'
import type { IndexKeeper } from './indexing/index-keeper.ts'
import { openIndexKeeper } from './indexing/open-keeper.ts'
import { openFloor } from './ledger/floor.ts'
import { Ledger } from './ledger/ledger.ts'
import type { Log } from './log.ts'
import { dialable } from './network/dialable.ts'
import type { MeshHost } from './network/host.ts'
import { type Identity, openIdentity } from './network/identity.ts'
import { type ListeningMeshHost, openLibp2pHost } from './network/libp2p-host.ts'
import { elapsedMs, setUnrefTimer } from './network/timers.ts'
import { ApiKeys } from './operations/access.ts'
import { AuditLog } from './operations/audit.ts'
import type { BackupOptions } from './operations/backup.ts'
import { Essentials } from './operations/essentials.ts'
import { FeedOperations } from './operations/feed-operations.ts'
import { FeedPast, listRecoveryKeys } from './operations/feed-past.ts'
import { IndexOperations } from './operations/index-operations.ts'
import { LeftoverSweep } from './operations/leftover-sweep.ts'
import { Linking } from './operations/linking.ts'
import { findRebuiltAt, rebuildLostRecords } from './operations/lost-records.ts'
import { Maintenance, type MaintenanceOptions } from './operations/maintenance.ts'
import { OpenOperations } from './operations/node-operations.ts'
import { Problems } from './operations/problems.ts'
import { ReplicationOperations } from './operations/replication-operations.ts'
import { ReplicationStatus } from './operations/replication-status.ts'
import { Announcer } from './replication/announcer.ts'
import { BlobFetcher } from './replication/blob-fetcher.ts'
import { serveBlobs } from './replication/blob-source.ts'
import { Book } from './replication/book.ts'
import { CatchUp } from './replication/catch-up.ts'
import { createDemandFetch } from './replication/demand-fetch.ts'
import { isFileExpected } from './replication/expected-files.ts'
import { listServers } from './replication/feed-servers.ts'
import type { HelloOptions } from './replication/hello.ts'
import { LinkAnswerer } from './replication/link-answerer.ts'
import { LinkAsker } from './replication/link-asker.ts'
import { LinkPolicy } from './replication/link-policy.ts'
import { Presence } from './replication/presence.ts'
import { Puller } from './replication/puller.ts'
import { Replicator } from './replication/replicator.ts'
import { RunLog } from './replication/runs.ts'
import { LedgerSyncSource, serveSync } from './replication/sync-source.ts'
import { SyncStreams } from './replication/sync-streams.ts'
import { openFileBlobs } from './store/file-blobs.ts'
import { freeBytes } from './store/free-bytes.ts'
import { openLevelRecords } from './store/level-records.ts'
import { watchRecords } from './store/watched-records.ts'
import { BUILD_TIME_MS, VERSION } from './version.ts'

export interface NodeOptions {
  readonly directory: string
  /** Options of `feedmesh start`, above the configuration file. */
  readonly overrides: Partial<Config>
  readonly log: Log
  readonly reach?: ReachFaultPoint
  /** Unix time, ms. */
  readonly now?: () => number
}

export interface RunningNode extends AsyncDisposable, Pick<ListeningMeshHost, 'bulk'> {
  /** Base URL of the HTTP server. */
  readonly http: string
  readonly peerId: string
  /** Multiaddrs at which peers reach the node. */
  readonly listen: readonly string[]
  readonly operations: NodeOperations
}

interface Base {
  readonly directory: string
  readonly identity: Identity
  readonly config: Config
  readonly log: Log
  readonly reach: ReachFaultPoint
  readonly now: () => number
  /** Says what was stored a moment ago, also when somebody sets the clock. */
  readonly blobClock: () => number
}

/** Everything that holds the node's data. */
async function openStores(directory: string, base: Base, stack: AsyncDisposableStack) {
  const paths = dataPaths(directory)
  const { reach, log, now, identity } = base
  const database = stack.use(await openLevelRecords({ directory: paths.records, reach, log }))
  const floor = await openFloor(paths.floor, reach)
  const warn = (details: object, message: string) => log.warn(details, message)
  await rebuildLostRecords({ records: database, path: paths.essentials, floor, now, warn })
  let essentials: Essentials | undefined
  const records = watchRecords(database, (writes) => essentials?.note(writes))
  const blobs = await openFileBlobs({ directory: paths.blobs, records: database, reach, log, now: base.blobClock })
  const signer = { publicKey: identity.publicKey, sign: (message: Uint8Array) => identity.sign(message) }
  const book = await Book.open(records)
  const presence = new Presence(now, {
    buildTimeMs: BUILD_TIME_MS,
    elapsedMs,
    isLinked: (peer) => book.linksWith(peer).length > 0,
  })
  const catchUp = await CatchUp.open(records, floor)
  const verifyMaySign = (feedId: FeedId, beginning?: 'beginning') => {
    presence.verifyMaySign()
    if (beginning === undefined) catchUp.verifyCaughtUp(feedId, { registry: ledger.registry, book })
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
  })
  const setTimer = setUnrefTimer
  essentials = stack.use(await Essentials.open({ path: paths.essentials, records: database, ledger, setTimer, warn }))
  const access = await ApiKeys.open(records, now, randomBytes)
  const runs = await RunLog.open(records, now)
  return {
    records,
    blobs,
    floor,
    presence,
    signer,
    ledger,
    access,
    runs,
    book,
    catchUp,
    rebuiltAt: await findRebuiltAt(records),
    audit: new AuditLog(records, now),
    now,
  }
}

type Stores = Awaited<ReturnType<typeof openStores>>

function itemName(feedType: string, unit: string, key: string): string | undefined {
  return FEED_TYPES.find((type) => type.name === feedType)?.itemName(unit, key)
}

function createProblems({ directory, now }: Base, stores: Stores, host: MeshHost): Problems {
  const { book, ledger, presence, catchUp, rebuiltAt } = stores
  return new Problems({
    book,
    registry: ledger.registry,
    host,
    presence,
    catchUp,
    rebuiltAt,
    recoveryKeysHere: () => listRecoveryKeys(dataPaths(directory).recoveryKeys),
    now,
    freeBytes: () => freeBytes(directory),
  })
}

/** What talks to peers, except the answering side, which starts last. */
function createMesh(base: Base, stores: Stores, host: MeshHost, stack: AsyncDisposableStack) {
  const { identity, config, reach, now, log } = base
  const { records, blobs, ledger, floor, presence, signer, book, runs, catchUp } = stores
  const setTimer = setUnrefTimer
  const hello: HelloOptions = {
    software: `feedmesh/${VERSION}`,
    instance: randomBytes(16),
    site: config.site,
    region: config.region,
    now,
    randomBytes,
  }
  const asker = new LinkAsker({ host, hello, presence, publicKey: identity.publicKey })
  const policy = new LinkPolicy({ book, registry: ledger.registry, presence, signer, now, randomBytes })
  const progress = { now: elapsedMs, setTimer }
  const fetcher = new BlobFetcher({ host, records, blobs, reach, progress, hello, presence })
  const isOwn = (feedId: string) => ledger.registry.localById(feedId) !== undefined
  const streams = stack.use(new SyncStreams({ host, progress }))
  const servers = (feedId: FeedId, except: string) =>
    listServers({ book, host, registry: ledger.registry }, feedId).filter((peer) => peer !== except)
  const context = { streams, ledger, blobs, floor, fetcher, now, reach, isOwn, itemName, servers }
  const puller = new Puller({ context, book, runs, policy, asker, log, setTimer, elapsedMs })
  const replicator = stack.use(
    new Replicator({
      host,
      book,
      ledger,
      puller,
      asker,
      catchUp,
      log,
      now,
      elapsedMs,
      setTimer,
      random: Math.random,
    }),
  )
  const announcer = stack.use(
    new Announcer({ host, ledger, book, policy, floor, log, setTimer, now, onNews: (link) => replicator.onNews(link) }),
  )
  const problems = createProblems(base, stores, host)
  const answerer = new LinkAnswerer({
    host,
    book,
    registry: ledger.registry,
    policy,
    presence,
    hello,
    publicKey: identity.publicKey,
    reach,
    onLinked: async (link) => {
      problems.clearRefusals(link.peer)
      await replicator.establish(link)
    },
    onRefused: (peer, error) => problems.noteRefusal(peer, error),
    onPoke: (link) => replicator.onPoke(link),
  })
  return { asker, policy, fetcher, puller, replicator, announcer, problems, answerer }
}

type Mesh = ReturnType<typeof createMesh>

/** From here on peers are answered. */
async function serveMesh(stores: Stores, mesh: Mesh, host: MeshHost): Promise<void> {
  const { ledger, blobs, floor } = stores
  await mesh.answerer.serve()
  await serveBlobs(host, mesh.policy, { registry: ledger.registry, blobs })
  await serveSync(host, mesh.policy, new LedgerSyncSource(ledger.registry, floor))
}

interface OperationParts {
  readonly mesh: Mesh
  readonly host: MeshHost
  readonly directory: string
  readonly fetchBlob: FetchBlob
  readonly keeper: IndexKeeper
}

function createMaintenance(stores: Stores, parts: OperationParts): { maintenance: Maintenance; backup: BackupOptions } {
  const { ledger, blobs, audit, records, now } = stores
  const { directory, fetchBlob, mesh } = parts
  const expected = { book: stores.book, registry: ledger.registry, itemName }
  const isExpected: MaintenanceOptions['isExpected'] = (file) => isFileExpected(expected, file)
  const backup: BackupOptions = {
    directory,
    records,
    audit,
    openRecords: (folder) => openLevelRecords({ directory: folder }),
    exclusively: (work) => ledger.exclusively(work),
  }
  const pinned = () => mesh.puller.pinned()
  return { maintenance: new Maintenance({ ledger, blobs, audit, now, fetchBlob, isExpected, pinned }), backup }
}

function createFeedOperations(base: Base, stores: Stores, parts: OperationParts): FeedOperations {
  const { ledger, blobs, book, audit } = stores
  return new FeedOperations({
    ledger,
    blobs,
    feedTypes: FEED_TYPES,
    fetchBlob: parts.fetchBlob,
    keeper: parts.keeper,
    audit,
    now: base.now,
    recoveryKeys: dataPaths(parts.directory).recoveryKeys,
    maxFileBytes: base.config.maxFileBytes,
    replicationsOf: (feed) =>
      book.replications
        .all()
        .filter((one) => one.feeds.some(({ local }) => local === feed))
        .map((one) => one.id),
  })
}

function createFeedPast(base: Base, stores: Stores, directory: string): FeedPast {
  const { ledger, floor, book, catchUp, audit, signer } = stores
  const { maxFileBytes } = base.config
  const { recoveryKeys } = dataPaths(directory)
  return new FeedPast({ ledger, floor, book, catchUp, audit, signer, now: base.now, recoveryKeys, maxFileBytes })
}

function createOperations(base: Base, stores: Stores, parts: OperationParts): OpenOperations {
  const { identity, now } = base
  const { ledger, book, runs, audit, access } = stores
  const { mesh, host } = parts
  const { registry } = ledger
  const feeds = createFeedOperations(base, stores, parts)
  const linking = new Linking({
    book,
    registry,
    host,
    asker: mesh.asker,
    replicator: mesh.replicator,
    publicKey: identity.publicKey,
    now,
    reach: base.reach,
    setTimer: setUnrefTimer,
  })
  const replications = new ReplicationOperations({
    book,
    ledger,
    linking,
    replicator: mesh.replicator,
    audit,
    publicKey: identity.publicKey,
    now,
    randomBytes,
    verifyMaySign: () => stores.presence.verifyMaySign(),
    addresses: () => dialable(host.addresses()),
    createFeed: (feed, actor) => feeds.create(feed, actor),
  })
  const status = new ReplicationStatus({ book, runs, puller: mesh.puller, registry, host, now })
  return new OpenOperations({
    ...createMaintenance(stores, parts),
    feedTypes: FEED_TYPES,
    feeds,
    past: createFeedPast(base, stores, parts.directory),
    indexes: new IndexOperations(parts.keeper, audit),
    replications,
    status,
    access,
    audit,
    book,
    host,
    presence: stores.presence,
    problems: mesh.problems,
    replicator: mesh.replicator,
    registry,
  })
}

/** @throws BAD_INPUT, DATA_IN_USE, DATA_NEWER, CORRUPT */
export async function openNode(options: NodeOptions): Promise<RunningNode> {
  const { directory, log } = options
  await using stack = new AsyncDisposableStack()
  await verifyNotNewer(directory)
  const config = parseConfig({ ...(await readConfig(directory)), ...options.overrides }, 'the options given')
  const identity = await openIdentity(dataPaths(directory).identity)
  const base: Base = {
    directory,
    identity,
    config,
    log,
    reach: options.reach ?? noFaults,
    now: options.now ?? Date.now,
    blobClock: options.now ?? (() => performance.now()),
  }
  const stopping = new AbortController()
  const stores = await openStores(directory, base, stack)
  await markSchema(directory)
  const isLinked = (peer: string) => stores.book.linksWith(peer).length > 0
  const host = stack.use(await openLibp2pHost({ ...config, identity, log, isLinked }))
  const mesh = createMesh(base, stores, host, stack)
  const fetchBlob = createDemandFetch({
    book: stores.book,
    registry: stores.ledger.registry,
    fetcher: mesh.fetcher,
    stopping: stopping.signal,
    setTimer: setUnrefTimer,
  })
  const warn = (details: object, message: string) => log.warn(details, message)
  const keyFolder = dataPaths(directory).indexKeys
  const indexing = { ...stores, fetchBlob, feedTypes: FEED_TYPES, keyFolder, setTimer: setUnrefTimer, warn }
  const keeper = stack.use(await openIndexKeeper(indexing))
  const operations = createOperations(base, stores, { mesh, host, directory, fetchBlob, keeper })
  await serveMesh(stores, mesh, host)
  await mesh.announcer.start()
  mesh.replicator.start()
  const sweep = stack.use(
    new LeftoverSweep({
      ledger: stores.ledger,
      setTimer: setUnrefTimer,
      onFailure: (error) => warn({ err: error }, 'what replaced states left could not be removed; tried again later'),
    }),
  )
  sweep.start()
  keeper.start()
  const server = stack.use(await openHttpServer({ operations, config, log }))
  operations.setHttpUrl(server.url)
  await writeRunFile(directory, server.url)
  stack.defer(() => removeRunFile(directory))
  stack.defer(() => stopping.abort(new FeedmeshError('ABORTED', 'the node is stopping')))
  const started = stack.move()
  return {
    http: server.url,
    peerId: host.peerId,
    listen: host.addresses(),
    bulk: host.bulk,
    operations,
    [Symbol.asyncDispose]: () => started.disposeAsync(),
  }
}
