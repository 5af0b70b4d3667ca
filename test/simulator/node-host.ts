/** The mesh host of a simulated node with what can go wrong at one end: announcements, streams that stall, bits that flip. */

import { ANNOUNCE_PROTOCOL } from '../../protocols/mesh/announce/messages.ts'
import type { Channel } from '../../protocols/mesh/channel.ts'
import { LINK_PROTOCOL } from '../../protocols/mesh/link/messages.ts'
import type { MeshHost } from '../../src/network/host.ts'
import type { SetTimer } from '../../src/network/timers.ts'
import type { Random } from '../support/random.ts'

/** Shares of what goes wrong while it does; all 0 in good times. */
export interface HostTroubles {
  lost: number
  late: number
  doubled: number
  /** Of answered streams, that stop after some bytes. */
  stalled: number
  /** Of answered pieces, with one bit flipped. */
  flipped: number
  count(kind: 'announcement lost' | 'announcement late' | 'announcement doubled' | 'stalled' | 'flipped'): void
}

export interface TroublePort {
  readonly troubles: HostTroubles
  readonly random: Random
  readonly setTimer: SetTimer
}

function flipBit(bytes: Uint8Array, random: Random): Uint8Array {
  const copy = Buffer.from(bytes)
  if (copy.length > 0) copy[random.below(copy.length)]! ^= 1 << random.below(8)
  return copy
}

/** The answering end's channel: may stall for good, or lie about bytes. */
function troubleAnswers(channel: Channel, signal: AbortSignal, port: TroublePort & { isRelayed: boolean }): Channel {
  const { troubles, random, isRelayed } = port
  let budget = random.chance(troubles.stalled) ? random.logUniform(1, 100_000) : Number.POSITIVE_INFINITY
  return {
    remote: channel.remote,
    receive: () => channel.receive(),
    end: () => channel.end(),
    abort: (reason) => channel.abort(reason),
    send: async (bytes) => {
      budget -= bytes.byteLength
      if (budget < 0) {
        troubles.count('stalled')
        return await new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
        })
      }
      if (!isRelayed || !random.chance(troubles.flipped)) return await channel.send(bytes)
      troubles.count('flipped')
      await channel.send(flipBit(bytes, random))
    },
  }
}

/** A channel to nobody. */
function lostChannel(remote: string): Channel {
  return {
    remote,
    receive: async function* receive() {},
    send: async () => {},
    end: async () => {},
    abort: () => {},
  }
}

/** Sends everything again on another stream, a moment later. */
function doubledChannel(channel: Channel, again: (pieces: readonly Uint8Array[]) => void): Channel {
  const pieces: Uint8Array[] = []
  return {
    remote: channel.remote,
    receive: () => channel.receive(),
    abort: (reason) => channel.abort(reason),
    send: async (bytes) => {
      pieces.push(Buffer.from(bytes))
      await channel.send(bytes)
    },
    end: async () => {
      await channel.end()
      again(pieces)
    },
  }
}

async function sendAgain(host: MeshHost, peerId: string, pieces: readonly Uint8Array[]): Promise<void> {
  try {
    const channel = await host.open(peerId, ANNOUNCE_PROTOCOL, new AbortController().signal)
    for (const piece of pieces) await channel.send(piece)
    await channel.end()
  } catch {
    // The peer is gone: then it hears it once.
  }
}

export function troubleHost(host: MeshHost, port: TroublePort): MeshHost {
  const { troubles, random, setTimer } = port
  const wait = (ms: number) =>
    new Promise<void>((resolve) => {
      setTimer(resolve, ms)
    })
  const open: MeshHost['open'] = async (peerId, protocol, signal, idleMs) => {
    if (protocol !== ANNOUNCE_PROTOCOL) return await host.open(peerId, protocol, signal, idleMs)
    if (random.chance(troubles.lost)) {
      troubles.count('announcement lost')
      return lostChannel(peerId)
    }
    if (random.chance(troubles.late)) {
      troubles.count('announcement late')
      await wait(random.logUniform(10, 8000))
    }
    const channel = await host.open(peerId, protocol, signal, idleMs)
    if (!random.chance(troubles.doubled)) return channel
    troubles.count('announcement doubled')
    return doubledChannel(channel, (pieces) => {
      setTimer(() => void sendAgain(host, peerId, pieces), random.logUniform(1, 60_000))
    })
  }
  const handle: MeshHost['handle'] = (protocol, limits, handler) =>
    host.handle(protocol, limits, (channel, signal) =>
      // Connections are authenticated: a relay can lie about what it hands on, but only a node about itself.
      handler(troubleAnswers(channel, signal, { ...port, isRelayed: protocol !== LINK_PROTOCOL }), signal),
    )
  return new Proxy(host, {
    get: (target, name) => {
      if (name === 'open') return open
      if (name === 'handle') return handle
      const value: unknown = Reflect.get(target, name)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}
