/** Thousands of small packages from a hub to a spoke, visible and durable there, against Syncthing with files of that size. */

import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { FEED, OwnMesh } from './own-mesh.ts'
import { isSyncthingInstalled, NO_SYNCTHING, SyncthingSwarm } from './syncthing.ts'

const FILE_BYTES = 16 * 1024
const PACKAGES = 10_000
/** It takes a minute for 5,000. */
const SYNCTHING_FILES = 2000
const SYNCTHING_FILES_FULL = 5000

async function measureOwn(folder: string, say: Lab['say']): Promise<number> {
  await using mesh = await OwnMesh.open(folder, { spokes: 1 })
  const { hub } = mesh
  say(`publishing ${PACKAGES} packages`)
  // Not told meanwhile: all of them are one difference, as after a night without the hub.
  await mesh.pause(true)
  await hub.child.call('publishAssets', hub.folder, FEED, { prefix: 'small', count: PACKAGES, bytes: FILE_BYTES })
  await mesh.pause(false)
  return PACKAGES / (await mesh.awaitEqual())
}

async function measureSyncthing(folder: string, files: number): Promise<number> {
  await using swarm = await SyncthingSwarm.open(folder, 1)
  const seconds = await swarm.take(async (to) => {
    await mkdir(join(to, 'small'))
    for (let at = 0; at < files; at += 1) await writeFile(join(to, 'small', `${at}.bin`), randomBytes(FILE_BYTES))
  })
  return files / seconds
}

async function run({ folder, full, say }: Lab): Promise<Finding[]> {
  const ours = await measureOwn(join(folder, 'own'), say)
  const files = full ? SYNCTHING_FILES_FULL : SYNCTHING_FILES
  say(`Syncthing with ${files} files`)
  const theirs = isSyncthingInstalled() ? await measureSyncthing(join(folder, 'syncthing'), files) : undefined
  return [
    {
      what: `${PACKAGES} packages of 16 KiB, hub to spoke`,
      ours: `${formatNumber(ours)} /s`,
      peer: theirs === undefined ? NO_SYNCTHING : `Syncthing ${formatNumber(theirs)} /s`,
      ratio: theirs === undefined ? null : ours / theirs,
      target: { atLeast: 10 },
      spread: null,
      note: `ours: rows, trie and view included; Syncthing: ${files} files`,
    },
  ]
}

export const smallPackages: Bench = {
  name: 'small-packages',
  about: '10,000 packages of 16 KiB from hub to spoke, visible and durable, against Syncthing',
  run,
}
