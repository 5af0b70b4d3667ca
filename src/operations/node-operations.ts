/** Everything an operator can do, put together from its parts; the only thing that the HTTP server sees of the node. */

import { FeedmeshError } from '../errors.ts'
import type { Feed } from '../feeds/feed.ts'
import type { Caller, FeedType, NativeFile } from '../feeds/feed-type.ts'
import type { SignedIndexes } from '../feeds/signed-index.ts'
import type { IndexSettings } from '../http/feed-index-operations.ts'
import type { FeedChanges, NewFeed } from '../http/feed-settings.ts'
import type {
  Actor,
  BackupReport,
  EpochPlan,
  FeedDetails,
  FeedSummary,
  KeySummary,
  NewReplication,
  NodeOperations,
  NodeStatus,
  PeerSummary,
  Problem,
  ReclaimReport,
  RecoveredFeed,
  ReplicationCreated,
  ReplicationSummary,
  RunDetails,
  RunProgress,
  RunResult,
  RunSummary,
  TokenSummary,
  VerifyReport,
} from '../http/operations.ts'
import type { Registry } from '../ledger/registry.ts'
import type { MeshHost } from '../network/host.ts'
import type { Book } from '../replication/book.ts'
import { PROTOCOLS } from '../replication/hello.ts'
import type { Presence } from '../replication/presence.ts'
import type { LinkOutcome, Replicator } from '../replication/replicator.ts'
import { VERSION } from '../version.ts'
import type { ApiKeys, NewKey } from './access.ts'
import type { AuditLog } from './audit.ts'
import { type BackupOptions, createBackup } from './backup.ts'
import type { FeedOperations } from './feed-operations.ts'
import type { FeedPast } from './feed-past.ts'
import type { IndexOperations } from './index-operations.ts'
import type { Maintenance } from './maintenance.ts'
import type { Problems } from './problems.ts'
import type { ReplicationOperations } from './replication-operations.ts'
import type { ReplicationStatus } from './replication-status.ts'

export interface NodeOperationsParts {
  readonly feedTypes: readonly FeedType[]
  readonly feeds: FeedOperations
  readonly past: FeedPast
  readonly indexes: IndexOperations
  readonly replications: ReplicationOperations
  readonly status: ReplicationStatus
  readonly access: ApiKeys
  readonly audit: AuditLog
  readonly book: Book
  readonly host: MeshHost
  readonly presence: Presence
  readonly problems: Problems
  readonly replicator: Replicator
  readonly registry: Registry
  readonly maintenance: Maintenance
  readonly backup: BackupOptions
}

/** Of several links: one failed makes it partial, all failed makes it failed. */
function combine(outcomes: readonly LinkOutcome[]): RunResult {
  const states = outcomes.map(({ received, sent, error }) =>
    error === undefined ? worst([received?.state, sent?.state]) : 'failed',
  )
  const failed = outcomes.flatMap(failuresOf)
  const all = (state: string) => states.length > 0 && states.every((one) => one === state)
  const sum = (pick: (outcome: LinkOutcome) => number | undefined) =>
    outcomes.reduce((total, outcome) => total + (pick(outcome) ?? 0), 0)
  return {
    runId: Math.max(0, ...outcomes.map(({ received }) => received?.id ?? 0)),
    state: all('succeeded') ? 'succeeded' : all('failed') || states.length === 0 ? 'failed' : 'partial',
    fetched: {
      items: sum(({ received }) => received?.fetched.items),
      bytes: sum(({ received }) => received?.fetched.bytes),
    },
    sent: { items: sum(({ sent }) => sent?.items), bytes: sum(({ sent }) => sent?.bytes) },
    deleted: { items: sum(({ received }) => received?.deleted) },
    failed,
  }
}

function worst(states: readonly (string | undefined)[]): 'succeeded' | 'partial' | 'failed' {
  if (states.includes('failed')) return 'failed'
  return states.includes('partial') ? 'partial' : 'succeeded'
}

function failuresOf({ link, received, sent, error }: LinkOutcome): RunResult['failed'][number][] {
  const whole = (message: string, code: string) => ({ item: `${link.localName} ↔ ${link.peer}`, code, message })
  if (error !== undefined) return [whole(error.message, error.code)]
  const failures: RunResult['failed'][number][] = []
  if (received?.state === 'failed') failures.push(whole(received.message, received.errorCode))
  if (sent !== undefined && sent.state !== 'succeeded') failures.push(whole(sent.message, 'PEER_INVALID'))
  return failures
}

/** One method an operation; what it takes longer to say stands in the part that does it. */
export class OpenOperations implements NodeOperations {
  readonly #parts: NodeOperationsParts
  #http = ''

  constructor(parts: NodeOperationsParts) {
    this.#parts = parts
  }

  /** The address of the HTTP server is known only once the server that uses these operations listens. */
  setHttpUrl(url: string): void {
    this.#http = url
  }

  get feedTypes(): readonly FeedType[] {
    return this.#parts.feedTypes
  }

  async status(): Promise<NodeStatus> {
    const { host, registry, book, problems } = this.#parts
    return {
      peerId: host.peerId,
      version: VERSION,
      http: this.#http,
      listen: host.addresses(),
      feeds: registry.locals.size,
      replications: book.replications.all().length,
      problems: (await problems.list()).length,
    }
  }

  async doctor(): Promise<readonly Problem[]> {
    return await this.#parts.problems.list()
  }

  async peers(): Promise<readonly PeerSummary[]> {
    const { host, presence } = this.#parts
    return host.peers().map((peer) => ({
      peerId: peer.peerId,
      site: presence.find(peer.peerId)?.site ?? '',
      rttMs: peer.rttMs ?? null,
      direction: peer.direction ?? null,
      connected: peer.connected,
      inRate: peer.inRate,
      outRate: peer.outRate,
      addresses: peer.addresses,
    }))
  }

  wellKnown(requestHost: string): ReturnType<NodeOperations['wellKnown']> {
    const { host } = this.#parts
    return {
      peerId: host.peerId,
      addresses: withRequestHost(host.addresses(), requestHost),
      protocols: [...PROTOCOLS],
      version: VERSION,
    }
  }

  createFeed(feed: NewFeed, actor: Actor): Promise<FeedSummary> {
    return this.#parts.feeds.create(feed, actor)
  }

  editFeed(name: string, changes: FeedChanges, actor: Actor): Promise<FeedSummary> {
    return this.#parts.feeds.edit(name, changes, actor)
  }

  listFeeds(): Promise<readonly FeedSummary[]> {
    return this.#parts.feeds.list()
  }

  showFeed(name: string): Promise<FeedDetails> {
    return this.#parts.feeds.show(name)
  }

  deleteFeed(name: string, actor: Actor): Promise<void> {
    return this.#parts.feeds.delete(name, actor)
  }

  openFeed(name: string): Feed {
    return this.#parts.feeds.open(name)
  }

  isPublicRead(name: string): boolean {
    return this.#parts.feeds.isPublicRead(name)
  }

  publishFile(name: string, file: NativeFile, actor: Actor): Promise<{ readonly unit: string; readonly key: string }> {
    return this.#parts.feeds.publishFile(name, file, actor)
  }

  openIndexes(name: string): SignedIndexes {
    return this.#parts.indexes.open(name)
  }

  showIndex(name: string): Promise<IndexSettings> {
    return this.#parts.indexes.show(name)
  }

  setIndexMode(name: string, index: IndexSettings['index'], actor: Actor): Promise<IndexSettings> {
    return this.#parts.indexes.setMode(name, index, actor)
  }

  renewIndexKey(name: string, actor: Actor): Promise<IndexSettings> {
    return this.#parts.indexes.renewKey(name, actor)
  }

  exportIndexKey(name: string, actor: Actor): ReturnType<NodeOperations['exportIndexKey']> {
    return this.#parts.indexes.exportKey(name, actor)
  }

  planEpoch(name: string): Promise<EpochPlan> {
    return this.#parts.past.planEpoch(name)
  }

  raiseEpoch(name: string, actor: Actor): Promise<EpochPlan> {
    return this.#parts.past.raiseEpoch(name, actor)
  }

  exportRecoveryKey(name: string, actor: Actor): ReturnType<NodeOperations['exportRecoveryKey']> {
    return this.#parts.past.exportRecoveryKey(name, actor)
  }

  forgetRecoveryKey(name: string, actor: Actor): Promise<void> {
    return this.#parts.past.forgetRecoveryKey(name, actor)
  }

  recoverFeed(request: Parameters<NodeOperations['recoverFeed']>[0], actor: Actor): Promise<RecoveredFeed> {
    return this.#parts.past.recover(request, actor)
  }

  async listReturned(name: string): ReturnType<NodeOperations['listReturned']> {
    return this.#parts.past.listReturned(name)
  }

  answerReturned(name: string, answer: 'show' | 'hide', actor: Actor): ReturnType<NodeOperations['answerReturned']> {
    return this.#parts.past.answerReturned(name, answer, actor)
  }

  addReplication(replication: NewReplication, actor: Actor): Promise<ReplicationCreated> {
    return this.#parts.replications.add(replication, actor)
  }

  async listReplications(): Promise<readonly ReplicationSummary[]> {
    return this.#parts.book.replications.all().map((replication) => this.#parts.status.summarize(replication))
  }

  async showReplication(id: string): Promise<ReplicationSummary> {
    return this.#parts.status.summarize(this.#parts.book.getReplication(id))
  }

  editReplication(id: string, changes: Parameters<NodeOperations['editReplication']>[1], actor: Actor): Promise<void> {
    return this.#parts.replications.edit(id, changes, actor)
  }

  pauseReplication(id: string, paused: boolean, actor: Actor): Promise<void> {
    return this.#parts.replications.pause(id, paused, actor)
  }

  removeReplication(id: string, actor: Actor): Promise<void> {
    return this.#parts.replications.remove(id, actor)
  }

  async planReplication(id: string): ReturnType<NodeOperations['planReplication']> {
    return await this.#parts.replicator.plan(this.#parts.book.getReplication(id))
  }

  async runReplication(
    id: string,
    options: { readonly onProgress?: (progress: RunProgress) => void; readonly signal?: AbortSignal },
  ): Promise<RunResult> {
    const { book, replicator, status } = this.#parts
    const replication = book.getReplication(id)
    if (replication.paused)
      throw new FeedmeshError('CONFLICT', `replication ${id} is paused; feedmesh replication resume ${id}`)
    const { onProgress, signal } = options
    const outcomes = await replicator.runNow(replication, {
      ...(signal === undefined ? {} : { signal }),
      ...(onProgress === undefined
        ? {}
        : { onProgress: (run) => onProgress({ planned: run.planned, done: run.fetched }) }),
    })
    if (outcomes.length === 0)
      throw new FeedmeshError('CONFLICT', `replication ${id} has no live link: ${status.summarize(replication).reason}`)
    const [only] = outcomes
    if (outcomes.length === 1 && only?.error !== undefined) throw only.error
    const result = combine(outcomes)
    const items: RunResult['failed'][number][] = []
    for (const { received } of outcomes)
      if (received !== undefined) items.push(...(await this.#failedItems(received.id)))
    return { ...result, failed: [...result.failed, ...items] }
  }

  async #failedItems(runId: number): Promise<RunResult['failed'][number][]> {
    const items = await this.#parts.status.findItems(runId)
    return items.filter(({ action }) => action === 'failed').map(({ item, code, message }) => ({ item, code, message }))
  }

  join(code: string, as: string | undefined, actor: Actor): ReturnType<NodeOperations['join']> {
    return this.#parts.replications.join(code, as, actor)
  }

  checkJoin(code: string): ReturnType<NodeOperations['checkJoin']> {
    return this.#parts.replications.checkJoin(code)
  }

  async listRuns(limit: number): Promise<readonly RunSummary[]> {
    return this.#parts.status.listRuns(limit)
  }

  showRun(id: number): Promise<RunDetails> {
    return this.#parts.status.showRun(id)
  }

  verify(options: { readonly repair: boolean; readonly signal: AbortSignal }, actor: Actor): Promise<VerifyReport> {
    return this.#parts.maintenance.verify(options, actor)
  }

  reclaim(options: { readonly isDryRun: boolean }, actor: Actor): Promise<ReclaimReport> {
    return this.#parts.maintenance.reclaim(options, actor)
  }

  backup(directory: string, actor: Actor): Promise<BackupReport> {
    return createBackup(directory, this.#parts.backup, actor)
  }

  async listTokens(): Promise<readonly TokenSummary[]> {
    return this.#parts.status.listTokens()
  }

  revokeToken(id: string, actor: Actor): Promise<void> {
    return this.#parts.replications.revokeToken(id, actor)
  }

  revokePeer(peerId: string, actor: Actor): Promise<void> {
    return this.#parts.replications.revokePeer(peerId, actor)
  }

  async createKey(key: NewKey, actor: Actor): Promise<{ readonly id: string; readonly key: string }> {
    const { registry, access, audit } = this.#parts
    if (key.feed !== null) registry.getLocal(key.feed)
    const created = await access.create(key)
    await audit.note(actor, 'key create', `${created.id} ${key.feed ?? 'node'}: ${key.can.join(', ')}`)
    return created
  }

  async listKeys(): Promise<readonly KeySummary[]> {
    return this.#parts.access.list()
  }

  async revokeKey(id: string, actor: Actor): Promise<void> {
    await this.#parts.access.revoke(id)
    await this.#parts.audit.note(actor, 'key revoke', id)
  }

  async findCaller(key: string, feed: string | null): Promise<Caller | undefined> {
    return this.#parts.access.findCaller(key, feed)
  }
}

/** Addresses a peer can dial: when only loopback or unroutable ones are known, the host by which the asker got here. */
function withRequestHost(addresses: readonly string[], requestHost: string): readonly string[] {
  const ports = new Set(addresses.flatMap((address) => /\/tcp\/(\d+)/.exec(address)?.[1] ?? []))
  const peer = /\/p2p\/[^/]+$/.exec(addresses[0] ?? '')?.[0] ?? ''
  const kind = /^\d+\.\d+\.\d+\.\d+$/.test(requestHost) ? 'ip4' : requestHost.includes(':') ? 'ip6' : 'dns'
  const asked = [...ports].map((port) => `/${kind}/${requestHost}/tcp/${port}${peer}`)
  return [...new Set([...asked, ...addresses])]
}
