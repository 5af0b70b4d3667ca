/** What each npm-like client has to be able to do with a feed; runs against any node that serves one. */

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type ClientName, type FeedTarget, openWorkbench, type Project, type Workbench, writeFiles } from './drivers.ts'

/** Publishes with npm; `prefix` keeps the packages of several scenarios in one feed apart. */
export async function publishLibrary(bench: Workbench, name: string, versions: readonly string[]): Promise<Project> {
  const library = await bench.createProject('library', {
    name,
    version: '0.0.0',
    description: `library ${name}`,
    license: 'MIT',
  })
  await writeFiles(library.folder, { 'index.js': `module.exports = ${JSON.stringify(name)}\n` })
  for (const version of versions) {
    await library.ok('version', version, '--no-git-tag-version')
    await library.ok('publish')
  }
  return library
}

async function installedVersion(project: Project, name: string): Promise<unknown> {
  return JSON.parse(await readFile(join(project.folder, 'node_modules', name, 'package.json'), 'utf8')).version
}

async function fails(project: Project, args: readonly string[], expected: RegExp): Promise<void> {
  const { exitCode, stdout, stderr } = await project.call(args)
  assert.notEqual(exitCode, 0, `${args.join(' ')} should fail`)
  assert.match(stdout + stderr, expected)
}

/** npm: login, publish, install, ci, tags, deprecate, search, audit, unpublish, logout. */
export async function npmScenario(target: FeedTarget, scope = '@npm-scenario'): Promise<void> {
  const name = `${scope}/lib`
  const bench = await openWorkbench(target, { client: 'npm', isLoggedIn: false })
  const library = await bench.createProject('library', {
    name,
    version: '1.0.0',
    description: 'made for npm',
    license: 'MIT',
  })
  await writeFiles(library.folder, { 'index.js': 'module.exports = 1\n' })
  await fails(library, ['whoami'], /ENEEDAUTH/)
  await fails(library, ['publish'], /ENEEDAUTH/)
  await login(library, 'not-a-key', 1)
  await login(library, target.key, 0)
  assert.ok((await library.ok('whoami')).trim().length > 0)
  await library.ok('ping')

  await library.ok('publish')
  await fails(library, ['publish'], /cannot publish over the previously published versions: 1\.0\.0/)
  await library.ok('version', '1.1.0-beta.1', '--no-git-tag-version')
  await library.ok('publish', '--tag', 'beta')
  await library.ok('version', '2.0.0', '--no-git-tag-version')
  await library.ok('publish')

  await checkTags(library, name)
  await checkDeprecation(library, name)
  assert.match(await library.ok('search', 'made for npm', '--parseable'), new RegExp(name))
  await checkInstall(target, name)
  await checkUnpublish(library, name)
  await library.ok('logout')
  await fails(library, ['whoami'], /ENEEDAUTH/)
}

async function login(library: Project, key: string, exitCode: number): Promise<void> {
  const answers = [
    { prompt: 'Username:', reply: 'api' },
    { prompt: 'Password:', reply: key },
  ]
  const result = await library.call(['login'], answers)
  assert.equal(result.exitCode, exitCode, result.stdout + result.stderr)
}

async function checkTags(library: Project, name: string): Promise<void> {
  await library.ok('dist-tag', 'add', `${name}@1.0.0`, 'stable')
  assert.deepEqual((await library.ok('dist-tag', 'ls')).trim().split('\n').sort(), [
    'beta: 1.1.0-beta.1',
    'latest: 2.0.0',
    'stable: 1.0.0',
  ])
  await library.ok('dist-tag', 'rm', name, 'stable')
  await fails(library, ['dist-tag', 'rm', name, 'latest'], /moved to another version, not removed/)
  await fails(library, ['dist-tag', 'add', `${name}@1.0.0`, 'v1'], /must not be a valid SemVer range/)
}

async function checkDeprecation(library: Project, name: string): Promise<void> {
  await library.ok('deprecate', `${name}@1`, 'use version 2')
  assert.equal((await library.ok('view', `${name}@1.0.0`, 'deprecated')).trim(), 'use version 2')
  await library.ok('undeprecate', `${name}@1`)
  assert.equal((await library.ok('view', `${name}@1.0.0`, 'deprecated')).trim(), '')
}

/** Another machine: nothing of the package is in its caches. */
async function checkInstall(target: FeedTarget, name: string): Promise<void> {
  const app = await (await openWorkbench(target, { client: 'npm' })).createProject('app', {
    name: 'app',
    version: '1.0.0',
    private: true,
  })
  await app.ok('install', `${name}@^1.0.0`)
  assert.equal(await installedVersion(app, name), '1.0.0')
  await app.ok('install', `${name}@beta`)
  assert.equal(await installedVersion(app, name), '1.1.0-beta.1')
  await app.ok('ci')
  assert.match(await app.ok('audit', '--audit=true'), /found 0 vulnerabilities/)
  const other = await (await openWorkbench(target, { client: 'npm' })).createProject('other', {
    name: 'other',
    version: '1.0.0',
  })
  for (const file of ['package.json', 'package-lock.json']) {
    await writeFiles(other.folder, { [file]: await readFile(join(app.folder, file), 'utf8') })
  }
  await other.ok('ci')
  assert.equal(await installedVersion(other, name), '1.1.0-beta.1')
  await fails(app, ['install', `${name}@9`], /ETARGET|No matching version/)
  await fails(app, ['install', `${name}-missing`], /E404/)
}

async function checkUnpublish(library: Project, name: string): Promise<void> {
  await library.ok('unpublish', `${name}@2.0.0`)
  const left = JSON.parse(await library.ok('view', name, 'versions', '--json')) as unknown
  assert.deepEqual([left].flat(), ['1.0.0', '1.1.0-beta.1'])
  await fails(library, ['publish'], /cannot publish over the previously published versions: 2\.0\.0/)
  await library.ok('unpublish', name, '--force')
  await fails(library, ['view', name], /E404/)
  await library.ok('version', '3.0.0', '--no-git-tag-version')
  await library.ok('publish')
  assert.equal((await library.ok('view', name, 'version')).trim(), '3.0.0')
}

interface Steps {
  /** Calls that have to succeed, in the order of the test. */
  readonly add: readonly string[]
  readonly frozen: readonly string[]
  readonly checks: readonly (readonly [args: readonly string[], output: RegExp])[]
  /** Absent where the client cannot publish to a registry. */
  readonly publish?: readonly (readonly string[])[]
  readonly republish?: readonly [args: readonly string[], output: RegExp]
}

/** Two packages that are in the feed already, `scoped` at 1.1.0 and `plain` at 1.0.0, installed with nothing but the feed. */
export async function installScenario(
  target: FeedTarget,
  client: ClientName,
  names: { readonly scoped: string; readonly plain: string },
): Promise<void> {
  const bench = await openWorkbench(target, { client })
  const app = await bench.createProject('app', { name: 'app', version: '1.0.0', private: true })
  const add =
    client === 'npm'
      ? ['install', names.scoped, `${names.plain}@1.0.0`]
      : stepsOf(client, names.scoped, names.plain).add
  await app.ok(...add)
  assert.equal(await installedVersion(app, names.scoped), '1.1.0')
  assert.equal(await installedVersion(app, names.plain), '1.0.0')
}

/** pnpm, yarn, bun, deno: install with and without scope, frozen install on another machine, audit, whoami, publish. */
export async function clientScenario(target: FeedTarget, client: Exclude<ClientName, 'npm'>): Promise<void> {
  const scope = `@${client}-scenario`
  const [scoped, plain] = [`${scope}/lib`, `${client}-scenario-lib`]
  const npm = await openWorkbench(target, { client: 'npm' })
  await publishLibrary(npm, scoped, ['1.0.0', '1.1.0'])
  await publishLibrary(npm, plain, ['1.0.0', '1.1.0'])
  const steps = stepsOf(client, scoped, plain)

  const app = await (await openWorkbench(target, { client })).createProject('app', {
    name: 'app',
    version: '1.0.0',
    private: true,
  })
  await app.ok(...steps.add)
  assert.equal(await installedVersion(app, scoped), '1.1.0')
  assert.equal(await installedVersion(app, plain), '1.0.0')
  for (const [args, output] of steps.checks) {
    const result = await app.call(args)
    assert.equal(result.exitCode, 0, `${client} ${args.join(' ')}\n${result.stdout}${result.stderr}`)
    assert.match(result.stdout + result.stderr, output)
  }
  await checkFrozen(target, client, { app, steps, plain })
  if (steps.publish !== undefined) await checkPublish(target, client, { name: `${scope}/own`, steps })
}

interface Frozen {
  readonly app: Project
  readonly steps: Steps
  readonly plain: string
}

async function checkFrozen(target: FeedTarget, client: ClientName, { app, steps, plain }: Frozen): Promise<void> {
  const other = await (await openWorkbench(target, { client })).createProject('other', {
    name: 'app',
    version: '1.0.0',
    private: true,
  })
  for (const file of ['package.json', LOCKFILES[client]]) {
    await writeFiles(other.folder, { [file]: await readFile(join(app.folder, file), 'utf8') })
  }
  await other.ok(...steps.frozen)
  assert.equal(await installedVersion(other, plain), '1.0.0')
}

async function checkPublish(
  target: FeedTarget,
  client: ClientName,
  { name, steps }: { readonly name: string; readonly steps: Steps },
): Promise<void> {
  const bench = await openWorkbench(target, { client })
  const own = await bench.createProject('own', { name, version: '1.0.0', description: 'own', license: 'MIT' })
  await writeFiles(own.folder, { 'index.js': 'module.exports = 2\n' })
  for (const args of steps.publish ?? []) await own.ok(...args)
  const npm = await (await openWorkbench(target, { client: 'npm' })).createProject('reader', {
    name: 'reader',
    version: '1.0.0',
  })
  await npm.ok('install', name)
  assert.equal(await installedVersion(npm, name), '1.0.0')
  if (steps.republish !== undefined) await fails(own, ...steps.republish)
}

const LOCKFILES: Readonly<Record<ClientName, string>> = {
  npm: 'package-lock.json',
  pnpm: 'pnpm-lock.yaml',
  yarn1: 'yarn.lock',
  yarn4: 'yarn.lock',
  bun: 'bun.lock',
  deno: 'deno.lock',
}

const OVER = /cannot publish over (?:the )?previously published|cannot publish over/i

function stepsOf(client: Exclude<ClientName, 'npm'>, scoped: string, plain: string): Steps {
  const packages = [scoped, `${plain}@1.0.0`]
  switch (client) {
    case 'pnpm':
      return {
        add: ['add', ...packages],
        frozen: ['install', '--frozen-lockfile'],
        checks: [
          [['audit'], /No known vulnerabilities/],
          [['whoami'], /\w/],
          [['view', plain, 'version'], /1\.1\.0/],
        ],
        publish: [['publish', '--no-git-checks']],
        republish: [['publish', '--no-git-checks', '--force'], OVER],
      }
    case 'yarn1':
      return {
        add: ['add', ...packages, '--non-interactive'],
        frozen: ['install', '--frozen-lockfile', '--non-interactive'],
        checks: [
          [['info', plain, 'version'], /1\.1\.0/],
          [['tag', 'add', `${plain}@1.0.0`, 'y1'], /Created tag/],
          [['tag', 'list', plain], /y1: 1\.0\.0/],
        ],
        publish: [['publish', '--new-version', '1.0.0', '--non-interactive']],
        republish: [['publish', '--new-version', '1.0.0', '--non-interactive'], OVER],
      }
    case 'yarn4':
      return {
        add: ['add', ...packages],
        frozen: ['install', '--immutable'],
        checks: [
          [['npm', 'audit'], /No audit suggestions/],
          [['npm', 'whoami'], /\w/],
          [['npm', 'info', plain, '--fields', 'version', '--json'], /1\.1\.0/],
          [['npm', 'tag', 'add', `${plain}@1.0.0`, 'y4'], /Tag y4 added/],
          [['npm', 'tag', 'list', plain], /y4/],
        ],
        publish: [['install'], ['npm', 'publish']],
        republish: [['npm', 'publish'], OVER],
      }
    case 'bun':
      return {
        add: ['add', ...packages],
        frozen: ['install', '--frozen-lockfile'],
        checks: [
          [['audit'], /No vulnerabilities/],
          [['pm', 'whoami'], /\w/],
          [['info', plain, 'version'], /1\.1\.0/],
        ],
        publish: [['publish']],
        republish: [['publish'], OVER],
      }
    case 'deno':
      return {
        add: ['add', '--minimum-dependency-age=0', ...packages.map((name) => `npm:${name}`)],
        frozen: ['install', '--frozen', '--minimum-dependency-age=0'],
        checks: [],
      }
  }
}
