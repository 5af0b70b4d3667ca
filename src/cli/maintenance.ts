/** `feedmesh verify`, `feedmesh gc`, `feedmesh backup` */

import { resolve } from 'node:path'
import type { Command } from 'commander'
import type { BackupReport, ReclaimReport, VerifyReport } from '../http/operations.ts'
import type { Act, ExitCode } from './context.ts'
import { visible } from './output.ts'
import { renderBytes } from './units.ts'

export function registerMaintenanceCommands(program: Command, act: Act): void {
  program
    .command('verify')
    .description('read everything stored again and compare it with what was signed')
    .option('--repair', 'fetch damaged files from peers', false)
    .action(
      act<[], { repair: boolean }>(async ({ openApi, output }, _, { repair }) => {
        using api = await openApi()
        const report = await api.work<VerifyReport>('/verify', { document: { repair } })
        output.document(report, () => renderVerified(report, repair))
        return exitCodeOf(report)
      }),
    )
  program
    .command('gc')
    .description('remove what nothing names any more')
    .option('--dry-run', 'only count it', false)
    .action(
      act<[], { dryRun: boolean }>(async ({ openApi, output }, _, { dryRun }) => {
        using api = await openApi()
        const report = await api.work<ReclaimReport>('/reclaim', { document: { dryRun } })
        const { blobs, bytes, feeds, kept } = report
        const verb = dryRun ? 'Would remove' : 'Removed'
        output.document(
          report,
          () => `${verb} ${blobs} files (${renderBytes(bytes)}) and ${feeds} feeds; ${kept} are too new to tell.`,
        )
      }),
    )
  program
    .command('backup')
    .description('copy the data folder to a new folder on the machine of the node, while it runs')
    .argument('<dir>', 'folder that does not exist yet')
    .action(
      act<[string]>(async ({ openApi, output }, [directory]) => {
        using api = await openApi()
        const document = { directory: resolve(directory) }
        const report = await api.work<BackupReport>('/backup', { document })
        output.document(
          report,
          () =>
            `Copied ${report.records} records and ${report.blobs} files (${renderBytes(report.bytes)}) to ${visible(report.directory)}.`,
        )
        output.say(`It comes back with: feedmesh restore ${document.directory} --data NEW-FOLDER`)
      }),
    )
}

/** 0 all sound or mended, 4 some mended, 1 none. */
function exitCodeOf({ damaged }: VerifyReport): ExitCode {
  const left = damaged.filter(({ repaired }) => !repaired)
  if (left.length === 0) return 0
  return left.length < damaged.length ? 4 : 1
}

function renderVerified({ blobs, bytes, feeds, damaged }: VerifyReport, repair: boolean): string {
  const sum = `Read ${blobs} files (${renderBytes(bytes)}) and the rows of ${feeds} feeds: ${damaged.length} damaged.`
  const lines = damaged.map(({ item, kind, repaired, message }) =>
    repaired ? `mended: ${visible(item)} (${kind})` : `damaged: ${visible(item)} (${kind}): ${visible(message)}`,
  )
  const isLeft = damaged.some(({ repaired }) => !repaired)
  return [sum, ...lines, ...(isLeft && !repair ? ['Mend it: feedmesh verify --repair'] : [])].join('\n')
}
