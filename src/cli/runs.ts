/** `feedmesh runs [ID]` */

import { type Command } from 'commander'
import { FeedmeshError } from '../errors.ts'
import type { RunDetails, RunSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import type { Output } from './output.ts'
import { renderFields, renderTable } from './table.ts'
import { parseCount, renderBytes } from './units.ts'

export function registerRunsCommand(program: Command, act: Act): void {
  program
    .command('runs')
    .description('history of runs, or the log of one run item by item')
    .argument('[id]', 'number of a run')
    .option('--limit <count>', 'how many runs to list, newest first', '50')
    .option('--replication <id>', 'only runs of this replication')
    .action(
      act<[string | undefined], { limit: string; replication?: string }>(
        async ({ openApi, output }, [id], { limit, replication }) => {
          using api = await openApi()
          if (id !== undefined) {
            if (!/^\d{1,15}$/.test(id))
              throw new FeedmeshError('NOT_FOUND', `${JSON.stringify(id)} is not the number of a run`)
            const run = await api.get<RunDetails>(`/runs/${id}`)
            output.document(run, () => renderRun(output, run))
            return
          }
          const only = replication === undefined ? '' : `&replication=${encodeURIComponent(replication)}`
          const document = await api.get<{ runs: RunSummary[] }>(`/runs?limit=${parseCount(limit, '--limit')}${only}`)
          output.document(document, () => renderRuns(output, document.runs))
        },
      ),
    )
}

function renderRuns(output: Output, runs: readonly RunSummary[]): string {
  const rows = runs.map((run) => [
    run.runId,
    run.replication,
    run.trigger,
    run.state,
    run.startedAt,
    run.fetched.items,
    renderBytes(run.fetched.bytes),
    run.message,
  ])
  const headers = ['RUN', 'REPLICATION', 'TRIGGER', 'STATE', 'STARTED', 'FETCHED', 'SIZE', 'MESSAGE']
  return renderTable(output, headers, rows, 'No runs yet. Start one: feedmesh replication run --all --wait')
}

function renderRun(output: Output, run: RunDetails): string {
  const fields = renderFields(output, [
    ['run', run.runId],
    ['replication', run.replication],
    ['peer', run.peer],
    ['state', run.message === '' ? run.state : `${run.state}: ${run.message}`],
    ['started', `${run.startedAt} (${run.trigger})`],
    ['ended', run.endedAt ?? 'still running'],
  ])
  const rows = run.items.map(({ item, action, bytes, code, message }) => [
    action,
    item,
    renderBytes(bytes),
    code === undefined ? '' : `${code}: ${message ?? ''}`,
  ])
  return `${fields}\n\n${renderTable(output, ['ACTION', 'ITEM', 'SIZE', 'ERROR'], rows, 'Nothing had to be moved.')}`
}
