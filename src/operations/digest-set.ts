/**
 * Digests of many blobs in 16 bytes each: what a sweep spares. Only their first 64 bits are kept, so two that agree in these
 * count as one: a blob too many is spared then, never one too few.
 */

import type { Digest } from '../catalog/digest.ts'

const FIRST_SLOTS = 1024

/** The first 64 bits as two numbers; never both 0, which is an empty slot. */
function bitsOf(digest: Digest): readonly [number, number] {
  const high = Number.parseInt(digest.slice(7, 15), 16)
  const low = Number.parseInt(digest.slice(15, 23), 16)
  return [high, high === 0 && low === 0 ? 1 : low]
}

export class DigestSet {
  /** Open addressing: two numbers a slot, at most every second slot in use. */
  #slots = new Uint32Array(2 * FIRST_SLOTS)
  #size = 0

  add(digest: Digest): void {
    const [high, low] = bitsOf(digest)
    if (!this.#insert(high, low)) return
    this.#size += 1
    if (4 * this.#size > this.#slots.length) this.#grow()
  }

  has(digest: Digest): boolean {
    const [high, low] = bitsOf(digest)
    return this.#isAt(this.#slotOf(high, low), high, low)
  }

  /** @returns whether it was not there */
  #insert(high: number, low: number): boolean {
    const at = this.#slotOf(high, low)
    if (this.#isAt(at, high, low)) return false
    this.#slots[at] = high
    this.#slots[at + 1] = low
    return true
  }

  #isAt(at: number, high: number, low: number): boolean {
    return this.#slots[at] === high && this.#slots[at + 1] === low
  }

  /** Where it is, or the empty slot where it would be. */
  #slotOf(high: number, low: number): number {
    const slots = this.#slots.length / 2
    let slot = low % slots
    while (!this.#isAt(2 * slot, 0, 0) && !this.#isAt(2 * slot, high, low)) slot = (slot + 1) % slots
    return 2 * slot
  }

  #grow(): void {
    const old = this.#slots
    this.#slots = new Uint32Array(2 * old.length)
    for (let at = 0; at < old.length; at += 2) {
      const [high = 0, low = 0] = [old[at], old[at + 1]]
      if (high !== 0 || low !== 0) this.#insert(high, low)
    }
  }
}
