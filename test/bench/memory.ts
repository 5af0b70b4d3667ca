/** Memory of a hub with many idle links, and of a spoke while it takes a large feed. */

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { type BenchNode, openNodeProcess, startNode } from './node-process.ts'

const LINKS = 50
const LINKS_FULL = 200
const SPOKE_PROCESSES = 2
const IDLE_MS = 15_000
const MIB = 1024 ** 2
const FEED = 'files'

/** One file of half the feed (more in the full run), the rest in files of 8 MiB. */
const LARGE_FILE_BYTES = 512 * MIB
const LARGE_FILE_BYTES_FULL = 5 * 1024 * MIB
const SMALL_FILE_BYTES = 8 * MIB
const SMALL_FILES = 64

async function linkSpokes(
  folder: string,
  { hub, links }: { readonly hub: BenchNode; readonly links: number },
  stack: AsyncDisposableStack,
): Promise<void> {
  const token = await hub.child.call('offer', hub.folder, FEED)
  await mkdir(folder, { recursive: true })
  for (let at = 0; at < SPOKE_PROCESSES; at += 1) {
    const child = stack.use(openNodeProcess(join(folder, `process-${at}`)))
    for (let spoke = at; spoke < links; spoke += SPOKE_PROCESSES) {
      const data = join(folder, `spoke-${spoke}`)
      await child.call('open', data)
      await child.call('createFeed', data, FEED, 'assets')
      const replication = await child.call('link', data, FEED, { url: hub.http, token })
      await child.call('run', data, replication)
    }
  }
}

async function measureIdleHub({ folder, full, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const hub = stack.use(await startNode(join(folder, 'idle-hub')))
  await hub.child.call('createFeed', hub.folder, FEED, 'assets')
  await hub.child.call('publishAsset', hub.folder, FEED, { name: 'a.bin', bytes: 1024 })
  const before = await hub.child.call('use')
  const links = full ? LINKS_FULL : LINKS
  say(`linking ${links} spokes`)
  await linkSpokes(join(folder, 'idle-spokes'), { hub, links }, stack)
  const linked = await hub.child.call('use')
  say(`idle for ${IDLE_MS / 1000} s`)
  await delay(IDLE_MS)
  const idle = await hub.child.call('use')
  const cores = (idle.cpuSeconds - linked.cpuSeconds) / (IDLE_MS / 1000)
  return [
    limited(
      `hub with ${links} idle links, memory`,
      idle.rssBytes,
      250 * MIB,
      `${formatBytes(before.rssBytes)} before the first link`,
    ),
    {
      what: `hub with ${links} idle links, CPU`,
      ours: `${formatNumber(cores * 100)} % of a core`,
      peer: '3 %',
      ratio: cores / 0.03,
      target: { atMost: 1 },
      spread: null,
      note: `over ${IDLE_MS / 1000} s, polls every 60 s included`,
    },
  ]
}

function limited(what: string, bytes: number, limit: number, note: string): Finding {
  const ratio = bytes / limit
  return { what, ours: formatBytes(bytes), peer: formatBytes(limit), ratio, target: { atMost: 1 }, spread: null, note }
}

async function measureLargeFeed({ folder, full, say }: Lab): Promise<Finding[]> {
  await using hub = await startNode(join(folder, 'large-hub'))
  await hub.child.call('createFeed', hub.folder, FEED, 'assets')
  const largeBytes = full ? LARGE_FILE_BYTES_FULL : LARGE_FILE_BYTES
  const bytes = largeBytes + SMALL_FILES * SMALL_FILE_BYTES
  say(`publishing ${formatBytes(bytes)}`)
  await hub.child.call('publishAsset', hub.folder, FEED, { name: 'large.bin', bytes: largeBytes })
  for (let at = 0; at < SMALL_FILES; at += 1)
    await hub.child.call('publishAsset', hub.folder, FEED, { name: `small-${at}.bin`, bytes: SMALL_FILE_BYTES })
  const token = await hub.child.call('offer', hub.folder, FEED)
  await using spoke = await startNode(join(folder, 'large-spoke'))
  const before = await spoke.child.call('use')
  await spoke.child.call('createFeed', spoke.folder, FEED, 'assets')
  const digest = await hub.child.call('digestOf', hub.folder, FEED)
  say('the spoke takes it')
  await spoke.child.call('link', spoke.folder, FEED, { url: hub.http, token })
  const { seconds } = await spoke.child.call('awaitDigest', spoke.folder, FEED, digest)
  const rate = bytes / MIB / seconds
  const note = `peak; ${formatBytes(before.rssBytes)} before; ${formatNumber(seconds)} s, ${formatNumber(rate)} MiB/s`
  return [
    limited(`spoke taking ${formatBytes(bytes)}`, (await spoke.child.call('use')).peakRssBytes, 350 * MIB, note),
    limited('hub publishing and giving it', (await hub.child.call('use')).peakRssBytes, 350 * MIB, 'peak'),
  ]
}

export const memory: Bench = {
  name: 'memory',
  about: 'memory of an idle hub and of a spoke that takes a large feed',
  run: async (lab) => [...(await measureIdleHub(lab)), ...(await measureLargeFeed(lab))],
}
