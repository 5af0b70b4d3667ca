/** apt and dput with roots of their own: nothing of the machine's packages or settings is used or changed. */

import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { type Command, createFolder, findProgram, type RunResult, run, runOk } from '../run-client.ts'

export interface DebianTarget {
  /** URL of the feed without a slash at its end: `http://127.0.0.1:PORT/debian/NAME`. */
  readonly url: string
  /** API key that may read, publish and delete. */
  readonly key: string
  readonly t: TestContext
}

function getProgram(name: string): Command {
  const command = findProgram(name)
  if (command === undefined) throw new Error(`${name} is not installed`)
  return command
}

/** Names of programs that are not here, for `skip`. */
export function missingPrograms(...names: readonly string[]): string | false {
  const absent = names.filter((name) => findProgram(name) === undefined)
  return absent.length === 0 ? false : `not installed: ${absent.join(', ')}`
}

/** Packages of Debian itself, from the machine's own package source; what cannot be had is not in the answer. */
export async function downloadPackages(folder: string, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
  await mkdir(folder, { recursive: true })
  const options = { cwd: folder, env: { HOME: folder, DEBIAN_FRONTEND: 'noninteractive' } }
  for (const name of names)
    await run(getProgram('apt-get'), ['download', '-o', 'APT::Sandbox::User=root', name], options)
  const found = new Map<string, string>()
  for (const file of await readdir(folder))
    if (file.endsWith('.deb')) found.set(file.split('_', 1)[0] ?? '', join(folder, file))
  return found
}

export interface AptOptions {
  readonly architectures?: readonly string[]
  /** The armored keys to trust; those of the feed unless told. */
  readonly keys?: string
  readonly source?: string
  readonly options?: readonly string[]
}

export interface Apt {
  readonly folder: string
  readonly root: string
  /** `apt-get …` that may fail. */
  get(...args: string[]): Promise<RunResult>
  /** `apt-get …` that has to succeed. */
  ok(...args: string[]): Promise<string>
  cache(...args: string[]): Promise<string>
}

export async function readKeys({ url, key }: DebianTarget): Promise<string> {
  const answer = await fetch(`${url}/keys/${url.slice(url.lastIndexOf('/') + 1)}.asc`, { headers: { 'x-apikey': key } })
  if (!answer.ok) throw new Error(`no key: ${answer.status} ${await answer.text()}`)
  return await answer.text()
}

export async function openApt(target: DebianTarget, more: AptOptions = {}): Promise<Apt> {
  const { architectures = ['amd64'], keys = await readKeys(target), source = 'stable main' } = more
  const folder = await createFolder(target.t)
  const root = join(folder, 'root')
  for (const path of [
    'lists/partial',
    'cache/archives/partial',
    'etc',
    'root/var/lib/dpkg/info',
    'root/var/lib/dpkg/updates',
  ])
    await mkdir(join(folder, path), { recursive: true })
  for (const file of ['status', 'available']) await writeFile(join(root, 'var/lib/dpkg', file), '')
  await writeFile(join(folder, 'etc/feed.asc'), keys)
  await writeFile(
    join(folder, 'etc/sources.list'),
    `deb [arch=${architectures.join(',')} signed-by=${folder}/etc/feed.asc] ${target.url} ${source}\n`,
  )
  await writeFile(
    join(folder, 'etc/auth.conf'),
    `machine ${new URL(target.url).origin} login api password ${target.key}\n`,
  )
  const settings = [
    `Dir::Etc=${folder}/etc`,
    `Dir::Etc::sourcelist=${folder}/etc/sources.list`,
    'Dir::Etc::sourceparts=/dev/null',
    'Dir::Etc::main=/dev/null',
    'Dir::Etc::parts=/dev/null',
    'Dir::Etc::preferencesparts=/dev/null',
    `Dir::Etc::netrc=${folder}/etc/auth.conf`,
    'Dir::Etc::netrcparts=/dev/null',
    'Dir::Etc::trusted=/dev/null',
    'Dir::Etc::trustedparts=/dev/null',
    `Dir::State::lists=${folder}/lists`,
    `Dir::State::status=${root}/var/lib/dpkg/status`,
    `Dir::State::extended_states=${folder}/extended`,
    `Dir::Cache=${folder}/cache`,
    `Dir::Log=${folder}`,
    `APT::Architecture=amd64`,
    ...architectures.map((name) => `APT::Architectures::=${name}`),
    'APT::Sandbox::User=root',
    // Some machines switch these off.
    'Acquire::Check-Valid-Until=true',
    'Acquire::Check-Date=true',
    'Acquire::AllowInsecureRepositories=false',
    'Acquire::Languages=none',
    'Acquire::Retries=0',
    `DPkg::Options::=--root=${root}`,
    'DPkg::Options::=--force-not-root',
    `DPkg::Options::=--log=${folder}/dpkg.log`,
    'DPkg::Use-Pty=false',
    ...(more.options ?? []),
  ]
  const args = settings.flatMap((setting) => ['-o', setting])
  const env = { HOME: folder, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C.UTF-8', APT_CONFIG: '/dev/null' }
  const options = { cwd: folder, env }
  return {
    folder,
    root,
    get: (...rest) => run(getProgram('apt-get'), [...args, '-y', ...rest], options),
    ok: (...rest) => runOk(getProgram('apt-get'), [...args, '-y', ...rest], options),
    cache: (...rest) => runOk(getProgram('apt-cache'), [...args, ...rest], options),
  }
}

/** Uploads a .changes and all that it names. */
export async function dput({ url, key, t }: DebianTarget, changes: string): Promise<RunResult> {
  const folder = await createFolder(t)
  const { host } = new URL(url)
  const settings = [
    '[lab]',
    `fqdn = ${url.replace(host, `api:${key}@${host}`)}`,
    'method = http',
    'incoming = /',
    'allow_unsigned_uploads = 1',
    'allowed_distributions = .*',
    'run_lintian = 0',
    '',
  ]
  await writeFile(join(folder, 'dput.cf'), settings.join('\n'))
  const options = { cwd: folder, env: { HOME: folder, LC_ALL: 'C.UTF-8' } }
  return await run(getProgram('dput'), ['-u', '-c', join(folder, 'dput.cf'), 'lab', changes], options)
}

/** Writes a .changes for files that are in `folder`. */
export async function writeChanges(folder: string, names: readonly string[]): Promise<string> {
  const lines: Record<'sha1' | 'sha256' | 'md5', string[]> = { sha1: [], sha256: [], md5: [] }
  for (const name of names) {
    const content = await readFile(join(folder, name))
    for (const algorithm of ['sha1', 'sha256', 'md5'] as const) {
      const digest = createHash(algorithm).update(content).digest('hex')
      lines[algorithm].push(` ${digest} ${content.length}${algorithm === 'md5' ? ' misc optional' : ''} ${name}`)
    }
  }
  const [, version = ''] = names[0]?.split('_') ?? []
  const text = [
    'Format: 1.8',
    'Date: Mon, 23 Nov 2026 10:00:00 +0000',
    `Source: ${names[0]?.split('_', 1)[0]}`,
    `Binary: ${names[0]?.split('_', 1)[0]}`,
    'Architecture: all',
    `Version: ${version}`,
    'Distribution: stable',
    'Urgency: medium',
    'Maintainer: Some Body <some@body.invalid>',
    'Changed-By: Some Body <some@body.invalid>',
    'Description:',
    ' tool - does something',
    'Changes:',
    ` tool (${version}) stable; urgency=medium`,
    ' .',
    '   * New.',
    'Checksums-Sha1:',
    ...lines.sha1,
    'Checksums-Sha256:',
    ...lines.sha256,
    'Files:',
    ...lines.md5,
    '',
  ]
  const path = join(folder, `${names[0]?.replace(/\.deb$/, '')}.changes`)
  await writeFile(path, text.join('\n'))
  return path
}
