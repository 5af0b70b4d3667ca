/** Packuments and tarballs over 16 keep-alive connections: ours, Verdaccio, and a bare Fastify with the same bytes. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { BareContent, BareMethods } from './bare-server.ts'
import { CallChild } from './call-child.ts'
import { type Bench, type Finding, formatNumber, type Lab } from './findings.ts'
import { renderRequest, requestOnce } from './http-connection.ts'
import { measureRate } from './http-load.ts'
import { versionNames } from './npm-documents.ts'
import {
  findVerdaccioRegistry,
  getPackument,
  packumentHeaders,
  publishAll,
  type Registry,
  startOwnRegistry,
} from './npm-registry.ts'
import { alternate, medianOf, spreadOf } from './samples.ts'
import { NO_VERDACCIO } from './verdaccio.ts'

const CONNECTIONS = 16
const VERSIONS = 100
const ROUNDS = 5
const DURATION_MS = 1500
/** A server is measured once its code has been compiled: after 0.5 s ours runs at half its speed. */
const WARM_UP_MS = 3000
const TARBALL_BYTES = 104 * 1024
const NAME = 'wide-0'

interface Target {
  readonly url: string
  readonly requests: readonly Buffer[]
  readonly status: number
}

type Contender = 'feedmesh' | 'verdaccio' | 'bare'
type Targets = ReadonlyMap<Contender, Target>

function headerOf(head: string, name: string): string {
  return new RegExp(`\\r\\n${name}: *([^\\r]*)`, 'i').exec(head)?.[1] ?? ''
}

async function prepareBare(folder: string, own: Registry, stack: AsyncDisposableStack): Promise<string> {
  const document = await getPackument(own, NAME, 'abbreviated')
  const names = ['etag', 'vary', 'cache-control', 'content-type', 'content-encoding']
  const headers = Object.fromEntries(names.map((name) => [name, headerOf(document.head, name)]))
  const tarballs = join(folder, 'bare')
  await mkdir(tarballs)
  for (const name of tarballNames())
    await writeFile(
      join(tarballs, name),
      (await requestOnce({ url: tarballUrl(own, name), headers: own.headers })).body,
    )
  const script = join(import.meta.dirname, 'bare-server.ts')
  const child = stack.use(new CallChild<BareMethods>(script, { logFile: join(folder, 'bare.log') }))
  const content: BareContent = { packument: document.body.toString('base64'), headers, tarballs }
  return `${await child.call('start', content)}/`
}

function tarballNames(): string[] {
  return Array.from({ length: VERSIONS }, (_, number) => `${NAME}-1.0.${number}.tgz`)
}

function tarballUrl(registry: Registry, name: string): string {
  return `${registry.url}${NAME}/-/${name}`
}

async function packumentTarget(
  url: string,
  headers: Readonly<Record<string, string>>,
  tagged: boolean,
): Promise<Target> {
  const etag = headerOf((await requestOnce({ url, headers })).head, 'etag')
  const request = renderRequest({ url, headers: tagged ? { ...headers, 'if-none-match': etag } : headers })
  return { url, requests: [request], status: tagged ? 304 : 200 }
}

async function measure(what: string, targets: Targets): Promise<Finding[]> {
  const load = ({ url, requests, status }: Target, durationMs: number) =>
    measureRate({ url, requests, status, connections: CONNECTIONS, durationMs })
  for (const target of targets.values()) await load(target, WARM_UP_MS)
  const samples = await alternate([...targets.keys()], ROUNDS, (name) => load(targets.get(name)!, DURATION_MS))
  const ours = samples.get('feedmesh')!
  return (['verdaccio', 'bare'] as const).map((name) => {
    const peer = samples.get(name)
    const label = name === 'bare' ? 'bare Fastify' : 'Verdaccio'
    return {
      what: `${what} / ${label}`,
      ours: `${formatNumber(medianOf(ours))} req/s`,
      peer: peer === undefined ? NO_VERDACCIO : `${label} ${formatNumber(medianOf(peer))} req/s`,
      ratio: peer === undefined ? null : medianOf(ours) / medianOf(peer),
      target: { atLeast: name === 'bare' ? 0.5 : 5 },
      spread: Math.max(spreadOf(ours), peer === undefined ? 0 : spreadOf(peer)),
    }
  })
}

async function run({ folder, say }: Lab): Promise<Finding[]> {
  await using stack = new AsyncDisposableStack()
  const own = await startOwnRegistry(folder, stack)
  const verdaccio = await findVerdaccioRegistry(folder, stack)
  const registries = new Map<Contender, Registry>([['feedmesh', own]])
  if (verdaccio !== undefined) registries.set('verdaccio', verdaccio)
  say(`publishing ${VERSIONS} versions`)
  const versions = versionNames('wide', 1, VERSIONS).map((one) => ({ ...one, fileBytes: TARBALL_BYTES }))
  for (const registry of registries.values()) await publishAll(registry, versions, 1)
  const bare = await prepareBare(folder, own, stack)
  const findings: Finding[] = []
  for (const tagged of [false, true]) {
    const targets = new Map<Contender, Target>()
    for (const [name, registry] of registries)
      targets.set(
        name,
        await packumentTarget(`${registry.url}${NAME}`, packumentHeaders(registry, 'abbreviated'), tagged),
      )
    targets.set('bare', await packumentTarget(`${bare}packument`, packumentHeaders(own, 'abbreviated'), tagged))
    const what = tagged ? 'packument, 304' : 'packument'
    say(what)
    findings.push(...(await measure(what, targets)))
  }
  const targets = new Map<Contender, Target>()
  const tarballTarget = (
    url: string,
    headers: Readonly<Record<string, string>>,
    urlOf: (name: string) => string,
  ): Target => {
    const requests = tarballNames().map((name) => renderRequest({ url: urlOf(name), headers }))
    return { url, requests, status: 200 }
  }
  for (const [name, registry] of registries)
    targets.set(
      name,
      tarballTarget(registry.url, registry.headers, (file) => tarballUrl(registry, file)),
    )
  targets.set(
    'bare',
    tarballTarget(bare, {}, (file) => `${bare}tarball/${file}`),
  )
  say('tarballs')
  findings.push(...(await measure(`104 KB tarballs, ${VERSIONS} in turn`, targets)))
  return findings
}

export const npmServe: Bench = { name: 'npm-serve', about: 'requests a second on 16 connections', run }
