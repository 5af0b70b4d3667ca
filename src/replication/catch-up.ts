/**
 * Catching up with one's own past: a node that was restored from a backup, whose database was lost, or whose database is
 * behind its floor file, must not sign for its feeds until it has asked every linked peer what it had signed before.
 * Otherwise it would sign two states under one number, and fork its own feeds. What no peer has an operator gives up by
 * raising the epoch.
 */

import { type FeedId, feedIdText } from '../catalog/charter.ts'
import { FeedmeshError } from '../errors.ts'
import { compareFloor, type Floor, floorOf } from '../ledger/floor.ts'
import type { Registry } from '../ledger/registry.ts'
import { keys, under } from '../store/keys.ts'
import type { Records, Write } from '../store/records.ts'
import type { Book, Link } from './book.ts'

/** Fact in the records of a copy: says of itself that it is one. */
export const RESTORED_FACT = 'restored'
/** Facts beside it: feeds that have caught up. */
const DONE_FACT = `${RESTORED_FACT}/`

export interface OpenPast {
  /** Peers that have yet to be asked. */
  readonly missing: readonly string[]
  /** More was signed here than the database knows. */
  readonly isBehindFloor: boolean
}

interface Parts {
  readonly registry: Registry
  readonly book: Book
}

export class CatchUp {
  readonly #records: Records
  readonly #floor: Floor
  #isRestored: boolean
  /** Peers that have told what they hold of a feed, since this process began. */
  readonly #asked = new Map<FeedId, Set<string>>()
  readonly #done: Set<FeedId>

  private constructor(
    records: Records,
    floor: Floor,
    past: { readonly isRestored: boolean; readonly done: Set<FeedId> },
  ) {
    this.#records = records
    this.#floor = floor
    this.#isRestored = past.isRestored
    this.#done = past.done
  }

  static async open(records: Records, floor: Floor): Promise<CatchUp> {
    const done = new Set<FeedId>()
    for await (const key of records.scanKeys(under(keys.fact(DONE_FACT))))
      done.add(Buffer.from(key.subarray(keys.fact(DONE_FACT).length)).toString())
    const isRestored = (await records.find(keys.fact(RESTORED_FACT))) !== undefined
    return new CatchUp(records, floor, { isRestored, done })
  }

  /** How often one state was signed again does not matter: that forks nothing. */
  #isBehindFloor(feedId: FeedId, registry: Registry): boolean {
    const floor = this.#floor.find(feedId)
    const state = registry.states.get(feedId)
    if (floor === undefined) return false
    if (state?.manifest === undefined) return true
    const have = floorOf(state.charter.value, { ...state.manifest.value, refresh: 0 })
    return compareFloor({ ...floor, refresh: 0 }, have) > 0
  }

  /** Live links over which a peer could have seen what this node signed for the feed. */
  #witnesses(feedId: FeedId, book: Book): Link[] {
    return book.links.all().filter((link) => link.revokedAt === null && feedIdText(link.local) === feedId)
  }

  /** Whether the feed must not be signed yet, and which peers have still to be asked. */
  find(feedId: FeedId, parts: Parts): OpenPast | undefined {
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
  verifyCaughtUp(feedId: FeedId, parts: Parts): void {
    const open = this.find(feedId, parts)
    if (open === undefined) return
    throw new FeedmeshError('MAY_NOT_SIGN', `this node’s data was restored, and ${renderOpenPast(open)}`)
  }

  /** `peer` has told all it holds of the feed. The copy stops being one when every feed has heard every peer. */
  async note(feedId: FeedId, peer: string, parts: Parts): Promise<void> {
    this.#asked.set(feedId, (this.#asked.get(feedId) ?? new Set()).add(peer))
    if (this.#isRestored && this.find(feedId, parts) === undefined) await this.#finish(feedId, parts)
  }

  /** An operator has given up what no peer has: the feed goes on in a new epoch. */
  async confirm(feedId: FeedId, parts: Parts): Promise<void> {
    if (this.#isRestored) await this.#finish(feedId, parts)
  }

  async #finish(feedId: FeedId, parts: Parts): Promise<void> {
    this.#done.add(feedId)
    const open = [...parts.registry.locals.values()].some((local) => this.find(local.id, parts) !== undefined)
    if (open) return await this.#records.write([doneWrite(feedId)])
    await this.#records.write([
      { type: 'del', key: keys.fact(RESTORED_FACT) },
      ...[...this.#done].map((done): Write => ({ type: 'del', key: keys.fact(DONE_FACT + done) })),
    ])
    this.#isRestored = false
  }
}

function doneWrite(feedId: FeedId): Write {
  return { type: 'put', key: keys.fact(DONE_FACT + feedId), value: Uint8Array.of(1) }
}

/** The rest of a sentence, with what to do. */
export function renderOpenPast({ missing }: OpenPast): string {
  return missing.length > 0
    ? `it has yet to ask ${missing.join(', ')} what it signed before; feedmesh replication run --all asks`
    : 'no peer has all of what its floor file says it signed before; feedmesh feed new-epoch NAME goes on without it'
}
