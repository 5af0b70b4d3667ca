/**
 * Which blobs were sealed a short while ago, so that the batch that names them may still be under way.
 *
 * Only the process that seals a blob writes that batch: after a restart nothing is under way, and memory is enough.
 */

import type { Digest } from '../catalog/digest.ts'
import { FeedmeshError } from '../errors.ts'

export class RecentlySealed {
  readonly #graceMs: number
  readonly #now: () => number
  /** Time of the last sealing, oldest first, and how many of them may have a batch under way. */
  readonly #sealedAt = new Map<Digest, { readonly at: number; readonly unsettled: number }>()
  readonly #removals = new Map<Digest, Promise<void>>()

  constructor(graceMs: number, now: () => number) {
    this.#graceMs = graceMs
    this.#now = now
  }

  /** Notes that `digest` is being sealed, after any removal of it that is under way. */
  async add(digest: Digest): Promise<void> {
    for (let removal = this.#removals.get(digest); removal; removal = this.#removals.get(digest)) {
      await removal.catch(() => undefined) // Whoever removes it has been told.
    }
    this.#forgetOld()
    const unsettled = this.#sealedAt.get(digest)?.unsettled ?? 0
    this.#sealedAt.delete(digest)
    this.#sealedAt.set(digest, { at: this.#now(), unsettled: unsettled + 1 })
  }

  /** No batch that names what one sealing brought is under way any more. */
  settle(digest: Digest): void {
    const known = this.#sealedAt.get(digest)
    if (known === undefined) return
    if (known.unsettled <= 1) this.#sealedAt.delete(digest)
    else this.#sealedAt.set(digest, { ...known, unsettled: known.unsettled - 1 })
  }

  isRecent(digest: Digest): boolean {
    this.#forgetOld()
    return this.#sealedAt.has(digest)
  }

  /** Runs a removal during which `digest` cannot be sealed. @throws BUSY when it was sealed a short while ago. */
  async whileUnsealed(digest: Digest, remove: () => Promise<void>): Promise<void> {
    if (this.isRecent(digest)) {
      throw new FeedmeshError('BUSY', `${digest} was stored a moment ago and may be about to be named; remove it later`)
    }
    const removal = (this.#removals.get(digest) ?? Promise.resolve()).then(remove, remove)
    this.#removals.set(digest, removal)
    try {
      await removal
    } finally {
      if (this.#removals.get(digest) === removal) this.#removals.delete(digest)
    }
  }

  #forgetOld(): void {
    const oldest = this.#now() - this.#graceMs
    for (const [digest, { at }] of this.#sealedAt) {
      if (at > oldest) return
      this.#sealedAt.delete(digest)
    }
  }
}
