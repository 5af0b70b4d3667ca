/**
 * From a verified head to the rows of the state it signs, the cheapest way that leads there: the log, the difference of the
 * tries, all of it. Small differences are held in memory; large ones are gathered in a shadow of the feed, which outlives
 * the connection and the process.
 */

import type { Ask, Asking, LocalState, Target } from '../../protocols/mesh/sync/asker.ts'
import { compareExactly, compareState } from '../../protocols/mesh/sync/comparison.ts'
import { replayOperations, replayTail } from '../../protocols/mesh/sync/log-tail.ts'
import { decodeSegment } from '../../protocols/mesh/sync/segments.ts'
import { type FeedId, feedIdBytes } from '../catalog/charter.ts'
import { decodeRow, encodeRow, placeOf, type Row } from '../catalog/row.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import { prepareAdoption, type VerifiedState } from '../ledger/adopt.ts'
import type { FeedState } from '../ledger/feed-state.ts'
import type { Ledger } from '../ledger/ledger.ts'
import { RecordTrie } from '../ledger/record-trie.ts'
import type { Shadow } from '../ledger/shadow.ts'
import { prepareShadowAdoption, type ShadowedState } from '../ledger/shadow-adoption.ts'
import { keys } from '../store/keys.ts'
import type { Head } from './heads.ts'
import { LedgerLocalState } from './local-state.ts'
import { MAX_HELD_ROWS, ReceivedDifference } from './received-difference.ts'

/** A name that a state has no row under any more. */
export interface GoneRow {
  readonly unit: string
  readonly key: string
}

/** A few thousand rows of a difference. */
export interface RowNews {
  readonly puts: readonly Row[]
  readonly drops: readonly GoneRow[]
}

export interface FetchedState {
  readonly head: Head
  readonly state: VerifiedState | ShadowedState
  /** What is new in it, from its beginning each time it is asked for. */
  news(): AsyncIterable<RowNews>
}

export interface StateFetchParts {
  readonly ledger: Ledger
  readonly main: Ask
  /** Further streams that lead to the feed. */
  openMore(head: Head, count: number): Promise<readonly Ask[]>
  /** Shadows that were opened are given back to it. */
  readonly stack: AsyncDisposableStack
  readonly signal: AbortSignal
}

export class StateFetch {
  readonly #parts: StateFetchParts
  readonly #shadows = new Map<FeedId, Shadow>()

  constructor(parts: StateFetchParts) {
    this.#parts = parts
  }

  /** @throws PEER_INVALID, FORGED when the peer's answers do not lead to the signed state; CONFLICT when it has moved on */
  async fetch(head: Head): Promise<FetchedState> {
    const known = head.known ?? (await this.#parts.ledger.learnFeed(head.newCharters))
    const { manifest } = head.newer!
    if (known.root.hash.equals(manifest.value.stateRoot))
      return await this.#verifyHeld(head, known, { puts: [], drops: [] })
    return (await this.#byLog(head, known)) ?? (await this.#byTries(head, known))
  }

  /** By the log, when it reaches back to what is here; undefined when the tries must be compared. */
  async #byLog(head: Head, known: FeedState): Promise<FetchedState | undefined> {
    const [mine, theirs] = [known.manifest?.value, head.newer!.manifest.value]
    if (mine === undefined || mine.epoch !== theirs.epoch || head.logFrom > mine.logSize) return undefined
    const difference = this.#receive(known)
    const asking = this.#asking(head, { local: this.#held(known), difference })
    const wanted = theirs.logSize - mine.logSize
    try {
      const along = head.tail === null ? [] : decodeSegment(head.tail)
      if (along.length === wanted) await replayOperations(along, asking.local.salt, difference)
      else await replayTail(asking, { epoch: mine.epoch, from: mine.logSize, to: theirs.logSize })
      return await this.#verify(head, known, difference)
    } catch (error) {
      // The log is a hint: where it does not lead to the signed root, comparing the tries decides.
      if (isFeedmeshError(error, 'PEER_INVALID', 'NOT_FOUND')) return undefined
      throw error
    }
  }

  async #byTries(head: Head, known: FeedState): Promise<FetchedState> {
    const { entries } = head.newer!.manifest.value
    const isLarge = known.root.count === 0 && entries > MAX_HELD_ROWS
    const begun = isLarge || (await this.#parts.ledger.shadows.has(known)) ? await this.#openShadow(known) : undefined
    const difference = this.#receive(known, begun)
    await compareState(this.#asking(head, { local: begun ?? this.#held(known), difference }))
    try {
      return await this.#verify(head, known, difference)
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
    }
    // Two rows may share a hint.
    const shadow = difference.shadow === undefined ? undefined : await this.#openShadow(known)
    const exact = this.#receive(known, shadow)
    await compareExactly(this.#asking(head, { local: shadow ?? this.#held(known), difference: exact }))
    return await this.#verify(head, known, exact)
  }

  #held(known: FeedState): LocalState {
    return new LedgerLocalState(this.#parts.ledger.registry.records, known)
  }

  #receive(known: FeedState, shadow?: Shadow): ReceivedDifference {
    return new ReceivedDifference(() => this.#openShadow(known), shadow)
  }

  /** The feed's one shadow, all that is in it settled. */
  async #openShadow(known: FeedState): Promise<Shadow> {
    const { ledger, stack, signal } = this.#parts
    const open = this.#shadows.get(known.feedId)
    if (open !== undefined) {
      await open.settle()
      return open
    }
    const shadow = stack.use(await ledger.shadows.open(known, { signal }))
    this.#shadows.set(known.feedId, shadow)
    return shadow
  }

  #asking(head: Head, state: { readonly local: LocalState; readonly difference: ReceivedDifference }): Asking {
    const { stateRoot, entries } = head.newer!.manifest.value
    const target: Target = { feedId: feedIdBytes(head.feedId), stateRoot, entries }
    return {
      target,
      local: state.local,
      sink: state.difference,
      main: this.#parts.main,
      openMore: (count) => this.#parts.openMore(head, count),
    }
  }

  async #verify(head: Head, known: FeedState, difference: ReceivedDifference): Promise<FetchedState> {
    if (difference.shadow !== undefined) return await this.#verifyShadow(head, known, difference.shadow)
    const drops = await this.#namesAt(known, difference.drops)
    return await this.#verifyHeld(head, known, { puts: difference.puts, drops })
  }

  /** Names of the rows at these places; places that hold none are left out. */
  async #namesAt({ number, generation }: FeedState, places: readonly Buffer[]): Promise<GoneRow[]> {
    const { records } = this.#parts.ledger.registry
    const stored = await records.findMany(places.map((place) => keys.row(number, generation, place)))
    return stored.flatMap((value) => (value === undefined ? [] : decodeRow(value)))
  }

  async #verifyHeld(head: Head, known: FeedState, news: RowNews): Promise<FetchedState> {
    const { registry } = this.#parts.ledger
    const state = await prepareAdoption(registry, { ...received(head, known), ...news })
    return {
      head,
      state,
      news: async function* once() {
        yield news
      },
    }
  }

  async #verifyShadow(head: Head, known: FeedState, shadow: Shadow): Promise<FetchedState> {
    const { registry } = this.#parts.ledger
    const state = await prepareShadowAdoption(registry, received(head, known), shadow)
    const old = RecordTrie.ofState(registry.records, known.number, known.generation)
    return { head, state, news: () => compareRows(old, shadow) }
  }
}

function received({ feedId, charter, newer }: Head, { feedId: knownId }: FeedState) {
  if (feedId !== knownId) throw new FeedmeshError('INTERNAL', `feed ${knownId} is not feed ${feedId}`)
  const { manifest, deps, revocations } = newer!
  return { feedId, charter, manifest, deps, revocations }
}

/** Rows of one group of news. */
const MAX_GROUP = 2000

interface PlacedRow {
  readonly place: Buffer
  readonly encoded: Buffer
  readonly row: Row
}

async function* placedRows(shadow: Shadow): AsyncGenerator<PlacedRow> {
  for await (const row of shadow.rows())
    yield { place: placeOf(shadow.salt, row.unit, row.key), encoded: Buffer.from(encodeRow(row)), row }
}

/** Walks both states in order of place. */
async function* compareRows(old: RecordTrie, shadow: Shadow): AsyncGenerator<RowNews> {
  const before = old.values('')
  let known = await before.next()
  let news: { puts: Row[]; drops: GoneRow[] } = { puts: [], drops: [] }
  for await (const { place, encoded, row } of placedRows(shadow)) {
    while (known.done !== true && place.compare(known.value[0]) > 0) {
      news.drops.push(decodeRow(known.value[1]))
      known = await before.next()
    }
    const isKnown = known.done !== true && place.equals(known.value[0])
    if (!isKnown || !encoded.equals(known.value![1])) news.puts.push(row)
    if (isKnown) known = await before.next()
    if (news.puts.length + news.drops.length < MAX_GROUP) continue
    yield news
    news = { puts: [], drops: [] }
  }
  for (; known.done !== true; known = await before.next()) news.drops.push(decodeRow(known.value[1]))
  yield news
}
