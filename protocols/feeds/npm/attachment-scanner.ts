/**
 * Takes a publish document apart while it arrives: the strings at `_attachments.<name>.data` come out as bytes, all the
 * rest is collected, with "" in their place, and parsed at the end. Memory is bounded by the limits, not by the document.
 *
 * The scanner only finds strings, nesting and keys. That is enough because JSON.parse checks what is left: text on which
 * the two would disagree is not JSON.
 */

import { FeedmeshError } from '../../../src/errors.ts'
import { Base64Decoder } from '../base64-decoder.ts'
import { GrowingBuffer } from '../growing-buffer.ts'
import { parseJson } from '../request-body.ts'

export type ScanEvent =
  | { readonly type: 'begin'; readonly name: string }
  | { readonly type: 'data'; readonly bytes: Uint8Array }
  | { readonly type: 'end' }

export interface ScanLimits {
  /** Bytes of the document without the attachments' data. */
  readonly maxDocumentBytes: number
  readonly maxAttachments: number
}

const MAX_DEPTH = 100
const MAX_KEY_BYTES = 1024

const QUOTE = 0x22
const BACKSLASH = 0x5c
const COMMA = 0x2c
const COLON = 0x3a
const OPEN_BRACE = 0x7b
const CLOSE_BRACE = 0x7d
const OPEN_BRACKET = 0x5b
const CLOSE_BRACKET = 0x5d
const SOLIDUS = 0x2f

interface Level {
  readonly isObject: boolean
  /** Key of the member being read; undefined until its colon. */
  key: string | undefined
}

export class AttachmentScanner {
  readonly #limits: ScanLimits
  readonly #levels: Level[] = []
  readonly #names = new Set<string>()
  readonly #skeleton = new GrowingBuffer()
  #mode: 'outside' | 'string' | 'data' = 'outside'
  #isEscaped = false
  /** Bytes of the string being read, kept while it may be a key of interest. */
  #text: number[] = []
  #lastText: string | undefined
  #decoder = new Base64Decoder()

  constructor(limits: ScanLimits) {
    this.#limits = limits
  }

  /** @throws BAD_INPUT, TOO_LARGE */
  push(chunk: Uint8Array): ScanEvent[] {
    const bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    const events: ScanEvent[] = []
    let at = 0
    while (at < bytes.length)
      at = this.#mode === 'data' ? this.#data(bytes, at, events) : this.#document(bytes, at, events)
    return events
  }

  /** The document without the attachments' data. @throws BAD_INPUT */
  end(): unknown {
    if (this.#mode !== 'outside' || this.#levels.length > 0) {
      throw new FeedmeshError('BAD_INPUT', 'the publish document ends too early')
    }
    return parseJson(this.#skeleton.bytes(), 'publish document')
  }

  /** Reads up to the start of an attachment's data or the end of the chunk; returns where it stopped. */
  #document(bytes: Buffer, start: number, events: ScanEvent[]): number {
    for (let at = start; at < bytes.length; at += 1) {
      const byte = bytes[at] ?? 0
      if (this.#mode === 'string') {
        this.#string(byte)
      } else if (byte !== QUOTE) {
        this.#structure(byte)
      } else if (this.#isDataNext()) {
        this.#keep(bytes.subarray(start, at))
        this.#keep(Buffer.from('""'))
        events.push({ type: 'begin', name: this.#openAttachment() })
        return at + 1
      } else {
        this.#mode = 'string'
        this.#text = []
      }
    }
    this.#keep(bytes.subarray(start))
    return bytes.length
  }

  #string(byte: number): void {
    if (this.#isEscaped) {
      this.#isEscaped = false
    } else if (byte === BACKSLASH) {
      this.#isEscaped = true
    } else if (byte === QUOTE) {
      this.#mode = 'outside'
      this.#lastText = this.#isKeyWanted() ? parseKey(this.#text) : undefined
      return
    }
    if (this.#isKeyWanted() && this.#text.length <= MAX_KEY_BYTES) this.#text.push(byte)
  }

  #structure(byte: number): void {
    const level = this.#levels.at(-1)
    switch (byte) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        if (this.#levels.length >= MAX_DEPTH) {
          throw new FeedmeshError('BAD_INPUT', `the publish document is nested deeper than ${MAX_DEPTH} levels`)
        }
        this.#levels.push({ isObject: byte === OPEN_BRACE, key: undefined })
        break
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        if (level?.isObject !== (byte === CLOSE_BRACE))
          throw new FeedmeshError('BAD_INPUT', 'the publish document is not JSON')
        this.#levels.pop()
        break
      case COLON:
        if (level?.isObject === true) level.key = this.#lastText ?? ''
        break
      case COMMA:
        if (level !== undefined) level.key = undefined
        break
      default:
    }
  }

  /** Only keys down to `_attachments.<name>.data` are told apart. */
  #isKeyWanted(): boolean {
    const level = this.#levels.at(-1)
    return this.#levels.length <= 3 && level?.isObject === true && level.key === undefined
  }

  #isDataNext(): boolean {
    const [root, attachments, attachment] = this.#levels
    return (
      this.#levels.length === 3 &&
      root?.key === '_attachments' &&
      attachments?.isObject === true &&
      attachment?.key === 'data'
    )
  }

  #openAttachment(): string {
    const name = this.#levels[1]?.key ?? ''
    if (this.#names.has(name)) throw new FeedmeshError('BAD_INPUT', `attachment ${JSON.stringify(name)} comes twice`)
    this.#names.add(name)
    if (this.#names.size > this.#limits.maxAttachments) {
      throw new FeedmeshError(
        'BAD_INPUT',
        `more than ${this.#limits.maxAttachments} attachments in one publish document`,
      )
    }
    this.#mode = 'data'
    this.#decoder = new Base64Decoder()
    return name
  }

  #data(bytes: Buffer, start: number, events: ScanEvent[]): number {
    if (this.#isEscaped) {
      // Some JSON writers escape the solidus; no other escape can be part of base64.
      if (bytes[start] !== SOLIDUS)
        throw new FeedmeshError('BAD_INPUT', 'an attachment holds an escape that is not base64')
      this.#isEscaped = false
      this.#decode('/', events)
      return start + 1
    }
    const quote = bytes.indexOf(QUOTE, start)
    const end = quote === -1 ? bytes.length : quote
    const backslash = bytes.subarray(start, end).indexOf(BACKSLASH)
    const stop = backslash === -1 ? end : start + backslash
    this.#decode(bytes.toString('latin1', start, stop), events)
    if (backslash !== -1) {
      this.#isEscaped = true
    } else if (quote !== -1) {
      this.#decoder.end()
      this.#mode = 'outside'
      events.push({ type: 'end' })
    }
    return stop + 1
  }

  #decode(text: string, events: ScanEvent[]): void {
    const bytes = this.#decoder.push(text)
    if (bytes.length > 0) events.push({ type: 'data', bytes })
  }

  #keep(bytes: Buffer): void {
    const { maxDocumentBytes } = this.#limits
    if (this.#skeleton.size + bytes.length > maxDocumentBytes) {
      throw new FeedmeshError(
        'TOO_LARGE',
        `the publish document has more than ${maxDocumentBytes} bytes besides its files`,
      )
    }
    this.#skeleton.append(bytes)
  }
}

function parseKey(raw: readonly number[]): string | undefined {
  if (raw.length > MAX_KEY_BYTES) return undefined
  const key = parseJson(Buffer.from([QUOTE, ...raw, QUOTE]), 'key in the publish document')
  return typeof key === 'string' ? key : undefined
}
