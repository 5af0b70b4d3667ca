/** What an operator decides about the past of a feed: to go on without a part of it, with or without the recovery key. */

import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Charter } from '../catalog/charter.ts'
import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { parseRecoveryKey, renderRecoveryKey } from '../catalog/recovery-key.ts'
import type { Signed, Signer } from '../catalog/signed.ts'
import { createSeedSigner } from '../catalog/token.ts'
import { FeedmeshError } from '../errors.ts'
import type { Actor, EpochPlan, RecoveredFeed, ReturnedRowSummary } from '../http/operations.ts'
import { chainWrites, readChain } from '../ledger/charter-chain.ts'
import { encodeLocalFeed, type FeedState } from '../ledger/feed-state.ts'
import type { Floor } from '../ledger/floor.ts'
import type { Ledger } from '../ledger/ledger.ts'
import type { LocalFeed } from '../ledger/registry.ts'
import type { ReturnedRow } from '../ledger/returned-rows.ts'
import { signEpoch, signGeneration } from '../ledger/succession.ts'
import type { Book } from '../replication/book.ts'
import type { CatchUp } from '../replication/catch-up.ts'
import { keys } from '../store/keys.ts'
import type { Write } from '../store/records.ts'
import type { AuditLog } from './audit.ts'
import { verifyFeedName } from './feed-operations.ts'

export interface FeedPastOptions {
  readonly ledger: Ledger
  readonly floor: Floor
  readonly book: Book
  readonly catchUp: CatchUp
  readonly audit: AuditLog
  readonly signer: Signer
  readonly now: () => number
  /** Folder of recovery keys. */
  readonly recoveryKeys: string
  /** Of a feed that this node takes over. */
  readonly maxFileBytes: number
}

/** Most rows of one answer. */
const MAX_LISTED_ROWS = 1000

export class FeedPast {
  readonly #options: FeedPastOptions

  constructor(options: FeedPastOptions) {
    this.#options = options
  }

  /** What raising the epoch would do. */
  async planEpoch(name: string): Promise<EpochPlan> {
    const { ledger, floor, book, catchUp } = this.#options
    const { registry } = ledger
    const { id } = registry.getLocal(name)
    const state = registry.getState(id)
    const open = catchUp.find(id, { registry, book })
    const manifest = state.manifest?.value
    const lowest = floor.find(id)
    const isSameEpoch = lowest?.epoch === state.charter.value.epoch
    const lost = isSameEpoch ? Math.max(0, lowest.seq - (manifest?.seq ?? 0)) : 0
    const peers = new Set(book.links.all().flatMap((link) => (isReaderOf(link, id) ? [link.peer] : [])))
    return {
      name,
      epoch: state.charter.value.epoch,
      nextEpoch: state.charter.value.epoch + 1,
      entries: state.root.count,
      forked: registry.forks.findOpen(state) !== undefined,
      lostStates: lost,
      unaskedPeers: [...(open?.missing ?? [])],
      peers: peers.size,
    }
  }

  /** @throws NOT_FOUND, MAY_NOT_SIGN */
  async raiseEpoch(name: string, actor: Actor): Promise<EpochPlan> {
    const { ledger, floor, book, catchUp, audit, signer, now } = this.#options
    const { registry } = ledger
    const { id } = registry.getLocal(name)
    await ledger.beginAnew(id, async (state) => {
      const charter = signEpoch(state.charter, { owner: signer, nowMs: now(), floor: floor.find(id) })
      return { charter, writes: chainWrites(state.number, [charter], state.charter) }
    })
    await floor.flush()
    await catchUp.confirm(id, { registry, book })
    const plan = await this.planEpoch(name)
    await audit.note(actor, 'feed new-epoch', `${name}: epoch ${plan.epoch}`)
    return plan
  }

  #keyFile(feedId: FeedId): string {
    return join(this.#options.recoveryKeys, `${feedId}.key`)
  }

  /** The key that overrules the owner's, for keeping somewhere else. @throws NOT_FOUND when it was taken off this node */
  async exportRecoveryKey(name: string, actor: Actor): Promise<{ readonly feedId: string; readonly key: string }> {
    const { id } = this.#options.ledger.registry.getLocal(name)
    let seed: Buffer
    try {
      seed = await readFile(this.#keyFile(id))
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') throw cause
      throw new FeedmeshError('NOT_FOUND', `the recovery key of feed ${name} is not on this node any more`, { cause })
    }
    if (seed.length !== 32)
      throw new FeedmeshError('CORRUPT', `${this.#keyFile(id)} is not a recovery key; restore it from a backup`)
    await this.#options.audit.note(actor, 'feed recovery-key', name)
    return { feedId: id, key: renderRecoveryKey({ feedId: feedIdBytes(id), seed }) }
  }

  /** Takes the key off this node, so that whoever has the node does not have the feed. */
  async forgetRecoveryKey(name: string, actor: Actor): Promise<void> {
    const { id } = this.#options.ledger.registry.getLocal(name)
    await rm(this.#keyFile(id), { force: true })
    await this.#options.audit.note(actor, 'feed recovery-key --forget', name)
  }

  /**
   * Signs a charter of the next generation with the recovery key: this node owns the feed from now on, with what it holds of
   * it as the last state that counts. `as` names a feed that this node has only replicated until now; `charterVersion` is
   * the last version that is to count, where a thief signed later ones.
   * @throws NOT_FOUND, TOKEN_MISTYPED, FORBIDDEN, EXISTS, MAY_NOT_SIGN
   */
  async recover(
    request: { readonly key: string; readonly as?: string; readonly charterVersion?: number },
    actor: Actor,
  ): Promise<RecoveredFeed> {
    const { ledger, floor, book, catchUp, audit, signer, now } = this.#options
    const { registry } = ledger
    const { feedId, seed } = parseRecoveryKey(request.key)
    const id = feedIdText(feedId)
    const local = this.#localOf(registry.getState(id), request.as)
    const key = createSeedSigner(seed)
    await ledger.beginAnew(id, async (state) => {
      const current = await this.#findLastCharter(state, request.charterVersion)
      if (state.manifest === undefined)
        throw new FeedmeshError('NOT_FOUND', `no state of feed ${id} is here that could count as the last good one`)
      const lastGood = state.manifest.value
      const charter = signGeneration(current, {
        key,
        owner: signer.publicKey,
        lastGood,
        nowMs: now(),
        floor: floor.find(id),
      })
      const writes = chainWrites(state.number, [charter], state.charter)
      return local.isNew
        ? { charter, writes: [...writes, localWrite(local.feed)], local: local.feed }
        : { charter, writes }
    })
    await floor.flush()
    await catchUp.confirm(id, { registry, book })
    const { generation, epoch, version } = registry.getState(id).charter.value
    await audit.note(actor, 'feed recover', `${local.feed.name}: generation ${generation}, epoch ${epoch}`)
    return { feedId: id, name: local.feed.name, generation, epoch, charterVersion: version }
  }

  async #findLastCharter(state: FeedState, version: number | undefined): Promise<Signed<Charter>> {
    if (version === undefined) return state.charter
    const found = (await readChain(this.#options.ledger.registry.records, state))[version - 1]
    if (found === undefined)
      throw new FeedmeshError('NOT_FOUND', `feed ${state.feedId} has no charter of version ${version} here`)
    return found
  }

  #localOf(state: FeedState, as: string | undefined): { readonly feed: LocalFeed; readonly isNew: boolean } {
    const { registry } = this.#options.ledger
    const known = registry.localById(state.feedId)
    if (known !== undefined) return { feed: known, isNew: false }
    if (as === undefined)
      throw new FeedmeshError(
        'BAD_INPUT',
        `feed ${state.feedId} is of another node until now; name it here with --as NAME`,
      )
    verifyFeedName(as)
    if (registry.locals.has(as))
      throw new FeedmeshError('EXISTS', `a feed named ${as} exists already; feedmesh feed show ${as}`)
    const { maxFileBytes, now } = this.#options
    const { feedType } = state.charter.value
    const record = { feedId: feedIdBytes(state.feedId), feedType, publicRead: false, maxFileBytes, createdAt: now() }
    return { feed: { ...record, unsigned: 'accept', maxRate: 0, name: as, id: state.feedId }, isNew: true }
  }

  /** Rows of the feed and of all it includes that a new epoch undid. */
  #returnedOf(name: string): ReturnedRow[] {
    const { registry } = this.#options.ledger
    const { id } = registry.getLocal(name)
    return registry.returned.listOf(new Set(registry.getView(id).closure.members.keys()))
  }

  listReturned(name: string): { readonly rows: readonly ReturnedRowSummary[]; readonly total: number } {
    const rows = this.#returnedOf(name)
    return { rows: rows.slice(0, MAX_LISTED_ROWS).map(summarize), total: rows.length }
  }

  async answerReturned(name: string, answer: 'show' | 'hide', actor: Actor): Promise<{ readonly answered: number }> {
    const rows = this.#returnedOf(name)
    await this.#options.ledger.registry.returned.answer(rows, answer)
    await this.#options.audit.note(actor, 'feed returned', `${name}: ${answer} ${rows.length} rows`)
    return { answered: rows.length }
  }
}

/** Feeds whose recovery keys are in the folder. */
export async function listRecoveryKeys(folder: string): Promise<ReadonlySet<FeedId>> {
  const names = await readdir(folder).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  })
  return new Set(names.flatMap((name) => /^([0-9a-f]{64})\.key$/.exec(name)?.[1] ?? []))
}

function isReaderOf(link: { readonly local: Uint8Array; readonly revokedAt: number | null }, feedId: FeedId): boolean {
  return link.revokedAt === null && feedIdText(link.local) === feedId
}

function localWrite({ name, id: _id, ...record }: LocalFeed): Write {
  return { type: 'put', key: keys.localFeed(name), value: encodeLocalFeed(name, record) }
}

function summarize({ feedId, unit, key, kind, epoch, at, isAnswered }: ReturnedRow): ReturnedRowSummary {
  const hidden = kind === 'came back'
  return { feedId, unit, key, kind, epoch, at: new Date(at).toISOString(), hidden, answered: isAnswered }
}
