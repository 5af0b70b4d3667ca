/** `feedmesh feed index-key`: the keys by which package clients trust a feed. */

import type { Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { IndexSettings } from '../http/feed-index-operations.ts'
import type { Act } from './context.ts'
import { withSuggestion } from './suggest.ts'

const WRONG_USAGE = 2

export function registerFeedIndexCommands(program: Command, act: Act): void {
  const feed = program.commands.find((command) => command.name() === 'feed')
  if (feed === undefined) throw new FeedmeshError('INTERNAL', 'feed index-key has no group to belong to')
  registerIndexKey(feed, act)
}

interface KeyFlags {
  readonly export: boolean
  readonly new: boolean
  readonly yes: boolean
}

const NEW_KEY =
  'This feed signs its index with a new key from then on. Every client of it, at all nodes, must be given the keys anew; until then it refuses updates. The old key is still named among them.'

function registerIndexKey(feed: Command, act: Act): void {
  feed
    .command('index-key')
    .description('show the keys by which clients trust a feed, or print the private one to keep it elsewhere')
    .argument('<name>', 'name of the feed')
    .option('--export', 'print the private key of this feed', false)
    .option('--new', 'sign with a new key: after a loss or a theft, or where the old one is on another node', false)
    .option('--yes', 'do it', false)
    .action(
      act<[string], KeyFlags>(async ({ openApi, output }, [name], options) => {
        using api = await openApi()
        const path = `/feeds/${encodeURIComponent(name)}/index`
        if (options.new && !options.yes) {
          output.document({ confirmed: false }, () => `${NEW_KEY}\nDo it: feedmesh feed index-key ${name} --new --yes`)
          return WRONG_USAGE
        }
        if (options.new) {
          const renewed = await api.post<IndexSettings>(`${path}-key/new`)
          output.document(renewed, () => renewed.keys.join('\n'))
          return 0
        }
        if (!options.export) {
          const shown = await withSuggestion(api, { named: 'feed', name }, () => api.get<IndexSettings>(path))
          output.document(shown, () => shown.keys.join('\n'))
          return 0
        }
        const exported = await withSuggestion(api, { named: 'feed', name }, () =>
          api.post<{ name: string; key: string }>(`${path}-key`),
        )
        output.document(exported, () => exported.key)
        output.note('Whoever has this key can sign package lists that clients of the feed believe.')
        return 0
      }),
    )
}
