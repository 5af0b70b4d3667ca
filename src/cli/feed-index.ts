/** `feedmesh feed edit|index-key`: who signs the lists that package clients trust. */

import { type Command, Option } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { IndexSettings } from '../http/feed-index-operations.ts'
import type { Act } from './context.ts'
import { withSuggestion } from './suggest.ts'

const WRONG_USAGE = 2

export function registerFeedIndexCommands(program: Command, act: Act): void {
  const feed = program.commands.find((command) => command.name() === 'feed')
  if (feed === undefined) throw new FeedmeshError('INTERNAL', 'feed edit has no group to belong to')
  registerEdit(feed, act)
  registerIndexKey(feed, act)
}

function indexPath(name: string): string {
  return `/feeds/${encodeURIComponent(name)}/index`
}

interface EditFlags {
  readonly index: IndexSettings['index']
  readonly yes: boolean
}

function registerEdit(feed: Command, act: Act): void {
  feed
    .command('edit')
    .description('change who signs the index of a feed; tells first what clients must do')
    .argument('<name>', 'name of the feed')
    .addOption(
      new Option('--index <mode>', 'own: this feed signs it · replica: it serves that of the feed it pulls from')
        .choices(['own', 'replica'])
        .makeOptionMandatory(),
    )
    .option('--yes', 'do it', false)
    .action(
      act<[string], EditFlags>(async ({ openApi, output }, [name], { index, yes }) => {
        using api = await openApi()
        const path = indexPath(name)
        const before = await withSuggestion(api, { named: 'feed', name }, () => api.get<IndexSettings>(path))
        if (!yes && before.index !== index) {
          output.document(before, () => `${RADIUS[index]}\nDo it: feedmesh feed edit ${name} --index ${index} --yes`)
          return WRONG_USAGE
        }
        const done = await api.patch<IndexSettings>(path, { index })
        output.document(done, () => `The index of ${name} is ${DONE[index]}.`)
        return 0
      }),
    )
}

const RADIUS: Readonly<Record<IndexSettings['index'], string>> = {
  own: 'This feed signs its own index from then on, over all packages that its clients see, and takes packages itself. Every client of this node must be given its key anew (feedmesh feed show names where it is); until then it refuses updates.',
  replica:
    'This feed serves the index of the feed it pulls from as it is, and takes no packages itself any more. Every client of this node must be given the key of that feed (feedmesh feed show names where it is); until then it refuses updates.',
}
const DONE: Readonly<Record<IndexSettings['index'], string>> = {
  own: 'signed by this feed from now on',
  replica: 'that of the feed it pulls from, from now on',
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
        const path = indexPath(name)
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
