/**
 * A node whose database is gone and that is killed while it becomes whole again: `recovery-child.ts DIRECTORY POINT
 * OCCURRENCE LISTEN`. Prints `whole` if it gets there.
 */

import type { FaultPoint } from '../../src/fault-points.ts'
import { createLog } from '../../src/log.ts'
import { openNode } from '../../src/node.ts'

const [, , directory = '', point = '', occurrence = '1', listen = ''] = process.argv
const MAX_MS = 30_000
let left = Number(occurrence)

function reach(reached: FaultPoint): void {
  if (reached !== point) return
  left -= 1
  if (left <= 0) process.kill(process.pid, 'SIGKILL')
}

const overrides = { http: '127.0.0.1:0', listen: [listen] }
await using node = await openNode({ directory, overrides, log: createLog('silent'), reach })
const { operations } = node
const isOpen = async () =>
  (await operations.doctor()).some(({ code }) => code === 'FEED_RESTORED' || code === 'DATABASE_REBUILT')
for (const deadline = Date.now() + MAX_MS; (await isOpen()) && Date.now() < deadline; )
  await new Promise((resolve) => setImmediate(resolve))
process.stdout.write((await isOpen()) ? 'not whole\n' : 'whole\n')
