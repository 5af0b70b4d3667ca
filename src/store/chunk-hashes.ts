/**
 * The hashes of a blob whose chunks arrive in any order: each chunk's own as it is written, and those of the whole as far as
 * its chunks are here without a gap. What follows on in order is hashed once while it comes; the rest is read again.
 */

import { createHash, type Hash } from 'node:crypto'
import type { HashAlgorithm } from './content-hashes.ts'

/** Hashes of a prefix of the content. */
export class PrefixHashes {
  readonly #hashers: ReadonlyMap<HashAlgorithm, Hash>

  private constructor(hashers: ReadonlyMap<HashAlgorithm, Hash>) {
    this.#hashers = hashers
  }

  static begin(algorithms: Iterable<HashAlgorithm>): PrefixHashes {
    return new PrefixHashes(new Map([...new Set(algorithms)].map((name) => [name, createHash(name)])))
  }

  update(bytes: Uint8Array): void {
    for (const hasher of this.#hashers.values()) hasher.update(bytes)
  }

  copy(): PrefixHashes {
    return new PrefixHashes(new Map([...this.#hashers].map(([name, hasher]) => [name, hasher.copy()])))
  }

  /** Lower-case hex by algorithm; to be called once. */
  finish(): Partial<Record<HashAlgorithm, string>> {
    return Object.fromEntries([...this.#hashers].map(([name, hasher]) => [name, hasher.digest('hex')]))
  }
}

/** A chunk that is being written, from its beginning on. */
export class OpenChunk {
  readonly #hasher = createHash('sha256')
  /** Of all before the chunk and of the chunk, where all before it is here. */
  readonly ahead: PrefixHashes | undefined
  held = 0

  constructor(ahead: PrefixHashes | undefined) {
    this.ahead = ahead
  }

  update(bytes: Uint8Array): void {
    this.#hasher.update(bytes)
    this.ahead?.update(bytes)
  }

  /** To be called once. */
  digest(): Buffer {
    return this.#hasher.digest()
  }
}
