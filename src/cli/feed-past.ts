/** `feedmesh feed new-epoch|recovery-key|recover|returned`: what an operator decides about a feed's past. */

import { readFile } from 'node:fs/promises'
import { type Command, InvalidArgumentError, Option } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { EpochPlan, RecoveredFeed, ReturnedRowSummary } from '../http/operations.ts'
import { type Act, type CommandLine, readSecret } from './context.ts'
import { type Output, visible } from './output.ts'
import { withSuggestion } from './suggest.ts'
import { renderTable } from './table.ts'

const WRONG_USAGE = 2

function feedPath(name: string, rest: string): string {
  return `/feeds/${encodeURIComponent(name)}/${rest}`
}

export function registerFeedPastCommands(program: Command, act: Act): void {
  const feed = program.commands.find((command) => command.name() === 'feed')
  if (feed === undefined) throw new FeedmeshError('INTERNAL', 'feed new-epoch has no group to belong to')
  registerNewEpoch(feed, act)
  registerRecoveryKey(feed, act)
  registerRecover(feed, act)
  registerReturned(feed, act)
}

function registerNewEpoch(feed: Command, act: Act): void {
  feed
    .command('new-epoch')
    .description(
      'go on with what is here of a feed where a part of its past is lost or forked; tells first what that does',
    )
    .argument('<name>', 'name of the feed, which this node owns')
    .option('--yes', 'do it', false)
    .action(
      act<[string], { yes: boolean }>(async ({ openApi, output }, [name], { yes }) => {
        using api = await openApi()
        const path = feedPath(name, 'epoch')
        const plan = await withSuggestion(api, { named: 'feed', name }, () => api.get<EpochPlan>(path))
        if (!yes) {
          output.document(plan, () => `${renderPlan(plan)}\nDo it: feedmesh feed new-epoch ${name} --yes`)
          return WRONG_USAGE
        }
        const done = await api.post<EpochPlan>(path)
        output.document(done, () => `Feed ${done.name} is in epoch ${done.epoch}, with ${done.entries} rows.`)
        return 0
      }),
    )
}

/** The blast radius, in sentences. */
function renderPlan({ name, epoch, nextEpoch, entries, forked, lostStates, unaskedPeers, peers }: EpochPlan): string {
  const lines = [
    `Feed ${name} goes from epoch ${epoch} to ${nextEpoch} with the ${entries} rows that are here. This cannot be undone.`,
    `${peers} peers follow: what they have seen later than this node is dropped there, and what was gone there and is here stays hidden there until their operators answer.`,
  ]
  if (forked) lines.push('It ends the fork: peers that stopped following take the feed again.')
  if (lostStates > 0) lines.push(`At least ${lostStates} states that were signed here are given up.`)
  if (unaskedPeers.length > 0)
    lines.push(
      `Not asked yet what they have: ${unaskedPeers.map(visible).join(', ')}. Wait for them if they can come back: feedmesh replication run --all`,
    )
  return lines.join('\n')
}

function registerRecoveryKey(feed: Command, act: Act): void {
  feed
    .command('recovery-key')
    .description('print the key that overrules the owner of a feed; keep it away from the node')
    .argument('<name>', 'name of the feed')
    .option('--forget', 'take it off the node instead; it must be kept elsewhere by then', false)
    .action(
      act<[string], { forget: boolean }>(async ({ openApi, output }, [name], { forget }) => {
        using api = await openApi()
        const path = feedPath(name, 'recovery-key')
        if (forget) {
          await withSuggestion(api, { named: 'feed', name }, () => api.delete(path))
          output.document({ forgotten: name }, () => `The recovery key of ${name} is not on this node any more.`)
          return
        }
        const key = await withSuggestion(api, { named: 'feed', name }, () =>
          api.post<{ feedId: string; key: string }>(path),
        )
        output.document(key, () => key.key)
        output.note(
          `Keep it where neither this node nor its backups are, then: feedmesh feed recovery-key ${name} --forget`,
        )
      }),
    )
}

function parseVersion(text: string): number {
  const version = Number(text)
  if (Number.isSafeInteger(version) && version >= 1) return version
  throw new InvalidArgumentError('a charter version is a number from 1')
}

interface RecoverFlags {
  readonly keyFile: string
  readonly as?: string
  readonly charterVersion?: number
  readonly yes: boolean
}

function registerRecover(feed: Command, act: Act): void {
  feed
    .command('recover')
    .description('make this node the owner of a feed with its recovery key, after a theft or the loss of the owner')
    .requiredOption('--key-file <file>', 'file with the recovery key, or - to read it')
    .option('--as <name>', 'name of the feed here, where this node has only replicated it')
    .addOption(
      new Option(
        '--charter-version <n>',
        'last version of the charter that counts, where a thief signed later ones',
      ).argParser(parseVersion),
    )
    .option('--yes', 'do it', false)
    .action(
      act<[], RecoverFlags>(async ({ openApi, output, line }, _, { keyFile, as, charterVersion, yes }) => {
        const key = await readKeyFile(keyFile, line)
        if (!yes) {
          output.document({ confirmed: false }, () => RECOVER_RADIUS)
          return WRONG_USAGE
        }
        using api = await openApi()
        const recovered = await api.post<RecoveredFeed>('/recover', {
          key,
          ...(as === undefined ? {} : { as }),
          ...(charterVersion === undefined ? {} : { charterVersion }),
        })
        output.document(recovered, () => renderRecovered(recovered))
        return 0
      }),
    )
}

const RECOVER_RADIUS = `This node becomes the owner of the feed, and what it holds of it is the last state that counts.
Every node drops what the old owner’s key signed after that, hides what comes back until its operator answers, and takes nothing from the old owner any more. This cannot be undone.
Do it: the same command with --yes`

function renderRecovered({ name, generation, epoch }: RecoveredFeed): string {
  return `This node owns feed ${name} from now on (generation ${generation}, epoch ${epoch}).\nNext: feedmesh replication run --all`
}

async function readKeyFile(path: string, line: CommandLine): Promise<string> {
  if (path === '-') return await readSecret('-', line)
  try {
    const text = await readFile(path, 'utf8')
    if (text.length <= 4096) return text.trim()
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  throw new FeedmeshError('BAD_INPUT', `${path} is too long for a recovery key`)
}

interface ReturnedFlags {
  readonly show: boolean
  readonly hide: boolean
}

function registerReturned(feed: Command, act: Act): void {
  feed
    .command('returned')
    .description('rows that a new epoch of a source undid; those that came back are hidden until this is answered')
    .argument('<name>', 'name of the feed')
    .option('--show', 'show what came back', false)
    .option('--hide', 'hide what came back for good', false)
    .action(
      act<[string], ReturnedFlags>(async ({ openApi, output }, [name], { show, hide }) => {
        if (show && hide) throw new FeedmeshError('BAD_INPUT', '--show and --hide exclude each other')
        using api = await openApi()
        const path = feedPath(name, 'returned')
        if (!show && !hide) {
          const listed = await withSuggestion(api, { named: 'feed', name }, () =>
            api.get<{ rows: ReturnedRowSummary[]; total: number }>(path),
          )
          output.document(listed, () => renderReturned(output, name, listed))
          return
        }
        const answer = show ? 'show' : 'hide'
        const { answered } = await api.post<{ answered: number }>(path, { answer })
        output.document({ answered }, () => `${answered} rows: ${show ? 'shown from now on' : 'hidden for good'}.`)
      }),
    )
}

function renderReturned(
  output: Output,
  name: string,
  { rows, total }: { readonly rows: readonly ReturnedRowSummary[]; readonly total: number },
): string {
  const cells = rows.map((row) => [
    row.kind,
    row.unit,
    row.key,
    row.epoch,
    row.hidden ? (row.answered ? 'hidden for good' : 'hidden') : 'told only',
  ])
  const empty = 'Nothing came back, went back or was lost with a new epoch.'
  const table = renderTable(output, ['WHAT', 'UNIT', 'KEY', 'EPOCH', 'STATE'], cells, empty)
  if (total === 0) return table
  const more = total > rows.length ? [`… and ${total - rows.length} more`] : []
  return [table, ...more, `Answer: feedmesh feed returned ${name} --show, or --hide`].join('\n')
}
