/** What of a node talks to peers. */

import { randomBytes } from 'node:crypto'
import { FEED_TYPES } from '../protocols/feeds/index.ts'
import type { FeedId } from './catalog/charter.ts'
import { dataPaths } from './data-folder.ts'
import { Neighbourhood } from './nearby/neighbourhood.ts'
import { dialable, isTcpAddressOf } from './network/dialable.ts'
import type { MeshHost } from './network/host.ts'
import { elapsedMs, setUnrefTimer } from './network/timers.ts'
import type { Base, Stores } from './node-stores.ts'
import { listRecoveryKeys } from './operations/feed-past.ts'
import { Problems } from './operations/problems.ts'
import { Announcer } from './replication/announcer.ts'
import { BlobFetcher } from './replication/blob-fetcher.ts'
import { serveBlobs } from './replication/blob-source.ts'
import { listServers } from './replication/feed-servers.ts'
import type { FetchThrough } from './replication/fetch-through.ts'
import type { HelloOptions } from './replication/hello.ts'
import { LinkAnswerer } from './replication/link-answerer.ts'
import { LinkAsker } from './replication/link-asker.ts'
import { Puller } from './replication/puller.ts'
import { RateLimits } from './replication/rate-limits.ts'
import { Replicator } from './replication/replicator.ts'
import { LedgerSyncSource, serveSync } from './replication/sync-source.ts'
import { SyncStreams } from './replication/sync-streams.ts'
import { freeBytes } from './store/free-bytes.ts'
import { VERSION } from './version.ts'

export function itemName(feedType: string, unit: string, key: string): string | undefined {
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

function createNearby(
  { config, log }: Base,
  stores: Stores,
  { host, asker }: { readonly host: MeshHost; readonly asker: LinkAsker },
): Neighbourhood {
  const { records, ledger, book, policy, presence } = stores
  return new Neighbourhood({
    host,
    records,
    ledger,
    book,
    policy,
    presence,
    asker,
    place: { site: config.site, region: config.region },
    log,
    setTimer: setUnrefTimer,
    elapsedMs,
    random: Math.random,
    addresses: () => dialable(host.addresses()),
    isAddressOf: isTcpAddressOf,
    bootstrap: config.bootstrap,
  })
}

/** What talks to peers, except the answering side, which starts last. */
export function createMesh(base: Base, stores: Stores, host: MeshHost, stack: AsyncDisposableStack) {
  const { identity, config, reach, now, log } = base
  const { records, blobs, ledger, floor, presence, book, runs, catchUp, policy } = stores
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
  const progress = { now: elapsedMs, setTimer }
  const nearby = stack.use(createNearby(base, stores, { host, asker }))
  const limits = new RateLimits({ book, registry: ledger.registry, nodeRate: config.maxRate ?? 0, ...progress })
  const fetcher = new BlobFetcher({ host, records, blobs, reach, progress, hello, presence, nearby, limits })
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
  return { asker, nearby, limits, fetcher, puller, replicator, announcer, problems, answerer }
}

export type Mesh = ReturnType<typeof createMesh>

interface MeshAnswers {
  /** Gets for peers what is not here. */
  readonly through: FetchThrough
}

/** From here on peers are answered. */
export async function serveMesh(stores: Stores, mesh: Mesh & MeshAnswers, host: MeshHost): Promise<void> {
  const { ledger, blobs, floor } = stores
  const { limits, through } = mesh
  await mesh.answerer.serve()
  await serveBlobs(host, stores.policy, {
    registry: ledger.registry,
    blobs,
    coming: mesh.fetcher.coming,
    limits,
    through,
  })
  await serveSync(host, stores.policy, new LedgerSyncSource(ledger.registry, floor))
  await mesh.nearby.start()
}
