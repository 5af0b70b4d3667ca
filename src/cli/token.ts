/** `feedmesh token list|revoke` */

import type { Command } from 'commander'
import type { TokenSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import { withSuggestion } from './suggest.ts'
import { renderTable } from './table.ts'

export function registerTokenCommands(program: Command, act: Act): void {
  const token = program.command('token').description('sync tokens made on this node')
  token
    .command('list')
    .description('list sync tokens, without their secrets')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ tokens: TokenSummary[] }>('/tokens')
        const rows = document.tokens.map(({ id, replication, state, links, usesLeft, expiresAt }) => [
          id,
          replication,
          state,
          links,
          usesLeft ?? 'any',
          expiresAt ?? 'never',
        ])
        const headers = ['ID', 'REPLICATION', 'STATE', 'LINKS', 'USES LEFT', 'EXPIRES']
        const empty =
          'There are no tokens. Make one: feedmesh replication add --incoming --token new --feed NAME --mode push'
        output.document(document, () => renderTable(output, headers, rows, empty))
      }),
    )
  token
    .command('revoke')
    .description('end a token and every link that was made with it')
    .argument('<id>', 'as feedmesh token list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        const path = `/tokens/${encodeURIComponent(id)}/revoke`
        await withSuggestion(api, { named: 'token', name: id }, () => api.post(path))
        output.document({ revoked: id }, () => `Token ${id} and its links are revoked.`)
      }),
    )
}
