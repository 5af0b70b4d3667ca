/**
 * A node that publishes Debian packages and is killed at a named point: `index-kill-child.ts DIRECTORY POINT OCCURRENCE`.
 * Prints a line for every package that was acknowledged.
 */

import type { FaultPoint } from '../../src/fault-points.ts'
import { createLog } from '../../src/log.ts'
import { openNode } from '../../src/node.ts'
import { nativeFile } from '../conformance/feed-type.ts'
import { createDeb } from '../feeds/deb-package.ts'

const [, , directory = '', point = '', occurrence = '1'] = process.argv
const ACTOR = { name: 'test', from: 'test' }
let left = Number(occurrence)
let isArmed = false

function reach(reached: FaultPoint): void {
  if (!isArmed || reached !== point) return
  left -= 1
  if (left <= 0) process.kill(process.pid, 'SIGKILL')
}

await using node = await openNode({ directory, overrides: {}, log: createLog('silent'), reach })
await node.operations.createFeed({ name: 'os', type: 'debian', publicRead: false }, ACTOR)
isArmed = true
for (let at = 0; ; at += 1) {
  const name = `tool${at}`
  await node.operations.publishFile('os', nativeFile(`${name}_1.0-1_amd64.deb`, await createDeb({ name })), ACTOR)
  process.stdout.write(`acknowledged ${name}\n`)
  await node.operations.openIndexes('os').find('stable')
}
