/** Those who read along while blobs arrive, by digest; they may come while it is under way. */

import type { BlobFollower, FollowedStaging } from './growing-blob.ts'

/** Several who follow one blob. */
class FollowerGroup implements BlobFollower {
  readonly #followers: BlobFollower[] = []
  #staged: FollowedStaging | 'by chunks' | undefined
  /** Those who follow `#staged` already. */
  readonly #begun = new Set<BlobFollower>()

  add(follower: BlobFollower): void {
    this.#followers.push(follower)
  }

  /** Again for the same staging: for those who have come since. */
  async begin(staged: FollowedStaging | 'by chunks'): Promise<void> {
    if (staged !== this.#staged) this.#begun.clear()
    this.#staged = staged
    for (const follower of this.#followers) {
      if (this.#begun.has(follower)) continue
      this.#begun.add(follower)
      await follower.begin(staged)
    }
  }

  grown(): void {
    for (const follower of this.#followers) follower.grown()
  }
}

export class BlobFollowers {
  readonly #groups = new Map<string, FollowerGroup>()

  /** From the next `begin` on. */
  add(digest: string, follower: BlobFollower): void {
    const group = this.#groups.get(digest) ?? new FollowerGroup()
    this.#groups.set(digest, group)
    group.add(follower)
  }

  find(digest: string): BlobFollower | undefined {
    return this.#groups.get(digest)
  }
}
