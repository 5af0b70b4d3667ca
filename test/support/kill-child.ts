/**
 * A node that is killed at a named point: `kill-child.ts publish|pull DIRECTORY POINT OCCURRENCE [URL TOKEN]`.
 * Prints a line for every change that was acknowledged, so that the parent knows what must survive.
 */

import type { FaultPoint } from '../../src/fault-points.ts'
import { publishVersions, pullAll } from './kill-journeys.ts'

const [, , role = '', directory = '', point = '', occurrence = '1', url = '', token = ''] = process.argv
const say = (line: string) => process.stdout.write(`acknowledged ${line}\n`)
let left = Number(occurrence)

function reach(reached: FaultPoint): void {
  if (reached !== point) return
  left -= 1
  if (left <= 0) process.kill(process.pid, 'SIGKILL')
}

if (role === 'publish') await publishVersions({ directory, say, reach })
else await pullAll({ directory, say, reach, url, token })
