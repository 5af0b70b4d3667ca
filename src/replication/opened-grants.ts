/** Grants whose signatures were checked before. It remembers signatures only: whether a grant counts is asked anew each time. */

import { type Grant, openGrant } from '../catalog/grant.ts'
import type { Signed } from '../catalog/signed.ts'

export class OpenedGrants {
  /** By the very bytes that are held somewhere, gone with them. */
  readonly #opened = new WeakMap<Uint8Array, Signed<Grant>>()

  /** @throws PEER_INVALID, FORGED */
  readonly open = (encoded: Uint8Array): Signed<Grant> => {
    const known = this.#opened.get(encoded)
    if (known !== undefined) return known
    const opened = openGrant(encoded)
    this.#opened.set(encoded, opened)
    return opened
  }
}
