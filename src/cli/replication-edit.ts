/** `feedmesh replication edit` */

import type { Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { ReplicationSummary } from '../http/operations.ts'
import { type Act, readSecret } from './context.ts'
import { replicationPath } from './replication.ts'
import { addSharedOptions, parseShared, type SharedOptions } from './replication-options.ts'
import { withSuggestion } from './suggest.ts'

export function registerReplicationEdit(replication: Command, act: Act): void {
  const command = replication
    .command('edit')
    .description('change a replication; what is not named stays')
    .argument('<id>', 'as feedmesh replication list shows it')
    .option('--token <token>', 'outgoing: another token of the other end, or - to read it')
  addSharedOptions(command).action(
    act<[string], SharedOptions>(async ({ openApi, output, line }, [id], options) => {
      const { token } = options
      const changes = parseShared(token === undefined ? options : { ...options, token: await readSecret(token, line) })
      if (Object.keys(changes).length === 0)
        throw new FeedmeshError('BAD_INPUT', 'nothing to change: name at least one option, such as --every 60s')
      using api = await openApi()
      const changed = await withSuggestion(api, { named: 'replication', name: id }, () =>
        api.patch<ReplicationSummary>(replicationPath(id), changes),
      )
      output.document(changed, () => `Replication ${id} is changed: ${Object.keys(changes).join(', ')}.`)
    }),
  )
}
