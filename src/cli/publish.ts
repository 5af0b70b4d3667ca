/** `feedmesh publish FEED FILE…` */

import { stat } from 'node:fs/promises'
import { basename } from 'node:path'
import type { Command } from 'commander'
import { FeedmeshError, isErrorCode } from '../errors.ts'
import type { Act } from './context.ts'
import { visible } from './output.ts'
import { exitCodeOf, type LocalFile, publishFiles, renderFailures } from './publishing.ts'
import { withSuggestion } from './suggest.ts'

export function registerPublishCommand(program: Command, act: Act): void {
  program
    .command('publish')
    .description("publish files in the native form of the feed's ecosystem, such as npm tarballs")
    .argument('<feed>', 'name of the feed')
    .argument('<file...>', 'files to publish')
    .action(
      act<[string, string[]]>(async ({ openApi, output }, [feed, paths]) => {
        const files: LocalFile[] = []
        for (const path of paths) files.push(await openLocal(path))
        using api = await openApi()
        const outcome = await withSuggestion(api, { named: 'feed', name: feed }, () =>
          publishFiles({ api, output }, feed, files),
        )
        const [only] = outcome.failed
        if (only !== undefined && files.length === 1)
          throw new FeedmeshError(isErrorCode(only.code) ? only.code : 'BAD_INPUT', `${only.file}: ${only.message}`)
        output.document(outcome, () =>
          [
            ...outcome.published.map(({ item }) => `Published ${visible(item)} to ${feed}.`),
            ...renderFailures(outcome.failed),
          ].join('\n'),
        )
        return exitCodeOf(outcome)
      }),
    )
}

/** Nothing is sent before every name on the command line is a file. */
async function openLocal(path: string): Promise<LocalFile> {
  try {
    const found = await stat(path)
    if (found.isFile()) return { path, name: basename(path), size: found.size }
  } catch (cause) {
    throw new FeedmeshError('BAD_INPUT', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  throw new FeedmeshError('BAD_INPUT', `${path} is not a file; a folder is published with feedmesh import FEED ${path}`)
}
