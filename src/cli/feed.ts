/** `feedmesh feed create|list|show|delete` */

import { type Command, Option } from 'commander'
import { UNSIGNED_POLICIES, type UnsignedPolicy } from '../feeds/feed.ts'
import type { NewFeed } from '../http/feed-settings.ts'
import type { FeedDetails, FeedSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import type { Output } from './output.ts'
import { withSuggestion } from './suggest.ts'
import { renderFields, renderTable } from './table.ts'
import { renderBytes } from './units.ts'

interface ClientSetup {
  readonly client: string
  readonly lines: readonly string[]
}

export function registerFeedCommands(program: Command, act: Act): void {
  const feed = program.command('feed').description('create, list, show and delete feeds')
  feed
    .command('create')
    .description('create a feed')
    .argument('<name>', 'letters, digits, dots, dashes and underscores')
    .requiredOption('--type <type>', 'npm, assets or another type that the node knows')
    .option('--public-read', 'anybody may read it without a key', false)
    .addOption(createUnsignedOption())
    .action(
      act<[string], Omit<NewFeed, 'name'>>(async ({ openApi, output }, [name], options) => {
        using api = await openApi()
        const { type, publicRead, unsigned } = options
        const policy = unsigned === undefined ? {} : { unsigned }
        const created = await api.post<FeedSummary>('/feeds', { name, type, publicRead, ...policy })
        output.document(created, () => `Feed ${created.name} of type ${created.type} is created.`)
        output.say(`Next: feedmesh key create --feed ${created.name} --can read,publish`)
      }),
    )
  feed
    .command('list')
    .description('list the feeds of the node')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ feeds: FeedSummary[] }>('/feeds')
        output.document(document, () => renderFeeds(output, document.feeds))
      }),
    )
  feed
    .command('show')
    .description('show one feed: content, digest, sources and how to set up clients')
    .argument('<name>', 'name of the feed')
    .action(
      act<[string]>(async ({ openApi, output }, [name]) => {
        using api = await openApi()
        const path = `/feeds/${encodeURIComponent(name)}`
        const details = await withSuggestion(api, { named: 'feed', name }, () => api.get<FeedDetails>(path))
        const { clients } = await api.get<{ clients: ClientSetup[] }>(`${path}/clients`)
        output.document(details, () => renderDetails(output, details, clients))
      }),
    )
  feed
    .command('delete')
    .description('delete a feed and its content on this node')
    .argument('<name>', 'name of the feed')
    .action(
      act<[string]>(async ({ openApi, output }, [name]) => {
        using api = await openApi()
        await withSuggestion(api, { named: 'feed', name }, () => api.delete(`/feeds/${encodeURIComponent(name)}`))
        output.document({ deleted: name }, () => `Feed ${name} is deleted.`)
      }),
    )
}

export function createUnsignedOption(): Option {
  const what = 'packages that their publisher has not signed; for types whose packages carry signatures (rpm)'
  return new Option('--unsigned <policy>', what).choices([...UNSIGNED_POLICIES])
}

function renderFeeds(output: Output, feeds: readonly FeedSummary[]): string {
  const rows = feeds.map(({ name, type, entries, bytes, publicRead }) => [
    name,
    type,
    entries,
    renderBytes(bytes),
    publicRead ? 'public' : 'with key',
  ])
  const empty = 'There are no feeds. Create one: feedmesh feed create NAME --type npm'
  return renderTable(output, ['NAME', 'TYPE', 'ENTRIES', 'SIZE', 'READ'], rows, empty)
}

const UNSIGNED: Readonly<Record<UnsignedPolicy, string>> = { accept: 'accepted', refuse: 'refused' }

function renderDetails(output: Output, feed: FeedDetails, clients: readonly ClientSetup[]): string {
  const fields = renderFields(output, [
    ['name', feed.name],
    ['type', feed.type],
    ['feed id', feed.feedId],
    ['read', feed.publicRead ? 'anybody' : 'with a key'],
    ...(feed.unsigned === undefined ? [] : [['unsigned packages', UNSIGNED[feed.unsigned]] as const]),
    ...(feed.maxRate === undefined ? [] : [['max rate', `${renderBytes(feed.maxRate)}/s each way`] as const]),
    ['entries', feed.entries],
    ['size', renderBytes(feed.bytes)],
    ['digest', feed.digest],
  ])
  const sources = feed.sources.map((source) => [
    source.feedId,
    source.entries,
    renderBytes(source.bytes),
    source.rank,
    source.stale ? 'stale: its owner is silent' : 'fresh',
  ])
  const table = renderTable(
    output,
    ['SOURCE', 'ENTRIES', 'SIZE', 'RANK', 'STATE'],
    sources,
    'No sources: all content was published here.',
  )
  const setups = clients.map(({ client, lines }) =>
    [output.paint('bold', client), ...lines.map((line) => `  ${line}`)].join('\n'),
  )
  return [fields, table, ...setups].join('\n\n')
}
