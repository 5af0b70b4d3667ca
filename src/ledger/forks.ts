/**
 * The proofs of forks that this node holds, in memory and in the store: one a feed, the one that bars most. They stay when
 * the feed is forgotten, and are handed on with its head for as long as they bar anything.
 */

import { bytes, decodeCbor, encodeCbor, record, uint } from '../catalog/cbor.ts'
import { type FeedId, feedIdBytes, feedIdText } from '../catalog/charter.ts'
import { type Fork, forkProofShape, isAboveFork, isForkOpen, renderFork, worseFork } from '../catalog/fork-proof.ts'
import type { Deps } from '../catalog/manifest.ts'
import { FeedmeshError } from '../errors.ts'
import { keys } from '../store/keys.ts'
import type { Records } from '../store/records.ts'
import type { FeedState } from './feed-state.ts'

const storedFork = record({
  feedId: [1, bytes({ size: 32 })],
  generation: [2, uint()],
  epoch: [3, uint()],
  number: [4, uint()],
  proof: [5, forkProofShape],
})

export function forkError(fork: Fork): FeedmeshError {
  return new FeedmeshError(
    'FORKED',
    `${renderFork(fork)}: nothing newer of it is taken until its operator raises the epoch with feedmesh feed new-epoch NAME`,
  )
}

export class Forks {
  readonly #records: Records
  readonly #forks = new Map<FeedId, Fork>()

  private constructor(records: Records) {
    this.#records = records
  }

  static async open(records: Records): Promise<Forks> {
    const forks = new Forks(records)
    for await (const [, value] of records.scan(keys.forks())) {
      const { feedId, ...fork } = decodeCbor(storedFork, value, 'stored proof of a fork')
      const id = feedIdText(feedId)
      forks.#forks.set(id, { ...fork, feedId: id })
    }
    return forks
  }

  find(feedId: FeedId): Fork | undefined {
    return this.#forks.get(feedId)
  }

  /** The fork that bars what comes after `state`, if one does. */
  findOpen(state: FeedState): Fork | undefined {
    const fork = this.#forks.get(state.feedId)
    return fork !== undefined && isForkOpen(fork, state.charter.value) ? fork : undefined
  }

  /** Keeps a checked proof, unless what is here already bars more. */
  async note(fork: Fork): Promise<void> {
    const known = this.#forks.get(fork.feedId)
    if (known !== undefined && worseFork(known, fork) === known) return
    const value = encodeCbor(storedFork, { ...fork, feedId: feedIdBytes(fork.feedId) })
    await this.#records.write([{ type: 'put', key: keys.fork(fork.feedId), value }])
    this.#forks.set(fork.feedId, fork)
  }

  /** @throws FORKED for a state on one of the two sides of a fork or above them */
  verifyBelow(state: FeedState): void {
    const fork = this.#forks.get(state.feedId)
    if (fork === undefined || state.manifest === undefined) return
    if (isAboveFork(fork, { charter: state.charter.value, seq: state.manifest.value.seq })) throw forkError(fork)
  }

  /** Feeds whose states that `deps` name cannot be had because they are forked: such deps count as met. */
  barredOf(deps: Deps): FeedId[] {
    return deps.flatMap((dep) => {
      const fork = this.#forks.get(feedIdText(dep.feedId))
      if (fork === undefined || dep.epoch !== fork.epoch) return []
      return fork.proof.of === 'charter' || dep.seq >= fork.number ? [fork.feedId] : []
    })
  }
}
