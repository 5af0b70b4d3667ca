/**
 * The whole journey on this machine: a hub and two spokes, packages published with the real npm client, one spoke linked by
 * URL and token, one by join code, the hub stopped, the packages installed from both spokes.
 *
 *   npm run demo              runs it and cleans up
 *   npm run demo -- --keep    leaves everything running until Ctrl-C
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { parseArgs, promisify } from 'node:util'

const run = promisify(execFile)
const MAIN = resolve(import.meta.dirname, '..', 'src', 'main.ts')
const { values: flags } = parseArgs({ options: { keep: { type: 'boolean', default: false } } })

interface DemoNode {
  readonly name: string
  readonly data: string
  readonly url: string
  readonly process: ChildProcess
}

const started = Date.now()
function say(text: string): void {
  console.log(`${((Date.now() - started) / 1000).toFixed(1).padStart(5)} s  ${text}`)
}

async function startNode(folder: string, name: string): Promise<DemoNode> {
  const data = join(folder, name)
  const args = [
    MAIN,
    'start',
    '--json',
    '--data',
    data,
    '--http',
    '127.0.0.1:0',
    '--listen',
    '/ip4/127.0.0.1/tcp/0',
    '--site',
    name,
  ]
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (chunk: Buffer) => {
    errors = (errors + chunk.toString()).slice(-4000)
  })
  const lines = createInterface({ input: child.stdout })
  const ready = await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => undefined)])
  if (ready === undefined) throw new Error(`${name} did not start: ${errors}`)
  const { http } = JSON.parse(String(ready[0])) as { http: string }
  say(`${name} is ready at ${http}`)
  return { name, data, url: http, process: child }
}

async function stopNode(node: DemoNode): Promise<void> {
  if (node.process.exitCode !== null) return
  const exited = once(node.process, 'exit')
  node.process.kill('SIGTERM')
  await exited
}

/** Runs a feedmesh command against the node and gives its JSON document. */
async function feedmesh<T>(node: DemoNode, ...args: string[]): Promise<T> {
  const { stdout } = await run(process.execPath, [MAIN, ...args, '--data', node.data, '--json'])
  return JSON.parse(stdout) as T
}

async function npm(folder: string, registry: string, key: string, args: readonly string[]): Promise<string> {
  const config = join(folder, '.npmrc')
  const host = new URL(registry).host
  await writeFile(
    config,
    `registry=${registry}/\n//${host}${new URL(registry).pathname}/:_authToken=${key}\naudit=false\nfund=false\nupdate-notifier=false\n`,
  )
  const environment = {
    ...process.env,
    npm_config_userconfig: config,
    npm_config_cache: join(folder, '.cache'),
    HOME: folder,
  }
  for (const name of Object.keys(environment))
    if (/^npm_(config_(?!userconfig|cache)|package_|lifecycle_)/i.test(name))
      delete environment[name as keyof typeof environment]
  const { stdout } = await run('npm', [...args], { cwd: folder, env: environment })
  return stdout.trim()
}

async function publishPackages(folder: string, hub: DemoNode): Promise<void> {
  const { key } = await feedmesh<{ key: string }>(hub, 'key', 'create', '--feed', 'packages', '--can', 'read,publish')
  const packages = [
    { name: '@demo/tills', version: '1.0.0' },
    { name: 'demo-shop', version: '2.1.0', dependencies: { '@demo/tills': '^1.0.0' } },
  ]
  for (const manifest of packages) {
    const source = join(folder, `source-${manifest.version}`)
    await mkdir(source, { recursive: true })
    await writeFile(
      join(source, 'package.json'),
      JSON.stringify({ ...manifest, main: 'index.js', license: 'Apache-2.0' }),
    )
    await writeFile(join(source, 'index.js'), `module.exports = '${manifest.name} ${manifest.version}'\n`)
    await npm(source, `${hub.url}/npm/packages`, key, ['publish'])
    say(`npm published ${manifest.name}@${manifest.version} to the hub`)
  }
}

async function installFrom(folder: string, spoke: DemoNode, feed: string): Promise<void> {
  const { key } = await feedmesh<{ key: string }>(spoke, 'key', 'create', '--feed', feed, '--can', 'read')
  const site = join(folder, `till-of-${spoke.name}`)
  await mkdir(site)
  await writeFile(join(site, 'package.json'), '{"name":"till","version":"0.0.0","private":true}')
  await npm(site, `${spoke.url}/npm/${feed}`, key, ['install', 'demo-shop'])
  const installed = await readFile(join(site, 'node_modules', '@demo', 'tills', 'package.json'), 'utf8')
  const { name, version } = JSON.parse(installed) as { name: string; version: string }
  say(`npm installed demo-shop from ${spoke.name}, with ${name}@${version}; the hub is off`)
}

interface RunResult {
  readonly state: string
  readonly fetched: { readonly items: number; readonly bytes: number }
}

async function runReplication(spoke: DemoNode, id: string): Promise<void> {
  const result = await feedmesh<RunResult>(spoke, 'replication', 'run', id, '--wait')
  if (result.state !== 'succeeded') throw new Error(`the run on ${spoke.name} ended as ${result.state}`)
  say(`${spoke.name} has everything; this run fetched ${result.fetched.items} items, ${result.fetched.bytes} bytes`)
}

async function story(folder: string, nodes: DemoNode[]): Promise<void> {
  const hub = await startNode(folder, 'hub')
  nodes.push(hub)
  const berlin = await startNode(folder, 'berlin')
  nodes.push(berlin)
  const osaka = await startNode(folder, 'osaka')
  nodes.push(osaka)

  await feedmesh(hub, 'feed', 'create', 'packages', '--type', 'npm')
  await publishPackages(folder, hub)
  const incoming = await feedmesh<{ token: string; joinCode: string }>(
    hub,
    'replication',
    'add',
    '--feed',
    'packages',
    '--incoming',
    '--mode',
    'push',
    '--token',
    'new',
  )

  await feedmesh(berlin, 'feed', 'create', 'shop', '--type', 'npm')
  const outgoing = await feedmesh<{ id: string }>(
    berlin,
    'replication',
    'add',
    '--feed',
    'shop',
    '--outgoing',
    '--mode',
    'pull',
    '--url',
    hub.url,
    '--token',
    incoming.token,
  )
  say('berlin is linked by URL and token')
  await runReplication(berlin, outgoing.id)

  const joined = await feedmesh<{ replications: string[] }>(osaka, 'join', incoming.joinCode)
  say('osaka is linked by join code')
  for (const id of joined.replications) await runReplication(osaka, id)

  const [atHub, atBerlin, atOsaka] = await Promise.all([
    feedmesh<{ digest: string }>(hub, 'feed', 'show', 'packages'),
    feedmesh<{ digest: string }>(berlin, 'feed', 'show', 'shop'),
    feedmesh<{ digest: string }>(osaka, 'feed', 'show', 'packages'),
  ])
  if (new Set([atHub.digest, atBerlin.digest, atOsaka.digest]).size !== 1)
    throw new Error('the three feeds are not equal')
  say(`all three hold the same content: digest ${atHub.digest.slice(0, 16)}…`)

  if (!flags.keep) {
    await stopNode(hub)
    say('the hub is stopped')
    await installFrom(folder, berlin, 'shop')
    await installFrom(folder, osaka, 'packages')
  }
}

async function waitForInterrupt(nodes: readonly DemoNode[]): Promise<void> {
  for (const node of nodes)
    console.log(`  ${node.name.padEnd(8)} ${node.url}   npm run -s feedmesh -- status --data ${node.data}`)
  console.log('Ctrl-C stops them and removes their data.')
  await once(process, 'SIGINT')
}

const folder = await mkdtemp(join(tmpdir(), 'feedmesh-demo-'))
const nodes: DemoNode[] = []
try {
  await story(folder, nodes)
  if (flags.keep) await waitForInterrupt(nodes)
  else say('done')
} finally {
  await Promise.all(nodes.map(stopNode))
  await rm(folder, { recursive: true, force: true })
}
