/** The composition root: reads top to bottom in the order things start; stopping is the same backwards. */

import { randomBytes } from 'node:crypto'
import { FEED_TYPES } from '../protocols/feeds/index.ts'
import { type Config, parseConfig, readConfig } from './config.ts'
import { dataPaths, markSchema, removeRunFile, verifyNotNewer, writeRunFile } from './data-folder.ts'
import { FeedmeshError } from './errors.ts'
import { noFaults, type ReachFaultPoint } from './fault-points.ts'
import type { FetchBlob } from './feeds/ledger-feed.ts'
import type { NodeOperations } from './http/operations.ts'
import { openHttpServer } from './http/server.ts'
import type { IndexKeeper } from './indexing/index-keeper.ts'
import { openIndexKeeper } from './indexing/open-keeper.ts'
import type { Log } from './log.ts'
import { dialable } from './network/dialable.ts'
import type { MeshHost } from './network/host.ts'
import { openIdentity } from './network/identity.ts'
import { type ListeningMeshHost, openLibp2pHost } from './network/libp2p-host.ts'
import { setUnrefTimer } from './network/timers.ts'
import { createMesh, itemName, type Mesh, serveMesh } from './node-mesh.ts'
import { type Base, openStores, type Stores } from './node-stores.ts'
import type { BackupOptions } from './operations/backup.ts'
import { FeedOperations } from './operations/feed-operations.ts'
import { FeedPast } from './operations/feed-past.ts'
import { IndexOperations } from './operations/index-operations.ts'
import { LeftoverSweep } from './operations/leftover-sweep.ts'
import { Linking } from './operations/linking.ts'
import { Maintenance, type MaintenanceOptions } from './operations/maintenance.ts'
import { OpenOperations } from './operations/node-operations.ts'
import { openOnDemand } from './operations/on-demand.ts'
import { ReplicationOperations } from './operations/replication-operations.ts'
import { ReplicationStatus } from './operations/replication-status.ts'
import { isFileExpected } from './replication/expected-files.ts'
import { FetchThrough } from './replication/fetch-through.ts'
import { freeBytes } from './store/free-bytes.ts'
import { openLevelRecords } from './store/level-records.ts'

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

/** What clients ask for and is not here. */
async function openDemand(
  stores: Stores,
  mesh: Mesh,
  parts: {
    readonly directory: string
    readonly stopping: AbortSignal
    readonly warn: (details: object, message: string) => void
  },
) {
  const { directory, stopping, warn } = parts
  return await openOnDemand({
    ...stores,
    itemName,
    fetcher: mesh.fetcher,
    stopping,
    setTimer: setUnrefTimer,
    pinned: () => mesh.puller.pinned(),
    freeBytes: () => freeBytes(directory),
    onFailure: (error) => warn({ err: error }, 'files that were fetched on demand could not be looked after'),
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
  const isLinked = (peer: string) => stores.book.linksWith(peer).length > 0 || stores.policy.isProven(peer)
  const host = stack.use(await openLibp2pHost({ ...config, identity, log, isLinked }))
  const mesh = createMesh(base, stores, host, stack)
  const warn = (details: object, message: string) => log.warn(details, message)
  const onDemand = await openDemand(stores, mesh, { directory, stopping: stopping.signal, warn })
  const { fetchBlob } = stack.use(onDemand)
  const keyFolder = dataPaths(directory).indexKeys
  const indexing = { ...stores, fetchBlob, feedTypes: FEED_TYPES, keyFolder, setTimer: setUnrefTimer, warn }
  const keeper = stack.use(await openIndexKeeper(indexing))
  const operations = createOperations(base, stores, { mesh, host, directory, fetchBlob, keeper })
  await serveMesh(stores, { ...mesh, through: new FetchThrough(stores.book, onDemand.fetchBlob) }, host)
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
