/**
 * What an operator can do with a node: the contract between the HTTP API (and through it command line and console) and the
 * running node. Field names are those of the JSON documents that scripts rely on.
 */

import type { CommunicationMode, ReplicationMode, ServeSetting } from '../catalog/policy.ts'
import type { Feed, UnsignedPolicy } from '../feeds/feed.ts'
import type { Caller, FeedType, NativeFile, Permission } from '../feeds/feed-type.ts'
import type { FeedIndexOperations } from './feed-index-operations.ts'
import type { FeedChanges, NewFeed } from './feed-settings.ts'
import type { ReplicationChanges, ReplicationLimits } from './replication-settings.ts'

export interface FeedSummary {
  readonly id: string
  readonly name: string
  readonly type: string
  readonly publicRead: boolean
  /** Of types whose packages carry signatures: what becomes of those that do not. */
  readonly unsigned?: UnsignedPolicy
  /** Bytes a second of its files, each way, with all peers together; where there is a limit. */
  readonly maxRate?: number
  /** Versions or assets that clients see. */
  readonly entries: number
  /** Sum of the sizes of their files. */
  readonly bytes: number
}

export interface FeedDetails extends FeedSummary {
  readonly feedId: string
  /** Digest of the feed's view; equal digests = equal content. */
  readonly digest: string
  /** Each feed this one includes, as seen here. `stale` = its newest manifest has expired. */
  readonly sources: readonly {
    readonly feedId: string
    readonly digest: string
    readonly entries: number
    readonly bytes: number
    readonly stale: boolean
    readonly rank: string
  }[]
  /** Newest manifest of this feed and of each feed of its closure. */
  readonly manifests: readonly ManifestSummary[]
}

export interface ManifestSummary {
  readonly feedId: string
  readonly owner: string
  readonly epoch: number
  readonly seq: number
  readonly refresh: number
  readonly issuedAt: string
  readonly expiresAt: string
  readonly stateRoot: string
  readonly entries: number
}

export interface NewReplication extends Partial<ReplicationLimits> {
  /** `remote` is needed only when the token covers several feeds. */
  readonly feeds: readonly { readonly local: string; readonly remote?: string }[]
  readonly communication: CommunicationMode
  readonly mode: ReplicationMode
  /** Incoming: `new` makes a token. Outgoing: the token of the other end. */
  readonly token?: string
  /** PeerIds, instead of a token. */
  readonly peers?: readonly string[]
  /** Outgoing: base URL of the other end. */
  readonly url?: string
  /** Outgoing: multiaddrs of the other end, instead of a URL. */
  readonly addresses?: readonly string[]
  readonly availability?: 'full' | 'on-demand'
  readonly deletes?: 'follow' | 'keep'
  readonly scope?: readonly string[]
  readonly include?: readonly string[]
  readonly exclude?: readonly string[]
  readonly mayExtend?: boolean
  readonly relay?: boolean
  /** For whom blobs are read out, beside linked peers: `site` unless told. */
  readonly serve?: ServeSetting
  /** Poll interval, ms; at least 1000. */
  readonly everyMs?: number
  /** Incoming tokens: how long and how often they may be used to link. */
  readonly tokenExpiresInMs?: number
  readonly tokenUses?: number
}

export interface ReplicationCreated {
  readonly id: string
  /** Shown this once. */
  readonly token?: string
  readonly joinCode?: string
}

export type ReplicationState =
  | 'waiting'
  | 'connecting'
  | 'ok'
  | 'running'
  | 'behind'
  | 'failing'
  | 'paused'
  | 'unreachable'

export interface ReplicationSummary extends ReplicationLimits {
  readonly id: string
  readonly feeds: readonly { readonly local: string; readonly remote: string | null }[]
  readonly communication: CommunicationMode
  readonly mode: ReplicationMode
  readonly availability: 'full' | 'on-demand'
  readonly serve: ServeSetting
  /** PeerId; null while nobody has linked, or the first of several. */
  readonly peer: string | null
  readonly state: ReplicationState
  /** Why it is in that state, in words; empty when all is well. */
  readonly reason: string
  /** What is known to be missing here, and for how long: seconds since this end was last equal to its source. */
  readonly lag: { readonly items: number; readonly bytes: number; readonly seconds: number }
  readonly lastRun: RunSummary | null
  readonly links: readonly LinkSummary[]
}

export interface LinkSummary {
  readonly peer: string
  readonly local: string
  readonly remote: string
  readonly connected: boolean
  readonly revoked: boolean
  /** What the other end last confirmed to hold of the feed, and whether that equals ours. */
  readonly confirmed: { readonly digest: string; readonly at: string; readonly equal: boolean } | null
  readonly lastError: { readonly code: string; readonly message: string; readonly at: string } | null
}

export interface RunResult {
  readonly runId: number
  readonly state: 'succeeded' | 'failed' | 'partial'
  readonly fetched: { readonly items: number; readonly bytes: number }
  readonly sent: { readonly items: number; readonly bytes: number }
  readonly deleted: { readonly items: number }
  readonly failed: readonly { readonly item: string; readonly code: string; readonly message: string }[]
}

export interface RunSummary {
  readonly runId: number
  readonly replication: string
  readonly peer: string
  readonly trigger: 'manual' | 'schedule' | 'connect' | 'change' | 'link'
  readonly state: 'running' | 'succeeded' | 'failed' | 'partial'
  readonly startedAt: string
  readonly endedAt: string | null
  readonly fetched: { readonly items: number; readonly bytes: number }
  readonly sent: { readonly items: number; readonly bytes: number }
  readonly deleted: { readonly items: number }
  /** Of a running run: what it set out to fetch. */
  readonly planned: { readonly items: number; readonly bytes: number }
  readonly message: string
}

export interface RunDetails extends RunSummary {
  readonly items: readonly RunItem[]
}

export interface RunItem {
  readonly item: string
  readonly action: 'fetched' | 'deleted' | 'sent' | 'failed'
  readonly bytes: number
  readonly code?: string
  readonly message?: string
}

export interface RunProgress {
  readonly planned: { readonly items: number; readonly bytes: number }
  readonly done: { readonly items: number; readonly bytes: number }
}

export interface TokenSummary {
  readonly id: string
  readonly replication: string
  readonly createdAt: string
  readonly expiresAt: string | null
  readonly usesLeft: number | null
  readonly state: 'usable' | 'expired' | 'used up' | 'revoked'
  readonly links: number
}

export interface KeySummary {
  readonly id: string
  readonly name: string
  readonly feed: string | null
  readonly can: readonly Permission[]
  readonly createdAt: string
}

export interface PeerSummary {
  readonly peerId: string
  readonly site: string
  readonly rttMs: number | null
  readonly direction: 'inbound' | 'outbound' | null
  readonly connected: boolean
  readonly inRate: number
  readonly outRate: number
  readonly addresses: readonly string[]
}

export interface Problem {
  readonly code: string
  readonly subject: string
  readonly message: string
  readonly cure: string
  readonly since: string
}

export interface NodeStatus {
  readonly peerId: string
  readonly version: string
  readonly http: string
  readonly listen: readonly string[]
  readonly feeds: number
  readonly replications: number
  readonly problems: number
}

export interface Damage {
  /** Feed, unit, key and role of the file; or the feed whose rows do not lead to their signed root. */
  readonly item: string
  readonly digest: string
  readonly kind: 'missing' | 'corrupt'
  readonly repaired: boolean
  /** Why it was not repaired; empty otherwise. */
  readonly message: string
}

export interface VerifyReport {
  readonly blobs: number
  readonly bytes: number
  readonly feeds: number
  readonly damaged: readonly Damage[]
}

export interface ReclaimReport {
  readonly blobs: number
  readonly bytes: number
  /** Feeds of other nodes that nothing here counts any more. */
  readonly feeds: number
  /** Named by nobody, but stored too lately to be sure. */
  readonly kept: number
}

export interface BackupReport {
  readonly directory: string
  readonly records: number
  readonly blobs: number
  readonly bytes: number
}

/** What raising the epoch of a feed does. */
export interface EpochPlan {
  readonly name: string
  readonly epoch: number
  readonly nextEpoch: number
  /** Rows that are here and go into the new epoch. */
  readonly entries: number
  /** Whether peers hold the proof that two states were signed under one number. */
  readonly forked: boolean
  /** States that were signed here and that nobody has given back. */
  readonly lostStates: number
  /** Peers that have not been asked yet what they hold of the feed. */
  readonly unaskedPeers: readonly string[]
  /** Peers that have to follow. */
  readonly peers: number
}

export interface RecoveredFeed {
  readonly feedId: string
  readonly name: string
  readonly generation: number
  readonly epoch: number
  readonly charterVersion: number
}

/** A row that a new epoch of a source undid. */
export interface ReturnedRowSummary {
  readonly feedId: string
  readonly unit: string
  readonly key: string
  readonly kind: 'came back' | 'went back' | 'lost'
  readonly epoch: number
  readonly at: string
  /** Whether clients of this node do not see it. */
  readonly hidden: boolean
  readonly answered: boolean
}

/** Who asks for a change, for the audit log. */
export interface Actor {
  readonly name: string
  readonly from: string
}

/** Every method throws the errors of `errors.ts`; changing ones are written to the audit log with their actor. */
export interface NodeOperations extends FeedIndexOperations {
  readonly feedTypes: readonly FeedType[]

  status(): Promise<NodeStatus>
  doctor(): Promise<readonly Problem[]>
  peers(): Promise<readonly PeerSummary[]>
  /** PeerId, addresses and protocol versions. `requestHost` is the host by which the asker reached this node. */
  wellKnown(requestHost: string): {
    readonly peerId: string
    readonly addresses: readonly string[]
    readonly protocols: readonly string[]
    readonly version: string
  }

  /** @throws EXISTS; BAD_INPUT for what the type has not got */
  createFeed(feed: NewFeed, actor: Actor): Promise<FeedSummary>
  editFeed(name: string, changes: FeedChanges, actor: Actor): Promise<FeedSummary>
  listFeeds(): Promise<readonly FeedSummary[]>
  showFeed(name: string): Promise<FeedDetails>
  deleteFeed(name: string, actor: Actor): Promise<void>
  /** The feed behind a name, for feed types and `publish`. @throws NOT_FOUND */
  openFeed(name: string): Feed
  isPublicRead(name: string): boolean
  publishFile(name: string, file: NativeFile, actor: Actor): Promise<{ readonly unit: string; readonly key: string }>

  planEpoch(name: string): Promise<EpochPlan>
  /** Begins a new epoch of a feed of this node with what is here of it. @throws MAY_NOT_SIGN */
  raiseEpoch(name: string, actor: Actor): Promise<EpochPlan>
  /** @throws NOT_FOUND when the key was taken off this node */
  exportRecoveryKey(name: string, actor: Actor): Promise<{ readonly feedId: string; readonly key: string }>
  forgetRecoveryKey(name: string, actor: Actor): Promise<void>
  /** This node owns the feed of the recovery key from now on. @throws TOKEN_MISTYPED, FORBIDDEN, NOT_FOUND, EXISTS */
  recoverFeed(
    request: { readonly key: string; readonly as?: string; readonly charterVersion?: number },
    actor: Actor,
  ): Promise<RecoveredFeed>
  /** Rows that new epochs of a feed's sources undid. */
  listReturned(name: string): Promise<{ readonly rows: readonly ReturnedRowSummary[]; readonly total: number }>
  answerReturned(name: string, answer: 'show' | 'hide', actor: Actor): Promise<{ readonly answered: number }>

  addReplication(replication: NewReplication, actor: Actor): Promise<ReplicationCreated>
  listReplications(): Promise<readonly ReplicationSummary[]>
  showReplication(id: string): Promise<ReplicationSummary>
  editReplication(id: string, changes: ReplicationChanges, actor: Actor): Promise<void>
  pauseReplication(id: string, paused: boolean, actor: Actor): Promise<void>
  removeReplication(id: string, actor: Actor): Promise<void>
  planReplication(id: string): Promise<{
    readonly fetch: { readonly items: number; readonly bytes: number }
    readonly send: { readonly items: number; readonly bytes: number }
    readonly delete: { readonly items: number }
  }>
  /** Resolves when the run has ended. */
  runReplication(
    id: string,
    options: { readonly onProgress?: (progress: RunProgress) => void; readonly signal?: AbortSignal },
  ): Promise<RunResult>
  join(
    code: string,
    as: string | undefined,
    actor: Actor,
  ): Promise<{
    readonly feeds: readonly { readonly name: string; readonly type: string }[]
    readonly replications: readonly string[]
  }>
  checkJoin(code: string): Promise<{
    readonly ok: boolean
    readonly checks: readonly { readonly name: string; readonly ok: boolean; readonly message: string }[]
  }>

  listRuns(limit: number): Promise<readonly RunSummary[]>
  showRun(id: number): Promise<RunDetails>

  /** Reads every blob and row again and compares with what was signed; `repair` fetches damaged blobs from peers. */
  verify(options: { readonly repair: boolean; readonly signal: AbortSignal }, actor: Actor): Promise<VerifyReport>
  /** Removes what nothing names any more; `isDryRun` only counts. */
  reclaim(options: { readonly isDryRun: boolean }, actor: Actor): Promise<ReclaimReport>
  /** A copy of the data folder at a folder of this machine that does not exist yet, made while the node runs. */
  backup(directory: string, actor: Actor): Promise<BackupReport>

  listTokens(): Promise<readonly TokenSummary[]>
  revokeToken(id: string, actor: Actor): Promise<void>
  revokePeer(peerId: string, actor: Actor): Promise<void>

  createKey(
    key: { readonly feed: string | null; readonly can: readonly Permission[]; readonly name?: string },
    actor: Actor,
  ): Promise<{ readonly id: string; readonly key: string }>
  listKeys(): Promise<readonly KeySummary[]>
  revokeKey(id: string, actor: Actor): Promise<void>
  /** The caller behind an API key, for one feed or (null) for administration; undefined when the key is unknown. */
  findCaller(key: string, feed: string | null): Promise<Caller | undefined>
}
