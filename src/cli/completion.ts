/** `feedmesh completion bash|zsh|fish`. The scripts ask `feedmesh __complete`, so commands and names are never out of date. */

import { setTimeout } from 'node:timers/promises'
import { Argument, type Command } from 'commander'
import type { PeerSummary } from '../http/operations.ts'
import type { ApiClient } from './api-client.ts'
import type { Act, Context } from './context.ts'
import { listNames } from './suggest.ts'

const SCRIPTS = {
  bash: `_feedmesh() {
  local line
  COMPREPLY=()
  while IFS= read -r line; do COMPREPLY+=("$line"); done < <(feedmesh __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o default -F _feedmesh feedmesh`,
  zsh: `#compdef feedmesh
_feedmesh() {
  local -a found
  found=("\${(@f)$(feedmesh __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  compadd -a found
}
compdef _feedmesh feedmesh`,
  fish: `function __feedmesh_complete
  set -l words (commandline -opc)
  feedmesh __complete -- $words[2..-1] (commandline -ct) 2>/dev/null
end
complete -c feedmesh -f -a '(__feedmesh_complete)'
complete -c feedmesh -n '__fish_seen_subcommand_from publish import' -F`,
} as const

const NODE_WAIT_MS = 1_000

export function registerCompletionCommand(program: Command, act: Act): void {
  program
    .command('completion')
    .description('print a completion script; source it in the start-up file of the shell')
    .addArgument(new Argument('<shell>', 'which shell').choices(Object.keys(SCRIPTS)))
    .action(
      act<[keyof typeof SCRIPTS]>(async ({ output }, [shell]) => {
        output.document({ shell, script: SCRIPTS[shell] }, () => SCRIPTS[shell])
      }),
    )
  program
    .command('__complete', { hidden: true })
    .argument('[words...]')
    .action(
      act<[string[]]>(async (context, [words]) => {
        const found = await complete(program, context, words)
        if (found.length > 0) context.line.stdout.write(`${found.join('\n')}\n`)
      }),
    )
}

async function complete(program: Command, context: Context, words: readonly string[]): Promise<string[]> {
  const current = words.at(-1) ?? ''
  const { command, given } = findCommand(program, words.slice(0, -1))
  const starting = (candidates: readonly string[]) => candidates.filter((one) => one.startsWith(current))
  if (current.startsWith('-')) return starting(listOptions(program, command))
  const previous = words.at(-2) ?? ''
  const option = command.options.find(({ long }) => long === previous)
  if (option?.argChoices !== undefined) return starting(option.argChoices)
  if (previous === '--feed') return starting(await askNode(context, 'feed'))
  const subcommands = command.commands.map((one) => one.name()).filter((name) => !name.startsWith('_'))
  if (subcommands.length > 0 && given === 0) return starting(subcommands)
  const argument = command.registeredArguments[given]
  if (argument?.argChoices !== undefined) return starting(argument.argChoices)
  const named = namedBy(command, argument?.name())
  return named === undefined ? [] : starting(await askNode(context, named))
}

/** The innermost command of the words, and how many arguments follow it. */
export function findCommand(
  program: Command,
  words: readonly string[],
): { readonly command: Command; readonly given: number } {
  let command = program
  let given = 0
  for (const word of words) {
    if (word.startsWith('-')) continue
    const next = given === 0 ? command.commands.find((one) => one.name() === word) : undefined
    if (next === undefined) given += 1
    else command = next
  }
  return { command, given }
}

function listOptions(program: Command, command: Command): string[] {
  return [...command.options, ...program.options].flatMap(({ long }) => long ?? []).concat('--help')
}

type Asked = Parameters<typeof listNames>[1] | 'peer'

function namedBy(command: Command, argument: string | undefined): Asked | undefined {
  if (argument === 'peerid') return 'peer'
  if (argument === 'feed') return 'feed'
  const group = command.parent?.name()
  if (argument === 'name') return command.name() === 'create' ? undefined : 'feed'
  return argument === 'id' && (group === 'replication' || group === 'token' || group === 'key') ? group : undefined
}

/** A node that is not there, or slow, completes nothing. */
async function askNode(context: Context, asked: Asked): Promise<readonly string[]> {
  const ask = async () => {
    using api = await context.openApi()
    return asked === 'peer' ? await listPeers(api) : await listNames(api, asked)
  }
  const silence: readonly string[] = []
  return Promise.race([ask().catch(() => silence), setTimeout(NODE_WAIT_MS, silence)])
}

async function listPeers(api: ApiClient): Promise<readonly string[]> {
  const { peers } = await api.get<{ peers: PeerSummary[] }>('/peers')
  return peers.map(({ peerId }) => peerId)
}
