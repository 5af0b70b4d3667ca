/**
 * Blobs that a client asks for and that are not here: fetched from linked peers, once however many clients wait, and read by
 * them while they arrive.
 *
 * A fetch goes on while somebody waits for it. When the last one leaves it goes on if it is nearly done, and is given up
 * otherwise: what arrived stays for the next time.
 */

import type { Readable } from 'node:stream'
import type { SetTimer } from '../../protocols/mesh/progress.ts'
import type { Digest } from '../catalog/digest.ts'
import { isReceiving } from '../catalog/policy.ts'
import { FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { BlobWanted, FetchBlob } from '../feeds/ledger-feed.ts'
import type { ByteRange } from '../store/blobs.ts'
import { Demand, type DemandFetchOptions } from './demand.ts'
import { brings } from './expected-files.ts'
import type { GrowingBlob } from './growing-blob.ts'

export type { DemandFetchOptions } from './demand.ts'

/** For a peer: so long the first bytes are waited for of what somebody else has under way. Then two that wait for each other stop. */
const JOIN_MS = 2000
/** For a peer: what nobody gave is not asked for again so soon. */
const MISSED_MS = 10_000
const MAX_MISSED = 10_000

export interface DemandFetch extends FetchBlob {
  open(wanted: BlobWanted, range: ByteRange): Promise<Readable>
  /** For nobody who waits. @throws as `FetchBlob` */
  bring(wanted: BlobWanted): Promise<void>
  /**
   * For a peer, from those that the rows of the feed come from and not from the peer itself, so that nodes that have nothing do
   * not ask each other for ever. @throws as `open`
   */
  openFor(peer: string, wanted: BlobWanted, range: ByteRange): Promise<Readable>
  /** Resolves once nothing is under way. */
  whenIdle(): Promise<void>
}

export function createDemandFetch(options: DemandFetchOptions): DemandFetch {
  const demands = new Demands(options)
  return Object.assign((wanted: BlobWanted) => demands.wait(wanted), {
    open: (wanted: BlobWanted, range: ByteRange) => demands.open(wanted, range),
    openFor: (peer: string, wanted: BlobWanted, range: ByteRange) => demands.openFor(peer, wanted, range),
    bring: (wanted: BlobWanted) => demands.bring(wanted),
    used: (digest: Digest) => options.space?.used(digest),
    whenIdle: () => demands.whenIdle(),
  })
}

class Demands {
  readonly #options: DemandFetchOptions
  readonly #underWay = new Map<string, Demand>()
  /** By digest: what nobody gave a moment ago, and what ends that moment. */
  readonly #missed = new Map<string, () => void>()

  constructor(options: DemandFetchOptions) {
    this.#options = options
  }

  wait(wanted: BlobWanted): Promise<void> {
    return this.#attempt(wanted, (demand) => demand.wait())
  }

  async open(wanted: BlobWanted, range: ByteRange): Promise<Readable> {
    verifyRange(wanted, range)
    return await this.#attempt(wanted, (demand) => demand.growing.open(range))
  }

  bring(wanted: BlobWanted): Promise<void> {
    const running = this.#underWay.get(wanted.file.digest)
    return (running ?? this.#start(wanted, findSources(this.#options, wanted))).wait()
  }

  async openFor(peer: string, wanted: BlobWanted, range: ByteRange): Promise<Readable> {
    verifyRange(wanted, range)
    const { digest } = wanted.file
    const { setTimer } = this.#options
    const running = this.#underWay.get(digest)
    if (running !== undefined) return await openSoon(running.growing, range, setTimer)
    const sources = findSources(this.#options, wanted).filter((source) => source !== peer)
    if (sources.length === 0 || this.#missed.has(digest))
      throw new FeedmeshError('NOT_FOUND', `nobody that ${digest} comes from has it`)
    const demand = this.#start(wanted, sources)
    demand.done.catch(() => this.#noteMissed(digest))
    return await demand.growing.open(range)
  }

  async whenIdle(): Promise<void> {
    for (const forget of this.#missed.values()) forget()
    await Promise.allSettled([...this.#underWay.values()].map(({ done }) => done))
  }

  #noteMissed(digest: string): void {
    if (this.#missed.size >= MAX_MISSED) return
    const forget = this.#options.setTimer(() => this.#missed.delete(digest), MISSED_MS)
    this.#missed.set(digest, forget)
  }

  #start(wanted: BlobWanted, sources?: readonly string[]): Demand {
    const { digest } = wanted.file
    const demand = new Demand(wanted, this.#options, sources)
    this.#underWay.set(digest, demand)
    const forget = () => {
      if (this.#underWay.get(digest) === demand) this.#underWay.delete(digest)
    }
    demand.done.then(forget, forget)
    return demand
  }

  /** Joins what is under way; what somebody else wanted for another feed, or for a peer, may fail where this one does not. */
  async #attempt<T>(wanted: BlobWanted, use: (demand: Demand) => Promise<T>): Promise<T> {
    for (;;) {
      const running = this.#underWay.get(wanted.file.digest)
      if (running === undefined) return await use(this.#start(wanted))
      if (running.isGivenUp) {
        await running.done.catch(() => undefined) // Nobody waits for it.
        continue
      }
      try {
        return await use(running)
      } catch (error) {
        const isSame = running.wanted.feedId === wanted.feedId && !running.isForPeer
        if (isSame || !isFeedmeshError(error, 'NOT_FOUND')) throw error
      }
    }
  }
}

/** Peers from which the rows of the feed come. */
function findSources({ book, registry }: DemandFetchOptions, { feedId }: BlobWanted): string[] {
  const sources = book.replications.all().filter(({ mode, paused }) => isReceiving(mode) && !paused)
  const links = sources.filter((one) => brings({ book, registry }, one, feedId)).flatMap(({ id }) => book.linksOf(id))
  return [...new Set(links.filter(({ revokedAt }) => revokedAt === null).map(({ peer }) => peer))]
}

/** @throws RANGE */
function verifyRange({ file: { digest, size } }: BlobWanted, { start, end }: ByteRange): void {
  if (start >= 0 && start < end && end <= size) return
  throw new FeedmeshError('RANGE', `bytes ${start} to ${end} lie outside ${digest} of ${size} bytes`)
}

/** What somebody else waits for, unless it does not begin to come. @throws NOT_FOUND */
async function openSoon(growing: GrowingBlob, range: ByteRange, setTimer: SetTimer): Promise<Readable> {
  const late = Promise.withResolvers<'late'>()
  const cancel = setTimer(() => late.resolve('late'), JOIN_MS)
  const opening = growing.open(range)
  try {
    const first = await Promise.race([opening, late.promise])
    if (first !== 'late') return first
  } finally {
    cancel()
  }
  opening.then((stream) => stream.destroy()).catch(() => undefined) // Nobody waits for it.
  throw new FeedmeshError('NOT_FOUND', 'it is being waited for here, too, and has not come yet')
}
