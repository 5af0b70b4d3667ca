/** The blobs of a plan that are neither here nor have failed, and their parts by name. */

import type { Part } from './parts.ts'

interface BlobInPlan {
  readonly parts: readonly Part[]
  left: number
}

export class PlannedBlobs {
  readonly #blobs = new Map<string, BlobInPlan>()
  readonly #parts = new Map<string, Part>()

  get isEmpty(): boolean {
    return this.#blobs.size === 0
  }

  has(digest: string): boolean {
    return this.#blobs.has(digest)
  }

  /** Those that are over count as here. */
  add(digest: string, parts: readonly Part[]): void {
    const left = parts.filter((part) => !part.isOver)
    if (left.length === 0) return
    this.#blobs.set(digest, { parts, left: left.length })
    for (const part of left) this.#parts.set(part.name, part)
  }

  findPart(name: string): Part | undefined {
    return this.#parts.get(name)
  }

  partsOf(digest: string): readonly Part[] {
    return this.#blobs.get(digest)?.parts ?? []
  }

  /** The part is here. @returns whether all of its blob is */
  finish(part: Part): boolean {
    const { digest } = part.blob
    const blob = this.#blobs.get(digest)
    if (blob === undefined) return false
    blob.left -= 1
    if (blob.left > 0) return false
    this.forget(digest)
    return true
  }

  /** @returns its parts */
  forget(digest: string): readonly Part[] {
    const parts = this.partsOf(digest)
    this.#blobs.delete(digest)
    for (const part of parts) this.#parts.delete(part.name)
    return parts
  }
}
