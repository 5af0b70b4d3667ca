/** What the npm-like clients need to work with a feed: their settings, and a folder to work in. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  type Answer,
  type Command,
  createFolder,
  findInstalled,
  findProgram,
  type RunResult,
  run,
  runOk,
} from '../run-client.ts'

export interface FeedTarget {
  /** URL of the feed without a slash at its end: `http://127.0.0.1:PORT/npm/NAME`. */
  readonly url: string
  /** API key that may read, publish and delete. */
  readonly key: string
  readonly t: TestContext
}

export type ClientName = 'npm' | 'pnpm' | 'yarn1' | 'yarn4' | 'bun' | 'deno'

/** The command of a client, or undefined when it is not installed. */
export function findClient(name: ClientName): Command | undefined {
  switch (name) {
    case 'npm':
      return findProgram('npm')
    case 'pnpm':
      return findInstalled('pnpm', 'pnpm/bin/pnpm.cjs') ?? findProgram('pnpm')
    case 'yarn1':
      return findInstalled('yarn1', 'yarn/bin/yarn.js')
    case 'yarn4':
      return findInstalled('yarn4', '@yarnpkg/cli-dist/bin/yarn.js')
    case 'bun':
      return findInstalled('bun', '@oven/bun-linux-x64/bin/bun') ?? findProgram('bun')
    case 'deno':
      return findInstalled('deno', '@deno/linux-x64-glibc/deno') ?? findProgram('deno')
  }
}

/** One client with its home, caches and settings in a folder that goes with the test. */
export interface Workbench {
  /** A folder with this package.json and the client's settings for the feed. */
  createProject(name: string, packageJson: Readonly<Record<string, unknown>>): Promise<Project>
}

export interface Project {
  readonly folder: string
  /** Standard output of a call that has to succeed. */
  ok(...args: string[]): Promise<string>
  /** A call that may fail. */
  call(args: readonly string[], answers?: readonly Answer[]): Promise<RunResult>
}

export interface WorkbenchOptions {
  readonly client: ClientName
  /** Without: the client starts with the feed's URL, but no key. */
  readonly isLoggedIn?: boolean
}

export async function openWorkbench(target: FeedTarget, options: WorkbenchOptions): Promise<Workbench> {
  const command = findClient(options.client)
  if (command === undefined) throw new Error(`${options.client} is not installed; run test/clients/install.sh`)
  const root = await createFolder(target.t)
  const home = join(root, 'home')
  const key = options.isLoggedIn === false ? undefined : target.key
  const registry = `${target.url}/`
  await writeFiles(home, { '.npmrc': renderNpmrc(options.client, registry, key) })
  const env = environment(home, registry)
  return {
    async createProject(name, packageJson) {
      const folder = join(root, name)
      await writeFiles(folder, {
        'package.json': JSON.stringify(packageJson),
        ...settings(options.client, registry, key),
      })
      return {
        folder,
        ok: (...args) => runOk(command, args, { cwd: folder, env }),
        call: (args, answers = []) => run(command, args, { cwd: folder, env, answers }),
      }
    },
  }
}

export async function writeFiles(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), content)
}

function renderNpmrc(client: ClientName, registry: string, key: string | undefined): string {
  const login = key === undefined ? [] : [`${registry.replace(/^https?:/, '')}:_authToken=${key}`]
  // yarn 1 sends its token for packages without a scope only when told to.
  const always = client === 'yarn1' ? ['always-auth=true'] : []
  return [`registry=${registry}`, ...login, ...always, 'audit=false', 'fund=false', 'update-notifier=false', ''].join(
    '\n',
  )
}

/** Nothing of the machine's own settings, caches and proxies reaches the client. */
function environment(home: string, registry: string): Record<string, string> {
  return {
    HOME: home,
    XDG_CACHE_HOME: join(home, 'cache'),
    XDG_CONFIG_HOME: join(home, 'config'),
    XDG_DATA_HOME: join(home, 'data'),
    XDG_STATE_HOME: join(home, 'state'),
    NPM_CONFIG_USERCONFIG: join(home, '.npmrc'),
    NPM_CONFIG_GLOBALCONFIG: join(home, 'global-npmrc'),
    NPM_CONFIG_CACHE: join(home, 'npm-cache'),
    NPM_CONFIG_REGISTRY: registry,
    YARN_ENABLE_TELEMETRY: '0',
    BUN_INSTALL: join(home, 'bun'),
    DENO_DIR: join(home, 'deno'),
    DENO_NO_UPDATE_CHECK: '1',
    NO_COLOR: '1',
    CI: '1',
  }
}

/** Settings that have to lie beside the package.json. Just-published versions must not be held back. */
function settings(client: ClientName, registry: string, key: string | undefined): Record<string, string> {
  if (client === 'yarn4') {
    const lines = [
      `npmRegistryServer: "${registry}"`,
      ...(key === undefined ? [] : [`npmAuthToken: "${key}"`, 'npmAlwaysAuth: true']),
      `unsafeHttpWhitelist: ["${new URL(registry).hostname}"]`,
      'npmMinimalAgeGate: 0',
      'enableTelemetry: false',
      'enableImmutableInstalls: false',
      'nodeLinker: node-modules',
    ]
    return { '.yarnrc.yml': `${lines.join('\n')}\n`, 'yarn.lock': '' }
  }
  if (client === 'yarn1') return { '.yarnrc': `registry "${registry}"\n` }
  if (client === 'bun') {
    return { 'bunfig.toml': `[install]\nregistry = { url = "${registry}", token = "${key ?? ''}" }\n` }
  }
  return {}
}
