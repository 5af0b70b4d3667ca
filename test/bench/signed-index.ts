/**
 * One more package is published in a debian feed of 60,000: how long until it is signed and visible, what passes on the wire
 * until the linked spoke serves the new index, and how fast an index is answered that is there.
 */

import { createDeb } from '../feeds/deb-package.ts'
import { createFeed, createKey, linkFeed, offerFeed, startNode, type TestNode } from '../support/running-node.ts'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { renderRequest } from './http-connection.ts'
import { measureRate } from './http-load.ts'
import { meshPort } from './linked-pair.ts'
import { medianOf, spreadOf, timed } from './samples.ts'
import { WireProxy } from './wire-proxy.ts'

const PACKAGES = 60_000
const ROUNDS = 5
const MAX_SECONDS = 2
const MAX_BYTES = 256 * 1024
const FEED = 'os'
/** Writes that share a signature. */
const GROUP = 128

const WORDS = Array.from(
  { length: 900 },
  (_, at) => ((at * 2_654_435_761) >>> 7).toString(36).replace(/\d/g, '') || 'word',
)

function pick(seed: number): string {
  return WORDS[((seed * 2_246_822_519) >>> 5) % WORDS.length] ?? 'word'
}

/** About as long, and as compressible, as what is in Debian. */
function renderControl(at: number): string {
  const name = nameOf(at)
  const depends = Array.from(
    { length: 3 + (at % 9) },
    (_, n) => `${nameOf((at * 31 + n * 977) % PACKAGES)} (>= ${n}.${at % 40})`,
  )
  const text = Array.from({ length: 60 }, (_, n) => pick(at * 61 + n))
  return [
    `Package: ${name}`,
    `Version: ${at % 12}.${at % 31}.${at % 7}-${(at % 5) + 1}`,
    'Architecture: amd64',
    `Maintainer: ${pick(at)} ${pick(at + 1)} <${pick(at)}@${pick(at % 90)}.example>`,
    `Installed-Size: ${100 + ((at * 7919) % 90_000)}`,
    `Depends: ${depends.join(', ')}`,
    `Section: ${pick(at % 30)}`,
    'Priority: optional',
    `Homepage: https://${pick(at + 3)}.example/${name}`,
    `Description: ${text.slice(0, 6).join(' ')}`,
    ` ${text.slice(6, 30).join(' ')}`,
    ` ${text.slice(30).join(' ')}`,
  ].join('\n')
}

function nameOf(at: number): string {
  return `${pick(at)}-${pick(at * 3 + 1)}${at}`
}

async function fill(node: TestNode): Promise<void> {
  const feed = node.operations.openFeed(FEED)
  for (let from = 0; from < PACKAGES; from += GROUP) {
    const group = Array.from({ length: Math.min(GROUP, PACKAGES - from) }, async (_, n) => {
      const at = from + n
      await using staged = await feed.stage({ maxBytes: 64, hashes: ['md5', 'sha1'] })
      await staged.write(Buffer.from(`content of ${at}`))
      const blob = await staged.seal()
      const control = renderControl(at)
      const meta = Buffer.from(JSON.stringify({ md5: blob.hashes.md5, sha1: blob.hashes.sha1, control }))
      const version = /^Version: (.*)$/m.exec(control)?.[1] ?? ''
      const key = `p/stable/main/${version}/amd64`
      await feed.change(nameOf(at), () => ({
        put: [{ key, rowClass: 'immutable', meta, files: [{ role: 'deb', blob }] }],
      }))
    })
    await Promise.all(group)
  }
}

async function readRelease(node: TestNode, key: string): Promise<string> {
  const answer = await fetch(`${node.url}/debian/${FEED}/dists/stable/Release`, { headers: { 'x-apikey': key } })
  return answer.ok ? await answer.text() : ''
}

async function awaitOther(node: TestNode, key: string, before: string): Promise<string> {
  for (;;) {
    const release = await readRelease(node, key)
    if (release !== before && release !== '') return release
  }
}

async function publish(node: TestNode, key: string, options: { readonly name: string; readonly architecture: string }) {
  const deb = await createDeb({ ...options, version: '1.0' })
  const url = `${node.url}/debian/${FEED}/pool/stable/main/${options.name}_1.0_${options.architecture}.deb`
  const answer = await fetch(url, { method: 'PUT', body: new Uint8Array(deb), headers: { 'x-apikey': key } })
  if (!answer.ok) throw new Error(await answer.text())
}

const QUIET_MS = 1500

async function run(lab: Lab): Promise<Finding[]> {
  await using hub = await startNode({ bulk: null })
  await createFeed(hub, FEED, 'debian')
  lab.say(`writing ${PACKAGES} packages`)
  await fill(hub)
  const key = await createKey(hub, FEED)
  const listed = async () => (await readRelease(hub, key)).match(/ (\d+) main\/binary-amd64\/Packages\n/)?.[1] ?? '0'
  lab.say('signing the index')
  for (let size = '0', now = await listed(); size !== now || now === '0'; now = await listed()) {
    size = now
    await new Promise((resolve) => setTimeout(resolve, 12_000))
  }
  lab.say(`the list has ${await listed()} bytes`)
  const anew = await measureAnew(hub, key)
  const alone = await measure(lab, hub, key, undefined)
  await using proxy = await WireProxy.open()
  await using spoke = await startNode({ bulk: null })
  await createFeed(spoke, FEED, 'debian')
  proxy.setTarget('127.0.0.1', meshPort(hub.running))
  const { token = '' } = await offerFeed(hub, FEED)
  const { peerId } = hub.running
  const addresses = [`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${peerId}`]
  lab.say('linking a spoke')
  const { id } = await linkFeed(spoke, FEED, { addresses, token, everyMs: 3_600_000 })
  await spoke.operations.runReplication(id, {})
  const linked = await measure(lab, hub, key, { spoke, proxy })
  return [anew, ...alone, ...linked, ...(await measureAnswers(hub, key))]
}

async function measureAnew(hub: TestNode, key: string): Promise<Finding> {
  const before = await readRelease(hub, key)
  const seconds = await timed(async () => {
    // An architecture that was not there before: everything is looked at again.
    await publish(hub, key, { name: 'first-of-its-kind', architecture: 'riscv64' })
    await awaitOther(hub, key, before)
  })
  const { rss } = process.memoryUsage()
  return {
    what: `all ${PACKAGES} anew`,
    ours: `${formatNumber(seconds)} s`,
    peer: '',
    ratio: null,
    target: null,
    spread: null,
    note: `${formatBytes(rss)} resident`,
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
    const before = await readRelease(hub, key)
    linked?.proxy.take()
    const name = `${pick(round * 17)}-new${linked === undefined ? 'a' : 'b'}${round}`
    seconds.push(
      await timed(async () => {
        await publish(hub, key, { name, architecture: 'amd64' })
        const release = await awaitOther(hub, key, before)
        if (linked === undefined) return
        while ((await readRelease(linked.spoke, spokeKey)) !== release) await new Promise(setImmediate)
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 500))
    const count = linked?.proxy.take()
    if (count !== undefined) bytes.push(count.up + count.down)
  }
  lab.say(`${linked === undefined ? 'hub' : 'spoke'}: ${seconds.map((one) => one.toFixed(2)).join(', ')} s`)
  const where = linked === undefined ? 'signed and visible' : 'visible on the spoke'
  const time: Finding = {
    what: `one more of ${PACKAGES}, ${where}`,
    ours: `${formatNumber(medianOf(seconds))} s`,
    peer: `${MAX_SECONDS} s`,
    ratio: medianOf(seconds) / MAX_SECONDS,
    target: { atMost: 1 },
    spread: spreadOf(seconds),
    note: '',
  }
  if (bytes.length === 0) return [time]
  return [
    time,
    {
      what: `one more of ${PACKAGES}, bytes to the spoke`,
      ours: formatBytes(medianOf(bytes)),
      peer: formatBytes(MAX_BYTES),
      ratio: medianOf(bytes) / MAX_BYTES,
      target: { atMost: 1 },
      spread: spreadOf(bytes),
      note: '',
    },
  ]
}

const CONNECTIONS = 8
const LOAD_MS = 3000

/** What is asked of an index that is there: by clients that have it, by new ones, and the list itself. */
async function measureAnswers(hub: TestNode, key: string): Promise<Finding[]> {
  const path = `${hub.url}/debian/${FEED}/dists/stable`
  const headers = { 'x-apikey': key }
  const top = await fetch(`${path}/InRelease`, { headers })
  const date = top.headers.get('last-modified') ?? ''
  const size = (await (await fetch(`${path}/main/binary-amd64/Packages.gz`, { headers })).arrayBuffer()).byteLength
  const findings: Finding[] = []
  for (const [what, file, more, status] of [
    ['apt update, nothing new', 'InRelease', { 'if-modified-since': date }, 304],
    ['InRelease', 'InRelease', {}, 200],
    ['Packages.gz', 'main/binary-amd64/Packages.gz', {}, 200],
  ] as const) {
    const url = `${path}/${file}`
    const requests = [renderRequest({ url, headers: { ...headers, ...more } })]
    const rates: number[] = []
    for (let round = 0; round < 3; round += 1)
      rates.push(await measureRate({ url, requests, connections: CONNECTIONS, durationMs: LOAD_MS, status }))
    const isLarge = file !== 'InRelease'
    findings.push({
      what: `${what}, ${CONNECTIONS} connections`,
      ours: isLarge
        ? `${formatNumber((medianOf(rates) * size) / 1024 ** 2)} MiB/s`
        : `${formatNumber(medianOf(rates))}/s`,
      peer: '',
      ratio: null,
      target: null,
      spread: spreadOf(rates),
      note: isLarge ? `${formatBytes(size)} each; load in the same process` : 'load in the same process',
    })
  }
  return findings
}

export const signedIndex: Bench = { name: 'signed-index', about: 'one more package in a signed index of 60,000', run }
