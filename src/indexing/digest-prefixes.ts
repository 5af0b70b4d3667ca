/**
 * Digests of documents that change in one member: what was hashed before the first member that differs is not read and hashed
 * again. Kept in memory alone; a process that has just started hashes everything once.
 */

import { createHash, type Hash } from 'node:crypto'
import { INDEX_ENCODINGS, type IndexEncoding } from '../feeds/signed-index.ts'

export type Forms = Readonly<Record<IndexEncoding, Uint8Array>>

/** Members between two states that are kept. A state is about 1 KiB. */
const EVERY = 8

export class FormDigests {
  readonly #forms: readonly { readonly encoding: IndexEncoding; readonly hash: Hash; size: number }[]

  constructor(forms: readonly { readonly encoding: IndexEncoding; readonly hash: Hash; size: number }[]) {
    this.#forms = forms
  }

  static begin(): FormDigests {
    return new FormDigests(INDEX_ENCODINGS.map((encoding) => ({ encoding, hash: createHash('sha256'), size: 0 })))
  }

  update(forms: Forms): void {
    for (const form of this.#forms) {
      form.hash.update(forms[form.encoding])
      form.size += forms[form.encoding].length
    }
  }

  copy(): FormDigests {
    return new FormDigests(this.#forms.map(({ encoding, hash, size }) => ({ encoding, hash: hash.copy(), size })))
  }

  finish(): Readonly<Record<'raw' | 'gz' | 'zst', { readonly size: number; readonly sha256: Buffer }>> {
    const [raw, gz, zst] = this.#forms.map(({ hash, size }) => ({ size, sha256: hash.digest() }))
    return { raw: raw!, gz: gz!, zst: zst! }
  }
}

/** Of one document. */
export class DigestPrefixes {
  /** Ids of members, in order, each in hex. */
  #ids: readonly string[] = []
  /** By the number of members that are in them. */
  #states = new Map<number, FormDigests>()

  /** How many of the members need not be read, and the state behind them. */
  resume(ids: readonly string[]): { readonly from: number; readonly digests: FormDigests } {
    let same = 0
    while (same < ids.length && ids[same] === this.#ids[same]) same += 1
    for (const from of this.#states.keys()) if (from > same) this.#states.delete(from)
    this.#ids = ids
    const from = Math.max(0, ...this.#states.keys())
    return { from, digests: this.#states.get(from)?.copy() ?? FormDigests.begin() }
  }

  /** Tells of the state once `count` members are in it. */
  pass(count: number, digests: FormDigests): void {
    if (count % EVERY === 0) this.#states.set(count, digests.copy())
  }
}
