/** `feedmesh import FEED DIR` */

import { readdir, stat } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import type { Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { FeedSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import { findReasonToSkip } from './native-files.ts'
import { visible } from './output.ts'
import { exitCodeOf, type LocalFile, publishFiles, renderFailures } from './publishing.ts'
import { withSuggestion } from './suggest.ts'

interface Skipped {
  readonly file: string
  readonly reason: string
}

interface Found {
  readonly files: LocalFile[]
  readonly skipped: Skipped[]
}

/** Reasons that are listed one by one for people; `--json` has all. */
const MAX_SHOWN = 20

export function registerImportCommand(program: Command, act: Act): void {
  program
    .command('import')
    .description('publish every file of a folder that fits the feed; what the feed has already is skipped')
    .argument('<feed>', 'name of the feed')
    .argument('<dir>', 'folder, searched to any depth')
    .action(
      act<[string, string]>(async ({ openApi, output }, [feed, directory]) => {
        using api = await openApi()
        const path = `/feeds/${encodeURIComponent(feed)}`
        const { type } = await withSuggestion(api, { named: 'feed', name: feed }, () => api.get<FeedSummary>(path))
        const found = await findFiles(directory, type)
        const outcome = await publishFiles({ api, output }, feed, found.files)
        const failed = outcome.failed.filter(({ code }) => code !== 'EXISTS')
        const existing = outcome.failed.filter(({ code }) => code === 'EXISTS')
        const skipped = [...found.skipped, ...existing.map(({ file, message }) => ({ file, reason: message }))]
        const document = { published: outcome.published, skipped, failed }
        output.document(document, () =>
          [...renderSkipped(skipped), ...renderFailures(failed), renderSum(document, feed)].join('\n'),
        )
        return exitCodeOf({
          published: [...outcome.published, ...existing.map((one) => ({ ...one, unit: '', key: '', item: '' }))],
          failed,
        })
      }),
    )
}

/** In the order of their names, so that two imports do the same. @throws BAD_INPUT */
async function findFiles(directory: string, feedType: string): Promise<Found> {
  const found: Found = { files: [], skipped: [] }
  try {
    const entries = await readdir(directory, { recursive: true, withFileTypes: true })
    for (const entry of entries.sort((a, b) => (join(a.parentPath, a.name) < join(b.parentPath, b.name) ? -1 : 1))) {
      if (entry.isDirectory()) continue
      const path = join(entry.parentPath, entry.name)
      const name = relative(directory, path).split(sep).join('/')
      const reason = entry.isFile() ? findReasonToSkip(feedType, name) : 'neither a file nor a folder'
      if (reason === undefined) found.files.push({ path, name, size: (await stat(path)).size })
      else found.skipped.push({ file: path, reason })
    }
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${directory} cannot be searched: ${(cause as Error).message}`, { cause })
  }
  return found
}

function renderSkipped(skipped: readonly Skipped[]): string[] {
  const shown = skipped.slice(0, MAX_SHOWN).map(({ file, reason }) => `skipped: ${visible(file)}: ${visible(reason)}`)
  const more = skipped.length - shown.length
  return more > 0 ? [...shown, `and ${more} more; --json lists them`] : shown
}

function renderSum(
  sum: { readonly [part in 'published' | 'skipped' | 'failed']: readonly unknown[] },
  feed: string,
): string {
  return `${sum.published.length} published to ${feed}, ${sum.skipped.length} skipped, ${sum.failed.length} failed.`
}
