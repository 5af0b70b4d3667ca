/** A peer that sends what it likes: raw frames out, raw bytes back. */

import { encodeFrame } from '../../protocols/mesh/frames.ts'
import { encodeCbor, type Shape } from '../../src/catalog/cbor.ts'
import { asFeedmeshError, type FeedmeshError } from '../../src/errors.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'
import type { MemoryNetwork } from '../../src/network/memory-network.ts'

export interface Answer {
  /** Everything the other end sent. */
  readonly bytes: Buffer
  /** undefined when the other end closed in good order. */
  readonly broken: FeedmeshError | undefined
}

const never = new AbortController().signal

export class HostilePeer implements AsyncDisposable {
  readonly identity: Identity
  readonly host: MeshHost

  constructor(network: MemoryNetwork, identity: Identity = generateIdentity()) {
    this.identity = identity
    this.host = network.openHost(identity)
  }

  async connect(to: MeshHost): Promise<void> {
    await this.host.connect(to.peerId, to.addresses(), never)
  }

  /** Sends raw pieces on a new stream, ends it, and gives all that comes back. */
  async send(to: MeshHost, protocol: string, pieces: Iterable<Uint8Array>): Promise<Answer> {
    await this.connect(to)
    const channel = await this.host.open(to.peerId, protocol, never)
    const sending = (async () => {
      for (const piece of pieces) await channel.send(piece)
      await channel.end()
    })()
    const received: Uint8Array[] = []
    try {
      for await (const piece of channel.receive()) received.push(piece)
      await sending
      return { bytes: Buffer.concat(received), broken: undefined }
    } catch (error) {
      await sending.catch(() => undefined)
      return { bytes: Buffer.concat(received), broken: asFeedmeshError(error) }
    }
  }

  /** One request in its frame. */
  async ask<T>(
    to: MeshHost,
    protocol: string,
    request: { readonly shape: Shape<T>; readonly value: T },
  ): Promise<Answer> {
    return await this.send(to, protocol, [encodeFrame(encodeCbor(request.shape, request.value))])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.host[Symbol.asyncDispose]()
  }
}

/** The frames of an answer. */
export function splitFrames(bytes: Buffer): Buffer[] {
  const frames: Buffer[] = []
  let at = 0
  while (at < bytes.length) {
    const length = bytes.readUInt32BE(at)
    frames.push(bytes.subarray(at + 4, at + 4 + length))
    at += 4 + length
  }
  return frames
}
