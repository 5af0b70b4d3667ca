/** `feedmesh feed edit`: who signs the lists that package clients trust, and what a feed takes. */

import { type Command, Option } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { UnsignedPolicy } from '../feeds/feed.ts'
import type { IndexSettings } from '../http/feed-index-operations.ts'
import type { FeedChanges } from '../http/feed-settings.ts'
import type { FeedSummary } from '../http/operations.ts'
import type { ApiClient } from './api-client.ts'
import type { Act, ExitCode } from './context.ts'
import { createUnsignedOption } from './feed.ts'
import type { Output } from './output.ts'
import { parseMaxRate } from './replication-options.ts'
import { withSuggestion } from './suggest.ts'
import { renderBytes } from './units.ts'

const WRONG_USAGE = 2

interface EditFlags extends Pick<FeedChanges, 'unsigned'> {
  readonly maxRate?: string
  readonly index?: IndexSettings['index']
  readonly yes: boolean
}

export function registerFeedEditCommand(program: Command, act: Act): void {
  const feed = program.commands.find((command) => command.name() === 'feed')
  if (feed === undefined) throw new FeedmeshError('INTERNAL', 'feed edit has no group to belong to')
  feed
    .command('edit')
    .description('change what a feed takes, or who signs its index; tells first what clients must do')
    .argument('<name>', 'name of the feed')
    .addOption(
      new Option(
        '--index <mode>',
        'own: this feed signs it · replica: it serves that of the feed it pulls from',
      ).choices(['own', 'replica']),
    )
    .addOption(createUnsignedOption())
    .option('--max-rate <rate>', 'the most that goes out and comes in of its files, such as 20MiB/s, or none')
    .option('--yes', 'do it', false)
    .action(
      act<[string], EditFlags>(async ({ openApi, output }, [name], { index, unsigned, maxRate, yes }) => {
        if ([index, unsigned, maxRate].filter((one) => one !== undefined).length !== 1)
          throw new FeedmeshError(
            'BAD_INPUT',
            'say one of --index own|replica, --unsigned accept|refuse and --max-rate RATE|none',
          )
        const rate = maxRate === undefined ? undefined : parseMaxRate(maxRate)
        using api = await openApi()
        const edited = { api, output, name }
        if (unsigned !== undefined) return await editUnsigned(edited, unsigned)
        if (rate !== undefined) return await editRate(edited, rate)
        return index === undefined ? 0 : await editIndex(edited, index, yes)
      }),
    )
}

interface Edited {
  readonly api: ApiClient
  readonly output: Output
  readonly name: string
}

function feedPath(name: string): string {
  return `/feeds/${encodeURIComponent(name)}`
}

async function editUnsigned({ api, output, name }: Edited, unsigned: UnsignedPolicy): Promise<ExitCode> {
  const done = await withSuggestion(api, { named: 'feed', name }, () =>
    api.patch<FeedSummary>(feedPath(name), { unsigned }),
  )
  output.document(done, () => `${name} ${UNSIGNED[unsigned]}`)
  return 0
}

async function editRate({ api, output, name }: Edited, maxRate: number | null): Promise<ExitCode> {
  const done = await withSuggestion(api, { named: 'feed', name }, () =>
    api.patch<FeedSummary>(feedPath(name), { maxRate }),
  )
  const limit =
    maxRate === null ? 'go as fast as the network allows' : `take at most ${renderBytes(maxRate)}/s each way`
  output.document(done, () => `Files of ${name} ${limit}, from now on.`)
  return 0
}

const UNSIGNED: Readonly<Record<UnsignedPolicy, string>> = {
  accept: 'takes packages that their publisher has not signed, from now on.',
  refuse: 'refuses packages that their publisher has not signed, from now on. What is in it stays.',
}

async function editIndex(
  { api, output, name }: Edited,
  index: IndexSettings['index'],
  yes: boolean,
): Promise<ExitCode> {
  const path = `${feedPath(name)}/index`
  const before = await withSuggestion(api, { named: 'feed', name }, () => api.get<IndexSettings>(path))
  if (!yes && before.index !== index) {
    output.document(before, () => `${RADIUS[index]}\nDo it: feedmesh feed edit ${name} --index ${index} --yes`)
    return WRONG_USAGE
  }
  const done = await api.patch<IndexSettings>(path, { index })
  output.document(done, () => `The index of ${name} is ${DONE[index]}.`)
  return 0
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
