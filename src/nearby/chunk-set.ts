/** Which chunks of a blob somebody has; grows with the highest of them. */

import { type ChunkRun, MAX_TOLD_CHUNKS, MAX_TOLD_RUNS } from '../../protocols/mesh/nearby/messages.ts'

export class ChunkSet {
  #bits: Uint8Array = new Uint8Array(8)

  /** Whether it was not there. Chunks beyond what can be told of are left out. */
  add(index: number): boolean {
    if (index >= MAX_TOLD_CHUNKS || this.has(index)) return false
    const at = index >> 3
    if (at >= this.#bits.length) {
      const larger = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      larger.set(this.#bits)
      this.#bits = larger
    }
    this.#bits[at] = (this.#bits[at] ?? 0) | (1 << (index & 7))
    return true
  }

  has(index: number): boolean {
    return ((this.#bits[index >> 3] ?? 0) & (1 << (index & 7))) !== 0
  }

  indexes(): number[] {
    const found: number[] = []
    for (let index = 0; index < this.#bits.length * 8; index += 1) if (this.has(index)) found.push(index)
    return found
  }

  /** The first runs, as many as a message takes. */
  runs(): ChunkRun[] {
    const runs: { first: number; count: number }[] = []
    for (const index of this.indexes()) {
      const last = runs.at(-1)
      if (last !== undefined && last.first + last.count === index) last.count += 1
      else if (runs.length < MAX_TOLD_RUNS) runs.push({ first: index, count: 1 })
      else break
    }
    return runs
  }
}
