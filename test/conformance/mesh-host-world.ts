/** What the conformance suite of mesh hosts works with. */

import assert from 'node:assert/strict'
import type { TestContext } from 'node:test'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { type ErrorCode, isFeedmeshError } from '../../src/errors.ts'
import type { MeshHost } from '../../src/network/host.ts'
import { generateIdentity, type Identity } from '../../src/network/identity.ts'

export interface HostWorld {
  /** Opens a host; `address` is one of an earlier host of this world that is gone. */
  open(identity: Identity, address?: string): Promise<MeshHost>
  /** An address where nobody answers. */
  readonly deadAddress: string
  /** Most bytes that may be between a sender and a reader that is slower. */
  readonly maxInFlightBytes: number
}

export type CreateWorld = (t: TestContext) => Promise<HostWorld> | HostWorld

export const PROTOCOL = '/feedmesh/test/1'
export const LIMITS = { maxInboundStreams: 32, maxDurationMs: 60_000 }
/** A signal that is never aborted. */
export const never = new AbortController().signal

type Handler = (channel: Channel, signal: AbortSignal) => Promise<void>

export async function echo(channel: Channel): Promise<void> {
  for await (const piece of channel.receive()) await channel.send(piece)
}

export async function readAll(channel: Channel): Promise<Buffer> {
  const pieces: Uint8Array[] = []
  for await (const piece of channel.receive()) pieces.push(Buffer.from(piece))
  return Buffer.concat(pieces)
}

export async function ask(channel: Channel, text: string): Promise<string> {
  await channel.send(Buffer.from(text))
  await channel.end()
  return (await readAll(channel)).toString()
}

export function failsWith(code: ErrorCode, ...parts: readonly string[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(isFeedmeshError(error, code), `expected ${code}, got ${String(error)}`)
    for (const part of parts) assert.ok(error.message.includes(part), `${error.message} does not name ${part}`)
    return true
  }
}

/** Resolves at the next event of the kind about the peer, or at once when things are so already. */
export function peerEvent(host: MeshHost, type: 'connected' | 'disconnected', peerId: string): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const stop = host.onPeer((event) => {
    if (event.type !== type || event.peerId !== peerId) return
    stop()
    resolve()
  })
  const connected = host.peers().some((peer) => peer.peerId === peerId && peer.connected)
  if (connected === (type === 'connected')) {
    stop()
    resolve()
  }
  return promise
}

export class Pair implements AsyncDisposable {
  readonly near: MeshHost
  readonly far: MeshHost

  constructor(near: MeshHost, far: MeshHost) {
    this.near = near
    this.far = far
  }

  async open(): Promise<Channel> {
    return this.near.open(this.far.peerId, PROTOCOL, never)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.near[Symbol.asyncDispose]()
    await this.far[Symbol.asyncDispose]()
  }
}

export async function connectedPair(world: HostWorld, handler: Handler = echo): Promise<Pair> {
  const near = await world.open(generateIdentity())
  const far = await world.open(generateIdentity())
  await far.handle(PROTOCOL, LIMITS, handler)
  await near.connect(far.peerId, far.addresses(), never)
  return new Pair(near, far)
}
