/** Reads the first chunk of a channel on a connection of the bulk lane. */

import { type BulkOpening, bulkOpening, MAX_OPENING_BYTES } from '../../protocols/mesh/bulk/messages.ts'
import { decodeCbor } from '../catalog/cbor.ts'
import { isFeedmeshError } from '../errors.ts'
import type { LaneReader, LaneSocket } from './lane-socket.ts'
import type { SetTimer } from './timers.ts'

/** An opening has to be complete this long after the handshake, or after its first byte. */
const OPENING_MS = 10_000
/** A connection without a channel is closed after this long. */
const BETWEEN_MS = 5 * 60_000

export interface OpeningOptions {
  readonly socket: LaneSocket
  readonly turn: 'first' | 'next'
  readonly setTimer: SetTimer
  /** The next reader has to be set before this returns. */
  readonly onOpening: (protocol: string) => void
}

export class OpeningReader implements LaneReader {
  readonly maxChunkBytes = MAX_OPENING_BYTES
  readonly #options: OpeningOptions
  #bytes = Buffer.alloc(0)
  #cancelLimit: () => void

  constructor(options: OpeningOptions) {
    this.#options = options
    this.#cancelLimit = this.#limit(options.turn === 'first' ? OPENING_MS : BETWEEN_MS)
  }

  onBytes(bytes: Uint8Array, from: number, to: number): void {
    if (this.#bytes.length === 0) {
      this.#cancelLimit()
      this.#cancelLimit = this.#limit(OPENING_MS)
    }
    this.#bytes = Buffer.concat([this.#bytes, bytes.subarray(from, to)])
  }

  onChunkEnd(): void {
    this.#cancelLimit()
    const { socket, onOpening } = this.#options
    let opening: BulkOpening
    try {
      opening = decodeCbor(bulkOpening, this.#bytes, 'the opening of a channel')
    } catch (error) {
      if (!isFeedmeshError(error, 'PEER_INVALID')) throw error
      socket.reset()
      return
    }
    onOpening(opening.protocol)
  }

  /** An end without a channel. */
  onEnd(): void {
    this.#cancelLimit()
    this.#options.socket.close()
  }

  onBroken(): void {
    this.#cancelLimit()
  }

  #limit(ms: number): () => void {
    return this.#options.setTimer(() => this.#options.socket.close(), ms)
  }
}
