/** `feedmesh key create|list|revoke` */

import type { Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { KeySummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import { findSimilar } from './did-you-mean.ts'
import { withSuggestion } from './suggest.ts'
import { renderTable } from './table.ts'

const PERMISSIONS = ['read', 'publish', 'delete', 'admin']

export function registerKeyCommands(program: Command, act: Act): void {
  const key = program.command('key').description('API keys for package clients, scripts and administrators')
  registerCreate(key, act)
  key
    .command('list')
    .description('list API keys, without their secrets')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ keys: KeySummary[] }>('/keys')
        const rows = document.keys.map(({ id, name, feed, can, createdAt }) => [
          id,
          name,
          feed ?? 'every feed',
          can.join(','),
          createdAt,
        ])
        const empty = 'There are no keys. Make one: feedmesh key create --feed NAME --can read'
        output.document(document, () => renderTable(output, ['ID', 'NAME', 'FEED', 'CAN', 'CREATED'], rows, empty))
      }),
    )
  key
    .command('revoke')
    .description('revoke an API key')
    .argument('<id>', 'as feedmesh key list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        await withSuggestion(api, { named: 'key', name: id }, () => api.delete(`/keys/${encodeURIComponent(id)}`))
        output.document({ revoked: id }, () => `Key ${id} is revoked.`)
      }),
    )
}

function registerCreate(key: Command, act: Act): void {
  key
    .command('create')
    .description('make an API key; it is printed this once')
    .option('--feed <name>', 'the one feed it is for (default: every feed of the node)')
    .requiredOption('--can <permissions>', `what it may do, of ${PERMISSIONS.join(',')}`)
    .option('--name <name>', 'a name for lists and logs')
    .action(
      act<[], { feed?: string; can: string; name?: string }>(async ({ openApi, output }, _, { feed, can, name }) => {
        const wanted = { feed: feed ?? null, can: parsePermissions(can), ...(name === undefined ? {} : { name }) }
        using api = await openApi()
        const created = await withSuggestion(api, { named: 'feed', name: feed ?? '' }, () =>
          api.post<{ id: string; key: string }>('/keys', wanted),
        )
        output.document(created, () =>
          output.quiet ? created.key : `Key ${created.id} (shown this once):\n${created.key}`,
        )
      }),
    )
}

/** @throws BAD_INPUT */
function parsePermissions(text: string): string[] {
  const words = text.split(',').map((word) => word.trim())
  const unknown = words.find((word) => !PERMISSIONS.includes(word))
  if (unknown === undefined) return words
  const similar = findSimilar(unknown, PERMISSIONS)
  const hint = similar === undefined ? '' : ` Did you mean ${similar}?`
  throw new FeedmeshError(
    'BAD_INPUT',
    `--can ${JSON.stringify(unknown)} is not one of ${PERMISSIONS.join(', ')}.${hint}`,
  )
}
