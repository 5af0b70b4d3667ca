/** What every command gets: where the node's data is, how to reach the node, where to print. */

import { resolve } from 'node:path'
import { FeedmeshError } from '../errors.ts'
import { ApiClient } from './api-client.ts'
import type { Output, OutputStream } from './output.ts'

/** Arguments, environment and streams of the process; `main.ts` alone takes them from it. */
export interface CommandLine {
  readonly argv: readonly string[]
  readonly env: Readonly<Record<string, string | undefined>>
  readonly home: string
  readonly stdin: AsyncIterable<Uint8Array | string>
  readonly stdout: OutputStream
  readonly stderr: OutputStream
  /** Aborts when the process is asked to stop. */
  readonly signal: AbortSignal
}

export type ExitCode = 0 | 1 | 2 | 3 | 4 | 5 | 6

export interface Context {
  readonly line: CommandLine
  readonly output: Output
  readonly signal: AbortSignal
  /** The data folder. */
  readonly directory: string
  readonly openApi: () => Promise<ApiClient>
}

/** Arguments in the order of the command's definition, then its options. */
export type Action<Arguments extends readonly unknown[], Options> = (
  context: Context,
  args: Arguments,
  options: Options,
) => Promise<ExitCode | void>

/** Makes a commander action of ours. */
export type Act = <Arguments extends readonly unknown[], Options = object>(
  action: Action<Arguments, Options>,
) => (...values: unknown[]) => Promise<void>

export function createContext(line: CommandLine, output: Output, data: string | undefined): Context {
  const directory = resolve(data ?? line.env['FEEDMESH_DATA'] ?? resolve(line.home, '.feedmesh'))
  return {
    line,
    output,
    signal: line.signal,
    directory,
    openApi: async () => new ApiClient(await findAccess(line, directory, data !== undefined), line.signal),
  }
}

/** A folder named on the command line is meant, whatever the environment says. */
async function findAccess({ env }: CommandLine, directory: string, isNamed: boolean) {
  const [url, key] = [env['FEEDMESH_URL'], env['FEEDMESH_API_KEY']]
  if (!isNamed && url !== undefined && url !== '') {
    if (key === undefined || key === '')
      throw new FeedmeshError('UNAUTHENTICATED', 'FEEDMESH_URL is set, but FEEDMESH_API_KEY is not')
    return { url, key, isLocal: false, whenDown: 'start it there with feedmesh start, or unset FEEDMESH_URL' }
  }
  const { readLocalAccess } = await import('../data-folder.ts')
  const access = await readLocalAccess(directory)
  return { ...access, isLocal: true, whenDown: `start it with feedmesh start --data ${directory}` }
}

/** The value of an option or argument; `-` stands for standard input, which keeps secrets out of the process list. */
export async function readSecret(value: string, { stdin }: CommandLine): Promise<string> {
  if (value !== '-') return value
  let text = ''
  for await (const chunk of stdin) {
    text += typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString('utf8')
    if (text.length > 65_536) throw new FeedmeshError('TOO_LARGE', 'standard input is too long for a token or code')
  }
  return text.trim()
}
