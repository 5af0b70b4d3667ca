/**
 * One large file from hub to spoke, file → wire → verified → synced file, against a bare `node:tls` socket that does the same
 * in the same run: beside each other, and with a distant peer in between.
 */

import { createHash, randomFillSync } from 'node:crypto'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BareTransferMethods } from './bare-transfer.ts'
import { CallChild } from './call-child.ts'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { meshPort } from './linked-pair.ts'
import { type BenchNode, startNode } from './node-process.ts'
import { alternate, medianOf, spreadOf } from './samples.ts'
import { measureWarmLane } from './warm-lane.ts'
import { WireProxy } from './wire-proxy.ts'

const MIB = 1024 ** 2
const FEED = 'files'
const NO_POLL_MS = 6 * 3_600_000
const FILE_BYTES = 512 * MIB
const ROUNDS = 3
/** The same ports as at 127.0.0.1: a peer that is reached there finds the lane's port there, too. */
const FAR_HOST = '127.0.0.2'

/** A bare sender and receiver. */
class BarePair implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  readonly #folder: string
  readonly #sender: CallChild<BareTransferMethods>
  readonly #receiver: CallChild<BareTransferMethods>
  readonly #proxy: WireProxy | undefined
  #sha256 = ''

  constructor(folder: string, proxy: WireProxy | undefined) {
    const script = join(import.meta.dirname, 'bare-transfer.ts')
    this.#folder = folder
    this.#proxy = proxy === undefined ? undefined : this.#stack.use(proxy)
    this.#sender = this.#stack.use(new CallChild<BareTransferMethods>(script, { logFile: join(folder, 'sender.log') }))
    this.#receiver = this.#stack.use(
      new CallChild<BareTransferMethods>(script, { logFile: join(folder, 'receiver.log') }),
    )
  }

  static async open(folder: string, delayMs: number | undefined): Promise<BarePair> {
    await mkdir(folder, { recursive: true })
    const proxy = delayMs === undefined ? undefined : await WireProxy.open()
    if (proxy !== undefined) proxy.delayMs = delayMs ?? 0
    const pair = new BarePair(folder, proxy)
    await pair.#writeFile()
    return pair
  }

  async #writeFile(): Promise<void> {
    await using file = await open(join(this.#folder, 'file'), 'w')
    const block = Buffer.alloc(MIB)
    const sha256 = createHash('sha256')
    for (let at = 0; at < FILE_BYTES; at += MIB) {
      randomFillSync(block)
      sha256.update(block)
      await file.write(block)
    }
    await file.sync()
    this.#sha256 = sha256.digest('hex')
  }

  /** @returns MiB/s */
  async transfer(): Promise<number> {
    const port = await this.#sender.call('serve', join(this.#folder, 'file'))
    this.#proxy?.setTarget('127.0.0.1', port)
    const taken = join(this.#folder, 'taken')
    const result = await this.#receiver.call('take', { host: '127.0.0.1', port: this.#proxy?.port ?? port }, taken)
    if (result.sha256 !== this.#sha256) throw new Error(`the bare transfer gave ${result.bytes} other bytes`)
    await rm(taken)
    return FILE_BYTES / MIB / result.seconds
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }
}

/** A hub and a spoke that is linked to it, over proxies when there is to be a delay. */
class OwnPair implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack()
  readonly hub: BenchNode
  readonly spoke: BenchNode
  readonly proxies: readonly WireProxy[]
  #files = 0

  private constructor(hub: BenchNode, spoke: BenchNode, proxies: readonly WireProxy[]) {
    this.hub = this.#stack.use(hub)
    this.spoke = this.#stack.use(spoke)
    for (const proxy of proxies) this.#stack.use(proxy)
    this.proxies = proxies
  }

  static async open(folder: string, delayMs: number | undefined): Promise<OwnPair> {
    await mkdir(folder, { recursive: true })
    const hub = await startNode(join(folder, 'hub'))
    const proxies = delayMs === undefined ? [] : await openProxies(hub)
    const pair = new OwnPair(hub, await startNode(join(folder, 'spoke')), proxies)
    await hub.child.call('createFeed', hub.folder, FEED, 'assets')
    await pair.spoke.child.call('createFeed', pair.spoke.folder, FEED, 'assets')
    const token = await hub.child.call('offer', hub.folder, FEED)
    const host = delayMs === undefined ? '127.0.0.1' : FAR_HOST
    const addresses = [`/ip4/${host}/tcp/${meshPort(hub)}/p2p/${hub.peerId}`]
    await pair.spoke.child.call('link', pair.spoke.folder, FEED, { addresses, token, everyMs: NO_POLL_MS })
    // The link is warm: the peers know each other, and where the lane is.
    await pair.take(MIB)
    for (const proxy of proxies) proxy.delayMs = delayMs ?? 0
    await pair.take(MIB)
    return pair
  }

  /** Publishes a file, of which the spoke is told. @returns s from then until it is durable and visible there */
  async take(bytes: number): Promise<number> {
    this.#files += 1
    const { hub, spoke } = this
    await hub.child.call('publishAsset', hub.folder, FEED, { name: `file-${this.#files}.bin`, bytes })
    await spoke.child.call('awaitDigest', spoke.folder, FEED, await hub.child.call('digestOf', hub.folder, FEED))
    return await spoke.child.call('lastRunSeconds', spoke.folder)
  }

  /** @returns MiB/s */
  async transfer(): Promise<number> {
    return FILE_BYTES / MIB / (await this.take(FILE_BYTES))
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#stack.disposeAsync()
  }
}

async function openProxies(hub: BenchNode): Promise<WireProxy[]> {
  const ports = [meshPort(hub), Number(hub.bulk?.split(':').at(-1))]
  return await Promise.all(
    ports.map(async (port) => {
      const proxy = await WireProxy.open({ host: FAR_HOST, port })
      proxy.setTarget('127.0.0.1', port)
      return proxy
    }),
  )
}

async function compare(lab: Lab, what: string, delayMs: number | undefined): Promise<Finding> {
  const folder = join(lab.folder, `delay-${delayMs ?? 0}`)
  await using bare = await BarePair.open(join(folder, 'bare'), delayMs)
  await using own = await OwnPair.open(join(folder, 'own'), delayMs)
  const samples = await alternate(['own', 'bare'], ROUNDS, async (contender, round) => {
    const rate = await (contender === 'own' ? own : bare).transfer()
    lab.say(`${what}, round ${round + 1}: ${contender} ${formatNumber(rate)} MiB/s`)
    return rate
  })
  const [ours, theirs] = [samples.get('own')!, samples.get('bare')!]
  return {
    what,
    ours: `${formatNumber(medianOf(ours))} MiB/s`,
    peer: `bare node:tls ${formatNumber(medianOf(theirs))} MiB/s`,
    ratio: medianOf(ours) / medianOf(theirs),
    target: { atLeast: delayMs === undefined ? 0.6 : 0.8 },
    spread: Math.max(spreadOf(ours), spreadOf(theirs)),
    note: 'ours: the run that brings it, from its start to its end',
  }
}

export const blobTransfer: Bench = {
  name: 'blob-transfer',
  about:
    'a file of 512 MiB from hub to spoke, near and at round trips of 100 and 300 ms, against a bare node:tls socket',
  run: async (lab) => [
    await compare(lab, '512 MiB, hub to spoke', undefined),
    await compare(lab, '512 MiB at 100 ms RTT', 50),
    await compare(lab, '512 MiB at 300 ms RTT', 150),
    await measureWarmLane(FAR_HOST),
  ],
}
