/** `feedmesh join CODE` */

import type { Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { NodeOperations } from '../http/operations.ts'
import { type Act, readSecret } from './context.ts'
import { type Output, visible } from './output.ts'

type Joined = Awaited<ReturnType<NodeOperations['join']>>
type Checked = Awaited<ReturnType<NodeOperations['checkJoin']>>

export function registerJoinCommand(program: Command, act: Act): void {
  program
    .command('join')
    .description('create the feed and the replication of a join code')
    .argument('<code>', 'join code from feedmesh replication add at the other node, or - to read it')
    .option('--as <name>', 'name of the feed here')
    .option('--check', 'rehearse only; nothing is changed')
    .action(
      act<[string], { as?: string; check?: boolean }>(async ({ openApi, output, line }, [argument], options) => {
        const code = await readSecret(argument, line)
        if (code === '') throw new FeedmeshError('TOKEN_MISTYPED', 'the join code is empty')
        using api = await openApi()
        if (options.check === true) {
          const checked = await api.post<Checked>('/join/check', { code })
          output.document(checked, () => renderChecks(output, checked))
          return checked.ok ? 0 : 1
        }
        const joined = await api.post<Joined>('/join', {
          code,
          ...(options.as === undefined ? {} : { as: options.as }),
        })
        output.document(joined, () => renderJoined(joined))
      }),
    )
}

function renderChecks(output: Output, { ok, checks }: Checked): string {
  const lines = checks.map(
    (check) =>
      `${check.ok ? output.paint('green', 'ok    ') : output.paint('red', 'failed')}  ${visible(check.name)}: ${visible(check.message)}`,
  )
  const sum = ok ? 'Joining would work: feedmesh join CODE' : 'Joining would fail; mend what failed, then check again.'
  return [...lines, sum].join('\n')
}

function renderJoined({ feeds, replications }: Joined): string {
  const names = feeds.map(({ name, type }) => `${visible(name)} (${visible(type)})`).join(', ')
  const commands = replications.map((id) => `feedmesh replication run ${id} --wait`)
  return [`Joined: ${names}.`, `Run it now: ${commands.join('; ')}`].join('\n')
}
