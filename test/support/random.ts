/** A small seeded random source: the same seed, the same run. */

export interface Random {
  /** In [0, 1). */
  next(): number
  /** Whole number in [0, below). */
  below(below: number): number
  /** Whole number in [from, to], small ones as likely as large ones: sizes meet every boundary. */
  logUniform(from: number, to: number): number
  chance(probability: number): boolean
  pick<T>(from: readonly T[]): T
  bytes(size: number): Buffer
  /** A source of its own, so that more draws here change nothing there. */
  fork(): Random
}

/** sfc32, seeded through splitmix32. */
export function createRandom(seed: number): Random {
  let mix = seed >>> 0
  const seedWord = () => {
    mix = (mix + 0x9e3779b9) >>> 0
    let t = Math.imul(mix ^ (mix >>> 16), 0x21f0aaad)
    t = Math.imul(t ^ (t >>> 15), 0x735a2d97)
    return (t ^ (t >>> 15)) >>> 0
  }
  let [a, b, c, counter] = [seedWord(), seedWord(), seedWord(), 1]
  const word = () => {
    const t = (a + b + counter) >>> 0
    counter = (counter + 1) >>> 0
    a = b ^ (b >>> 9)
    b = (c + (c << 3)) >>> 0
    c = (((c << 21) | (c >>> 11)) + t) >>> 0
    return t
  }
  for (let warmUp = 0; warmUp < 12; warmUp += 1) word()
  const next = () => word() / 2 ** 32
  const below = (limit: number) => Math.floor(next() * limit)
  return {
    next,
    below,
    logUniform: (from, to) => Math.min(to, Math.floor(from * ((to + 1) / from) ** next())),
    chance: (probability) => next() < probability,
    pick: (from) => from[below(from.length)]!,
    bytes: (size) => {
      const bytes = Buffer.alloc(size)
      for (let at = 0; at < size; at += 4) {
        const value = word()
        for (let i = 0; i < 4 && at + i < size; i += 1) bytes[at + i] = value >>> (8 * i)
      }
      return bytes
    },
    fork: () => createRandom(word()),
  }
}
