/** The nodes of the directory that an operator names: they are dialled for as long as the node runs, ever less often. */

import type { SetTimer } from '../../protocols/mesh/progress.ts'
import { asFeedmeshError, FeedmeshError } from '../errors.ts'
import type { Log } from '../log.ts'
import type { MeshHost } from '../network/host.ts'
import { startTimeLimit } from '../network/timers.ts'
import { Retries } from './retries.ts'
import { isPeerId } from './wanted-peers.ts'

const DIAL_TIMEOUT_MS = 10_000
const RETRY = { firstMs: 2000, maxMs: 5 * 60_000 }

export interface BootstrapOptions {
  readonly host: Pick<MeshHost, 'peerId' | 'connect'>
  readonly log: Log
  readonly setTimer: SetTimer
  readonly elapsedMs: () => number
  /** In [0, 1). */
  readonly random: () => number
  readonly signal: AbortSignal
}

interface BootstrapPeer {
  readonly addresses: string[]
  readonly retries: Retries
  isConnected: boolean
  dialling: Promise<void> | undefined
}

export class BootstrapPeers implements AsyncDisposable {
  readonly #options: BootstrapOptions
  readonly #peers = new Map<string, BootstrapPeer>()

  /** This node's own address may be among them: all nodes can have the same list. @throws BAD_INPUT */
  constructor(addresses: readonly string[], options: BootstrapOptions) {
    this.#options = options
    for (const address of addresses) {
      const peerId = address.slice(address.lastIndexOf('/') + 1)
      if (!isPeerId(peerId))
        throw new FeedmeshError('BAD_INPUT', `bootstrap: ${address} does not end in /p2p/ and a PeerId`)
      if (peerId === options.host.peerId) continue
      const retries = new Retries(RETRY, options.elapsedMs())
      const peer = this.#peers.get(peerId) ?? { addresses: [], retries, isConnected: false, dialling: undefined }
      this.#peers.set(peerId, peer)
      peer.addresses.push(address)
    }
  }

  has(peerId: string): boolean {
    return this.#peers.has(peerId)
  }

  /** Dials those that are due. */
  act(connected: ReadonlySet<string>): void {
    const { elapsedMs, random, signal } = this.#options
    const now = elapsedMs()
    for (const [peerId, peer] of this.#peers) {
      const isConnected = connected.has(peerId)
      if (isConnected) peer.retries.succeed()
      // Others have lost it in the same moment.
      else if (peer.isConnected) peer.retries.fail(now, random())
      peer.isConnected = isConnected
      if (isConnected || peer.dialling !== undefined || signal.aborted || !peer.retries.isDue(now)) continue
      peer.dialling = this.#dial(peerId, peer).finally(() => {
        peer.dialling = undefined
      })
    }
  }

  async #dial(peerId: string, { addresses, retries }: BootstrapPeer): Promise<void> {
    const { host, log, setTimer, elapsedMs, random, signal } = this.#options
    try {
      using limit = startTimeLimit(setTimer, DIAL_TIMEOUT_MS, signal)
      await host.connect(peerId, addresses, limit.signal)
    } catch (error) {
      retries.fail(elapsedMs(), random())
      if (!signal.aborted) log.debug({ err: asFeedmeshError(error), peer: peerId }, 'a bootstrap peer is not reachable')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#peers.values()].flatMap(({ dialling }) => dialling ?? []))
  }
}
