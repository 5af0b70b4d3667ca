/** Feeds, as operators handle them. */

import { join } from 'node:path'
import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { peerIdFromPublicKey } from '../catalog/peer-id.ts'
import { FeedmeshError } from '../errors.ts'
import type { Feed } from '../feeds/feed.ts'
import type { FeedType, NativeFile } from '../feeds/feed-type.ts'
import { type FetchBlob, LedgerFeed } from '../feeds/ledger-feed.ts'
import type { FeedChanges, NewFeed } from '../http/feed-settings.ts'
import type { Actor, FeedDetails, FeedSummary, ManifestSummary } from '../http/operations.ts'
import type { IndexKeeper } from '../indexing/index-keeper.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { LocalFeed } from '../ledger/registry.ts'
import type { BlobStore } from '../store/blobs.ts'
import { replaceFile } from '../store/durable-file.ts'
import type { AuditLog } from './audit.ts'
import { verifyRate } from './replication-limits.ts'

export interface FeedOperationsOptions {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly feedTypes: readonly FeedType[]
  readonly fetchBlob: FetchBlob
  readonly keeper: Pick<IndexKeeper, 'createKeys' | 'verifyMayPublish'>
  readonly audit: AuditLog
  readonly now: () => number
  /** Folder for recovery keys, 0700. */
  readonly recoveryKeys: string
  /** Largest file a new feed takes, bytes. */
  readonly maxFileBytes: number
  /** Names of replications that use a feed. */
  replicationsOf(feed: string): readonly string[]
}

const NAME = /^[a-z0-9][a-z0-9._-]{0,62}$/i

/** @throws BAD_INPUT */
export function verifyFeedName(name: string): void {
  if (!NAME.test(name) || name.includes('..')) {
    throw new FeedmeshError(
      'BAD_INPUT',
      `not a feed name: ${JSON.stringify(name.slice(0, 80))}; use 1 to 63 letters, digits, dots, dashes and underscores, beginning with a letter or digit`,
    )
  }
}

/** @throws BAD_INPUT naming the types whose feeds have a say in unsigned packages */
export function verifyHasSignatures(types: readonly FeedType[], name: string): void {
  const able = types.filter(({ hasPackageSignatures }) => hasPackageSignatures === true).map((type) => type.name)
  if (able.includes(name)) return
  throw new FeedmeshError(
    'BAD_INPUT',
    `--unsigned is for feeds of type ${able.join(', ')}; packages of a feed of type ${name} carry no signatures that it knows`,
  )
}

export class FeedOperations {
  readonly #options: FeedOperationsOptions
  readonly #open = new Map<FeedId, LedgerFeed>()

  constructor(options: FeedOperationsOptions) {
    this.#options = options
  }

  async create(feed: NewFeed, actor: Actor): Promise<FeedSummary> {
    const { ledger, feedTypes, maxFileBytes, recoveryKeys, keeper, audit } = this.#options
    verifyFeedName(feed.name)
    if (!feedTypes.some((type) => type.name === feed.type)) {
      throw new FeedmeshError(
        'BAD_INPUT',
        `unknown feed type ${JSON.stringify(feed.type.slice(0, 40))}; known are ${feedTypes.map((type) => type.name).join(', ')}`,
      )
    }
    if (feed.unsigned !== undefined) verifyHasSignatures(feedTypes, feed.type)
    const local = await ledger.createFeed({
      name: feed.name,
      feedType: feed.type,
      publicRead: feed.publicRead,
      unsigned: feed.unsigned ?? 'accept',
      maxFileBytes,
      indexKeys: await keeper.createKeys(feed.type, feed.name),
      keepRecoverySeed: (feedId, seed) => replaceFile(join(recoveryKeys, `${feedId}.key`), seed),
    })
    const policy = feed.unsigned === undefined ? '' : `, --unsigned ${feed.unsigned}`
    await audit.note(actor, 'feed create', `${feed.name} (${feed.type}${policy})`)
    return this.#summary(local)
  }

  /** @throws NOT_FOUND; BAD_INPUT for types whose packages carry no signatures */
  async edit(name: string, { unsigned, maxRate }: FeedChanges, actor: Actor): Promise<FeedSummary> {
    const { ledger, feedTypes, audit } = this.#options
    const { feedType } = ledger.registry.getLocal(name)
    if (unsigned !== undefined) verifyHasSignatures(feedTypes, feedType)
    verifyRate(maxRate)
    const changes = {
      ...(unsigned === undefined ? {} : { unsigned }),
      ...(maxRate === undefined ? {} : { maxRate: maxRate ?? 0 }),
    }
    const local = await ledger.exclusively(() => ledger.registry.editLocal(name, changes))
    const said = [
      ...(unsigned === undefined ? [] : [`--unsigned ${unsigned}`]),
      ...(maxRate === undefined ? [] : [`--max-rate ${maxRate ?? 'none'}`]),
    ]
    await audit.note(actor, 'feed edit', `${name}: ${said.join(' ')}`)
    return this.#summary(local)
  }

  async list(): Promise<FeedSummary[]> {
    return [...this.#options.ledger.registry.locals.values()].map((local) => this.#summary(local))
  }

  async show(name: string): Promise<FeedDetails> {
    const { registry } = this.#options.ledger
    const local = registry.getLocal(name)
    const view = registry.getView(local.id)
    const includes = registry.charterOf(local.id)?.includes ?? []
    const sources = includes.flatMap((inclusion) => {
      const feedId = feedIdText(inclusion.feedId)
      const source = registry.views.get(feedId)
      const expiresAt = registry.states.get(feedId)?.manifest?.value.expiresAt ?? 0
      if (source === undefined) return []
      const { root, entries, bytes } = source.totals
      return [
        {
          feedId,
          digest: root.hash.toString('hex'),
          entries,
          bytes,
          stale: expiresAt < this.#options.now(),
          rank: inclusion.rank,
        },
      ]
    })
    const manifests = [...view.closure.members.keys()].flatMap((feedId) => this.#manifest(feedId) ?? [])
    return {
      ...this.#summary(local),
      feedId: local.id,
      digest: view.totals.root.hash.toString('hex'),
      sources,
      manifests,
    }
  }

  #manifest(feedId: FeedId): ManifestSummary | undefined {
    const state = this.#options.ledger.registry.states.get(feedId)
    if (state?.manifest === undefined) return undefined
    const { epoch, seq, refresh, issuedAt, expiresAt, stateRoot, entries } = state.manifest.value
    const owner = peerIdFromPublicKey(state.charter.value.owner)
    const times = { issuedAt: new Date(issuedAt).toISOString(), expiresAt: new Date(expiresAt).toISOString() }
    return { feedId, owner, epoch, seq, refresh, ...times, stateRoot: Buffer.from(stateRoot).toString('hex'), entries }
  }

  async delete(name: string, actor: Actor): Promise<void> {
    const { ledger, audit } = this.#options
    ledger.registry.getLocal(name)
    const users = this.#options.replicationsOf(name)
    if (users.length > 0)
      throw new FeedmeshError(
        'CONFLICT',
        `feed ${name} is replicated; first feedmesh replication remove ${users.join(' and ')}`,
      )
    await ledger.removeFeed(name)
    await audit.note(actor, 'feed delete', name)
  }

  open(name: string): Feed {
    const { ledger, blobs, fetchBlob, keeper, now } = this.#options
    const local = ledger.registry.getLocal(name)
    const verifyMayWrite = () => keeper.verifyMayPublish(name)
    const parts = { name, feedId: local.id, ledger, blobs, fetchBlob, verifyMayWrite, now }
    const open = this.#open.get(local.id) ?? new LedgerFeed(parts)
    this.#open.set(local.id, open)
    return open
  }

  isPublicRead(name: string): boolean {
    return this.#options.ledger.registry.getLocal(name).publicRead
  }

  async publishFile(
    name: string,
    file: NativeFile,
    actor: Actor,
  ): Promise<{ readonly unit: string; readonly key: string }> {
    const feed = this.open(name)
    const type = this.#options.feedTypes.find((candidate) => candidate.name === feed.type)
    if (type === undefined) throw new FeedmeshError('NOT_FOUND', `this version does not know feed type ${feed.type}`)
    const published = await type.publishFile(feed, file)
    await this.#options.audit.note(
      actor,
      'publish',
      `${name}: ${type.itemName(published.unit, published.key) ?? published.unit}`,
    )
    return published
  }

  #summary(local: LocalFeed): FeedSummary {
    const { entries, bytes } = this.#options.ledger.registry.getView(local.id).totals
    const { id, name, feedType, publicRead } = local
    const type = this.#options.feedTypes.find((candidate) => candidate.name === feedType)
    const policy = type?.hasPackageSignatures === true ? { unsigned: local.unsigned } : {}
    const limit = local.maxRate > 0 ? { maxRate: local.maxRate } : {}
    return { id, name, type: feedType, publicRead, ...policy, ...limit, entries, bytes }
  }
}
