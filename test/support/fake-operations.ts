/** A node's operations in memory, without peers: for tests of the HTTP server and of the command line. */

import { FEED_TYPES } from '../../protocols/feeds/index.ts'
import { FeedmeshError } from '../../src/errors.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import type { Caller, FeedType, NativeFile, Permission } from '../../src/feeds/feed-type.ts'
import type { SignedIndexes } from '../../src/feeds/signed-index.ts'
import type { IndexSettings } from '../../src/http/feed-index-operations.ts'
import type { FeedChanges, NewFeed } from '../../src/http/feed-settings.ts'
import type {
  Actor,
  EpochPlan,
  FeedDetails,
  FeedSummary,
  KeySummary,
  NewReplication,
  NodeOperations,
  NodeStatus,
  PeerSummary,
  Problem,
  ReplicationCreated,
  ReplicationSummary,
  RunDetails,
  RunProgress,
  RunResult,
  RunSummary,
  TokenSummary,
} from '../../src/http/operations.ts'
import { verifyHasSignatures } from '../../src/operations/feed-operations.ts'
import { createFakeFeed, type FakeFeed, type FakeFeedOptions, summarizeFeed } from './fake-feeds.ts'
import { ALL_PERMISSIONS, FakeKeys } from './fake-keys.ts'
import {
  AT,
  describeDamage,
  describeReplication,
  describeRun,
  NOTHING,
  OTHER_PEER_ID,
  PEER_ID,
  REFUSED_CODES,
  SUCCEEDED,
} from './fake-results.ts'

export class FakeOperations implements NodeOperations {
  readonly feedTypes: readonly FeedType[] = FEED_TYPES
  /** Changes so far: who did what. */
  readonly audit: { readonly actor: Actor; readonly action: string }[] = []
  readonly replications = new Map<string, ReplicationSummary>()
  problems: Problem[] = []
  /** What a run of any replication does. */
  run: (options: { onProgress?: (progress: RunProgress) => void; signal?: AbortSignal }) => Promise<RunResult> =
    async () => SUCCEEDED
  readonly #feeds = new Map<string, FakeFeed>()
  #indexMode: IndexSettings['index'] = 'replica'
  readonly #keys = new FakeKeys()
  readonly #revoked = new Set<string>()

  /** A key with every permission on the node. */
  readonly adminKey = this.addKey(null, ALL_PERMISSIONS, 'operator')

  addKey(feed: string | null, can: readonly Permission[], name?: string): string {
    return this.#keys.add(feed, can, name)
  }

  addFeed(name: string, type = 'npm', options: FakeFeedOptions = {}): Feed {
    const created = createFakeFeed(name, type, options)
    this.#feeds.set(name, created)
    return created.feed
  }

  addReplicationOf(local: string, changes: Partial<ReplicationSummary> = {}): ReplicationSummary {
    const replication = describeReplication(local, changes)
    this.replications.set(replication.id, replication)
    return replication
  }

  #get(name: string): FakeFeed {
    const stored = this.#feeds.get(name)
    if (stored === undefined) throw new FeedmeshError('NOT_FOUND', `no feed named ${JSON.stringify(name)} here`)
    return stored
  }

  #note(actor: Actor, action: string): void {
    this.audit.push({ actor, action })
  }

  async status(): Promise<NodeStatus> {
    return {
      peerId: PEER_ID,
      version: '0.1.0',
      http: 'http://127.0.0.1:8624',
      listen: [`/ip4/127.0.0.1/tcp/8625/p2p/${PEER_ID}`],
      feeds: this.#feeds.size,
      replications: this.replications.size,
      problems: this.problems.length,
    }
  }

  async doctor(): Promise<readonly Problem[]> {
    return this.problems
  }

  async peers(): Promise<readonly PeerSummary[]> {
    const rates = { inRate: 2048, outRate: 0 }
    const addresses = ['/ip4/192.0.2.7/tcp/8625']
    return [
      {
        peerId: OTHER_PEER_ID,
        site: 'paris',
        rttMs: 12.5,
        direction: 'outbound',
        connected: true,
        ...rates,
        addresses,
      },
    ]
  }

  wellKnown(requestHost: string) {
    return {
      peerId: PEER_ID,
      addresses: [`/dns/${requestHost}/tcp/8625/p2p/${PEER_ID}`],
      protocols: ['/feedmesh/sync/1'],
      version: '0.1.0',
    }
  }

  async createFeed(feed: NewFeed, actor: Actor) {
    if (this.#feeds.has(feed.name)) throw new FeedmeshError('EXISTS', `a feed named ${feed.name} exists here`)
    if (!this.feedTypes.some(({ name }) => name === feed.type))
      throw new FeedmeshError('BAD_INPUT', `unknown feed type ${JSON.stringify(feed.type)}`)
    if (feed.unsigned !== undefined) verifyHasSignatures(this.feedTypes, feed.type)
    this.addFeed(feed.name, feed.type, feed)
    this.#note(actor, `feed create ${feed.name}`)
    return summarizeFeed(this.#get(feed.name))
  }

  async editFeed(name: string, { unsigned }: FeedChanges, actor: Actor) {
    const stored = this.#get(name)
    if (unsigned !== undefined) verifyHasSignatures(this.feedTypes, stored.feed.type)
    if (unsigned !== undefined) this.#feeds.set(name, { ...stored, unsigned })
    this.#note(actor, `feed edit ${name} ${unsigned}`)
    return summarizeFeed(this.#get(name))
  }

  async listFeeds(): Promise<readonly FeedSummary[]> {
    return Promise.all([...this.#feeds.values()].map(summarizeFeed))
  }

  async showFeed(name: string): Promise<FeedDetails> {
    const summary = await summarizeFeed(this.#get(name))
    const counts = { entries: summary.entries, bytes: summary.bytes }
    const source = { feedId: 'source-id', digest: 'cd'.repeat(32), ...counts, stale: false, rank: 'above' }
    const numbers = { epoch: 1, seq: 4, refresh: 0 }
    const times = { issuedAt: AT, expiresAt: AT }
    return {
      ...summary,
      feedId: summary.id,
      digest: 'ab'.repeat(32),
      sources: [source],
      manifests: [{ feedId: summary.id, owner: PEER_ID, ...numbers, ...times, stateRoot: 'ef'.repeat(32), entries: 0 }],
    }
  }

  async deleteFeed(name: string, actor: Actor): Promise<void> {
    this.#get(name)
    this.#feeds.delete(name)
    this.#note(actor, `feed delete ${name}`)
  }

  openFeed(name: string): Feed {
    return this.#get(name).feed
  }

  isPublicRead(name: string): boolean {
    return this.#get(name).publicRead
  }

  async publishFile(name: string, file: NativeFile, actor: Actor) {
    const { feed } = this.#get(name)
    const type = this.feedTypes.find((candidate) => candidate.name === feed.type)
    if (type === undefined) throw new FeedmeshError('NOT_FOUND', `unknown type ${feed.type}`)
    const published = await type.publishFile(feed, file)
    this.#note(actor, `publish ${name} ${file.name}`)
    return published
  }

  openIndexes(name: string): SignedIndexes {
    throw new FeedmeshError('BAD_INPUT', `feed ${name} has no signed index`)
  }

  async showIndex(name: string): Promise<IndexSettings> {
    this.#get(name)
    return { name, index: this.#indexMode, chosen: false, keys: ['AB'.repeat(20)] }
  }

  async setIndexMode(name: string, index: IndexSettings['index'], actor: Actor): Promise<IndexSettings> {
    this.#get(name)
    this.#note(actor, `feed edit ${name} ${index}`)
    this.#indexMode = index
    return { name, index, chosen: true, keys: ['CD'.repeat(20)] }
  }

  async renewIndexKey(name: string, actor: Actor): Promise<IndexSettings> {
    this.#note(actor, `feed index-key --new ${name}`)
    return await this.showIndex(name)
  }

  async exportIndexKey(name: string, actor: Actor) {
    this.#get(name)
    this.#note(actor, `feed index-key --export ${name}`)
    return { name, key: 'armored secret' }
  }

  async planEpoch(name: string): Promise<EpochPlan> {
    this.#get(name)
    const plan = { epoch: 1, nextEpoch: 2, entries: 3, forked: true, lostStates: 2, peers: 4 }
    return { name, ...plan, unaskedPeers: [OTHER_PEER_ID] }
  }

  async raiseEpoch(name: string, actor: Actor): Promise<EpochPlan> {
    this.#note(actor, `feed new-epoch ${name}`)
    const plan = { epoch: 2, nextEpoch: 3, entries: 3, forked: false, lostStates: 0, peers: 4 }
    return { name, ...plan, unaskedPeers: [] }
  }

  async exportRecoveryKey(name: string, actor: Actor) {
    this.#get(name)
    this.#note(actor, `feed recovery-key ${name}`)
    return { feedId: `id-${name}`, key: 'fmr1_secret' }
  }

  async forgetRecoveryKey(name: string, actor: Actor): Promise<void> {
    this.#get(name)
    this.#note(actor, `feed recovery-key --forget ${name}`)
  }

  async recoverFeed(request: Parameters<NodeOperations['recoverFeed']>[0], actor: Actor) {
    if (request.key !== 'fmr1_good') throw new FeedmeshError('TOKEN_MISTYPED', 'this is not a whole recovery key')
    const name = request.as ?? 'tools'
    this.#note(actor, `feed recover ${name}`)
    return { feedId: `id-${name}`, name, generation: 1, epoch: 2, charterVersion: 3 }
  }

  async listReturned(name: string) {
    this.#get(name)
    const row = { feedId: 'source-id', unit: 'left-pad', key: 'v/1.0.0', kind: 'came back', epoch: 2, at: AT } as const
    return { rows: [{ ...row, hidden: true, answered: false }], total: 1 }
  }

  async answerReturned(name: string, answer: 'show' | 'hide', actor: Actor) {
    this.#get(name)
    this.#note(actor, `feed returned ${name} ${answer}`)
    return { answered: 1 }
  }

  async addReplication(wanted: NewReplication, actor: Actor): Promise<ReplicationCreated> {
    for (const { local } of wanted.feeds) this.#get(local)
    if (wanted.url === 'http://lost.example')
      throw new FeedmeshError('PEER_UNREACHABLE', 'nothing answers at http://lost.example')
    const feeds = wanted.feeds.map(({ local, remote }) => ({ local, remote: remote ?? null }))
    const { communication, mode, availability = 'full', serve = 'site' } = wanted
    const changes = {
      feeds,
      communication,
      mode,
      availability,
      serve,
      peer: null,
      state: 'waiting',
      links: [],
    } as const
    const { id } = this.addReplicationOf(wanted.feeds[0]?.local ?? '', changes)
    this.#note(actor, `replication add ${JSON.stringify(wanted)}`)
    return wanted.token === 'new' ? { id, token: 'fmt1_secret', joinCode: 'fmj1_good' } : { id }
  }

  async listReplications(): Promise<readonly ReplicationSummary[]> {
    return [...this.replications.values()]
  }

  async showReplication(id: string): Promise<ReplicationSummary> {
    const replication = this.replications.get(id)
    if (replication === undefined) throw new FeedmeshError('NOT_FOUND', `no replication ${JSON.stringify(id)}`)
    return replication
  }

  async editReplication(id: string, changes: Parameters<NodeOperations['editReplication']>[1], actor: Actor) {
    const current = await this.showReplication(id)
    const { availability = current.availability, serve = current.serve } = changes
    this.replications.set(id, { ...current, availability, serve })
    this.#note(actor, `replication edit ${id} ${JSON.stringify(changes)}`)
  }

  async pauseReplication(id: string, paused: boolean, actor: Actor): Promise<void> {
    this.replications.set(id, { ...(await this.showReplication(id)), state: paused ? 'paused' : 'ok' })
    this.#note(actor, `replication ${paused ? 'pause' : 'resume'} ${id}`)
  }

  async removeReplication(id: string, actor: Actor): Promise<void> {
    await this.showReplication(id)
    this.replications.delete(id)
    this.#note(actor, `replication remove ${id}`)
  }

  async planReplication(id: string) {
    await this.showReplication(id)
    return { fetch: { items: 2, bytes: 2048 }, send: NOTHING, delete: { items: 1 } }
  }

  async runReplication(
    id: string,
    options: { onProgress?: (progress: RunProgress) => void; signal?: AbortSignal },
  ): Promise<RunResult> {
    await this.showReplication(id)
    return this.run(options)
  }

  async join(code: string, as: string | undefined, actor: Actor) {
    this.#verifyCode(code)
    const name = as ?? 'tools'
    this.addFeed(name)
    const { id } = this.addReplicationOf(name)
    this.#note(actor, `join ${name}`)
    return { feeds: [{ name, type: 'npm' }], replications: [id] }
  }

  async checkJoin(code: string) {
    this.#verifyCode(code)
    return { ok: true, checks: [{ name: 'address', ok: true, message: 'answers in 12 ms' }] }
  }

  #verifyCode(code: string): void {
    const refusal = Object.hasOwn(REFUSED_CODES, code) ? REFUSED_CODES[code as keyof typeof REFUSED_CODES] : undefined
    if (refusal !== undefined) throw new FeedmeshError(refusal, `join refused: ${refusal}`)
    if (code !== 'fmj1_good') throw new FeedmeshError('TOKEN_UNKNOWN', 'the other end has no such token')
  }

  async listRuns(limit: number): Promise<readonly RunSummary[]> {
    return [await this.showRun(7)].slice(0, limit).map(({ items: _items, ...run }) => run)
  }

  async showRun(id: number): Promise<RunDetails> {
    return describeRun(id)
  }

  async verify({ repair }: { readonly repair: boolean }, actor: Actor) {
    this.#note(actor, `verify ${repair}`)
    return describeDamage(repair)
  }

  async reclaim({ isDryRun }: { readonly isDryRun: boolean }, actor: Actor) {
    this.#note(actor, `reclaim ${isDryRun}`)
    return { blobs: 2, bytes: 2048, feeds: 0, kept: 1 }
  }

  async backup(directory: string, actor: Actor) {
    this.#note(actor, `backup ${directory}`)
    return { directory, records: 12, blobs: 3, bytes: 3072 }
  }

  async listTokens(): Promise<readonly TokenSummary[]> {
    const state = this.#revoked.has('aa11') ? 'revoked' : 'usable'
    return [{ id: 'aa11', replication: 'aabbccdd', createdAt: AT, expiresAt: null, usesLeft: 3, state, links: 1 }]
  }

  async revokeToken(id: string, actor: Actor): Promise<void> {
    if (id !== 'aa11') throw new FeedmeshError('NOT_FOUND', `no token ${JSON.stringify(id)}`)
    this.#revoked.add(id)
    this.#note(actor, `token revoke ${id}`)
  }

  async revokePeer(peerId: string, actor: Actor): Promise<void> {
    if (peerId !== OTHER_PEER_ID) throw new FeedmeshError('NOT_FOUND', `no live link with peer ${peerId}`)
    this.#note(actor, `peer revoke ${peerId}`)
  }

  async createKey(
    key: { readonly feed: string | null; readonly can: readonly Permission[]; readonly name?: string },
    actor: Actor,
  ) {
    if (key.feed !== null) this.#get(key.feed)
    const text = this.addKey(key.feed, key.can, key.name)
    this.#note(actor, `key create ${key.feed ?? 'node'}`)
    return { id: text.split('_')[1] ?? '', key: text }
  }

  async listKeys(): Promise<readonly KeySummary[]> {
    return this.#keys.list()
  }

  async revokeKey(id: string, actor: Actor): Promise<void> {
    this.#keys.revoke(id)
    this.#note(actor, `key revoke ${id}`)
  }

  async findCaller(key: string, feed: string | null): Promise<Caller | undefined> {
    return this.#keys.findCaller(key, feed)
  }
}
