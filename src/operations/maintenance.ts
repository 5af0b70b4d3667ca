/** Looking after what is stored: verify against digests and signed roots, mend from peers, reclaim, copy. */

import type { FeedId } from '../catalog/charter.ts'
import { type Digest, isDigest } from '../catalog/digest.ts'
import type { Row } from '../catalog/row.ts'
import { asFeedmeshError, isFeedmeshError } from '../errors.ts'
import type { FetchBlob } from '../feeds/ledger-feed.ts'
import type { Actor, Damage, ReclaimReport, VerifyReport } from '../http/operations.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { isWholeState, isWholeView } from '../ledger/stored-state.ts'
import type { BlobStore } from '../store/blobs.ts'
import type { AuditLog } from './audit.ts'
import { DigestSet } from './digest-set.ts'
import { type FileReference, listReferences, listShadows } from './file-references.ts'
import { keptUploads } from './kept-uploads.ts'

export interface MaintenanceOptions {
  readonly ledger: Ledger
  readonly blobs: BlobStore
  readonly fetchBlob: FetchBlob
  readonly audit: AuditLog
  /** Unix time, ms; the machine's clock unless told. */
  readonly now?: () => number
  /** Whether a file of an adopted row is to be here, and not only to be had when a client asks. Default: those of feeds made here. */
  readonly isExpected?: (file: { readonly feedId: FeedId; readonly row: Row; readonly role: string }) => boolean
  /** Blobs that running pulls have fetched or are about to: named by rows that are not adopted yet. */
  pinned(): Iterable<Digest>
}

export class Maintenance {
  readonly #options: MaintenanceOptions

  constructor(options: MaintenanceOptions) {
    this.#options = options
  }

  /** Reads every blob that is here and compares; with `repair`, damaged ones are fetched again from peers. */
  async verify(
    options: { readonly repair: boolean; readonly signal: AbortSignal },
    actor: Actor,
  ): Promise<VerifyReport> {
    const { registry } = this.#options.ledger
    const damaged: Damage[] = []
    const seen = new Set<Digest>()
    let bytes = 0
    for (const state of registry.states.values()) {
      if (!(await this.#isWhole(state)))
        damaged.push({
          item: `feed ${state.feedId}`,
          digest: state.root.hash.toString('hex'),
          kind: 'corrupt',
          repaired: false,
          message:
            'its rows do not lead to the signed root; restore a backup, or remove the replication and add it again',
        })
    }
    for await (const reference of listReferences(this.#options.ledger.registry, 'pass')) {
      if (seen.has(reference.file.digest)) continue
      seen.add(reference.file.digest)
      const damage = await this.#verifyFile(reference, options)
      if (damage === undefined) bytes += reference.file.size
      else damaged.push(damage)
    }
    await this.#options.audit.note(
      actor,
      options.repair ? 'verify --repair' : 'verify',
      `${damaged.length} of ${seen.size} blobs damaged`,
    )
    return { blobs: seen.size, bytes, feeds: registry.states.size, damaged }
  }

  async #isWhole(state: FeedState): Promise<boolean> {
    const { records, views } = this.#options.ledger.registry
    const view = views.get(state.feedId)
    return (await isWholeState(records, state)) && (view === undefined || (await isWholeView(records, view)))
  }

  /** undefined when the file is whole, or rightly not here (on-demand availability). */
  async #verifyFile(
    reference: FileReference,
    options: { readonly repair: boolean; readonly signal: AbortSignal },
  ): Promise<Damage | undefined> {
    const { blobs } = this.#options
    const { feedId, row, file } = reference
    const kind = await this.#examine(file.digest, options.signal)
    if (kind === 'unknown' && !this.#isExpected(reference)) return undefined
    if (kind === 'ok') return undefined
    const item = `${feedId.slice(0, 12)} ${row.unit} ${row.key} ${file.role}`
    const damage = { item, digest: file.digest, kind: kind === 'unknown' ? ('missing' as const) : kind }
    if (!options.repair)
      return { ...damage, repaired: false, message: 'feedmesh verify --repair fetches it again from a peer' }
    try {
      await blobs.remove(file.digest)
      await this.#options.fetchBlob({ feedId, unit: row.unit, key: row.key, file })
      return { ...damage, repaired: true, message: '' }
    } catch (error) {
      return { ...damage, repaired: false, message: asFeedmeshError(error).message }
    }
  }

  #isExpected({ feedId, row, file }: FileReference): boolean {
    const { isExpected, ledger } = this.#options
    return isExpected?.({ feedId, row, role: file.role }) ?? ledger.registry.localById(feedId) !== undefined
  }

  async #examine(digest: Digest, signal: AbortSignal): Promise<'ok' | 'missing' | 'corrupt' | 'unknown'> {
    const { blobs } = this.#options
    try {
      return (await blobs.find(digest)) === undefined ? 'unknown' : await blobs.verifyBlob(digest, signal)
    } catch (error) {
      if (isFeedmeshError(error, 'CORRUPT')) return 'corrupt'
      throw error
    }
  }

  /**
   * Removes blobs that no row names, and feeds that no view counts; `isDryRun` only counts. Nothing is published or adopted
   * while it looks and removes, and what running pulls have fetched is spared: nothing in flight is its victim.
   */
  async reclaim(options: { readonly isDryRun: boolean }, actor: Actor): Promise<ReclaimReport> {
    const { ledger, audit } = this.#options
    const unused = ledger.unusedStates().map((state) => state.feedId)
    if (!options.isDryRun) await ledger.forgetUnused()
    if (!options.isDryRun) await ledger.clearLeftovers()
    const report = await ledger.exclusively(() => this.#sweep(new Set(unused), options.isDryRun))
    if (!options.isDryRun)
      await audit.note(actor, 'gc', `${report.blobs} blobs, ${report.bytes} bytes, ${report.feeds} feeds`)
    return report
  }

  async #sweep(unused: ReadonlySet<FeedId>, isDryRun: boolean): Promise<ReclaimReport> {
    const named = new DigestSet()
    for (const digest of this.#options.pinned()) named.add(digest)
    const { blobs, ledger, now = Date.now } = this.#options
    const uploads = { records: ledger.registry.records, blobs, nowMs: now(), forget: !isDryRun }
    for await (const digest of keptUploads(uploads)) named.add(digest)
    for await (const { feedId, file } of listReferences(ledger.registry, 'refuse', await listShadows(ledger)))
      if (!unused.has(feedId)) named.add(file.digest)
    const report = { blobs: 0, bytes: 0, feeds: unused.size, kept: 0 }
    for await (const { digest, size } of this.#unnamed(named)) {
      if (isDryRun || (await this.#remove(digest))) {
        report.blobs += 1
        report.bytes += size
      } else {
        report.kept += 1
      }
    }
    return report
  }

  async *#unnamed(named: DigestSet): AsyncGenerator<{ readonly digest: Digest; readonly size: number }> {
    for await (const blob of this.#options.blobs.list()) if (!named.has(blob.digest)) yield blob
    for await (const digest of this.#options.blobs.orphans())
      if (isDigest(digest) && !named.has(digest)) yield { digest, size: 0 }
  }

  /** false for a blob that was sealed a moment ago: the change that names it may be on its way. */
  async #remove(digest: Digest): Promise<boolean> {
    try {
      await this.#options.blobs.remove(digest)
      return true
    } catch (error) {
      if (isFeedmeshError(error, 'BUSY')) return false
      throw error
    }
  }
}
