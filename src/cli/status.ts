/** `feedmesh status` */

import type { Command } from 'commander'
import type { NodeStatus } from '../http/operations.ts'
import type { Act } from './context.ts'
import { renderFields } from './table.ts'

export function registerStatusCommand(program: Command, act: Act): void {
  program
    .command('status')
    .description('the running node in short')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const status = await api.get<NodeStatus>('/status')
        output.document(status, () =>
          renderFields(output, [
            ['version', status.version],
            ['PeerId', status.peerId],
            ['http', status.http],
            ['listen', status.listen.join(' ')],
            ['feeds', status.feeds],
            ['replications', status.replications],
            ['problems', status.problems === 0 ? 'none' : `${status.problems}; see: feedmesh doctor`],
          ]),
        )
      }),
    )
}
