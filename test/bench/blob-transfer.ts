/**
 * One large file from hub to spoke, file → wire → verified → synced file, against a bare `node:tls` socket that does the same
 * in the same run: beside each other, and with a distant peer in between.
 */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { BareTransferMethods } from './bare-transfer.ts'
import { CallChild } from './call-child.ts'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { isLibtorrentInstalled, NO_LIBTORRENT, shareByTorrent } from './libtorrent.ts'
import { FAR_HOST, OwnMesh } from './own-mesh.ts'
import { writeRandomFile } from './random-file.ts'
import { alternate, medianOf, spreadOf } from './samples.ts'
import { isSyncthingInstalled, NO_SYNCTHING, SyncthingSwarm } from './syncthing.ts'
import { measureWarmLane } from './warm-lane.ts'
import { WireProxy } from './wire-proxy.ts'

const MIB = 1024 ** 2
const FILE_BYTES = 512 * MIB
const ROUNDS = 3

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
    pair.#sha256 = await writeRandomFile(join(folder, 'file'), FILE_BYTES)
    return pair
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

async function compare(lab: Lab, what: string, delayMs: number | undefined): Promise<Finding> {
  const folder = join(lab.folder, `delay-${delayMs ?? 0}`)
  await using bare = await BarePair.open(join(folder, 'bare'), delayMs)
  await using own = await OwnMesh.open(join(folder, 'own'), {
    spokes: 1,
    ...(delayMs === undefined ? {} : { delayMs }),
  })
  const samples = await alternate(['own', 'bare'], ROUNDS, async (contender, round) => {
    const rate = contender === 'own' ? FILE_BYTES / MIB / (await own.take(FILE_BYTES)) : await bare.transfer()
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

/** Against the programs that share files among peers. */
async function compareWithPeers(lab: Lab): Promise<Finding[]> {
  const folder = join(lab.folder, 'peers')
  await using own = await OwnMesh.open(join(folder, 'own'), { spokes: 1 })
  await using stack = new AsyncDisposableStack()
  const hasTorrent = isLibtorrentInstalled()
  const swarm = isSyncthingInstalled() ? stack.use(await SyncthingSwarm.open(join(folder, 'syncthing'), 1)) : undefined
  const rates: Record<string, (round: number) => Promise<number>> = {
    own: () => own.take(FILE_BYTES),
    ...(swarm && {
      Syncthing: (round) =>
        swarm.take(async (to) => void (await writeRandomFile(join(to, `file-${round}`), FILE_BYTES))),
    }),
    ...(hasTorrent && { libtorrent: (round) => takeByTorrent(join(folder, `torrent-${round}`)) }),
  }
  const samples = await alternate(Object.keys(rates), ROUNDS, async (contender, round) => {
    const rate = FILE_BYTES / MIB / (await rates[contender]!(round))
    lab.say(`512 MiB, round ${round + 1}: ${contender} ${formatNumber(rate)} MiB/s`)
    return rate
  })
  const ours = samples.get('own')!
  return (['Syncthing', 'libtorrent'] as const).map((name) => {
    const theirs = samples.get(name)
    return {
      what: `512 MiB, hub to spoke / ${name}`,
      ours: `${formatNumber(medianOf(ours))} MiB/s`,
      peer: theirs === undefined ? SKIPPED[name] : `${name} ${formatNumber(medianOf(theirs))} MiB/s`,
      ratio: theirs === undefined ? null : medianOf(ours) / medianOf(theirs),
      target: { atLeast: 0.7 },
      spread: Math.max(spreadOf(ours), theirs === undefined ? 0 : spreadOf(theirs)),
      ...(name === 'libtorrent' ? { note: 'not encrypted' } : {}),
    }
  })
}

const SKIPPED = { Syncthing: NO_SYNCTHING, libtorrent: NO_LIBTORRENT }

async function takeByTorrent(folder: string): Promise<number> {
  await mkdir(folder, { recursive: true })
  await writeRandomFile(join(folder, 'file'), FILE_BYTES)
  const { seconds } = await shareByTorrent(folder, 'file', { takers: 1, bytesPerSecond: 0 })
  await rm(folder, { recursive: true })
  return seconds
}

export const blobTransfer: Bench = {
  name: 'blob-transfer',
  about:
    'a file of 512 MiB from hub to spoke, near and at round trips of 100 and 300 ms, against a bare node:tls socket, Syncthing and libtorrent',
  run: async (lab) => [
    await compare(lab, '512 MiB, hub to spoke', undefined),
    await compare(lab, '512 MiB at 100 ms RTT', 50),
    await compare(lab, '512 MiB at 300 ms RTT', 150),
    ...(await compareWithPeers(lab)),
    await measureWarmLane(FAR_HOST),
  ],
}
