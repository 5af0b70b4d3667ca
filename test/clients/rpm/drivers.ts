/** rpmbuild, dnf and zypper with roots of their own: nothing of the machine's packages or settings is used or changed. */

import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Command, createFolder, findProgram, type RunResult, run, runOk } from '../run-client.ts'

export interface RpmTarget {
  /** URL of the feed without a slash at its end: `http://127.0.0.1:PORT/rpm/NAME`. */
  readonly url: string
  /** API key that may read, publish and delete. */
  readonly key: string
  readonly t: TestContext
}

export function getProgram(name: string): Command {
  const command = findProgram(name)
  if (command === undefined) throw new Error(`${name} is not installed`)
  return command
}

/** Names of programs that are not here, for `skip`. */
export function missingPrograms(...names: readonly string[]): string | false {
  const absent = names.filter((name) => findProgram(name) === undefined)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')}`
}

export interface BuildOptions {
  readonly name: string
  readonly version?: string
  readonly release?: string
  /** `w9.gzdio`, `w6.xzdio`, `w3.zstdio`, … */
  readonly payload?: string
  /** Further lines of the preamble. */
  readonly tags?: readonly string[]
  /** Shell lines that put files below `$R`. */
  readonly install?: readonly string[]
  /** Lines of `%files`; a file that is named after the package unless told. */
  readonly files?: readonly string[]
  readonly changelog?: readonly string[]
  /** `-bb`, or `-bs` for a source package. */
  readonly kind?: '-bb' | '-bs'
}

/** Builds a package into `folder`, which is the builder's own. @returns its path */
export async function buildRpm(folder: string, options: BuildOptions): Promise<string> {
  const { name, version = '1.0', release = '1', tags = [], changelog = [], kind = '-bb' } = options
  const path = `/usr/share/${name}/about`
  const install = options.install ?? [`mkdir -p $R/usr/share/${name}`, `echo '${name} ${version}' > $R${path}`]
  const spec = [
    `Name: ${name}`,
    `Version: ${version}`,
    `Release: ${release}`,
    `Summary: ${name} & more`,
    'License: MIT',
    'BuildArch: noarch',
    'AutoReqProv: no',
    ...tags,
    '%description',
    'In more than <one>',
    'line.',
    '%install',
    'R=%{buildroot}',
    ...install,
    '%files',
    ...(options.files ?? [path]),
    '%changelog',
    ...changelog,
    '',
  ]
  await mkdir(folder, { recursive: true })
  const file = join(folder, `${name}.spec`)
  await writeFile(file, spec.join('\n'))
  const out = join(folder, 'out')
  const macros = [
    `_topdir ${folder}`,
    `_rpmdir ${out}`,
    `_srcrpmdir ${out}`,
    '_rpmfilename %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm',
  ]
  if (options.payload !== undefined) macros.push(`_binary_payload ${options.payload}`)
  const written = await runOk(getProgram('rpmbuild'), [kind, ...macros.flatMap((macro) => ['--define', macro]), file], {
    cwd: folder,
    env: { HOME: folder, LC_ALL: 'C.UTF-8' },
  })
  const made = /^Wrote: (.*\.rpm)$/m.exec(written)?.[1]
  if (made === undefined) throw new Error(`rpmbuild wrote nothing: ${written}`)
  return made
}

export interface PackageSigner {
  /** Armored. */
  readonly publicKey: string
  sign(file: string): Promise<void>
}

/** An empty folder that goes with the test, and with it the agents of gpg that clients have left in it. */
async function createKeyFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'feedmesh-rpm-client-'))
  t.after(async () => {
    const gpgconf = findProgram('gpgconf')
    const names = await readdir(folder, { recursive: true })
    const rings = names.filter((name) => /(?:^|\/)pubring(?:\.kbx|\.gpg)?$/.test(name))
    const homes = new Set(rings.map((name) => join(folder, name.endsWith('pubring') ? name : dirname(name))))
    const options = { cwd: tmpdir(), env: { HOME: folder } }
    for (const home of homes)
      if (gpgconf !== undefined) await run(gpgconf, ['--homedir', home, '--kill', 'all'], options)
    await rm(folder, { recursive: true, force: true })
  })
  return folder
}

/** A publisher's key in a keyring of its own. */
export async function createPackageSigner(t: TestContext): Promise<PackageSigner> {
  const folder = await createKeyFolder(t)
  const env = { HOME: folder, GNUPGHOME: folder, LC_ALL: 'C.UTF-8' }
  const options = { cwd: folder, env }
  const owner = 'publisher@feed.invalid'
  await runOk(
    getProgram('gpg'),
    ['--batch', '--quiet', '--passphrase', '', '--quick-gen-key', `Publisher <${owner}>`, 'rsa2048', 'sign', 'never'],
    options,
  )
  const macros = ['__gpg /usr/bin/gpg', `_gpg_name ${owner}`, `_gpg_path ${folder}`]
  return {
    publicKey: await runOk(getProgram('gpg'), ['--batch', '--armor', '--export', owner], options),
    async sign(file) {
      await runOk(
        getProgram('rpmsign'),
        ['--addsign', ...macros.flatMap((macro) => ['--define', macro]), file],
        options,
      )
    },
  }
}

export interface ClientOptions {
  /** The armored keys to trust; those that the feed gives unless told. */
  readonly keys?: string
  /** Whether packages have to be signed, too. */
  readonly gpgcheck?: boolean
}

export interface RpmClient {
  readonly folder: string
  readonly root: string
  /** May fail. */
  run(...args: string[]): Promise<RunResult>
  /** Has to succeed. */
  ok(...args: string[]): Promise<string>
}

export async function readKeys({ url, key }: RpmTarget): Promise<string> {
  const answer = await fetch(`${url}/repodata/repomd.xml.key`, { headers: { 'x-apikey': key } })
  if (!answer.ok) throw new Error(`no key: ${answer.status} ${await answer.text()}`)
  return await answer.text()
}

async function prepare(
  target: RpmTarget,
  { keys, gpgcheck = false }: ClientOptions,
  login: { readonly url: string; readonly lines: readonly string[] },
): Promise<{ folder: string; root: string }> {
  const folder = await createKeyFolder(target.t)
  const root = join(folder, 'root')
  await mkdir(root)
  for (const name of ['repos', 'log']) await mkdir(join(folder, name))
  const keyFile = join(folder, 'feed.asc')
  if (keys !== undefined) await writeFile(keyFile, keys)
  const lines = [
    '[feed]',
    'name=feed',
    `baseurl=${login.url}/`,
    'enabled=1',
    'repo_gpgcheck=1',
    `gpgcheck=${gpgcheck ? 1 : 0}`,
    `gpgkey=${keys === undefined ? `${login.url}/repodata/repomd.xml.key` : `file://${keyFile}`}`,
    ...login.lines,
    '',
  ]
  await writeFile(join(folder, 'repos/feed.repo'), lines.join('\n'))
  return { folder, root }
}

export async function openDnf(target: RpmTarget, more: ClientOptions = {}): Promise<RpmClient> {
  const lines = ['username=api', `password=${target.key}`, 'retries=1', 'skip_if_unavailable=0', 'metadata_expire=0']
  const { folder, root } = await prepare(target, more, { url: target.url, lines })
  await writeFile(join(folder, 'dnf.conf'), '[main]\nplugins=0\ninstall_weak_deps=0\n')
  const settings = [
    `reposdir=${folder}/repos`,
    `cachedir=${folder}/cache`,
    `persistdir=${folder}/persist`,
    `logdir=${folder}/log`,
    `varsdir=${folder}/vars`,
  ]
  const args = ['-y', `--config=${folder}/dnf.conf`, `--installroot=${root}`, '--releasever=1']
  const all = [...args, ...settings.map((setting) => `--setopt=${setting}`)]
  const options = { cwd: folder, env: { HOME: folder, LC_ALL: 'C.UTF-8' } }
  return {
    folder,
    root,
    run: (...rest) => run(getProgram('dnf'), [...all, ...rest], options),
    ok: (...rest) => runOk(getProgram('dnf'), [...all, ...rest], options),
  }
}

export async function openZypper(target: RpmTarget, more: ClientOptions = {}): Promise<RpmClient> {
  const { host } = new URL(target.url)
  const url = target.url.replace(`//${host}`, `//api:${target.key}@${host}`)
  const { folder, root } = await prepare(target, more, { url, lines: ['type=rpm-md', 'autorefresh=0'] })
  const folders = ['--cache-dir', '--solv-cache-dir', '--raw-cache-dir', '--pkg-cache-dir'].flatMap((option) => [
    option,
    join(folder, option.slice(2)),
  ])
  const options = { cwd: folder, env: { HOME: folder, LC_ALL: 'C.UTF-8', ZYPP_LOCKFILE_ROOT: root } }
  if (more.keys !== undefined)
    await runOk(getProgram('rpm'), ['--root', root, '--import', join(folder, 'feed.asc')], options)
  const all = [
    '--non-interactive',
    // Else keys that were not imported before are refused.
    ...(more.keys === undefined ? ['--gpg-auto-import-keys'] : []),
    '--root',
    root,
    '--reposd-dir',
    `${folder}/repos`,
    ...folders,
  ]
  return {
    folder,
    root,
    run: (...rest) => run(getProgram('zypper'), [...all, ...rest], options),
    ok: (...rest) => runOk(getProgram('zypper'), [...all, ...rest], options),
  }
}

/** Packages installed below `root`: `name-version-release`. */
export async function listInstalled({ root, folder }: RpmClient): Promise<string[]> {
  const options = { cwd: folder, env: { HOME: folder, LC_ALL: 'C.UTF-8' } }
  const printed = await runOk(
    getProgram('rpm'),
    ['--root', root, '-qa', '--qf', '%{NAME}-%{VERSION}-%{RELEASE}\\n'],
    options,
  )
  // The keys of repositories are kept as packages.
  return printed
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('gpg-pubkey-'))
    .sort()
}

/** `rpmvercmp` of each pair, by rpm itself. */
export async function compareWithRpm(t: TestContext, pairs: readonly (readonly [string, string])[]): Promise<number[]> {
  const folder = await createFolder(t)
  await writeFile(join(folder, 'pairs'), pairs.map(([a, b]) => `${a} ${b}\n`).join(''))
  const lua = `for line in io.lines("${folder}/pairs") do local a, b = line:match("^(%S+) (%S+)$"); print(rpm.vercmp(a, b) .. ",") end`
  await writeFile(join(folder, 'compare.lua'), lua)
  const printed = await runOk(getProgram('rpm'), ['--eval', `%{lua:dofile("${folder}/compare.lua")}`], {
    cwd: folder,
    env: { HOME: folder, LC_ALL: 'C.UTF-8' },
  })
  return printed.split(',').slice(0, -1).map(Number)
}

/** What createrepo_c says of the packages in `folder`: documents as they are packed with gzip, by their types. */
export async function createRepository(folder: string): Promise<ReadonlyMap<string, Buffer>> {
  await runOk(getProgram('createrepo_c'), ['-q', '--no-database', '--general-compress-type', 'gz', folder], {
    cwd: folder,
    env: { HOME: folder, LC_ALL: 'C.UTF-8' },
  })
  const documents = new Map<string, Buffer>()
  for (const name of await readdir(join(folder, 'repodata'))) {
    const type = /-([a-z]+)\.xml\.gz$/.exec(name)?.[1] ?? name
    documents.set(type, await readFile(join(folder, 'repodata', name)))
  }
  return documents
}
