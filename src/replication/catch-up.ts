/**
 * Catching up with one's own past: a node that was restored from a backup, or whose database is behind its floor file, must
 * not sign for its feeds until it has asked every linked peer what it had signed before. Otherwise it would sign two states
 * under one number, and fork its own feeds.
 */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { compareOrder } from '../catalog/manifest.ts'
import { FeedmeshError } from '../errors.ts'
import type { Floor } from '../ledger/floor.ts'
import type { Registry } from '../ledger/registry.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import type { Book, Link } from './book.ts'

/** Fact in the records of a copy: says of itself that it is one. */
export const RESTORED_FACT = 'restored'

export class CatchUp {
  readonly #records: Records
  readonly #floor: Floor
  readonly #isRestored: boolean
  /** Peers that have told what they hold of a feed, since this process began. */
  readonly #asked = new Map<FeedId, Set<string>>()
  readonly #done = new Set<FeedId>()

  private constructor(records: Records, floor: Floor, isRestored: boolean) {
    this.#records = records
    this.#floor = floor
    this.#isRestored = isRestored
  }

  static async open(records: Records, floor: Floor): Promise<CatchUp> {
    return new CatchUp(records, floor, (await records.find(keys.fact(RESTORED_FACT))) !== undefined)
  }

  #isBehindFloor(feedId: FeedId, registry: Registry): boolean {
    const have = registry.states.get(feedId)?.manifest?.value
    const floor = this.#floor.find(feedId)
    return floor !== undefined && have !== undefined && compareOrder(floor, have) > 0
  }

  /** Live links over which a peer could have seen what this node signed for the feed. */
  #witnesses(feedId: FeedId, book: Book): Link[] {
    return book.links.all().filter((link) => link.revokedAt === null && feedIdText(link.local) === feedId)
  }

  /** Whether the feed must not be signed yet, and which peers have still to be asked. */
  find(
    feedId: FeedId,
    parts: { readonly registry: Registry; readonly book: Book },
  ): { readonly missing: readonly string[]; readonly isBehindFloor: boolean } | undefined {
    const isBehindFloor = this.#isBehindFloor(feedId, parts.registry)
    if (!isBehindFloor && (!this.#isRestored || this.#done.has(feedId))) return undefined
    const asked = this.#asked.get(feedId)
    const missing = this.#witnesses(feedId, parts.book)
      .map((link) => link.peer)
      .filter((peer) => asked?.has(peer) !== true)
    if (missing.length === 0 && !isBehindFloor) return undefined
    return { missing: [...new Set(missing)], isBehindFloor }
  }

  /** @throws MAY_NOT_SIGN */
  verifyCaughtUp(feedId: FeedId, parts: { readonly registry: Registry; readonly book: Book }): void {
    const open = this.find(feedId, parts)
    if (open === undefined) return
    const why =
      open.missing.length > 0
        ? `it has yet to ask ${open.missing.join(', ')} what it signed before`
        : 'no peer has what its floor file says it signed before'
    throw new FeedmeshError(
      'MAY_NOT_SIGN',
      `this node’s data was restored, and ${why}; feedmesh replication run --all asks`,
    )
  }

  /** `peer` has told all it holds of the feed. The copy stops being one when every feed has heard every peer. */
  async note(feedId: FeedId, peer: string, parts: { readonly registry: Registry; readonly book: Book }): Promise<void> {
    this.#asked.set(feedId, (this.#asked.get(feedId) ?? new Set()).add(peer))
    if (this.find(feedId, parts) === undefined) this.#done.add(feedId)
    const open = [...parts.registry.locals.values()].some((local) => this.find(local.id, parts) !== undefined)
    if (this.#isRestored && !open) await this.#records.write([{ type: 'del', key: keys.fact(RESTORED_FACT) }])
  }
}
