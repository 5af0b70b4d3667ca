/** A node that fetches a blob by chunks from two servers and kills itself: `chunk-kill-child.ts DIRECTORY POINT OCCURRENCE`. */

import type { FaultPoint } from '../../src/fault-points.ts'
import { openFileBlobs } from '../../src/store/file-blobs.ts'
import { KILLED_BYTES, openSite, type SiteNode } from '../fetching/chunk-site.ts'

const [, , directory = '', point = '', occurrence = '1'] = process.argv
let left = Number(occurrence)

function reach(reached: FaultPoint): void {
  if (reached !== point) return
  left -= 1
  if (left <= 0) process.kill(process.pid, 'SIGKILL')
}

await using stack = new AsyncDisposableStack()
const site = await openSite(stack, {
  size: KILLED_BYTES,
  nodes: 3,
  areNeighbours: false,
  openBlobs: async (records, index) => (index === 0 ? await openFileBlobs({ directory, records, reach }) : undefined),
})
const [spoke, ...servers] = site.nodes as [SiteNode, ...SiteNode[]]
for (const server of servers) server.answer = site.serveContent
await spoke.fetch(
  servers.map(({ host }) => host.peerId),
  [site.wanted],
)
