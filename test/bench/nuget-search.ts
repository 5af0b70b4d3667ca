/**
 * A nuget feed of 100,000 versions in 10,000 packages: the first answers of a process that has just started, and answers
 * once it has looked at all of them.
 */

import { join } from 'node:path'
import { encodeVersionMeta, versionKey } from '../../protocols/feeds/nuget/format.ts'
import type { Feed } from '../../src/feeds/feed.ts'
import { createFeed, createKey, startNode as openNode, type TestNode } from '../support/running-node.ts'
import { type Bench, type Finding, formatBytes, formatNumber, type Lab } from './findings.ts'
import { copyFolder } from './linked-pair.ts'
import { type BenchNode, startNode } from './node-process.ts'
import { medianOf, spreadOf, timed } from './samples.ts'

const PACKAGES = 10_000
const VERSIONS = 10
const FEED = 'libs'
const ROUNDS = 3
const WARM_ROUNDS = 20
const MAX_COLD_SECONDS = 3
const MAX_WARM_MS = 50
/** Writes that share a signature. */
const GROUP = 64

const WORDS = Array.from(
  { length: 700 },
  (_, at) => ((at * 2_654_435_761) >>> 7).toString(36).replace(/\d/g, '') || 'word',
)

function pick(seed: number): string {
  return WORDS[((seed * 2_246_822_519) >>> 5) % WORDS.length] ?? 'word'
}

function idOf(at: number): string {
  return `${pick(at)}.${pick(at * 7 + 3)}.Package${at}`
}

function versionOf(version: number): string {
  const stable = `${version >> 2}.${version % 4}.0`
  return version % 5 === 4 ? `${stable}-beta${version % 3 === 0 ? '.1' : ''}` : stable
}

/** About as long as those of real packages. */
function renderNuspec(at: number, version: number): string {
  const words = (count: number, from: number) => Array.from({ length: count }, (_, n) => pick(from + n)).join(' ')
  const groups = ['net462', '.NETStandard2.0', 'net8.0'].map((framework) => {
    const dependencies = Array.from(
      { length: (at + version) % 5 },
      (_, n) => `<dependency id="${idOf((at * 31 + n * 97) % PACKAGES)}" version="${n + 1}.0.0" exclude="Build" />`,
    )
    return `<group targetFramework="${framework}">\n${dependencies.join('\n')}\n</group>`
  })
  return `<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://schemas.microsoft.com/packaging/2013/05/nuspec.xsd">
  <metadata>
    <id>${idOf(at)}</id>
    <version>${versionOf(version)}</version>
    <title>${words(4, at)}</title>
    <authors>${words(2, at * 3)}</authors>
    <requireLicenseAcceptance>false</requireLicenseAcceptance>
    <license type="expression">MIT</license>
    <projectUrl>https://${pick(at + 5)}.example/${idOf(at)}</projectUrl>
    <description>${words(45, at * 11)} &amp; ${words(5, at)}</description>
    <releaseNotes>${words(25, at * 13 + version)}</releaseNotes>
    <copyright>${words(3, at)}</copyright>
    <tags>${words(5, at * 17)}</tags>
    <repository type="git" url="https://${pick(at + 5)}.example/${idOf(at)}.git" commit="0123456789abcdef0123456789abcdef01234567" />
    <dependencies>
${groups.join('\n')}
    </dependencies>
  </metadata>
</package>`
}

async function writePackage(feed: Feed, at: number): Promise<void> {
  await using staged = await feed.stage({ maxBytes: 64 })
  await staged.write(Buffer.from(`content of ${at}`))
  const blob = await staged.seal()
  await feed.change(idOf(at).toLowerCase(), () => ({
    put: Array.from({ length: VERSIONS }, (_, version) => ({
      key: versionKey(versionOf(version)),
      rowClass: 'immutable' as const,
      meta: encodeVersionMeta({ sha512: 'A'.repeat(88), nuspec: Buffer.from(renderNuspec(at, version)) }),
      files: [{ role: 'nupkg', blob }],
    })),
  }))
}

/** A node that was stopped, with a feed of all versions. */
async function fill(node: TestNode): Promise<string> {
  await createFeed(node, FEED, 'nuget')
  const feed = node.operations.openFeed(FEED)
  for (let from = 0; from < PACKAGES; from += GROUP)
    await Promise.all(Array.from({ length: Math.min(GROUP, PACKAGES - from) }, (_, n) => writePackage(feed, from + n)))
  const key = await createKey(node, FEED)
  await node.stop()
  return key
}

interface Client {
  readonly url: string
  readonly key: string
}

async function get({ url, key }: Client, path: string): Promise<string> {
  const answer = await fetch(`${url}/${path}`, { headers: { 'x-nuget-apikey': key } })
  const text = await answer.text()
  if (!answer.ok) throw new Error(`${path} was answered with ${answer.status}: ${text.slice(0, 200)}`)
  return text
}

const SEARCH = 'v3/query?q=package77&prerelease=true&semVerLevel=2.0.0'
const GALLERY =
  "Search()?$filter=IsLatestVersion&$orderby=Id&$skip=0&$top=30&searchTerm='package77'&targetFramework=''&includePrerelease=false"
const EVERY = 'Packages()/$count'
const ONE = `FindPackagesById()?id='${idOf(4321)}'`

/** What a process answers first, s. */
const FIRST: readonly (readonly [what: string, paths: readonly string[]])[] = [
  ['v3 search', [SEARCH]],
  ['v2 search', [GALLERY]],
  ['two searches at once', [SEARCH, GALLERY]],
  ['count of all versions', [EVERY]],
  ['one package by its id', [ONE]],
]

async function startClient(folder: string, key: string): Promise<Client & { readonly node: BenchNode }> {
  const node = await startNode(folder)
  return { node, url: `${node.http}/nuget/${FEED}`, key }
}

/** Once for each feed: every manifest is read, and what searches need of it noted. */
async function measureFirstEver(folder: string, key: string): Promise<Finding> {
  const client = await startClient(folder, key)
  await using node = client.node
  const seconds = await timed(() => Promise.all([get(client, SEARCH), get(client, GALLERY)]))
  return {
    what: 'first search ever, two at once',
    ours: `${formatNumber(seconds)} s`,
    peer: '',
    ratio: null,
    target: null,
    spread: null,
    note: `${formatBytes((await node.child.call('use')).peakRssBytes)} at the peak`,
  }
}

async function measureFirst(folder: string, key: string): Promise<Finding[]> {
  const findings: Finding[] = []
  for (const [what, paths] of FIRST) {
    const seconds: number[] = []
    let rss = 0
    for (let round = 0; round < ROUNDS; round += 1) {
      const client = await startClient(folder, key)
      await using node = client.node
      seconds.push(await timed(() => Promise.all(paths.map((path) => get(client, path)))))
      rss = (await node.child.call('use')).peakRssBytes
    }
    findings.push({
      what: `first of a process: ${what}`,
      ours: `${formatNumber(medianOf(seconds))} s`,
      peer: `${MAX_COLD_SECONDS} s`,
      ratio: medianOf(seconds) / MAX_COLD_SECONDS,
      target: { atMost: 1 },
      spread: spreadOf(seconds),
      note: `${formatBytes(rss)} at the peak`,
    })
  }
  return findings
}

async function measureWarm(folder: string, key: string): Promise<Finding[]> {
  const client = await startClient(folder, key)
  await using node = client.node
  await get(client, EVERY)
  const findings: Finding[] = []
  for (const [what, path] of [
    ['v3 search', SEARCH],
    ['v2 search', GALLERY],
    ['count of all versions', EVERY],
    ['one package by its id', ONE],
  ] as const) {
    const seconds: number[] = []
    for (let round = 0; round < WARM_ROUNDS; round += 1) seconds.push(await timed(() => get(client, path)))
    findings.push({
      what: `later: ${what}`,
      ours: `${formatNumber(medianOf(seconds) * 1000)} ms`,
      peer: `${MAX_WARM_MS} ms`,
      ratio: (medianOf(seconds) * 1000) / MAX_WARM_MS,
      target: { atMost: 1 },
      spread: spreadOf(seconds),
      note: `${formatBytes((await node.child.call('use')).rssBytes)} resident`,
    })
  }
  return findings
}

async function run({ folder, say }: Lab): Promise<Finding[]> {
  const filled = join(folder, 'filled')
  say(`writing ${PACKAGES * VERSIONS} versions`)
  let key = ''
  {
    await using node = await openNode()
    key = await fill(node)
    await copyFolder(node.directory, filled)
  }
  say('asking')
  const ever = await measureFirstEver(filled, key)
  return [ever, ...(await measureFirst(filled, key)), ...(await measureWarm(filled, key))]
}

export const nugetSearch: Bench = {
  name: 'nuget-search',
  about: 'searches and listings in a nuget feed of 100,000 versions, by a process that has just started and later',
  run,
}
