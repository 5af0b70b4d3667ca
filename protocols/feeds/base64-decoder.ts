/** Base64 in pieces of any size to bytes. */

import { FeedmeshError } from '../../src/errors.ts'

const GROUP = /^[A-Za-z0-9+/]{2}(?:==|[A-Za-z0-9+/](?:=|[A-Za-z0-9+/]))$/

export class Base64Decoder {
  #rest = ''
  #hasEnded = false

  /** @throws BAD_INPUT for anything outside the alphabet and for text after the padding. */
  push(text: string): Uint8Array {
    const all = this.#rest + text
    const whole = all.length - (all.length % 4)
    this.#rest = all.slice(whole)
    if (whole === 0) {
      if (this.#hasEnded && all.length > 0) throw notBase64()
      return new Uint8Array(0)
    }
    if (this.#hasEnded) throw notBase64()
    const last = all.slice(whole - 4, whole)
    const body = Buffer.from(all.slice(0, whole - 4), 'base64')
    // Node's decoder skips what is not base64 and stops at padding: both show as missing bytes.
    if (body.length !== ((whole - 4) / 4) * 3 || !GROUP.test(last)) throw notBase64()
    this.#hasEnded = last.endsWith('=')
    return Buffer.concat([body, Buffer.from(last, 'base64')])
  }

  /** @throws BAD_INPUT when the text ended within a group. */
  end(): void {
    if (this.#rest !== '') throw notBase64()
  }
}

function notBase64(): FeedmeshError {
  return new FeedmeshError('BAD_INPUT', 'the data is not base64')
}
