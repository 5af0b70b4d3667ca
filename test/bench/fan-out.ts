/** One file to several spokes of a site at once, while the hub's uplink is narrow: what the hub sends, and how long it takes. */

import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { isLibtorrentInstalled, NO_LIBTORRENT, shareByTorrent } from './libtorrent.ts'
import { OwnMesh } from './own-mesh.ts'
import { writeRandomFile } from './random-file.ts'
import { isSyncthingInstalled, NO_SYNCTHING, SyncthingSwarm } from './syncthing.ts'

const FILE_BYTES = 256 * 1024 ** 2
const UPLINK = 25_000_000
const SWARMS = [4, 8]

/** Blobs that the source sent, and time as a multiple of what one blob takes on its uplink. */
interface Spread {
  readonly copies: number
  readonly time: number
}

function spreadOf(sentBytes: number, seconds: number): Spread {
  return { copies: sentBytes / FILE_BYTES, time: seconds / (FILE_BYTES / UPLINK) }
}

async function shareOurs(folder: string, spokes: number): Promise<Spread> {
  await using mesh = await OwnMesh.open(folder, { spokes, bytesPerSecond: UPLINK })
  const seconds = await mesh.take(FILE_BYTES)
  return spreadOf(mesh.takeSent(), seconds)
}

async function shareByLibtorrent(folder: string, takers: number): Promise<Spread> {
  await mkdir(folder, { recursive: true })
  await writeRandomFile(join(folder, 'file'), FILE_BYTES)
  const { seconds, sentBytes } = await shareByTorrent(folder, 'file', { takers, bytesPerSecond: UPLINK })
  return spreadOf(sentBytes, seconds)
}

async function shareBySyncthing(folder: string, takers: number): Promise<Spread> {
  await using swarm = await SyncthingSwarm.open(folder, takers)
  await swarm.limitSource(UPLINK)
  const before = await swarm.sentBytes()
  const seconds = await swarm.take(async (to) => void (await writeRandomFile(join(to, 'file'), FILE_BYTES)))
  return spreadOf((await swarm.sentBytes()) - before, seconds)
}

function describe({ copies, time }: Spread): string {
  return `${formatNumber(copies)} copies, ${formatNumber(time)}×`
}

async function measure(lab: Lab, spokes: number): Promise<Finding[]> {
  const folder = join(lab.folder, `to-${spokes}`)
  const ours = await shareOurs(join(folder, 'own'), spokes)
  lab.say(`to ${spokes} spokes: ${describe(ours)}`)
  await rm(join(folder, 'own'), { recursive: true })
  const peers = {
    libtorrent: isLibtorrentInstalled() ? describe(await shareByLibtorrent(join(folder, 'lt'), spokes)) : NO_LIBTORRENT,
    Syncthing: isSyncthingInstalled() ? describe(await shareBySyncthing(join(folder, 'st'), spokes)) : NO_SYNCTHING,
  }
  await rm(folder, { recursive: true })
  const peer = Object.entries(peers)
    .map(([name, found]) => `${name}: ${found}`)
    .join('; ')
  return [
    {
      what: `256 MiB to ${spokes} spokes, sent by the hub`,
      ours: `${formatNumber(ours.copies)} copies`,
      peer,
      ratio: ours.copies,
      target: { atMost: 1.3 },
      spread: null,
    },
    {
      what: `256 MiB to ${spokes} spokes, time`,
      ours: `${formatNumber(ours.time * (FILE_BYTES / UPLINK))} s`,
      peer: `one copy over the uplink ${formatNumber(FILE_BYTES / UPLINK)} s`,
      ratio: ours.time,
      target: { atMost: 1.5 },
      spread: null,
    },
  ]
}

export const fanOut: Bench = {
  name: 'fan-out',
  about:
    'a file of 256 MiB to 4 and 8 spokes of a site at once, the hub capped at 25 MB/s, against libtorrent and Syncthing',
  run: async (lab) => {
    const findings: Finding[] = []
    for (const spokes of SWARMS) findings.push(...(await measure(lab, spokes)))
    return findings
  },
}
