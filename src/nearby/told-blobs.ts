/**
 * What this node tells of the blobs of one feed: the newest, a bounded number. Whoever follows keeps the turn up to which it was
 * told; what it missed meanwhile is not kept for it, it gets what is newest.
 */

import { MAX_TOLD_BLOBS, type ToldBlob } from '../../protocols/mesh/nearby/messages.ts'
import type { Digest } from '../catalog/digest.ts'
import { ChunkSet } from './chunk-set.ts'

/** Blobs kept to be told of. */
export const MAX_KEPT_BLOBS = 1024

interface Told {
  readonly chunks: ChunkSet | 'all'
  readonly turn: number
}

export class ToldBlobs {
  /** Oldest change first. */
  readonly #blobs = new Map<Digest, Told>()
  #turn = 0

  /** Of the newest change. */
  get turn(): number {
    return this.#turn
  }

  /** Whether that is news. */
  tell(digest: Digest, parts: readonly number[] | 'all'): boolean {
    const known = this.#blobs.get(digest)?.chunks
    if (known === 'all') return false
    if (parts === 'all') this.#put(digest, 'all')
    else {
      const chunks = known ?? new ChunkSet()
      const added = parts.filter((index) => chunks.add(index))
      if (added.length === 0) return false
      this.#put(digest, chunks)
    }
    return true
  }

  /** What changed after that turn, oldest first, as much as a message takes. */
  since(turn: number): { readonly blobs: readonly ToldBlob[]; readonly turn: number } {
    if (turn >= this.#turn) return { blobs: [], turn: this.#turn }
    const blobs: ToldBlob[] = []
    for (const [digest, told] of this.#blobs) {
      if (told.turn <= turn) continue
      blobs.push(renderTold(digest, told.chunks))
      if (blobs.length === MAX_TOLD_BLOBS) return { blobs, turn: told.turn }
    }
    return { blobs, turn: this.#turn }
  }

  /** A state that names them is here whole: nobody needs to be told of each. */
  forgetWhole(): void {
    for (const [digest, { chunks }] of this.#blobs) if (chunks === 'all') this.#blobs.delete(digest)
  }

  #put(digest: Digest, chunks: ChunkSet | 'all'): void {
    this.#turn += 1
    this.#blobs.delete(digest)
    this.#blobs.set(digest, { chunks, turn: this.#turn })
    const [oldest] = this.#blobs.keys()
    if (this.#blobs.size > MAX_KEPT_BLOBS && oldest !== undefined) this.#blobs.delete(oldest)
  }
}

function renderTold(digest: Digest, chunks: ChunkSet | 'all'): ToldBlob {
  return chunks === 'all' ? { digest, isWhole: true, runs: [] } : { digest, isWhole: false, runs: chunks.runs() }
}
