/** `feedmesh replication list|show|pause|resume|remove|plan` */

import type { Command } from 'commander'
import type { LinkSummary, NodeOperations, ReplicationSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import type { Output } from './output.ts'
import { registerReplicationAdd } from './replication-add.ts'
import { registerReplicationEdit } from './replication-edit.ts'
import { registerReplicationRun } from './replication-run.ts'
import { withSuggestion } from './suggest.ts'
import { renderFields, renderTable } from './table.ts'
import { renderBytes, renderDuration, renderItems } from './units.ts'

type Plan = Awaited<ReturnType<NodeOperations['planReplication']>>

export function registerReplicationCommands(program: Command, act: Act): void {
  const replication = program.command('replication').description('tie feeds of this node to feeds of other nodes')
  registerReplicationAdd(replication, act)
  registerList(replication, act)
  registerReplicationEdit(replication, act)
  registerSwitch(replication, act, 'pause')
  registerSwitch(replication, act, 'resume')
  registerRemove(replication, act)
  registerPlan(replication, act)
  registerReplicationRun(replication, act)
}

export function replicationPath(id: string): string {
  return `/replications/${encodeURIComponent(id)}`
}

function registerList(replication: Command, act: Act): void {
  replication
    .command('list')
    .description('list replications with state and lag')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ replications: ReplicationSummary[] }>('/replications')
        output.document(document, () => renderReplications(output, document.replications))
      }),
    )
  replication
    .command('show')
    .description('show one replication with its links')
    .argument('<id>', 'as feedmesh replication list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        const shown = await withSuggestion(api, { named: 'replication', name: id }, () =>
          api.get<ReplicationSummary>(replicationPath(id)),
        )
        output.document(shown, () => renderReplication(output, shown))
      }),
    )
}

function registerSwitch(replication: Command, act: Act, verb: 'pause' | 'resume'): void {
  replication
    .command(verb)
    .description(verb === 'pause' ? 'stop replicating until resumed' : 'go on replicating')
    .argument('<id>', 'as feedmesh replication list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        const changed = await withSuggestion(api, { named: 'replication', name: id }, () =>
          api.post<ReplicationSummary>(`${replicationPath(id)}/${verb}`),
        )
        output.document(changed, () => `Replication ${id} is ${verb}d.`)
      }),
    )
}

function registerRemove(replication: Command, act: Act): void {
  replication
    .command('remove')
    .description('remove a replication; what was received stays')
    .argument('<id>', 'as feedmesh replication list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        await withSuggestion(api, { named: 'replication', name: id }, () => api.delete(replicationPath(id)))
        output.document({ removed: id }, () => `Replication ${id} is removed; what it brought stays.`)
      }),
    )
}

function registerPlan(replication: Command, act: Act): void {
  replication
    .command('plan')
    .description('dry run: what a run would fetch, send and delete')
    .argument('<id>', 'as feedmesh replication list shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [id]) => {
        using api = await openApi()
        const plan = await withSuggestion(api, { named: 'replication', name: id }, () =>
          api.get<Plan>(`${replicationPath(id)}/plan`),
        )
        output.document(plan, () => renderPlan(plan))
      }),
    )
}

function renderPlan({ fetch, send, delete: deleted }: Plan): string {
  const amounts = `${renderItems(fetch.items)} (${renderBytes(fetch.bytes)}), send ${renderItems(send.items)} (${renderBytes(send.bytes)})`
  return `A run would fetch ${amounts}, and delete ${renderItems(deleted.items)}.`
}

function renderFeedPairs({ feeds }: ReplicationSummary): string {
  return feeds
    .map(({ local, remote }) => (remote === null || remote === local ? local : `${local}=${remote}`))
    .join(', ')
}

function renderLag({ lag, state }: ReplicationSummary): string {
  if (lag.items === 0 && lag.bytes === 0 && lag.seconds === 0) return state === 'ok' ? 'none' : '-'
  return `${renderItems(lag.items)}, ${renderBytes(lag.bytes)}, ${renderDuration(lag.seconds)}`
}

function renderReplications(output: Output, replications: readonly ReplicationSummary[]): string {
  const rows = replications.map((one) => [
    one.id,
    renderFeedPairs(one),
    `${one.communication} ${one.mode}`,
    one.state,
    renderLag(one),
    one.peer ?? 'nobody yet',
  ])
  const empty = 'There are no replications. Add one: feedmesh replication add --help, or feedmesh join CODE'
  return renderTable(output, ['ID', 'FEEDS', 'KIND', 'STATE', 'LAG', 'PEER'], rows, empty)
}

const SERVED: Readonly<Record<ReplicationSummary['serve'], string>> = {
  site: 'linked nodes, and readers of the feed at the same site',
  region: 'linked nodes, and readers of the feed in the same region',
  any: 'linked nodes, and all readers of the feed',
  none: 'linked nodes only',
}

function renderServe({ serve }: ReplicationSummary): string {
  return `${serve}: ${SERVED[serve]}`
}

/** Only those that are set. */
function renderLimits({ window, maxRate, quotaBytes, pins }: ReplicationSummary): (readonly [string, string])[] {
  return [
    ...(window === null ? [] : [['window', `scheduled runs ${window} only, local time`] as const]),
    ...(maxRate === null ? [] : [['max rate', `${renderBytes(maxRate)}/s each way`] as const]),
    ...(quotaBytes === null ? [] : [['quota', `${renderBytes(quotaBytes)} of what was fetched on demand`] as const]),
    ...(pins.length === 0 ? [] : [['pinned', pins.join(', ')] as const]),
  ]
}

function renderReplication(output: Output, one: ReplicationSummary): string {
  const fields = renderFields(output, [
    ['id', one.id],
    ['feeds', renderFeedPairs(one)],
    ['kind', `${one.communication} ${one.mode}, ${one.availability}`],
    ['serves', renderServe(one)],
    ...renderLimits(one),
    ['state', one.reason === '' ? one.state : `${one.state}: ${one.reason}`],
    ['lag', renderLag(one)],
    ['last run', one.lastRun === null ? 'none' : `${one.lastRun.runId} ${one.lastRun.state}, ${one.lastRun.startedAt}`],
  ])
  const headers = ['PEER', 'LOCAL', 'REMOTE', 'CONNECTION', 'CONFIRMED', 'LAST ERROR']
  return `${fields}\n\n${renderTable(output, headers, one.links.map(renderLink), 'No node has linked yet.')}`
}

function renderLink({ peer, local, remote, connected, revoked, confirmed, lastError }: LinkSummary): string[] {
  const connection = revoked ? 'revoked' : connected ? 'connected' : 'not connected'
  const equal = confirmed === null ? 'never' : `${confirmed.equal ? 'equal' : 'different'} at ${confirmed.at}`
  return [
    peer,
    local,
    remote,
    connection,
    equal,
    lastError === null ? 'none' : `${lastError.code}: ${lastError.message}`,
  ]
}
