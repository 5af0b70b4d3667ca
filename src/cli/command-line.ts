/** Arguments → command → exit code. README.md has the table of commands. */

import { Command, CommanderError } from 'commander'
import { asFeedmeshError, ERROR_KINDS, FeedmeshError } from '../errors.ts'
import { VERSION } from '../version.ts'
import { findCommand, registerCompletionCommand } from './completion.ts'
import { type Act, type CommandLine, createContext } from './context.ts'
import { findCure } from './cures.ts'
import { registerDoctorCommand } from './doctor.ts'
import { registerExplainCommand } from './explain.ts'
import { registerFeedCommands } from './feed.ts'
import { registerFeedEditCommand } from './feed-edit.ts'
import { registerFeedIndexCommands } from './feed-index.ts'
import { registerFeedPastCommands } from './feed-past.ts'
import { registerImportCommand } from './import.ts'
import { registerInitCommand } from './init.ts'
import { registerJoinCommand } from './join.ts'
import { registerKeyCommands } from './key.ts'
import { registerMaintenanceCommands } from './maintenance.ts'
import { Output, visible } from './output.ts'
import { registerPeersCommands } from './peers.ts'
import { registerPublishCommand } from './publish.ts'
import { registerReplicationCommands } from './replication.ts'
import { registerRestoreCommand } from './restore.ts'
import { registerRunsCommand } from './runs.ts'
import { registerStartCommand } from './start.ts'
import { registerStatusCommand } from './status.ts'
import { registerTokenCommands } from './token.ts'

const COMMANDS: readonly ((program: Command, act: Act) => void)[] = [
  registerInitCommand,
  registerStartCommand,
  registerStatusCommand,
  registerDoctorCommand,
  registerExplainCommand,
  registerFeedCommands,
  registerFeedPastCommands,
  registerFeedEditCommand,
  registerFeedIndexCommands,
  registerPublishCommand,
  registerImportCommand,
  registerReplicationCommands,
  registerJoinCommand,
  registerRunsCommand,
  registerPeersCommands,
  registerTokenCommands,
  registerKeyCommands,
  registerMaintenanceCommands,
  registerRestoreCommand,
  registerCompletionCommand,
]

const NOTES = `
Commands talk to the node of the data folder: --data, else FEEDMESH_DATA, else ~/.feedmesh.
FEEDMESH_URL and FEEDMESH_API_KEY name another node; --data outranks them. NO_COLOR turns colours off.

Exit codes: 0 done, 1 failed, 2 wrong usage, 3 node not running, 4 partly done, 5 not permitted, 6 peer unreachable.
What a code of an error means: feedmesh explain CODE`

export function createProgram(act: Act): Command {
  const program = new Command('feedmesh')
    .description('Replicates package feeds between nodes and serves them to their usual clients.')
    .version(VERSION, '--version', 'print the version')
    .option('--data <dir>', 'data folder of the node (default: FEEDMESH_DATA, else ~/.feedmesh)')
    .option('--json', 'print one JSON document on stdout, errors as JSON on stderr')
    .option('--quiet', 'print only results and errors')
    .helpCommand(false)
    .configureHelp({ showGlobalOptions: true })
    .addHelpText('after', NOTES)
  for (const register of COMMANDS) register(program, act)
  return program
}

interface GlobalOptions {
  readonly data?: string
}

/** Runs one command; everything it prints goes to the streams of `line`. */
export async function runCommandLine(line: CommandLine): Promise<number> {
  const output = createOutput(line)
  let exitCode = 0
  const act: Act =
    (action) =>
    async (...values) => {
      const command = values.at(-1) as Command
      const { data, ...options } = command.optsWithGlobals<GlobalOptions>()
      const context = createContext(line, output, data)
      exitCode = (await action(context, command.processedArgs as never, options as never)) ?? 0
    }
  const program = createProgram(act)
  captureOutput(program, line)
  const path = pathOf(findCommand(program, line.argv).command)
  try {
    await program.parseAsync(line.argv, { from: 'user' })
    return exitCode
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0
    return reportError(output, error instanceof CommanderError ? asUsageError(error, path) : error, path)
  }
}

function createOutput({ argv, env, stdout, stderr }: CommandLine): Output {
  const end = argv.indexOf('--')
  const flags = end < 0 ? argv : argv.slice(0, end)
  const color = stdout.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
  return new Output({ stdout, stderr, json: flags.includes('--json'), quiet: flags.includes('--quiet'), color })
}

/** Commander's own texts: help goes to stdout, errors are thrown and reported like every other. */
function captureOutput(command: Command, line: CommandLine): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => line.stdout.write(text),
    writeErr: () => undefined,
    outputError: () => undefined,
  })
  for (const sub of command.commands) captureOutput(sub, line)
}

function pathOf(command: Command): string {
  return command.parent === null ? '' : `${pathOf(command.parent)} ${command.name()}`.trim()
}

function asUsageError({ code, message }: CommanderError, path: string): FeedmeshError {
  if (code === 'commander.help')
    return new FeedmeshError('BAD_INPUT', path === '' ? 'no command is given' : `feedmesh ${path} needs a sub-command`)
  return new FeedmeshError('BAD_INPUT', message.replace(/^error: /, '').replace('\n', ' '))
}

function reportError(output: Output, thrown: unknown, path: string): number {
  const error = asFeedmeshError(thrown)
  // What is not ours was thrown on this machine; its message is for whoever sits at it.
  const message = error.cause === thrown && thrown instanceof Error ? thrown.message : error.message
  const cure = findCure(error.code, path)
  if (output.json) output.alert(JSON.stringify({ error: { code: error.code, message, cure } }))
  else output.alert(`${output.paint('red', 'Error')}: ${visible(message)} (${error.code})\nTry: ${cure}`)
  return ERROR_KINDS[error.code].exit
}
