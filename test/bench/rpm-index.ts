/**
 * One more package is published in an rpm feed of 20,000: how long until the three lists are signed and visible, and what passes on
 * the wire until the linked spoke serves the new index.
 */

import { packageKey, RPM_ROLE } from '../../protocols/feeds/rpm/format.ts'
import { encodeMeta } from '../../protocols/feeds/rpm/meta.ts'
import type { RpmPackage } from '../../protocols/feeds/rpm/rpm-file.ts'
import { createRpm } from '../feeds/rpm-package.ts'
import { createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { meshPort } from './linked-pair.ts'
import { medianOf, spreadOf, timed } from './samples.ts'
import { WireProxy } from './wire-proxy.ts'

const PACKAGES = 20_000
const ROUNDS = 5
const MAX_SECONDS = 2
const MAX_BYTES = 256 * 1024
const FEED = 'os'
/** Everything goes through the proxy that counts it. */
const ONE_CONNECTION = { bulk: null } as const
/** Writes that share a signature. */
const GROUP = 128
const QUIET_MS = 1500
const MIN_LISTED = 1_000_000

const WORDS = Array.from(
  { length: 900 },
  (_, at) => ((at * 2_654_435_761) >>> 7).toString(36).replace(/\d/g, '') || 'word',
)

function pick(seed: number): string {
  return WORDS[((seed * 2_246_822_519) >>> 5) % WORDS.length] ?? 'word'
}

function nameOf(at: number): string {
  return `${pick(at)}-${pick(at * 3 + 1)}${at}`
}

function text(seed: number, words: number): string {
  return Array.from({ length: words }, (_, at) => pick(seed * 61 + at)).join(' ')
}

/** About as long, and as compressible, as what is in distributions. */
function describePackage(at: number): RpmPackage {
  const name = nameOf(at)
  const version = `${at % 12}.${at % 31}.${at % 7}`
  const folders = ['/usr/bin/', `/usr/share/doc/${name}/`, `/usr/lib64/${name}/`, `/usr/share/locale/${pick(at)}/`]
  const needed = Array.from({ length: 3 + (at % 9) }, (_, n) => ({
    name: nameOf((at * 31 + n * 977) % PACKAGES),
    flags: 'GE',
    version: `${n}.${at % 40}`,
  }))
  const none = { conflicts: [], obsoletes: [], suggests: [], enhances: [], recommends: [], supplements: [] }
  return {
    name,
    epoch: 0,
    version,
    release: `${(at % 5) + 1}.el9`,
    arch: 'x86_64',
    headerStart: 4504,
    headerEnd: 20_000 + (at % 9000),
    archiveBytes: (at * 7919) % 900_000,
    isSigned: true,
    texts: {
      summary: text(at, 6),
      description: text(at + 1, 40),
      packager: 'Some Builder',
      url: `https://${pick(at + 3)}.example/${name}`,
      license: 'GPLv2+',
      vendor: 'Some Vendor',
      group: 'Unspecified',
      buildHost: `builder${at % 20}.example`,
      sourceRpm: `${name}-${version}-1.el9.src.rpm`,
    },
    builtAt: 1_700_000_000 + at,
    installedBytes: (at * 7907) % 900_000,
    dependencies: { ...none, provides: [{ name, flags: 'EQ', version: `${version}-1.el9` }], requires: needed },
    files: Array.from({ length: 8 + (at % 45) }, (_, n) => ({
      folder: folders[n % folders.length] ?? '/',
      name: `${pick(at + n)}-${n}`,
      type: '' as const,
    })),
    changelog: Array.from({ length: 4 }, (_, n) => ({
      author: `${pick(at % 90)} ${pick(at % 91)} <${pick(at % 90)}@builder.example> - ${version}-${n}`,
      time: 1_600_000_000 + n * 86_400,
      text: `- ${text(at + n, 12)}`,
    })),
  }
}

async function fill(node: TestNode): Promise<void> {
  const feed = node.operations.openFeed(FEED)
  for (let from = 0; from < PACKAGES; from += GROUP) {
    const group = Array.from({ length: Math.min(GROUP, PACKAGES - from) }, async (_, n) => {
      const described = describePackage(from + n)
      await using staged = await feed.stage({ maxBytes: 64 })
      await staged.write(Buffer.from(`content of ${from + n}`))
      const files = [{ role: RPM_ROLE, blob: await staged.seal() }]
      const meta = encodeMeta(described)
      await feed.change(described.name, () => ({
        put: [{ key: packageKey(described), rowClass: 'immutable', meta, files }],
      }))
    })
    await Promise.all(group)
  }
}

async function readTop(node: TestNode, key: string): Promise<string> {
  const answer = await fetch(`${node.url}/rpm/${FEED}/repodata/repomd.xml`, { headers: { 'x-apikey': key } })
  return answer.ok ? await answer.text() : ''
}

function listedBytes(repomd: string): readonly number[] {
  return [...repomd.matchAll(/<open-size>(\d+)</g)].map(([, size]) => Number(size))
}

function isSmall(repomd: string): boolean {
  const sizes = listedBytes(repomd)
  return sizes.length === 0 || Math.min(...sizes) < MIN_LISTED
}

async function publish(node: TestNode, key: string, name: string): Promise<void> {
  const url = `${node.url}/rpm/${FEED}/packages/${name}-1.0-1.noarch.rpm`
  const body = new Uint8Array(await createRpm({ name }))
  const answer = await fetch(url, { method: 'PUT', body, headers: { 'x-apikey': key } })
  if (!answer.ok) throw new Error(await answer.text())
}

async function run(lab: Lab): Promise<Finding[]> {
  await using hub = await startNode(ONE_CONNECTION)
  await createFeed(hub, FEED, 'rpm')
  lab.say(`writing ${PACKAGES} packages`)
  await fill(hub)
  const key = await createKey(hub, FEED)
  lab.say('signing the index')
  for (let last = '', now = await readTop(hub, key); last !== now || isSmall(now); ) {
    await new Promise((resolve) => setTimeout(resolve, 12_000))
    last = now
    now = await readTop(hub, key)
  }
  lab.say(
    `the lists have ${listedBytes(await readTop(hub, key))
      .map(formatBytes)
      .join(', ')}`,
  )
  const alone = await measure(lab, hub, key, undefined)
  await using proxy = await WireProxy.open()
  await using spoke = await startNode(ONE_CONNECTION)
  await createFeed(spoke, FEED, 'rpm')
  proxy.setTarget('127.0.0.1', meshPort(hub.running))
  const { token = '' } = await offerFeed(hub, FEED)
  const addresses = [`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${hub.running.peerId}`]
  lab.say('linking a spoke')
  const { id } = await linkFeed(spoke, FEED, { addresses, token, everyMs: 3_600_000 })
  await spoke.operations.runReplication(id, {})
  return [...alone, ...(await measure(lab, hub, key, { spoke, proxy }))]
}

async function awaitOther(node: TestNode, key: string, before: string): Promise<string> {
  for (;;) {
    const repomd = await readTop(node, key)
    if (repomd !== before && repomd !== '') return repomd
  }
}

async function measure(
  lab: Lab,
  hub: TestNode,
  key: string,
  linked: { readonly spoke: TestNode; readonly proxy: WireProxy } | undefined,
): Promise<Finding[]> {
  const spokeKey = linked === undefined ? '' : await createKey(linked.spoke, FEED)
  const seconds: number[] = []
  const bytes: number[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS))
    const before = await readTop(hub, key)
    linked?.proxy.take()
    const name = `${pick(round * 17)}-new${linked === undefined ? 'a' : 'b'}${round}`
    seconds.push(
      await timed(async () => {
        await publish(hub, key, name)
        const repomd = await awaitOther(hub, key, before)
        if (linked === undefined) return
        while ((await readTop(linked.spoke, spokeKey)) !== repomd) await new Promise(setImmediate)
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 500))
    const count = linked?.proxy.take()
    if (count !== undefined) bytes.push(count.up + count.down)
  }
  lab.say(`${linked === undefined ? 'hub' : 'spoke'}: ${seconds.map((one) => one.toFixed(2)).join(', ')} s`)
  const time: Finding = {
    what: `one more of ${PACKAGES}, ${linked === undefined ? 'signed and visible' : 'visible on the spoke'}`,
    ours: `${formatNumber(medianOf(seconds))} s`,
    peer: `${MAX_SECONDS} s`,
    ratio: medianOf(seconds) / MAX_SECONDS,
    target: { atMost: 1 },
    spread: spreadOf(seconds),
    note: '',
  }
  if (bytes.length === 0) return [time]
  const wire: Finding = {
    what: `one more of ${PACKAGES}, bytes to the spoke`,
    ours: formatBytes(medianOf(bytes)),
    peer: formatBytes(MAX_BYTES),
    ratio: medianOf(bytes) / MAX_BYTES,
    target: { atMost: 1 },
    spread: spreadOf(bytes),
    note: '',
  }
  return [time, wire]
}

export const rpmIndex: Bench = { name: 'rpm-index', about: 'one more package in a signed rpm index of 20,000', run }
