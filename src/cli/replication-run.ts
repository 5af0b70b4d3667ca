/** `feedmesh replication run` */

import type { Command } from 'commander'
import { asFeedmeshError, FeedmeshError, isFeedmeshError } from '../errors.ts'
import type { RunResult } from '../http/operations.ts'
import type { ApiClient } from './api-client.ts'
import type { Act, Context, ExitCode } from './context.ts'
import { type Output, visible } from './output.ts'
import { Progress } from './progress.ts'
import { listNames, withSuggestion } from './suggest.ts'
import { renderBytes, renderItems } from './units.ts'

interface RunOptions {
  readonly all?: boolean
  readonly wait?: boolean
}

/** Of several: a run, or why there was none. */
type Outcome = (RunResult & { readonly replication: string }) | Refused

interface Refused {
  readonly replication: string
  readonly state: 'failed'
  readonly error: { readonly code: string; readonly message: string }
}

const EXIT_OF_STATE: Readonly<Record<RunResult['state'], ExitCode>> = { succeeded: 0, partial: 4, failed: 1 }

/** Errors of the node that commands talk to; they concern every replication. */
const FATAL = ['UNAUTHENTICATED', 'FORBIDDEN', 'NODE_NOT_RUNNING', 'NOT_A_NODE', 'ABORTED'] as const

export function registerReplicationRun(replication: Command, act: Act): void {
  replication
    .command('run')
    .description('run a replication now')
    .argument('[id]', 'as feedmesh replication list shows it')
    .option('--all', 'every replication, one after the other')
    .option('--wait', 'wait for the end, show the progress, and exit with the outcome of the run')
    .action(
      act<[string | undefined], RunOptions>(async (context, [id], { all = false, wait = false }) => {
        if ((id === undefined) !== all)
          throw new FeedmeshError('BAD_INPUT', 'which one? Name a replication (feedmesh replication list), or --all')
        using api = await context.openApi()
        if (!wait) return await startRuns(api, context, id === undefined ? await listNames(api, 'replication') : [id])
        if (id === undefined) return await runAll(api, context)
        const result = await withSuggestion(api, { named: 'replication', name: id }, () => runOne(api, context, id))
        context.output.document(result, () => renderResult(context.output, id, result))
        return EXIT_OF_STATE[result.state]
      }),
    )
}

async function startRuns(api: ApiClient, { output }: Context, ids: readonly string[]): Promise<ExitCode> {
  for (const id of ids) {
    await withSuggestion(api, { named: 'replication', name: id }, () => api.post(`${runPath(id)}?wait=false`))
  }
  output.document({ started: ids }, () =>
    ids.length === 0 ? NO_REPLICATIONS : `Started ${ids.join(', ')}. See: feedmesh runs`,
  )
  return 0
}

const NO_REPLICATIONS = 'There are no replications. Add one: feedmesh replication add --help'

function runPath(id: string): string {
  return `/replications/${encodeURIComponent(id)}/run`
}

/** @throws the error that ended the run */
async function runOne(api: ApiClient, { output }: Context, id: string): Promise<RunResult> {
  using progress = new Progress(output, `Replication ${id}`)
  return await api.work<RunResult>(runPath(id), {
    onProgress: ({ done, planned }) => progress.update(done, planned),
  })
}

/** One that cannot run does not keep the others from running. */
async function runAll(api: ApiClient, context: Context): Promise<ExitCode> {
  const { output } = context
  const runs: Outcome[] = []
  for (const replication of await listNames(api, 'replication')) {
    try {
      runs.push({ replication, ...(await runOne(api, context, replication)) })
    } catch (error) {
      if (isFeedmeshError(error, ...FATAL)) throw error
      const { code, message } = asFeedmeshError(error)
      runs.push({ replication, state: 'failed', error: { code, message } })
    }
  }
  output.document({ runs }, () =>
    runs.length === 0 ? NO_REPLICATIONS : runs.map((run) => renderOutcome(output, run)).join('\n'),
  )
  if (runs.every(({ state }) => state === 'succeeded')) return 0
  return runs.every(({ state }) => state === 'failed') ? 1 : 4
}

function renderOutcome(output: Output, run: Outcome): string {
  if (!('error' in run)) return renderResult(output, run.replication, run)
  return `${output.paint('red', 'failed')}: replication ${run.replication}: ${visible(run.error.message)} (${run.error.code})`
}

function renderResult(output: Output, id: string, { runId, state, fetched, sent, deleted, failed }: RunResult): string {
  const style = state === 'succeeded' ? 'green' : state === 'partial' ? 'yellow' : 'red'
  const counts = [
    `fetched ${renderItems(fetched.items)} (${renderBytes(fetched.bytes)})`,
    `sent ${renderItems(sent.items)} (${renderBytes(sent.bytes)})`,
    `deleted ${renderItems(deleted.items)}`,
  ]
  const lines = failed.map(({ item, code, message }) => `  failed: ${visible(item)}: ${visible(message)} (${code})`)
  const sum = `${output.paint(style, state)}: replication ${id}, run ${runId}: ${counts.join(', ')}.`
  return [sum, ...lines, ...(state === 'succeeded' ? [] : [`See: feedmesh runs ${runId}; feedmesh doctor`])].join('\n')
}
