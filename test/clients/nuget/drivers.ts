/** nuget 2.8 as Debian ships it and nuget.exe 5 on mono, each with its own home and no cache of others. */

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import {
  type Command,
  createFolder,
  findInstalled,
  findProgram,
  type RunOptions,
  type RunResult,
  run,
  runOk,
} from '../run-client.ts'

export type NugetClient = 'nuget 2.8' | 'nuget 5.8'

export interface NugetTarget {
  /** URL of the feed without a slash at its end. */
  readonly url: string
  /** API key that may read, publish and delete. */
  readonly key: string
  readonly t: TestContext
}

export interface NugetBench {
  readonly folder: string
  /** Arguments follow the source and what makes the client ask nothing. */
  readonly ok: (command: string, ...args: readonly string[]) => Promise<string>
  readonly attempt: (command: string, ...args: readonly string[]) => Promise<RunResult>
}

/** Undefined where it is not installed. */
export function findNuget(client: NugetClient): Command | undefined {
  const mono = findProgram('mono')
  if (client === 'nuget 2.8') return mono === undefined ? undefined : findProgram('nuget')
  const program = findInstalled('nuget5', 'nuget-exe/nuget-5.8.0.exe')
  return mono === undefined || program === undefined ? undefined : { file: mono.file, prefix: [program.file] }
}

/** A source named `feed` with its credentials in the configuration of an own home. */
export async function openNugetBench(
  { url, key, t }: NugetTarget,
  client: NugetClient,
  protocol: 'v2' | 'v3' = 'v2',
): Promise<NugetBench> {
  const command = findNuget(client)
  if (command === undefined) throw new Error(`${client} is not installed`)
  const folder = await createFolder(t)
  const source = protocol === 'v2' ? `${url}/` : `${url}/v3/index.json`
  const config = `<?xml version="1.0" encoding="utf-8"?>
<configuration><packageSources><clear /><add key="feed" value="${source}" /></packageSources>
<packageSourceCredentials><feed><add key="Username" value="api" /><add key="ClearTextPassword" value="${key}" /></feed></packageSourceCredentials>
<disabledPackageSources /></configuration>`
  for (const name of ['NuGet', '.config/NuGet', '.nuget/NuGet']) {
    await mkdir(join(folder, name), { recursive: true })
    await writeFile(join(folder, name, 'NuGet.Config'), config)
  }
  await mkdir(join(folder, 'tmp'))
  const env = { HOME: folder, XDG_CONFIG_HOME: join(folder, '.config'), TMPDIR: join(folder, 'tmp'), LANG: 'C.UTF-8' }
  const options = { cwd: folder, env }
  const full = (verb: string, args: readonly string[]) => [verb, ...args, '-Source', source, '-NonInteractive']
  return {
    folder,
    ok: async (verb, ...args) => {
      if (client === 'nuget 5.8' || verb !== 'list') return await runOk(command, full(verb, args), options)
      return await runInTerminal([command.file, ...command.prefix, ...full(verb, args)], options)
    },
    attempt: (verb, ...args) => run(command, full(verb, args), options),
  }
}

/** Where there is no terminal, 2.8 takes its width for 0 and writes empty lines for ever. */
async function runInTerminal(words: readonly string[], options: RunOptions): Promise<string> {
  const script = findProgram('script')
  if (script === undefined) throw new Error('script (of bsdutils) is not installed')
  const line = words.map((word) => `'${word}'`).join(' ')
  const env = { ...options.env, TERM: 'xterm' }
  const text = await runOk(script, ['-qec', `stty cols 200 rows 50; ${line}`, '/dev/null'], { ...options, env })
  // oxlint-disable-next-line no-control-regex -- what the terminal is told is not what the user reads
  return text.replace(/\u001B\[[?0-9;]*[A-Za-z=]|\u001B=|\r/g, '')
}
