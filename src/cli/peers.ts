/** `feedmesh peers` and `feedmesh peers revoke` */

import type { Command } from 'commander'
import type { PeerSummary } from '../http/operations.ts'
import type { Act } from './context.ts'
import type { Output } from './output.ts'
import { renderTable } from './table.ts'
import { renderBytes } from './units.ts'

export function registerPeersCommands(program: Command, act: Act): void {
  const peers = program
    .command('peers')
    .description('known peers with connection, round-trip time and rates')
    .action(
      act<[]>(async ({ openApi, output }) => {
        using api = await openApi()
        const document = await api.get<{ peers: PeerSummary[] }>('/peers')
        output.document(document, () => renderPeers(output, document.peers))
      }),
    )
  peers
    .command('revoke')
    .description('end every link with one peer, and no other')
    .argument('<peerid>', 'as feedmesh peers shows it')
    .action(
      act<[string]>(async ({ openApi, output }, [peerId]) => {
        using api = await openApi()
        await api.post(`/peers/${encodeURIComponent(peerId)}/revoke`)
        output.document({ revoked: peerId }, () => `All links with ${peerId} are revoked.`)
      }),
    )
}

function renderPeers(output: Output, peers: readonly PeerSummary[]): string {
  const rows = peers.map(({ peerId, site, connected, direction, rttMs, inRate, outRate }) => [
    peerId,
    site === '' ? '-' : site,
    connected ? 'connected' : 'not connected',
    direction ?? '-',
    rttMs === null ? '-' : `${Math.round(rttMs)} ms`,
    `${renderBytes(inRate)}/s`,
    `${renderBytes(outRate)}/s`,
  ])
  const empty = 'No peers are known. Link one: feedmesh join CODE, or feedmesh replication add --help'
  return renderTable(output, ['PEER', 'SITE', 'STATE', 'DIRECTION', 'RTT', 'IN', 'OUT'], rows, empty)
}
